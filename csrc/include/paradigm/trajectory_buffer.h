// Finished trajectories as a struct of arrays, back to back in the order of their index: what Python views without a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "paradigm/episode.h"
#include "paradigm/support_sets.h"

namespace paradigm {

struct Failure {
    int64_t row;
    std::string reason, message;
};

// n tokens over all trajectories, B trajectories, S support masks of W words
struct TrajectoryBuffer {
    std::vector<int32_t> tokens, decision, version, support;  // [n]
    std::vector<uint8_t> action_mask, segment, modality;      // [n]
    std::vector<float> rewards, logprobs, kept_logmass;       // [n]
    std::vector<int64_t> offsets;                             // [B + 1]
    std::vector<int64_t> index, group, task, parent;          // [B]
    std::vector<int32_t> seat;                                // [B]
    std::vector<uint8_t> stop_reason, terminated, truncated, failed;  // [B]
    std::vector<float> temperature;                                   // [B]
    std::vector<uint32_t> support_table;                              // [S * W]
    int32_t words_per_support = 0;
    std::vector<Failure> failures;  // one for each trajectory of a failed episode
};

// Keeps finished trajectories in the order in which they end, and lays them out by index once all have.
class TrajectoryStore {
  public:
    // temperature: of its draws, unless its request has its own.
    void add(const Episode& episode, int32_t seat, float temperature);

    std::size_t size() const { return finished_.size(); }

    // Empties the store. The buffer's table holds the sets that its tokens refer to, in the order in which they first do.
    TrajectoryBuffer take(const SupportSets& supports);

  private:
    struct Finished {
        std::vector<TokenRecord> stream;
        int64_t index, task;
        int32_t seat;
        StopReason stop_reason;
        bool terminated, truncated, failed;
        float temperature;
        std::string reason, message;
    };
    std::vector<Finished> finished_;
};

}  // namespace paradigm
