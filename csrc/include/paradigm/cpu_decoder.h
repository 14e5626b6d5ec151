// A stack of pre-norm decoder layers (Llama, Qwen2, Qwen3) that feeds tokens to a paged cache, on packed weights, as one call.
//
// It is made of this library's RMSNorm, linear, rotary, paged attention and SwiGLU, in the order in which a policy's forward calls them,
// so its hidden states are the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "paradigm/cpu_linear.h"

namespace paradigm {

struct DecoderLayer {
    std::vector<char> input_norm, post_norm;  // weights, in the stack's dtype
    std::vector<char> q_norm, k_norm;         // empty: no norm of queries and keys
    PackedLinear q, k, v, o, gate, up, down;
    int64_t window = 0;  // 0: no limit
};

struct Decoder {
    Dtype dtype = Dtype::float32;
    int64_t width = 0;
    AttentionOptions heads;  // of every layer; its window is not read
    float eps = 0.0f;
    const void* embeddings = nullptr;  // [vocab_size, width], contiguous; the caller's
    int64_t vocab_size = 0;
    std::vector<DecoderLayer> layers;
    std::vector<char> final_norm;
};

struct DecoderStep {
    int64_t num_rows = 0;
    const int32_t* tokens = nullptr;     // [num_rows]
    const int32_t* positions = nullptr;  // [num_rows]
    const float* cos = nullptr;          // [num_positions, pairs]
    const float* sin = nullptr;
    int64_t num_positions = 0, pairs = 0;
    PagedAttention attention;     // keys and values of the first layer; its dtype, options, num_rows, q, k, v and out are not read
    int64_t cache_layer_bytes = 0;  // from one layer's keys (values) to the next's
    const int32_t* wanted = nullptr;  // [num_wanted], ascending: the rows whose hidden state is asked for
    int64_t num_wanted = -1;          // -1: all rows

    void* hidden = nullptr;  // [num_wanted or num_rows, width], after the final norm
};

void decode(const Decoder& decoder, const DecoderStep& step, int num_threads);

}  // namespace paradigm
