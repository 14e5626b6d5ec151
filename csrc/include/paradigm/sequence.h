// Tokens of a policy's that belong to no episode: somebody opens or forks them, and asks for what comes next or what it is worth. Tree
// search, reward models and teachers are such questions.
//
// A sequence keeps its slot, and while there is room its keys and values, until it is released. What is asked of it is done in order.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "paradigm/environment.h"
#include "paradigm/request.h"
#include "paradigm/seat.h"

namespace paradigm {

// Whose hidden states are wanted, besides or in place of those that tokens are drawn from: of the tokens from position `first` on.
struct Probe {
    int64_t ask = 0;
    int32_t first = 0, next = 0;   // the next one that is wanted
    std::vector<int32_t> targets;  // whose log-probability each state is to tell; none: the state is wanted for itself
    float temperature = 1;
    std::vector<float> logprobs;   // so far
    std::vector<int32_t> version;
};

enum class AskKind : uint8_t { append, sample, score, evaluate };

struct Ask {
    int64_t number = 0;  // names the answer
    AskKind kind = AskKind::append;
    std::vector<int32_t> tokens;  // to append or score
    SamplingParameters sampling;  // of sampling; the temperature, of scoring too
    Observation rules;            // of sampling, as of an action: its length, what stops it, what is legal
    std::shared_ptr<const TokenGrammar> grammar;
};

struct Answer {
    int64_t number = 0, sequence = 0;
    std::string error;  // empty: none
    int32_t start = 0;  // where the tokens stand, or would
    std::vector<int32_t> tokens, version, support;  // drawn or scored
    std::vector<float> logprobs, kept_logmass;
};

struct Sequence {
    int64_t index = 0;
    Seat seat;
    std::deque<Ask> asked;      // the first is at work, or waits for a slot
    Probe probe;                // of the first
    bool is_at_work = false;    // its tokens are being fed
    int64_t parent = -1;        // until it has a slot: whose blocks it shares
    int32_t parent_seat = 0, length = -1;  // which tokens of the parent's, and how many; -1: all
    int64_t num_asked = 0, num_answered = 0;
    int64_t after = 0;          // the fork is of what the parent has once so many questions are answered
    bool is_born = false;       // it has got its tokens
    std::string error;          // why it never will
};

// What other threads ask for, in the order in which they do.
struct SequenceCommand {
    enum class Kind : uint8_t { open, fork, ask, release };
    Kind kind = Kind::open;
    int64_t index = 0, parent = -1;
    int32_t seat = 0, length = -1;
    std::vector<int32_t> tokens;
    Ask ask;
};

}  // namespace paradigm
