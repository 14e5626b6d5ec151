// Which instruction set a hot loop runs on, chosen at run time.
//
// A hot loop lives in an implementation header that knows only paradigm/simd.h and is compiled once an instruction set:
//
//     // foo_avx512.cpp: every std and immintrin include comes BEFORE the target pragma, else their inline functions would
//     // be emitted with instructions that older machines lack and the linker might keep those copies.
//     #include <cstdint>
//     #include "paradigm/isa.h"
//     #if PARADIGM_HAS_X86_ISAS
//     #include <immintrin.h>
//     #pragma GCC push_options
//     #pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,lzcnt,popcnt")
//     #define PARADIGM_SIMD avx512
//     #define PARADIGM_SIMD_BYTES 64
//     #include "paradigm/simd.h"
//     #include "foo_rows.h"            // namespace paradigm::PARADIGM_SIMD
//     #pragma GCC pop_options
//     #endif
//
// foo_avx512bf16.cpp, where there is one, adds avx512bf16 to the target and defines PARADIGM_HAS_BFLOAT16 before the includes: it rounds to
// bfloat16 by one instruction. foo_avx2.cpp is the same with avx2, 32 and "avx2,fma,bmi,bmi2,lzcnt,popcnt"; foo.cpp includes it as baseline, 16, without a pragma,
// and takes PARADIGM_DISPATCH(best_isa(), what_it_needs).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PARADIGM_HAS_X86_ISAS 1
#else
#define PARADIGM_HAS_X86_ISAS 0
#endif

namespace paradigm {

enum class Isa { baseline = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3 };  // the last is avx512 where a loop has nothing of its own for it

inline Isa best_isa() {
#if PARADIGM_HAS_X86_ISAS
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        return __builtin_cpu_supports("avx512bf16") ? Isa::avx512bf16 : Isa::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return Isa::avx2;
#endif
    return Isa::baseline;
}

// What `name` is in the namespace of an instruction set: baseline::name, avx2::name, avx512::name (or avx512bf16::name), which are of one type.
#if PARADIGM_HAS_X86_ISAS
#define PARADIGM_DISPATCH(isa, name) ((isa) >= Isa::avx512 ? avx512::name : (isa) == Isa::avx2 ? avx2::name : baseline::name)
#define PARADIGM_DISPATCH_BFLOAT16(isa, name) ((isa) == Isa::avx512bf16 ? avx512bf16::name : PARADIGM_DISPATCH(isa, name))
#else
#define PARADIGM_DISPATCH(isa, name) ((void)(isa), baseline::name)
#define PARADIGM_DISPATCH_BFLOAT16 PARADIGM_DISPATCH
#endif

}  // namespace paradigm
