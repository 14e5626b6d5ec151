// An environment is a world that speaks and listens in tokens; a player is anything that answers for a seat.
//
// A step may speak to several seats at once (each hears only its own tokens), and asks at most one seat for an action.
// An environment is deterministic in (task, seed, actions).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "paradigm/legal_set.h"

namespace paradigm {

struct Observation {
    int seat = 0;
    std::vector<int32_t> tokens;            // injected into the seat's stream
    std::shared_ptr<const LegalSet> legal;  // the allowed actions; null: any token
    std::vector<int32_t> stop;              // the action ends with the first of these, which belongs to it
    std::vector<std::string> stop_strings;  // or with the token that completes one of these texts; see stop_strings.h
    int max_action_tokens = 0;              // the action ends here at the latest; 0: the seat only listens
    int32_t thought_until = -1;             // action tokens before the first of these are labelled thought; -1: none
};

struct Step {
    std::vector<Observation> observations;  // at most one with max_action_tokens > 0
    std::vector<float> rewards;             // one a seat
    bool terminated = false;
    bool truncated = false;
};

class Environment {
  public:
    virtual ~Environment() = default;
    virtual int num_seats() const = 0;
    virtual Step reset(const std::string& task, uint64_t seed) = 0;
    virtual Step step(const int32_t* action, std::size_t length) = 0;
    virtual std::unique_ptr<Environment> clone() const = 0;

    // The same into an answer whose memory may be reused: `answer` holds an earlier one, in any state. For worlds so quick that
    // allocating the answer is most of a step.
    virtual void step_into(const int32_t* action, std::size_t length, Step& answer) { answer = step(action, length); }
};

// Pure in (environment, observation, seed) and safe to call from several threads at once.
class Player {
  public:
    virtual ~Player() = default;
    virtual std::vector<int32_t> act(const Environment& environment, const Observation& observation, uint64_t seed) const = 0;
};

using EnvironmentFactory = std::function<std::unique_ptr<Environment>()>;

// How environments and players written in C++ pass through Python unopened, from their own binding to the sampler's.
struct NativeEnvironment {
    EnvironmentFactory factory;
    int num_seats = 1;
};

struct NativePlayer {
    std::shared_ptr<const Player> player;
};

}  // namespace paradigm
