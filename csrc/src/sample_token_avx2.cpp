// Token sampling's rows for avx2; see isa.h.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "paradigm/philox.h"
#include "token_rows.h"

#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2,lzcnt,popcnt")
#define PARADIGM_SIMD avx2
#define PARADIGM_SIMD_BYTES 32
#include "paradigm/simd.h"
#include "sample_token_rows.h"
#pragma GCC pop_options
#endif
