// An episode that was asked for by itself, while others run, and how its tokens are to be drawn.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "paradigm/stop_strings.h"
#include "paradigm/token_grammar.h"

namespace paradigm {

struct SamplingParameters {
    float temperature = 1;
    int32_t top_k = 0;
    float top_p = 1, min_p = 0;
};

// Throws std::invalid_argument, naming the parameter, if one is out of range.
void check(const SamplingParameters& sampling);

struct Request {
    int64_t index = 0;  // the episode's: names its sampling noise, and its age
    int64_t group = 0;  // those of one group get the same seed for their environment
    std::string task;
    SamplingParameters sampling;
    int32_t max_tokens = 0;  // greatest length of a seat's stream
    std::shared_ptr<const StopStrings> stop;  // ends the trajectory; null: nothing does
    std::shared_ptr<const TokenGrammar> grammar;  // what its actions say, where no legal ones are listed; null: anything
    bool is_streamed = false;                 // its tokens are reported as they come
    bool is_held = false;                     // it keeps its slots and blocks when it is over, until it is released
};

}  // namespace paradigm
