// Row loops of the linear layer. Included once an instruction set, after cpu_vector.h.
namespace paradigm {
namespace PARADIGM_SIMD {

typedef uint16_t native_half __attribute__((vector_size(native_bytes / 2)));

PARADIGM_INLINE native_f32 load_native(const float* from) {
    native_f32 r;
    std::memcpy(&r, from, native_bytes);
    return r;
}
PARADIGM_INLINE native_f32 load_native(const bfloat16* from) {
    native_half half;
    std::memcpy(&half, from, native_bytes / 2);
    return (native_f32)(__builtin_convertvector(half, native_u32) << 16);
}
PARADIGM_INLINE native_f32 fma_native(const native_f32& a, const native_f32& b, const native_f32& c) {
#if PARADIGM_SIMD_BYTES == 64
    return (native_f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif PARADIGM_SIMD_BYTES == 32
    return (native_f32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    native_f32 r;
    for (int i = 0; i < native_bytes / 4; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#endif
}

// Lane i: sum_lanes(a[i]).
PARADIGM_INLINE f32x16 sum_lanes_of(const f32x16* a) {
#if PARADIGM_SIMD_BYTES == 64
    __m512 quads[4];  // lanes of a[i], a[i + 4], a[i + 8], a[i + 12] added up to four each
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        __m512 halves[2];
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j) {
            const __m512 x = (__m512)a[i + 8 * j].part[0], y = (__m512)a[i + 8 * j + 4].part[0];
            halves[j] = _mm512_maskz_shuffle_f32x4(0xFFFF, x, y, 0x44) + _mm512_maskz_shuffle_f32x4(0xFFFF, x, y, 0xEE);
        }
        quads[i] = _mm512_maskz_shuffle_f32x4(0xFFFF, halves[0], halves[1], 0x88) + _mm512_maskz_shuffle_f32x4(0xFFFF, halves[0], halves[1], 0xDD);
    }
    __m512 pairs[2];
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
        const __m512 x = quads[2 * j], y = quads[2 * j + 1];
        pairs[j] = _mm512_maskz_shuffle_ps(0xFFFF, x, y, 0x44) + _mm512_maskz_shuffle_ps(0xFFFF, x, y, 0xEE);
    }
    f32x16 r;
    r.part[0] = (native_f32)(_mm512_maskz_shuffle_ps(0xFFFF, pairs[0], pairs[1], 0x88) + _mm512_maskz_shuffle_ps(0xFFFF, pairs[0], pairs[1], 0xDD));
    return r;
#else
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = sum_lanes(a[i]);
    return load(lanes);
#endif
}

// sums[m * outputs + n] = the sixteen running sums of row m and output n; rows * outputs is 16. Rows of x and w are `inputs` apart.
template <class T, int rows, int outputs>
PARADIGM_INLINE void multiply_tile(const T* const* x, const T* const* w, int64_t inputs, int64_t prefetch, f32x16* sums) {
    constexpr int at_once = num_parts == 1 ? outputs : outputs / 2;  // as many sums as there are registers
    const int64_t whole = inputs / 16 * 16;
#pragma GCC unroll 2
    for (int first = 0; first < outputs; first += at_once) {
#pragma GCC unroll 4
        for (int p = 0; p < num_parts; ++p) {
            native_f32 sum[rows][at_once];
#pragma GCC unroll 16
            for (int i = 0; i < rows * at_once; ++i) sum[i / at_once][i % at_once] = native_f32{};
            for (int64_t k = p * (native_bytes / 4); k < whole; k += 16) {
                native_f32 a[rows];
#pragma GCC unroll 4
                for (int m = 0; m < rows; ++m) a[m] = load_native(x[m] + k);
#pragma GCC unroll 16
                for (int n = 0; n < at_once; ++n) {
                    const T* from = w[first + n] + k;
                    if (rows == 1) __builtin_prefetch(from + prefetch);
                    const native_f32 b = load_native(from);
#pragma GCC unroll 4
                    for (int m = 0; m < rows; ++m) sum[m][n] = fma_native(a[m], b, sum[m][n]);
                }
            }
#pragma GCC unroll 16
            for (int i = 0; i < rows * at_once; ++i) sums[i / at_once * outputs + first + i % at_once].part[p] = sum[i / at_once][i % at_once];
        }
    }
    if (whole == inputs) return;
    for (int i = 0; i < 16; ++i) {
        const f32x16 a = load_first(x[i / outputs] + whole, inputs - whole), b = load_first(w[i % outputs] + whole, inputs - whole);
        sums[i] = fma(a, b, sums[i]);
    }
}

// Rows [first, last), `rows` at a time, of all the block's outputs.
template <class T, class Y, int rows, int outputs>
void linear_sweep(const Linear& call, const LinearOutput& output, const LinearBlock& block, int64_t first, int64_t last) {
    const int64_t inputs = call.num_inputs;
    const T* bias = static_cast<const T*>(output.bias);
    for (int64_t n = block.first_output; n < block.last_output; n += outputs) {
        const int count = static_cast<int>(block.last_output - n < outputs ? block.last_output - n : outputs);
        const T* w[outputs];
        float added[16];
        for (int i = 0; i < outputs; ++i) w[i] = static_cast<const T*>(output.weight) + (n + (i < count ? i : count - 1)) * inputs;
        for (int i = 0; i < 16 && bias; ++i) added[i] = i % outputs < count ? widen(bias[n + i % outputs]) : 0.0f;
        const int64_t prefetch = n + 2 * outputs <= block.last_output ? outputs * inputs : 0;  // to the next outputs' weights
        for (int64_t row = first; row < last; row += rows) {
            const T* x[rows];
            for (int m = 0; m < rows; ++m) x[m] = static_cast<const T*>(call.x) + (row + m) * inputs;
            f32x16 sums[16];
            multiply_tile<T, rows, outputs>(x, w, inputs, prefetch, sums);
            f32x16 result = sum_lanes_of(sums);
            if (bias) result = result + load(added);
            Y values[16];
            store(values, result);
            for (int m = 0; m < rows; ++m) {
                Y* y = static_cast<Y*>(output.y) + (row + m) * output.num_outputs + n;
                if (count == outputs) {
                    std::memcpy(y, values + m * outputs, outputs * sizeof(Y));
                } else {
                    for (int i = 0; i < count; ++i) y[i] = values[m * outputs + i];
                }
            }
        }
    }
}

template <class T, class Y>
void linear_block(const Linear& call, const LinearOutput& output, const LinearBlock& block) {
    const int64_t fit = 24576 / (call.num_inputs * static_cast<int64_t>(sizeof(T))) / 4 * 4;  // rows of x that stay in the first cache
    const int64_t step = fit < 4 ? 4 : fit;
    for (int64_t row = block.first_row; row < block.last_row; row += step) {
        const int64_t end = row + step < block.last_row ? row + step : block.last_row;
        const int64_t fours = row + (end - row) / 4 * 4, twos = fours + (end - fours) / 2 * 2;
        if (fours > row) linear_sweep<T, Y, 4, 4>(call, output, block, row, fours);
        if (twos > fours) linear_sweep<T, Y, 2, 8>(call, output, block, fours, twos);
        if (end > twos) linear_sweep<T, Y, 1, 16>(call, output, block, twos, end);
    }
}

LinearKernels linear_kernels() { return {linear_block<float, float>, linear_block<bfloat16, bfloat16>, linear_block<bfloat16, float>}; }

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
