// What the CPU kernels need beyond paradigm/simd.h: bfloat16 storage, 2^x, tanh, and a transpose of sixteen rows.
//
// Included once an instruction set, after paradigm/simd.h and under its rules: no include guard, no includes.
namespace paradigm {
namespace PARADIGM_SIMD {

using bfloat16 = uint16_t;
typedef uint16_t native_u16 __attribute__((vector_size(native_bytes / 2)));

PARADIGM_INLINE f32x16 load(const bfloat16* from) {
    f32x16 r;
#if PARADIGM_SIMD_BYTES == 64
    __m256i halves;  // what GCC makes of a conversion of vectors takes four times as long
    std::memcpy(&halves, from, 32);
    r.part[0] = (native_f32)_mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, halves), 16);
#else
    PARADIGM_EACH_PART {
        native_u16 half;
        std::memcpy(&half, from + p * (native_bytes / 4), native_bytes / 2);
        r.part[p] = (native_f32)(__builtin_convertvector(half, native_u32) << 16);
    }
#endif
    return r;
}
// Rounds to nearest even, subnormal numbers to zero; a NaN keeps its sign and stays one.
PARADIGM_INLINE void store(bfloat16* to, const f32x16& x) {
#ifdef PARADIGM_HAS_BFLOAT16
    const __m256bh halves = _mm512_maskz_cvtneps_pbh(0xFFFF, (__m512)x.part[0]);
    std::memcpy(to, &halves, 32);
#else
    const u32x16 bits = bits_of(x);
    PARADIGM_EACH_PART {
        const native_u32 b = bits.part[p], high = b >> 16;
#if PARADIGM_SIMD_BYTES == 64
        const __m512i upper_halves = {
            0x0007000500030001, 0x000F000D000B0009, 0x0017001500130011, 0x001F001D001B0019, 0, 0, 0, 0};  // words 1, 3, 5 and so on
        const __mmask16 is_nan = _mm512_cmp_ps_mask((__m512)x.part[p], (__m512)x.part[p], _CMP_UNORD_Q);
        const __mmask16 is_normal = _mm512_test_epi32_mask((__m512i)b, (__m512i)broadcast(0x7F800000u).part[p]);
        const native_u32 rounded = b + (0x7FFFu + (high & 1u)), sign = b & 0x80000000u;
        __m512i chosen = _mm512_mask_blend_epi32(is_normal, (__m512i)sign, (__m512i)rounded);
        chosen = _mm512_mask_or_epi32(chosen, is_nan, (__m512i)b, (__m512i)broadcast(0x400000u).part[p]);
        const __m256i half =
            _mm512_maskz_extracti64x4_epi64(0xF, _mm512_maskz_permutexvar_epi16(0xFFFFFFFFu, upper_halves, chosen), 0);
#else
        const native_u32 is_nan = (native_u32)(x.part[p] != x.part[p]), is_normal = (native_u32)((b & 0x7F800000u) != 0u);
        const native_u32 rounded = (is_normal & ((b + 0x7FFFu + (high & 1u)) >> 16)) | (~is_normal & high & 0x8000u);
        const native_u32 chosen = (is_nan & (high | 0x40u)) | (~is_nan & rounded);
        const native_u16 half = __builtin_convertvector(chosen, native_u16);
#endif
        std::memcpy(to + p * (native_bytes / 4), &half, native_bytes / 2);
    }
#endif
}
PARADIGM_INLINE float widen(float x) { return x; }
PARADIGM_INLINE float widen(bfloat16 x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float r;
    std::memcpy(&r, &bits, 4);
    return r;
}
// The first `count` lanes (all 16 if more), the rest 0; nothing beyond them is touched.
template <class T>
PARADIGM_INLINE f32x16 load_first(const T* from, int64_t count) {
    if (count >= 16) return load(from);
    T lanes[16] = {};
    for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
    return load(lanes);
}
template <class T>
PARADIGM_INLINE void store_first(T* to, int64_t count, const f32x16& x) {
    if (count >= 16) return store(to, x);
    T lanes[16];
    store(lanes, x);
    for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}
struct AllLanes {};
template <class T>
PARADIGM_INLINE f32x16 load_first(const T* from, AllLanes) {
    return load(from);
}
template <class T>
PARADIGM_INLINE void store_first(T* to, AllLanes, const f32x16& x) {
    store(to, x);
}

// Calls body(c, lanes, k) for each vector of channels from c < width on, the k-th modulo 4; `lanes` is for load_first and store_first. A loop over
// whole vectors has no calls in it, as copies of a few lanes are, and so keeps constants and sums in registers.
template <class Body>
PARADIGM_INLINE void for_vectors(int64_t width, const Body& body) {
    int64_t c = 0;
    for (; c + 64 <= width; c += 64) {
        body(c, AllLanes{}, 0);
        body(c + 16, AllLanes{}, 1);
        body(c + 32, AllLanes{}, 2);
        body(c + 48, AllLanes{}, 3);
    }
    if (c + 16 <= width) body(c, AllLanes{}, 0);
    if (c + 32 <= width) body(c + 16, AllLanes{}, 1);
    if (c + 48 <= width) body(c + 32, AllLanes{}, 2);
    const int64_t left = width % 16;
    if (left == 0) return;
    const int64_t last = width - left;
    switch (last / 16 % 4) {
        case 0: return body(last, left, 0);
        case 1: return body(last, left, 1);
        case 2: return body(last, left, 2);
        default: return body(last, left, 3);
    }
}
#undef PARADIGM_BODY
#define PARADIGM_BODY __attribute__((always_inline))

