// What all products on the CPU begin with: checks, the loops for a machine, how many threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu_linear_table.h"
#include "cpu_threads.h"

namespace paradigm {

inline constexpr double work_of_a_thread = 3e5;             // multiply-adds: some microseconds, as starting a thread costs
inline constexpr double speed_of_unit[] = {1.0, 2.0, 8.0};  // by Bfloat16Unit

inline Bfloat16Unit unit_for(Dtype dtype, Isa isa, Bfloat16Unit unit) { return isa >= Isa::avx512 && dtype == Dtype::bfloat16 ? unit : Bfloat16Unit::none; }

inline LinearKernels kernels_for(Isa isa, Bfloat16Unit unit) {
#if PARADIGM_HAS_X86_ISAS
    if (unit == Bfloat16Unit::pairs) return avx512bf16::linear_kernels();
#endif
    LinearKernels kernels = PARADIGM_DISPATCH(isa, linear_kernels)();
    if (unit == Bfloat16Unit::tiles) kernels.multiply = multiply_tiles;
    return kernels;
}

inline char* aligned(char* memory) { return memory + (64 - reinterpret_cast<std::uintptr_t>(memory) % 64) % 64; }

inline void check(int64_t num_rows, int64_t num_inputs, int64_t num_outputs, Dtype dtype, Dtype y_dtype, int num_threads) {
    if (num_rows < 0) refuse("num_rows must be >= 0", num_rows);
    if (num_inputs < 1) refuse("num_inputs must be >= 1", num_inputs);
    if (num_outputs < 1) refuse("num_outputs must be >= 1", num_outputs);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
    if (y_dtype != dtype && y_dtype != Dtype::float32) refuse("y_dtype must be dtype or float32", static_cast<int>(y_dtype));
}

inline int64_t threads_for(int64_t num_rows, int64_t num_inputs, int64_t num_outputs, Bfloat16Unit unit, int64_t num_blocks, int num_threads) {
    const double work = static_cast<double>(num_rows) * static_cast<double>(num_inputs) * static_cast<double>(num_outputs);
    return std::min<int64_t>({num_threads, num_blocks, static_cast<int64_t>(work / (speed_of_unit[static_cast<int>(unit)] * work_of_a_thread))});
}

// Products by operands that lie the other way.
inline void check_by_columns(Dtype dtype, Bfloat16Unit unit) {
    if (dtype != Dtype::float32 && unit != Bfloat16Unit::pairs) refuse("gradients in bfloat16 take its unit of pairs, 1", static_cast<int>(unit));
}

}  // namespace paradigm
