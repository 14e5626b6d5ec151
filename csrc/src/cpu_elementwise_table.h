// The row loops of cpu_elementwise.cpp as one table an instruction set; pairs are by Dtype.
#pragma once

#include <cstdint>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

struct ElementwiseKernels {
    void (*rms_norm[2])(const RmsNorm&, int64_t first, int64_t last);
    void (*rms_norm_backward[2])(const RmsNormGradient&, int64_t first, int64_t last, float* weight_sums);
    void (*rotary[2])(const Rotary&, int64_t first, int64_t last);
    void (*rotary_backward[2])(const RotaryGradient&, int64_t first, int64_t last, float* weight_sums);
    // of `count` neighbours from y's element `contiguous` and gate's element `strided` on
    void (*swiglu[2])(const Swiglu&, int64_t contiguous, int64_t strided, int64_t count);
    void (*swiglu_backward[2])(const SwigluGradient&, int64_t contiguous, int64_t strided, int64_t count);
    void (*logits_gradient)(const LogitsGradient&, int64_t first, int64_t last);
};

namespace baseline {
ElementwiseKernels elementwise_kernels();
}
#if PARADIGM_HAS_X86_ISAS
namespace avx2 {
ElementwiseKernels elementwise_kernels();
}
namespace avx512 {
ElementwiseKernels elementwise_kernels();
}
namespace avx512bf16 {
ElementwiseKernels elementwise_kernels();
}
#endif

}  // namespace paradigm
