// What the linear layer and its gradients share: which loops run, what they read, and on how many threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu_linear_table.h"

namespace paradigm {

inline constexpr double work_of_a_thread = 3e5;             // multiply-adds: some microseconds, as starting a thread costs
inline constexpr double speed_of_unit[] = {1.0, 2.0, 8.0};  // by Bfloat16Unit

inline Bfloat16Unit unit_for(Dtype dtype, Isa isa, Bfloat16Unit unit) { return isa >= Isa::avx512 && dtype == Dtype::bfloat16 ? unit : Bfloat16Unit::none; }

// How many inputs the loops take, each a float32, a pair of bfloat16, or for tiles a bfloat16.
inline int64_t inputs_as_read(int64_t num_inputs, Bfloat16Unit unit) { return unit == Bfloat16Unit::pairs ? (num_inputs + 1) / 2 : num_inputs; }

inline LinearKernels kernels_for(Isa isa, Bfloat16Unit unit) {
#if PARADIGM_HAS_X86_ISAS
    if (unit == Bfloat16Unit::pairs) return avx512bf16::linear_kernels();
#endif
    LinearKernels kernels = PARADIGM_DISPATCH(isa, linear_kernels)();
    if (unit == Bfloat16Unit::tiles) kernels.multiply = multiply_tiles;
    return kernels;
}

inline char* aligned(char* memory) { return memory + (64 - reinterpret_cast<std::uintptr_t>(memory) % 64) % 64; }

// Rows of bfloat16 with a zero after an odd number of them, so that they are whole pairs.
inline std::unique_ptr<uint16_t[]> whole_pairs(const void* rows, int64_t count, int64_t num_inputs) {
    std::unique_ptr<uint16_t[]> copy(new uint16_t[static_cast<std::size_t>(count * (num_inputs + 1))]());
    for (int64_t i = 0; i < count; ++i) {
        std::memcpy(copy.get() + i * (num_inputs + 1), static_cast<const uint16_t*>(rows) + i * num_inputs, static_cast<std::size_t>(num_inputs) * 2);
    }
    return copy;
}

inline int64_t threads_for(int64_t num_rows, int64_t num_inputs, int64_t num_outputs, Bfloat16Unit unit, int64_t num_blocks, int num_threads) {
    const double work = static_cast<double>(num_rows) * static_cast<double>(num_inputs) * static_cast<double>(num_outputs);
    return std::min<int64_t>({num_threads, num_blocks, static_cast<int64_t>(work / (speed_of_unit[static_cast<int>(unit)] * work_of_a_thread))});
}

inline float widened(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float r;
    std::memcpy(&r, &bits, 4);
    return r;
}

// x as the kernels read it: bfloat16 without a unit of its own is widened first.
class Rows {
  public:
    Rows(const void* x, Dtype dtype, Bfloat16Unit unit, int64_t num_rows, int64_t num_inputs) : data_(x) {
        if (unit == Bfloat16Unit::pairs && num_inputs % 2 != 0) {
            paired_ = whole_pairs(x, num_rows, num_inputs);
            data_ = paired_.get();
        }
        if (dtype == Dtype::float32 || unit != Bfloat16Unit::none) return;
        const int64_t size = num_rows * num_inputs;
        wide_.reset(new float[static_cast<std::size_t>(size)]);
        const auto* from = static_cast<const uint16_t*>(x);
        for (int64_t i = 0; i < size; ++i) wide_[static_cast<std::size_t>(i)] = widened(from[i]);
        data_ = wide_.get();
    }
    const void* data() const { return data_; }

  private:
    const void* data_;
    std::unique_ptr<float[]> wide_;
    std::unique_ptr<uint16_t[]> paired_;
};

}  // namespace paradigm
