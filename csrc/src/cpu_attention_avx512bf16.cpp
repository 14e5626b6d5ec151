// The loops of attention in bfloat16 for avx512 with its dot products of bfloat16 pairs; see paradigm/isa.h.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu_attention_scratch.h"
#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,bmi,bmi2,lzcnt,popcnt")
#define PARADIGM_SIMD avx512bf16
#define PARADIGM_SIMD_BYTES 64
#define PARADIGM_HAS_BFLOAT16
#include "paradigm/simd.h"
#include "cpu_vector.h"
#include "cpu_attention_rows.h"
#include "cpu_attention_pairs.h"
#include "cpu_attention_items.h"
#include "cpu_attention_pairs_backward.h"
#pragma GCC pop_options
#endif
