// A decoder layer in training on the CPU as one call each way: the kernels of cpu_kernels.h and cpu_linear.h, hence their bits, with nothing in between.
#pragma once

#include <cstdint>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

struct Projection {
    const void* weight = nullptr;  // [num_outputs, inputs], contiguous
    const void* bias = nullptr;    // [num_outputs] or null
    int64_t num_outputs = 0;
};

// With T rows, D their width, F that of the MLP, Q and K the heads of queries and keys times their width. All tensors are contiguous, and of `dtype`
// where nothing else is said.
struct Layer {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t width = 0;
    float eps = 0.0f;
    const float* cos = nullptr;  // [T, pairs]
    const float* sin = nullptr;
    int64_t pairs = 0;
    AttentionOptions heads;
    const int32_t* cu_seqlens = nullptr;  // as Attention's, with the next two
    const int32_t* parent = nullptr;
    int64_t num_documents = 0;
    const void* input_norm = nullptr;  // [D]
    const void* post_norm = nullptr;
    const void* q_norm = nullptr;      // [head_dim] or null
    const void* k_norm = nullptr;
    Projection q, k, v, o, gate, up, down;

    // what the forward stores and the backward reads
    void* x = nullptr;             // [T, D], the residual stream; not stored where the forward adds nothing to it
    float* scale = nullptr;        // [T]
    void* normed = nullptr;        // [T, D]
    void* qkv = nullptr;           // [T, Q + 2 K]
    void* turned_q = nullptr;      // [T, Q]
    void* turned_k = nullptr;      // [T, K]
    void* attended = nullptr;      // [T, Q]
    float* lse = nullptr;          // [T, query heads]; rows behind the documents are left as they are
    void* post_x = nullptr;        // [T, D]
    float* post_scale = nullptr;   // [T]
    void* post_normed = nullptr;   // [T, D]
    void* gate_up = nullptr;       // [T, 2 F]
    void* product = nullptr;       // [T, F]
};

// out [T, D] is the layer's update of the residual stream x = update + residual, or update where residual is null.
void layer_forward(const Layer& layer, const void* update, const void* residual, void* out, int num_threads);

struct LayerGradient {
    const void* grad = nullptr;    // [T, D], by out
    const void* grad_x = nullptr;  // [T, D], by post_x

    void* grad_gate_up = nullptr;   // as gate_up
    void* grad_post_x = nullptr;    // [T, D], by the attention's update
    void* grad_qkv = nullptr;       // as qkv; null: neither this nor what follows is wanted
    void* grad_update = nullptr;    // [T, D], by update, and by residual
    float* input_norm = nullptr;    // [D]
    float* post_norm = nullptr;
    float* q_norm = nullptr;        // [head_dim], where there is a norm
    float* k_norm = nullptr;
};

// All gradients but those of projections, which are products of what is here. In bfloat16 for the unit of pairs.
void layer_backward(const Layer& layer, const LayerGradient& gradient, int num_threads);

}  // namespace paradigm
