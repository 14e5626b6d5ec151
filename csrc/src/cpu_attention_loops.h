// All loops of attention for one instruction set: included after paradigm/simd.h, by one source file each.
#include "cpu_vector.h"
#include "cpu_attention_rows.h"
#include "cpu_attention_floats.h"
#include "cpu_attention_items.h"
#include "cpu_attention_backward.h"

namespace paradigm {
namespace PARADIGM_SIMD {

AttentionKernels attention_kernels() {
    return {
        max_rows,
        {&attention_item<float>, &attention_item<bfloat16>},
        {&paged_item<float>, &paged_item<bfloat16>},
        {&attention_backward_item<float>, &attention_backward_item<bfloat16>}};
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
