// The tokens that streamed episodes were given or drew, in the order in which they came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "paradigm/seat.h"

namespace paradigm {

// E pieces, n tokens
struct StreamEvents {
    std::vector<int64_t> index;            // [E] of the episode
    std::vector<int32_t> seat, start;      // [E] whose stream, and where in it the piece begins
    std::vector<int64_t> offsets{0};       // [E + 1] cuts of the tokens
    std::vector<int32_t> tokens, version;  // [n]
    std::vector<float> logprobs;           // [n]
    std::vector<uint8_t> action_mask, segment;  // [n]

    // What the seat's stream has beyond what was reported of it.
    void report(int64_t episode, int32_t seat_number, Seat& reported) {
        if (reported.reported == reported.length()) return;
        index.push_back(episode);
        seat.push_back(seat_number);
        start.push_back(reported.reported);
        for (; reported.reported < reported.length(); ++reported.reported) {
            const TokenRecord& record = reported.stream[static_cast<std::size_t>(reported.reported)];
            tokens.push_back(record.token);
            version.push_back(record.version);
            logprobs.push_back(record.logprob);
            action_mask.push_back(record.is_action ? 1 : 0);
            segment.push_back(static_cast<uint8_t>(record.segment));
        }
        offsets.push_back(static_cast<int64_t>(tokens.size()));
    }
};

}  // namespace paradigm
