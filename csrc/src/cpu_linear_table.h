// The row loops of cpu_linear.cpp as one table an instruction set, and the tile unit's.
#pragma once

#include <cstdint>

#include "paradigm/cpu_linear.h"

namespace paradigm {

// Rows [first_row, last_row) of outputs [first_output, last_output) of one weight.
struct LinearBlock {
    int64_t first_row, last_row, first_output, last_output;
};
using LinearKernel = void (*)(const Linear&, const LinearOutput&, const LinearBlock&);

struct LinearKernels {
    LinearKernel float32, bfloat16, bfloat16_to_float32;
};

namespace baseline {
LinearKernels linear_kernels();
}
#if PARADIGM_HAS_X86_ISAS
namespace avx2 {
LinearKernels linear_kernels();
}
namespace avx512 {
LinearKernels linear_kernels();
}
#endif

constexpr int64_t amx_outputs = 32;  // outputs of a block for the tile unit; `first_output` is a multiple of it
void linear_block_amx(const Linear& call, const LinearOutput& output, const LinearBlock& block);

}  // namespace paradigm
