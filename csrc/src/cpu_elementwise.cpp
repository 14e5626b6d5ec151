// RMSNorm, rotary, SwiGLU and the logits' gradient on the CPU: checks, threads; and the loops for machines without AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu_elementwise_table.h"
#include "cpu_threads.h"
#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#endif
#define PARADIGM_SIMD baseline
#define PARADIGM_SIMD_BYTES 16
#include "paradigm/simd.h"
#include "cpu_vector.h"
#include "cpu_elementwise_rows.h"

namespace paradigm {
namespace {

constexpr int64_t rows_per_sum = 128;  // a weight's gradient is summed over blocks of this many rows, then over blocks, both in order

void check(int64_t num_rows, int64_t width, int num_threads) {
    if (num_rows < 0) refuse("num_rows must be >= 0", num_rows);
    if (width < 1) refuse("width must be >= 1", width);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
}

// As for_blocks, with one row of `width` sums a block, added up in the blocks' order into out.
template <class Body>
void sum_blocks(int64_t count, int64_t cost, int64_t width, float* out, int num_threads, const Body& body) {
    const int64_t num_blocks = (count + rows_per_sum - 1) / rows_per_sum;
    std::vector<float> sums(static_cast<std::size_t>(num_blocks * width), 0.0f);
    for_blocks(count, rows_per_sum, cost, num_threads, [&](int64_t first, int64_t last) {
        body(first, last, sums.data() + first / rows_per_sum * width);
    });
    std::fill(out, out + width, 0.0f);
    for (int64_t i = 0; i < num_blocks; ++i) {
        for (int64_t c = 0; c < width; ++c) out[c] += sums[static_cast<std::size_t>(i * width + c)];
    }
}

void check_rotary(const Rotary& call, int num_threads) {
    check(call.num_rows, call.head_dim, num_threads);
    if (call.head_dim > 1024) refuse("head_dim must be <= 1024", call.head_dim);
    if (call.num_heads < 0) refuse("num_heads must be >= 0", call.num_heads);
    if (call.pairs < 0 || 2 * call.pairs > call.head_dim) refuse("pairs must be in [0, head_dim / 2]", call.pairs);
}

void check_swiglu(const Swiglu& call, int num_threads) {
    check(call.num_rows, call.width, num_threads);
    if (call.row_stride < call.width) refuse("row_stride must be at least the width", call.row_stride);
}

// Calls body(contiguous, strided, count) for runs of neighbours, as they lie in y and in gate.
template <class Body>
void for_ranges(const Swiglu& call, int num_threads, const Body& body) {
    if (call.row_stride == call.width) {
        for_blocks(call.num_rows * call.width, 4096, 1, num_threads, [&](int64_t first, int64_t last) { body(first, first, last - first); });
        return;
    }
    for_blocks(call.num_rows, 8, call.width, num_threads, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) body(row * call.width, row * call.row_stride, call.width);
    });
}

}  // namespace

void rms_norm(const RmsNorm& call, int num_threads, Isa isa) {
    check(call.num_rows, call.width, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().rms_norm[static_cast<int>(call.dtype)];
    for_blocks(call.num_rows, 32, call.width, num_threads, [&](int64_t first, int64_t last) { kernel(call, first, last); });
}

void rms_norm_backward(const RmsNormGradient& call, int num_threads, Isa isa) {
    check(call.num_rows, call.width, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().rms_norm_backward[static_cast<int>(call.dtype)];
    sum_blocks(call.num_rows, call.width, call.width, call.grad_weight, num_threads, [&](int64_t first, int64_t last, float* sums) {
        kernel(call, first, last, sums);
    });
}

void rotary(const Rotary& call, int num_threads, Isa isa) {
    check_rotary(call, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().rotary[static_cast<int>(call.dtype)];
    for_blocks(call.num_rows, 32, call.num_heads * call.head_dim, num_threads, [&](int64_t first, int64_t last) { kernel(call, first, last); });
}

void rotary_backward(const RotaryGradient& call, int num_threads, Isa isa) {
    const Rotary& f = call.forward;
    check_rotary(f, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().rotary_backward[static_cast<int>(f.dtype)];
    const int64_t cost = f.num_heads * f.head_dim;
    if (call.grad_x_stride < cost) refuse("grad_x_stride must be at least num_heads * head_dim", call.grad_x_stride);
    if (!f.weight) {
        for_blocks(f.num_rows, 32, cost, num_threads, [&](int64_t first, int64_t last) { kernel(call, first, last, nullptr); });
        return;
    }
    sum_blocks(f.num_rows, cost, f.head_dim, call.grad_weight, num_threads, [&](int64_t first, int64_t last, float* sums) {
        kernel(call, first, last, sums);
    });
}

void swiglu(const Swiglu& call, int num_threads, Isa isa) {
    check_swiglu(call, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().swiglu[static_cast<int>(call.dtype)];
    for_ranges(call, num_threads, [&](int64_t contiguous, int64_t strided, int64_t count) { kernel(call, contiguous, strided, count); });
}

void swiglu_backward(const SwigluGradient& call, int num_threads, Isa isa) {
    check_swiglu(call.forward, num_threads);
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().swiglu_backward[static_cast<int>(call.forward.dtype)];
    for_ranges(call.forward, num_threads, [&](int64_t contiguous, int64_t strided, int64_t count) { kernel(call, contiguous, strided, count); });
}

void logits_gradient(const LogitsGradient& call, int num_threads, Isa isa) {
    check(call.num_rows, call.vocab_size, num_threads);
    if (!(call.temperature > 0.0f)) throw std::invalid_argument("temperature must be > 0, got " + std::to_string(call.temperature));
    if (call.support && call.support_words * 32 < call.vocab_size) refuse("the support table must have a bit for every token", call.support_words);
    for (int64_t row = 0; row < call.num_rows; ++row) {
        if (call.target[row] < 0 || call.target[row] >= call.vocab_size) refuse("target must be in [0, vocab_size)", call.target[row]);
        if (call.support && call.support[row] >= call.support_rows) refuse("support must be a row of its table", call.support[row]);
    }
    const auto kernel = PARADIGM_DISPATCH_BFLOAT16(isa, elementwise_kernels)().logits_gradient;
    for_blocks(call.num_rows, 8, call.vocab_size, num_threads, [&](int64_t first, int64_t last) { kernel(call, first, last); });
}

}  // namespace paradigm
