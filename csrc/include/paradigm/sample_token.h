// Drawing tokens from rows of logits, and the log-probability that the draw has: one log-sum-exp for sampler and learner.
//
// With d_v = (x_v - max x) / temperature over the legal tokens v of a row (those whose support bit is set and whose logit is not
// -inf):
//     S = sum exp(d_v)     log p_v = d_v - log S     H = log S - (sum exp(d_v) d_v) / S
//     token = argmax over kept v of d_v - log(-log1p(-u_v))     u_v = (bits + 1/2) 2^-32, see philox.h     ties: lowest id
// S is summed in fp32 over tiles of 256 tokens (16 lanes, a fixed tree) and in fp64 over tiles, in ascending order, so a row's
// results depend on the row alone: not on n, the threads, the other rows or the machine's instruction set.
//
// Filters keep a prefix of the order (logit descending, id ascending), applied one after the other: the top_k first tokens; then the
// smallest prefix whose mass, renormalised after top_k, is at least top_p (masses in units of 2^-40 of the largest, summed exactly);
// then the tokens whose probability is at least min_p times the largest. They change neither log p nor H.
#pragma once

#include <cstdint>

#include "paradigm/isa.h"

namespace paradigm {

// Which tokens are legal: bit v % 32 of word v / 32 of a row of the table. A null `row` makes every token of every row legal.
struct SupportTable {
    const int32_t* row = nullptr;     // [n], row of the table; -1: every token
    const uint32_t* words = nullptr;  // [num_rows, num_words]
    int64_t num_rows = 0;
    int64_t num_words = 0;  // >= ceil(vocab_size / 32)
};

struct SampleTokens {
    const float* logits = nullptr;  // [n, vocab_size], row i at logits + i * stride
    int64_t n = 0;
    int64_t vocab_size = 0;
    int64_t stride = 0;
    const float* temperature = nullptr;   // [n], >= 0; 0: greedy, the log-probability is then taken at temperature 1
    const int32_t* top_k = nullptr;       // [n], >= 0; 0: off
    const float* top_p = nullptr;         // [n], in (0, 1]; 1: off
    const float* min_p = nullptr;         // [n], in [0, 1); 0: off
    const uint64_t* key = nullptr;        // [n], noise_key
    const uint64_t* trajectory = nullptr; // [n]
    const uint32_t* position = nullptr;   // [n], of the token being drawn in its trajectory
    SupportTable support;

    int32_t* id = nullptr;          // [n]
    float* logprob = nullptr;       // [n], log p of the token, renormalised over legal tokens, before the filters
    float* kept_logmass = nullptr;  // [n], log of the mass that the filters kept; greedy keeps one token
    float* cut_logit = nullptr;     // [n] or null: kept are the legal tokens with a larger logit, ...
    int32_t* cut_id = nullptr;      // [n] or null: ... and those with this logit and an id up to this one
};

struct RowLogprobs {
    const float* logits = nullptr;  // as above
    int64_t n = 0;
    int64_t vocab_size = 0;
    int64_t stride = 0;
    const int64_t* target = nullptr;  // [n], token ids
    float temperature = 1.0f;         // > 0
    SupportTable support;

    float* logprob = nullptr;  // [n]; -inf for an illegal target
    float* entropy = nullptr;  // [n] or null, nats
};

// Both throw std::invalid_argument naming the argument, its rule and the value; a row whose legal logits hold NaN or +inf, or that
// has no legal token, is named too, and the outputs are then unspecified. `isa` is for tests: every choice gives the same bits.
void sample_token(const SampleTokens& rows, int num_threads, Isa isa = best_isa());
void row_logprob(const RowLogprobs& rows, int num_threads, Isa isa = best_isa());

}  // namespace paradigm
