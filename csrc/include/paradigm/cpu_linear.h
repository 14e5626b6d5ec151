// Linear layers on the CPU, exact by rows: each output is one chain of fused multiply-adds in float32 over ascending inputs, from zero, so
// a row's bits depend on no other row, on no order of rows and on no number of threads.
//
// For bfloat16 on processors with AMX or AVX-512's BF16 it is instead the chain of that unit's dot products of pairs, ascending (which
// takes subnormal numbers for zero): the same for every row, but not the bits of other processors.
//
// Weights are multiplied as panels of 32 outputs, transposed. `linear` packs them as it goes, which costs little beside many rows;
// whoever multiplies few rows by the same weights again and again packs them once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

constexpr int64_t panel_outputs = 32;

// What multiplies bfloat16: float32's fused multiply-adds, after widening; AVX-512's dot products of pairs; or AMX's tiles of them.
enum class Bfloat16Unit { none = 0, pairs = 1, tiles = 2 };

Bfloat16Unit best_bfloat16_unit();  // that this processor and kernel let us use

// A weight [num_outputs, num_inputs] and perhaps a bias, packed.
class PackedLinear {
  public:
    // weight is contiguous; bias [num_outputs], of the same dtype, or null.
    PackedLinear(
        Dtype dtype, const void* weight, const void* bias, int64_t num_inputs, int64_t num_outputs, Isa isa = best_isa(),
        Bfloat16Unit unit = best_bfloat16_unit());

    const char* panel(int64_t index) const { return panels_ + index * panel_bytes_; }
    const float* bias(int64_t index) const { return bias_.empty() ? nullptr : bias_.data() + index * panel_outputs; }

    Dtype dtype;
    int64_t num_inputs, num_outputs, num_panels;
    Isa isa;
    Bfloat16Unit unit;  // that it is packed for; none for float32

  private:
    int64_t panel_bytes_;
    std::unique_ptr<char[]> memory_;
    char* panels_;
    std::vector<float> bias_;
};

// One product of x with a packed weight.
struct PackedProduct {
    const PackedLinear* weight = nullptr;
    void* y = nullptr;  // [num_rows, num_outputs], contiguous
};

// y = x weight^T + bias for weights that share x, such as a layer's query, key and value projections; all of one dtype and packing.
struct PackedCall {
    Dtype y_dtype = Dtype::float32;  // the weights' dtype, or float32
    int64_t num_rows = 0;
    const void* x = nullptr;  // [num_rows, num_inputs], contiguous, of the weights' dtype
    PackedProduct products[3];
    int num_products = 1;
};

void linear(const PackedCall& call, int num_threads);

// A weight [num_rows, width], contiguous, and the bias [num_rows] of its rows or null.
struct WeightPart {
    const void* weight = nullptr;
    const void* bias = nullptr;  // added in float32
    int64_t num_rows = 0;
};

struct Linear {
    Dtype dtype = Dtype::float32;    // of x, weights and biases
    Dtype y_dtype = Dtype::float32;  // dtype, or float32
    int64_t num_rows = 0;
    int64_t num_inputs = 0;
    int64_t num_outputs = 0;
    const void* x = nullptr;          // [num_rows, num_inputs], contiguous
    std::vector<WeightPart> weights;  // one below the other they are [num_outputs, num_inputs]; rows of all but the last a multiple of panel_outputs
    void* y = nullptr;                // [num_rows, num_outputs], contiguous
    bool by_columns = false;          // they are [num_inputs, num_outputs]: y = x weights, a gradient of inputs; in float32, or for the unit of pairs
};

void linear(const Linear& call, int num_threads, Isa isa = best_isa(), Bfloat16Unit unit = best_bfloat16_unit());

// grad_weight = grad^T x, or added to what grad_weight holds: rows are summed 64 at a time, or 128 by the unit of pairs, in a chain from zero, and
// these sums in order in float32, whatever the number of threads.
struct WeightGradient {
    Dtype dtype = Dtype::float32;              // of grad and x: float32, or for the unit of pairs bfloat16
    Dtype grad_weight_dtype = Dtype::float32;  // dtype, or float32
    int64_t num_rows = 0;
    int64_t num_inputs = 0;
    int64_t num_outputs = 0;
    const void* grad = nullptr;   // [num_rows, num_outputs], contiguous
    const void* x = nullptr;      // [num_rows, num_inputs], contiguous
    void* grad_weight = nullptr;  // [num_outputs, num_inputs], contiguous
    bool adds = false;            // to float32 only
};

void weight_gradient(const WeightGradient& call, int num_threads, Isa isa = best_isa(), Bfloat16Unit unit = best_bfloat16_unit());

}  // namespace paradigm
