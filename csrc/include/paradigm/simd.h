// Sixteen lanes of fp32 (f32x16) and of 32-bit integers (u32x16), the same on every instruction set.
//
// Included once an instruction set (see isa.h), so it has no include guard and includes nothing: the including file brings
// <cmath>, <cstdint>, <cstring> and, on x86, <immintrin.h> before its target pragma, and defines PARADIGM_SIMD, the namespace's
// name, and PARADIGM_SIMD_BYTES, the register's width (64, 32, 16): GCC 12 does not tell __AVX2__ after a target pragma.
//
// Every operation here rounds the same way on every instruction set: a multiply-add is fused exactly where fma() is written
// (the build passes -ffp-contract=off), and sums over lanes follow one tree. So results are bitwise equal across machines.
#if !defined(PARADIGM_SIMD) || !defined(PARADIGM_SIMD_BYTES)
#error "define PARADIGM_SIMD (baseline, avx2 or avx512) and PARADIGM_SIMD_BYTES before including paradigm/simd.h"
#endif

#ifndef PARADIGM_INLINE
#define PARADIGM_INLINE static inline __attribute__((always_inline))
#endif

namespace paradigm {
namespace PARADIGM_SIMD {

constexpr int native_bytes = PARADIGM_SIMD_BYTES;
constexpr int num_parts = 64 / native_bytes;

typedef float native_f32 __attribute__((vector_size(native_bytes)));
typedef uint32_t native_u32 __attribute__((vector_size(native_bytes)));
typedef int32_t native_i32 __attribute__((vector_size(native_bytes)));

struct f32x16 {
    native_f32 part[num_parts];
};
struct u32x16 {
    native_u32 part[num_parts];
};
using mask16 = uint32_t;  // bit i: lane i

#undef PARADIGM_EACH_PART
#define PARADIGM_EACH_PART _Pragma("GCC unroll 4") for (int p = 0; p < num_parts; ++p)

PARADIGM_INLINE f32x16 broadcast(float x) {
    f32x16 r;
    PARADIGM_EACH_PART r.part[p] = x - native_f32{};
    return r;
}
PARADIGM_INLINE u32x16 broadcast(uint32_t x) {
    u32x16 r;
    PARADIGM_EACH_PART r.part[p] = x - native_u32{};
    return r;
}
PARADIGM_INLINE f32x16 load(const float* from) {
    f32x16 r;
    PARADIGM_EACH_PART std::memcpy(&r.part[p], from + p * (native_bytes / 4), native_bytes);
    return r;
}
PARADIGM_INLINE u32x16 load(const uint32_t* from) {
    u32x16 r;
    PARADIGM_EACH_PART std::memcpy(&r.part[p], from + p * (native_bytes / 4), native_bytes);
    return r;
}
PARADIGM_INLINE void store(float* to, const f32x16& x) {
    PARADIGM_EACH_PART std::memcpy(to + p * (native_bytes / 4), &x.part[p], native_bytes);
}
PARADIGM_INLINE void store(uint32_t* to, const u32x16& x) {
    PARADIGM_EACH_PART std::memcpy(to + p * (native_bytes / 4), &x.part[p], native_bytes);
}

// The first `count` (0..16) lanes from memory, the rest `fill`; reads nothing past them.
PARADIGM_INLINE f32x16 load_partial(const float* from, int count, float fill) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = i < count ? from[i] : fill;
    return load(lanes);
}
PARADIGM_INLINE void store_partial(float* to, int count, const f32x16& x) {
    float lanes[16];
    store(lanes, x);
    for (int i = 0; i < count; ++i) to[i] = lanes[i];
}

#define PARADIGM_BINARY(TYPE, OP)                                            \
    PARADIGM_INLINE TYPE operator OP(const TYPE& a, const TYPE& b) {         \
        TYPE r;                                                              \
        PARADIGM_EACH_PART r.part[p] = a.part[p] OP b.part[p];               \
        return r;                                                            \
    }
PARADIGM_BINARY(f32x16, +)
PARADIGM_BINARY(f32x16, -)
PARADIGM_BINARY(f32x16, *)
PARADIGM_BINARY(f32x16, /)
PARADIGM_BINARY(u32x16, +)
PARADIGM_BINARY(u32x16, -)
PARADIGM_BINARY(u32x16, ^)
PARADIGM_BINARY(u32x16, &)
PARADIGM_BINARY(u32x16, |)
#undef PARADIGM_BINARY

template <int bits>
PARADIGM_INLINE u32x16 shift_left(const u32x16& a) {
    u32x16 r;
    PARADIGM_EACH_PART r.part[p] = a.part[p] << bits;
    return r;
}
template <int bits>
PARADIGM_INLINE u32x16 shift_right(const u32x16& a) {
    u32x16 r;
    PARADIGM_EACH_PART r.part[p] = a.part[p] >> bits;
    return r;
}
PARADIGM_INLINE u32x16 bits_of(const f32x16& a) {
    u32x16 r;
    PARADIGM_EACH_PART r.part[p] = (native_u32)a.part[p];
    return r;
}
PARADIGM_INLINE f32x16 float_of_bits(const u32x16& a) {
    f32x16 r;
    PARADIGM_EACH_PART r.part[p] = (native_f32)a.part[p];
    return r;
}
// Value conversions of integers read as int32 (so exact only below 2^24), and truncation towards zero.
PARADIGM_INLINE f32x16 to_float(const u32x16& a) {
    f32x16 r;
    PARADIGM_EACH_PART r.part[p] = __builtin_convertvector((native_i32)a.part[p], native_f32);
    return r;
}
PARADIGM_INLINE u32x16 truncate(const f32x16& a) {
    u32x16 r;
    PARADIGM_EACH_PART r.part[p] = (native_u32)__builtin_convertvector(a.part[p], native_i32);
    return r;
}

// a * b + c with one rounding. Where the processor has no such instruction it is a library call a lane, better not inlined.
#if PARADIGM_SIMD_BYTES == 16 && defined(__x86_64__) && !defined(__FMA__)
static __attribute__((noinline, unused)) f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) {
#else
PARADIGM_INLINE f32x16 fma(const f32x16& a, const f32x16& b, const f32x16& c) {
#endif
    f32x16 r;
#if PARADIGM_SIMD_BYTES == 64
    r.part[0] = (native_f32)_mm512_fmadd_ps((__m512)a.part[0], (__m512)b.part[0], (__m512)c.part[0]);
#elif PARADIGM_SIMD_BYTES == 32
    PARADIGM_EACH_PART r.part[p] = (native_f32)_mm256_fmadd_ps((__m256)a.part[p], (__m256)b.part[p], (__m256)c.part[p]);
#else
    for (int p = 0; p < num_parts; ++p) {
        for (int i = 0; i < native_bytes / 4; ++i) r.part[p][i] = __builtin_fmaf(a.part[p][i], b.part[p][i], c.part[p][i]);
    }
#endif
    return r;
}

// a > b ? a : b lane by lane: b where either is NaN.
PARADIGM_INLINE f32x16 max(const f32x16& a, const f32x16& b) {
    f32x16 r;
#if PARADIGM_SIMD_BYTES == 64
    r.part[0] = (native_f32)_mm512_maskz_max_ps(0xFFFF, (__m512)a.part[0], (__m512)b.part[0]);
#else
    PARADIGM_EACH_PART r.part[p] = a.part[p] > b.part[p] ? a.part[p] : b.part[p];
#endif
    return r;
}
PARADIGM_INLINE f32x16 min(const f32x16& a, const f32x16& b) {
    f32x16 r;
#if PARADIGM_SIMD_BYTES == 64
    r.part[0] = (native_f32)_mm512_maskz_min_ps(0xFFFF, (__m512)a.part[0], (__m512)b.part[0]);
#else
    PARADIGM_EACH_PART r.part[p] = a.part[p] < b.part[p] ? a.part[p] : b.part[p];
#endif
    return r;
}

// Bit i of the result is the sign bit of lane i.
PARADIGM_INLINE mask16 sign_mask(const u32x16& a) {
#if PARADIGM_SIMD_BYTES == 64
    return static_cast<mask16>(_mm512_movepi32_mask((__m512i)a.part[0]));
#else
    mask16 m = 0;
    PARADIGM_EACH_PART {
#if PARADIGM_SIMD_BYTES == 32
        m |= static_cast<mask16>(_mm256_movemask_ps((__m256)a.part[p])) << (8 * p);
#elif defined(__SSE2__)
        m |= static_cast<mask16>(_mm_movemask_ps((__m128)a.part[p])) << (4 * p);
#else
        for (int i = 0; i < 4; ++i) m |= (a.part[p][i] >> 31) << (4 * p + i);
#endif
    }
    return m;
#endif
}
#if PARADIGM_SIMD_BYTES == 64
#define PARADIGM_COMPARE(NAME, OP, PREDICATE)                                                                          \
    PARADIGM_INLINE mask16 NAME(const f32x16& a, const f32x16& b) {                                                    \
        return static_cast<mask16>(_mm512_cmp_ps_mask((__m512)a.part[0], (__m512)b.part[0], PREDICATE));               \
    }
#else
#define PARADIGM_COMPARE(NAME, OP, PREDICATE)                                                                          \
    PARADIGM_INLINE mask16 NAME(const f32x16& a, const f32x16& b) {                                                    \
        u32x16 r;                                                                                                      \
        PARADIGM_EACH_PART r.part[p] = (native_u32)(a.part[p] OP b.part[p]);                                           \
        return sign_mask(r);                                                                                           \
    }
#endif
// False where either lane is NaN.
PARADIGM_COMPARE(less, <, _CMP_LT_OQ)
PARADIGM_COMPARE(less_equal, <=, _CMP_LE_OQ)
PARADIGM_COMPARE(equal, ==, _CMP_EQ_OQ)
#undef PARADIGM_COMPARE

// Lane i: a where bit i is set, else b.
PARADIGM_INLINE f32x16 select(mask16 m, const f32x16& a, const f32x16& b) {
    f32x16 r;
#if PARADIGM_SIMD_BYTES == 64
    r.part[0] = (native_f32)_mm512_mask_blend_ps(static_cast<__mmask16>(m), (__m512)b.part[0], (__m512)a.part[0]);
#else
    constexpr int lanes = native_bytes / 4;
    native_u32 bit = {};
    for (int i = 0; i < lanes; ++i) bit[i] = 1u << i;
    PARADIGM_EACH_PART {
        const native_u32 chosen = ((m >> (lanes * p)) & bit) == bit;
        r.part[p] = (native_f32)((chosen & (native_u32)a.part[p]) | (~chosen & (native_u32)b.part[p]));
    }
#endif
    return r;
}

// a < b ? x : y lane by lane, without the way through a mask16.
PARADIGM_INLINE f32x16 where_less(const f32x16& a, const f32x16& b, const f32x16& x, const f32x16& y) {
#if PARADIGM_SIMD_BYTES == 64
    return select(less(a, b), x, y);
#else
    f32x16 r;
    PARADIGM_EACH_PART r.part[p] = a.part[p] < b.part[p] ? x.part[p] : y.part[p];
    return r;
#endif
}

// The sum and the maximum over lanes, by halving: lane i with i + 8, then i + 4, i + 2, i + 1.
typedef float quad_f32 __attribute__((vector_size(16)));
struct quads {
    quad_f32 part[4];
};
PARADIGM_INLINE quads quads_of(const f32x16& a) {
    quads q;
#if PARADIGM_SIMD_BYTES == 64
    q.part[0] = (quad_f32)_mm512_maskz_extractf32x4_ps(0xF, (__m512)a.part[0], 0);
    q.part[1] = (quad_f32)_mm512_maskz_extractf32x4_ps(0xF, (__m512)a.part[0], 1);
    q.part[2] = (quad_f32)_mm512_maskz_extractf32x4_ps(0xF, (__m512)a.part[0], 2);
    q.part[3] = (quad_f32)_mm512_maskz_extractf32x4_ps(0xF, (__m512)a.part[0], 3);
#elif PARADIGM_SIMD_BYTES == 32
    for (int p = 0; p < 2; ++p) {
        q.part[2 * p] = (quad_f32)_mm256_extractf128_ps((__m256)a.part[p], 0);
        q.part[2 * p + 1] = (quad_f32)_mm256_extractf128_ps((__m256)a.part[p], 1);
    }
#else
    for (int p = 0; p < 4; ++p) q.part[p] = a.part[p];
#endif
    return q;
}
PARADIGM_INLINE float sum_lanes(const f32x16& a) {
    const quads q = quads_of(a);
    const quad_f32 s = (q.part[0] + q.part[2]) + (q.part[1] + q.part[3]);
    return (s[0] + s[2]) + (s[1] + s[3]);
}
PARADIGM_INLINE float max_lanes(const f32x16& a) {
    const quads q = quads_of(a);
    const quad_f32 low = q.part[0] > q.part[2] ? q.part[0] : q.part[2], high = q.part[1] > q.part[3] ? q.part[1] : q.part[3];
    const quad_f32 m = low > high ? low : high;
    const float even = m[0] > m[2] ? m[0] : m[2], odd = m[1] > m[3] ? m[1] : m[3];
    return even > odd ? even : odd;
}

// exp(x), relative error below 1.2e-7; 0 below -87.33 (no subnormals), +inf above 88.37, NaN of NaN.
// Cephes' expf: x = n ln 2 + r with |r| <= ln 2 / 2, then a polynomial of degree 6 in r, scaled by 2^n.
PARADIGM_INLINE f32x16 exp(const f32x16& x) {
    const f32x16 low = broadcast(-87.33654f), high = broadcast(88.37626f), magic = broadcast(12582912.0f);  // 1.5 * 2^23
    const f32x16 inside = min(high, max(low, x));  // this operand order keeps NaN
    const f32x16 shifted = fma(inside, broadcast(1.44269504088896341f), magic);
    const f32x16 n = shifted - magic;
    f32x16 r = fma(n, broadcast(-0.693359375f), inside);
    r = fma(n, broadcast(2.12194440e-4f), r);
    f32x16 y = broadcast(1.9875691500e-4f);
    y = fma(y, r, broadcast(1.3981999507e-3f));
    y = fma(y, r, broadcast(8.3334519073e-3f));
    y = fma(y, r, broadcast(4.1665795894e-2f));
    y = fma(y, r, broadcast(1.6666665459e-1f));
    y = fma(y, r, broadcast(5.0000001201e-1f));
    y = fma(y, r * r, r) + broadcast(1.0f);
    const f32x16 scale = float_of_bits(shift_left<23>(bits_of(shifted) + broadcast(127u)));
    return where_less(high, x, broadcast(__builtin_inff()), where_less(x, low, broadcast(0.0f), y * scale));
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