// 2^x for x <= 127, relative error below 1.2e-7; 2^-126 below -126, NaN of NaN. Degree 6, fitted to the relative error on [-1/2, 1/2].
PARADIGM_INLINE f32x16 exp2(const f32x16& x) {
    const f32x16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    const f32x16 inside = max(broadcast(-126.0f), x);
    const f32x16 shifted = inside + magic;
    const f32x16 r = inside - (shifted - magic);
    f32x16 y = broadcast(1.53533605e-4f);
    y = fma(y, r, broadcast(1.33988750e-3f));
    y = fma(y, r, broadcast(9.61843692e-3f));
    y = fma(y, r, broadcast(5.55033237e-2f));
    y = fma(y, r, broadcast(2.40226477e-1f));
    y = fma(y, r, broadcast(6.93147182e-1f));
    y = fma(y, r, broadcast(1.0f));
    return y * float_of_bits(shift_left<23>(bits_of(shifted) + broadcast(127u)));
}

// Odd polynomial below 1/4 in magnitude, 1 - 2 / (exp(2 x) + 1) above; relative error below 1e-6.
PARADIGM_INLINE f32x16 tanh(const f32x16& x) {
    const f32x16 square = x * x;
    f32x16 y = broadcast(2.1869489e-2f);
    y = fma(y, square, broadcast(-5.3968254e-2f));
    y = fma(y, square, broadcast(1.3333333e-1f));
    y = fma(y, square, broadcast(-3.3333334e-1f));
    y = fma(y * square, x, x);
    const f32x16 one = broadcast(1.0f);
    const f32x16 large = one - (one + one) / (exp(x + x) + one);
    return where_less(square, broadcast(0.0625f), y, large);
}

PARADIGM_INLINE quad_f32 load_quad(const float* from) {
    quad_f32 r;
    std::memcpy(&r, from, 16);
    return r;
}
PARADIGM_INLINE quad_f32 load_quad(const bfloat16* from) { return quad_f32{widen(from[0]), widen(from[1]), widen(from[2]), widen(from[3])}; }

// out[d * 16 + j] = in[j * stride + d] for j < count (<= 16) and d < dim (a multiple of 4); rows from count on become 0.
template <class T>
PARADIGM_INLINE void transpose16(const T* in, int64_t stride, int count, int64_t dim, float* out) {
    int64_t d = 0;
#if PARADIGM_SIMD_BYTES == 64
    for (; d + 16 <= dim; d += 16) {
        __m512 a[16], b[16];
#pragma GCC unroll 16
        for (int j = 0; j < 16; ++j) a[j] = j < count ? (__m512)load(in + j * stride + d).part[0] : (__m512)native_f32{};
#pragma GCC unroll 8
        for (int j = 0; j < 16; j += 2) {
            b[j] = _mm512_maskz_unpacklo_ps(0xFFFF, a[j], a[j + 1]);
            b[j + 1] = _mm512_maskz_unpackhi_ps(0xFFFF, a[j], a[j + 1]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < 16; j += 4) {
            a[j] = _mm512_maskz_shuffle_ps(0xFFFF, b[j], b[j + 2], 0x44);
            a[j + 1] = _mm512_maskz_shuffle_ps(0xFFFF, b[j], b[j + 2], 0xEE);
            a[j + 2] = _mm512_maskz_shuffle_ps(0xFFFF, b[j + 1], b[j + 3], 0x44);
            a[j + 3] = _mm512_maskz_shuffle_ps(0xFFFF, b[j + 1], b[j + 3], 0xEE);
        }
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) {  // channels c, c + 4, c + 8, c + 12 of rows 0-3, 4-7, 8-11, 12-15 lie in a[c], a[c + 4], a[c + 8], a[c + 12]
            const __m512 low = _mm512_maskz_shuffle_f32x4(0xFFFF, a[c], a[c + 4], 0x88), high = _mm512_maskz_shuffle_f32x4(0xFFFF, a[c + 8], a[c + 12], 0x88);
            const __m512 low_odd = _mm512_maskz_shuffle_f32x4(0xFFFF, a[c], a[c + 4], 0xDD), high_odd = _mm512_maskz_shuffle_f32x4(0xFFFF, a[c + 8], a[c + 12], 0xDD);
            _mm512_storeu_ps(out + (d + c) * 16, _mm512_maskz_shuffle_f32x4(0xFFFF, low, high, 0x88));
            _mm512_storeu_ps(out + (d + c + 4) * 16, _mm512_maskz_shuffle_f32x4(0xFFFF, low_odd, high_odd, 0x88));
            _mm512_storeu_ps(out + (d + c + 8) * 16, _mm512_maskz_shuffle_f32x4(0xFFFF, low, high, 0xDD));
            _mm512_storeu_ps(out + (d + c + 12) * 16, _mm512_maskz_shuffle_f32x4(0xFFFF, low_odd, high_odd, 0xDD));
        }
    }
#endif
    for (; d < dim; d += 4) {
        for (int j = 0; j < 16; j += 4) {
            quad_f32 a[4];
            for (int i = 0; i < 4; ++i) a[i] = j + i < count ? load_quad(in + (j + i) * stride + d) : quad_f32{};
            for (int c = 0; c < 4; ++c) {
                const quad_f32 column = {a[0][c], a[1][c], a[2][c], a[3][c]};
                std::memcpy(out + (d + c) * 16 + j, &column, 16);
            }
        }
    }
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
