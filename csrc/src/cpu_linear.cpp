// The linear layer on the CPU: checks, blocks, threads; and the loops for machines without AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu_linear_table.h"
#include "cpu_threads.h"
#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#endif
#define PARADIGM_SIMD baseline
#define PARADIGM_SIMD_BYTES 16
#include "paradigm/simd.h"
#include "cpu_vector.h"
#include "cpu_linear_rows.h"

namespace paradigm {
namespace {

constexpr double work_of_a_thread = 3e5;  // multiply-adds: some microseconds, as starting a thread costs

// What one thread computes at a time: small enough to share out, large enough that a block's weights are read from the second cache.
struct BlockShape {
    int64_t rows, outputs;
};

LinearKernels kernels_for(Isa isa) {
#if PARADIGM_HAS_X86_ISAS
    if (isa == Isa::avx512) return avx512::linear_kernels();
    if (isa == Isa::avx2) return avx2::linear_kernels();
#endif
    (void)isa;
    return baseline::linear_kernels();
}

void check(const Linear& call, int num_threads) {
    if (call.num_rows < 0) refuse("num_rows must be >= 0", call.num_rows);
    if (call.num_inputs < 1) refuse("num_inputs must be >= 1", call.num_inputs);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
    if (call.num_weights < 1 || call.num_weights > 3) refuse("num_weights must be 1, 2 or 3", call.num_weights);
    for (int i = 0; i < call.num_weights; ++i) {
        if (call.outputs[i].num_outputs < 1) refuse("num_outputs must be >= 1", call.outputs[i].num_outputs);
    }
    if (call.y_dtype != call.dtype && call.y_dtype != Dtype::float32) refuse("y_dtype must be dtype or float32", static_cast<int>(call.y_dtype));
}

}  // namespace

void linear(const Linear& call, int num_threads, Isa isa, bool amx) {
    check(call, num_threads);
    const bool tiles = amx && isa == Isa::avx512 && call.dtype == Dtype::bfloat16;
    const LinearKernels kernels = kernels_for(isa);
    const LinearKernel kernel = tiles                           ? linear_block_amx
                                : call.dtype == Dtype::float32  ? kernels.float32
                                : call.y_dtype == Dtype::float32 ? kernels.bfloat16_to_float32
                                                                 : kernels.bfloat16;
    const BlockShape shape = tiles ? BlockShape{512, amx_outputs} : BlockShape{128, 64};
    const int64_t row_blocks = (call.num_rows + shape.rows - 1) / shape.rows;
    int64_t output_blocks = 0, num_outputs = 0;
    for (int i = 0; i < call.num_weights; ++i) {
        output_blocks += (call.outputs[i].num_outputs + shape.outputs - 1) / shape.outputs;
        num_outputs += call.outputs[i].num_outputs;
    }
    const double work = static_cast<double>(call.num_rows) * static_cast<double>(call.num_inputs) * static_cast<double>(num_outputs);
    const int64_t worth = static_cast<int64_t>(work / (tiles ? 8 * work_of_a_thread : work_of_a_thread));
    const int64_t count = row_blocks * output_blocks;
    for_each_block(count, std::min<int64_t>({num_threads, count, worth}), [&](int64_t i) {
        const int64_t row = i / output_blocks * shape.rows;
        int64_t block = i % output_blocks;
        const LinearOutput* output = call.outputs;
        while (block * shape.outputs >= output->num_outputs) {
            block -= (output->num_outputs + shape.outputs - 1) / shape.outputs;
            ++output;
        }
        const int64_t first = block * shape.outputs;
        kernel(call, *output, {row, std::min(row + shape.rows, call.num_rows), first, std::min(first + shape.outputs, output->num_outputs)});
    });
}

}  // namespace paradigm
