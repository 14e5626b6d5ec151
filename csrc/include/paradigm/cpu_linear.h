// Linear layers on the CPU, exact by rows: each output is one sum in an order that depends on its length alone, so a row's bits do not
// depend on how many other rows there are, their order, or the number of threads.
//
// The sum: lane l of sixteen adds x[k] w[k] for k = l, l + 16, ... by fused multiply-adds in float32, ascending; then the lanes by
// paradigm/simd.h's tree. It reads rows of x and of the weight as they lie, so nothing is packed and one row costs no more than its
// memory traffic. For bfloat16 on processors with AMX the sum is instead the chain of the tile unit's dot products of pairs, ascending
// (which takes subnormal numbers for zero): the same for every row, but not the bits of other processors.
#pragma once

#include <cstdint>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

// One weight that x is multiplied by.
struct LinearOutput {
    const void* weight = nullptr;  // [num_outputs, num_inputs], contiguous
    const void* bias = nullptr;    // [num_outputs] or null; added in float32
    int64_t num_outputs = 0;
    void* y = nullptr;             // [num_rows, num_outputs], contiguous
};

// y = x weight^T + bias for up to three weights that share x, such as a layer's query, key and value projections.
struct Linear {
    Dtype dtype = Dtype::float32;    // of x, weight and bias
    Dtype y_dtype = Dtype::float32;  // dtype, or float32
    int64_t num_rows = 0;
    int64_t num_inputs = 0;
    const void* x = nullptr;  // [num_rows, num_inputs], contiguous
    LinearOutput outputs[3];
    int num_weights = 1;
};

bool has_amx();  // whether this processor and kernel let us use bfloat16 tiles

void linear(const Linear& call, int num_threads, Isa isa = best_isa(), bool amx = has_amx());

// Everything of a pre-norm decoder layer that feeds a few tokens of each sequence to a paged cache, by the functions of this library:
//     x = update + residual; x += o(attention(rotary(q, k, v of norm(x)))); returns down(silu(gate) up of norm(x)), and x.
struct DecoderLayer {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t width = 0;
    int64_t intermediate = 0;
    const void* update = nullptr;    // [num_rows, width]
    const void* residual = nullptr;  // [num_rows, width], or null: none yet
    float eps = 0.0f;
    const void* input_norm = nullptr;
    const void* post_norm = nullptr;
    const void* q_norm = nullptr;  // or null: no norm of queries and keys
    const void* k_norm = nullptr;
    LinearOutput q, k, v, o, gate, up, down;  // their y is not read
    const float* cos = nullptr;               // [num_rows, pairs]
    const float* sin = nullptr;
    int64_t pairs = 0;
    PagedAttention attention;  // its q, k, v and out are not read

    void* out = nullptr;    // [num_rows, width]: the layer's update
    void* total = nullptr;  // [num_rows, width]: what it is to be added to
};

void decoder_layer(const DecoderLayer& call, int num_threads, Isa isa = best_isa(), bool amx = has_amx());

}  // namespace paradigm
