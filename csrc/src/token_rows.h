// What the per-instruction-set row functions of token sampling share with their dispatcher; included before any target pragma.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "paradigm/sample_token.h"

namespace paradigm {

constexpr int tile_size = 256;       // tokens summed in fp32 before fp64 takes over
constexpr double mass_unit = 0x1p40;  // fixed-point masses: exp(d) * mass_unit, so their sums are exact in any order
constexpr int buckets_per_nat = 32;
constexpr int num_buckets = 1024;  // covers d > -32; exp(-32) is below half a mass unit

// The last kept token in the order (logit descending, id ascending).
struct Cut {
    float logit = -std::numeric_limits<float>::infinity();
    int32_t id = std::numeric_limits<int32_t>::max();
    bool keeps_all() const { return logit == -std::numeric_limits<float>::infinity(); }
};

struct Candidate {
    float logit;
    int32_t id;
    uint64_t mass;
};

enum class RowStatus : uint8_t { ok, not_a_number, no_legal_token };

// One thread's working memory for rows of one vocabulary size; the candidates' pages are touched only when a filter needs them.
struct RowScratch {
    explicit RowScratch(int64_t vocab_size)
        : num_tiles((vocab_size + tile_size - 1) / tile_size),
          lane_max(new float[16 * num_tiles]),
          tile_max(new float[num_tiles]),
          bounds(new float[16 * num_tiles]),
          histogram(new uint64_t[2 * num_buckets]),
          candidates(new Candidate[vocab_size]) {}

    int64_t num_tiles;
    std::unique_ptr<float[]> lane_max;  // [num_tiles, 16], maxima of the tile's tokens with id % 16 = lane
    std::unique_ptr<float[]> tile_max;  // [num_tiles]
    std::unique_ptr<float[]> bounds;    // copies of either, to be partitioned
    std::unique_ptr<uint64_t[]> histogram;
    std::unique_ptr<Candidate[]> candidates;
};

// The k-th largest of values[0..count), 1 <= k <= count; reorders them.
float kth_largest(float* values, int64_t count, int64_t k);

// The k-th candidate in order, 1 <= k <= count; moves the first k to the front.
Cut kth_candidate(Candidate* candidates, int64_t count, int64_t k);

// The last candidate, in order, before which less than `target` mass lies, `before` of it ahead of all candidates; reorders them.
Cut cut_at_mass(Candidate* candidates, int64_t count, uint64_t before, double target);

// The smallest logit x with (x - max) * inverse_temperature >= log(min_p) in fp32.
float min_p_logit(float min_p, float max, float inverse_temperature);

struct TokenRowFunctions {
    RowStatus (*sample)(const SampleTokens& rows, int64_t row, RowScratch& scratch);
    RowStatus (*logprob)(const RowLogprobs& rows, int64_t row);
};

namespace baseline {
extern const TokenRowFunctions token_row_functions;
}
namespace avx2 {
extern const TokenRowFunctions token_row_functions;
}
namespace avx512 {
extern const TokenRowFunctions token_row_functions;
}

}  // namespace paradigm
