// Row loops of the linear layer. Included once an instruction set, after cpu_vector.h; with PARADIGM_HAS_BFLOAT16, where AVX-512 has BF16, what
// is float32 here holds a pair of bfloat16.
namespace paradigm {
namespace PARADIGM_SIMD {

constexpr int max_tile_rows = num_parts == 1 ? 14 : 6;  // with two vectors (one where a vector is two registers) they fill the registers

template <class T>
void pack_panel(const void* weight, int64_t inputs, int64_t count, float* panel) {
    for (int half = 0; half < 2; ++half) {
        const int64_t left = count - 16 * half;
        const int rows = static_cast<int>(left < 0 ? 0 : left > 16 ? 16 : left);
        const T* from = static_cast<const T*>(weight) + (rows > 0 ? 16 * half * inputs : 0);
        float* to = panel + 16 * half;
        int64_t k = 0;
        for (; k + 16 <= inputs; k += 16) {
            float tile[256];
            transpose16(from + k, inputs, rows, 16, tile);
            for (int i = 0; i < 16; ++i) store(to + (k + i) * 32, load(tile + 16 * i));
        }
        for (; k < inputs; ++k) {
            for (int j = 0; j < 16; ++j) to[k * 32 + j] = j < rows ? widen(from[j * inputs + k]) : 0.0f;
        }
    }
}

// Keeps the compiler from reading x from memory anew for each of its uses.
PARADIGM_INLINE void keep_in_registers(f32x16& x) {
#if PARADIGM_SIMD_BYTES >= 32
    PARADIGM_EACH_PART {
        native_f32 part = x.part[p];
        asm("" : "+v"(part));
        x.part[p] = part;
    }
#endif
    (void)x;
}

// sums[rows][16 * vectors], into rows from `row` on and outputs from `output` on.
template <class Y>
void store_outputs(const PanelCall& call, int64_t row, int64_t output, const float* sums, int rows, int vectors) {
    const float* bias = call.bias ? call.bias + output : nullptr;
    for (int m = 0; m < rows; ++m) {
        Y* to = static_cast<Y*>(call.y) + (row + m) * call.y_stride + output;
        for (int v = 0; v < vectors; ++v, sums += 16) {
            const int64_t count = call.num_outputs - output - 16 * v;
            if (count <= 0) continue;
            store_first(to + 16 * v, count, bias ? load(sums) + load_first(bias + 16 * v, count) : load(sums));
        }
    }
}

// What one step over x and the panel adds to the sums, and x in every lane for it.
#ifdef PARADIGM_HAS_BFLOAT16
PARADIGM_INLINE f32x16 add_products(const f32x16& x, const f32x16& weight, f32x16 sum) {
    sum.part[0] = (native_f32)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)x.part[0], (__m512bh)weight.part[0]);
    return sum;
}
PARADIGM_INLINE f32x16 in_every_lane(const float* pair) {  // as bits: a pair need not be a number
    uint32_t bits;
    std::memcpy(&bits, pair, 4);
    return float_of_bits(broadcast(bits));
}
#else
PARADIGM_INLINE f32x16 add_products(const f32x16& x, const f32x16& weight, const f32x16& sum) { return fma(x, weight, sum); }
PARADIGM_INLINE f32x16 in_every_lane(const float* x) { return broadcast(*x); }
#endif

// `rows` rows from `row` on times `vectors` vectors of outputs, from the first_vector-th of the panels on. Meanwhile asks for one line in
// two of the `inputs` * 128 bytes from `ahead` on.
template <int rows, int vectors>
PARADIGM_INLINE void multiply_tile(const PanelCall& call, int64_t row, int64_t first_vector, const char* ahead) {
    const int64_t inputs = call.inputs;
    const float* x = static_cast<const float*>(call.x) + row * inputs;
    const float* panel = reinterpret_cast<const float*>(call.panels);
    const float* w[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) w[v] = panel + (first_vector + v) / 2 * 32 * inputs + (first_vector + v) % 2 * 16;
    f32x16 sum[rows][vectors];
#pragma GCC unroll 28
    for (int i = 0; i < rows * vectors; ++i) sum[i / vectors][i % vectors] = broadcast(0.0f);
    // one pointer into the rows, one into the panels, and distances of the odd rows, which addresses take times 1, 2, 4 or 8: that leaves registers
    // enough. The compiler, which does not see through asm, would keep a pointer to every row, some of them in memory.
    int64_t odd[(rows + 1) / 2];
#pragma GCC unroll 7
    for (int i = 0; i < (rows + 1) / 2; ++i) {
        odd[i] = (2 * i + 1) * 4 * inputs;
        asm("" : "+r"(odd[i]));
    }
    const char* here = reinterpret_cast<const char*>(x);
    const char* weight = reinterpret_cast<const char*>(w[0]);
    for (int64_t k = 0; k < inputs; ++k) {
        __builtin_prefetch(ahead + 128 * k, 0, 2);
        f32x16 b[vectors];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) {
            b[v] = load(reinterpret_cast<const float*>(weight + (w[v] - w[0]) * 4));
            if (rows > 1) keep_in_registers(b[v]);
        }
#pragma GCC unroll 14
        for (int m = 0; m < rows; ++m) {
            const int even = m == 0 ? 1 : m & -m;  // m is an odd number times this power of two
            const f32x16 a = in_every_lane(reinterpret_cast<const float*>(m == 0 ? here : here + odd[m / even / 2] * even));
#pragma GCC unroll 8
            for (int v = 0; v < vectors; ++v) sum[m][v] = add_products(a, b[v], sum[m][v]);
        }
        here += 4;
        weight += 128;
        asm("" : "+r"(here), "+r"(weight));
    }
    auto store_whole = [&](auto* y) {
        y += row * call.y_stride + 16 * first_vector;
#pragma GCC unroll 28
        for (int i = 0; i < rows * vectors; ++i) store(y + i / vectors * call.y_stride + i % vectors * 16, sum[i / vectors][i % vectors]);
    };
    if (!call.bias && 16 * (first_vector + vectors) <= call.num_outputs) {
        return call.y_dtype == Dtype::float32 ? store_whole(static_cast<float*>(call.y)) : store_whole(static_cast<bfloat16*>(call.y));
    }
    alignas(64) float sums[rows][vectors][16];
#pragma GCC unroll 28
    for (int i = 0; i < rows * vectors; ++i) store(sums[i / vectors][i % vectors], sum[i / vectors][i % vectors]);
    (call.y_dtype == Dtype::float32 ? store_outputs<float> : store_outputs<bfloat16>)(call, row, 16 * first_vector, sums[0][0], rows, vectors);
}

// Few rows need more vectors, so that enough chains are under way to hide an addition's latency.
template <int rows>
void multiply_rows(const PanelCall& call, int64_t row, int64_t num_vectors, const char* ahead) {
    constexpr int narrow = num_parts == 1 ? 2 : 1;
    constexpr int vectors = rows == 1 ? 4 * narrow : rows <= 3 ? 2 * narrow : narrow;
    int64_t v = 0;
    for (; v + vectors <= num_vectors; v += vectors) multiply_tile<rows, vectors>(call, row, v, ahead);
    for (; v < num_vectors; v += narrow) multiply_tile<rows, narrow>(call, row, v, ahead);
}

template <int rows>
void multiply_up_to(const PanelCall& call, int64_t row, int64_t num_vectors, const char* ahead, int count) {
    if (count == rows) return multiply_rows<rows>(call, row, num_vectors, ahead);
    if constexpr (rows > 1) multiply_up_to<rows - 1>(call, row, num_vectors, ahead, count);
}

void multiply(const PanelCall& call) {
    const int64_t num_vectors = (call.num_outputs + 31) / 32 * 2, num_rows = call.last_row - call.first_row;
    const int64_t num_tiles = (num_rows + max_tile_rows - 1) / max_tile_rows;
    for (int64_t i = 0; i < num_tiles; ++i) {  // tiles of about equal height
        const int64_t row = call.first_row + i * num_rows / num_tiles, end = call.first_row + (i + 1) * num_rows / num_tiles;
        const char* ahead = i < 2 ? call.next + 64 * i : call.panels;
        multiply_up_to<max_tile_rows>(call, row, num_vectors, ahead, static_cast<int>(end - row));
    }
}

// to[step][c] = from[row][c] for c < count, else 0 up to `width`, which is 16 or 32; of both rows of a step where pairs are multiplied.
#ifdef PARADIGM_HAS_BFLOAT16
void pack_rows(const void* from, int64_t row_stride, int64_t rows, int64_t count, float* to, int64_t width) {
    alignas(64) uint16_t order[2][32];  // of the first row's lanes and, from 32 on, the second's
    for (uint16_t i = 0; i < 32; ++i) {
        order[0][i] = static_cast<uint16_t>(i / 2 + i % 2 * 32);
        order[1][i] = static_cast<uint16_t>(order[0][i] + 16);
    }
    const __m512i low = _mm512_load_si512(order[0]), high = _mm512_load_si512(order[1]);
    const __mmask32 held = count >= 32 ? 0xFFFFFFFFu : (1u << count) - 1u;
    const auto* row = static_cast<const bfloat16*>(from);
    for (int64_t i = 0; i < rows; i += 2, row += 2 * row_stride, to += width) {
        const __m512i first = _mm512_maskz_loadu_epi16(held, row), second = _mm512_maskz_loadu_epi16(i + 1 < rows ? held : 0, row + row_stride);
        _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, low, second));
        if (width == 32) _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(first, high, second));
    }
}
#else
void pack_rows(const void* from, int64_t row_stride, int64_t rows, int64_t count, float* to, int64_t width) {
    const auto* row = static_cast<const float*>(from);
    for (int64_t i = 0; i < rows; ++i, row += row_stride, to += width) {
        for (int64_t c = 0; c < width; c += 16) {
#if PARADIGM_SIMD_BYTES == 64
            const int64_t left = count - c;
            _mm512_storeu_ps(to + c, _mm512_maskz_loadu_ps(static_cast<__mmask16>(left >= 16 ? 0xFFFF : left > 0 ? (1 << left) - 1 : 0), row + c));
#else
            store(to + c, load_first(row + c, count - c));
#endif
        }
    }
}
#endif

// sums[rows][16 * vectors] of a tile whose inputs end within these vectors.
__attribute__((noinline)) void store_gradients(const WeightGradientTile& tile, int64_t first_vector, const float* sums, int rows, int vectors) {
    for (int i = 0; i < rows * vectors; ++i, sums += 16) {
        const int64_t output = i / vectors, input = 16 * (first_vector + i % vectors), left = tile.num_inputs - input;
        if (left <= 0) continue;
        float* held = tile.sums + output * tile.sums_stride + input;
        const f32x16 sum = tile.adds ? load_first(held, left) + load(sums) : load(sums);
        if (tile.rounded) {
            store_first(tile.rounded + output * tile.rounded_stride + input, left, sum);
        } else {
            store_first(held, left, sum);
        }
    }
}

template <int rows, int vectors>
PARADIGM_INLINE void add_gradients(const WeightGradientTile& tile, int64_t first_vector) {
    f32x16 sum[rows][vectors];
#pragma GCC unroll 28
    for (int i = 0; i < rows * vectors; ++i) sum[i / vectors][i % vectors] = broadcast(0.0f);
    const float *grad = tile.grad, *x = tile.x + 16 * first_vector;
    const char* ahead = tile.ahead;
    for (int64_t step = 0; step < tile.steps; ++step, grad += tile_pitch, x += 32, ahead += tile.ahead_stride) {
        __builtin_prefetch(ahead, 0, 2);
        f32x16 b[vectors];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) {
            b[v] = load(x + 16 * v);
            keep_in_registers(b[v]);
        }
#pragma GCC unroll 14
        for (int m = 0; m < rows; ++m) {
            const f32x16 a = in_every_lane(grad + m);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) sum[m][v] = add_products(a, b[v], sum[m][v]);
        }
    }
    if (16 * (first_vector + vectors) <= tile.num_inputs) {
        float* held = tile.sums + 16 * first_vector;
        if (tile.adds) {
#pragma GCC unroll 28
            for (int i = 0; i < rows * vectors; ++i) {
                sum[i / vectors][i % vectors] = load(held + i / vectors * tile.sums_stride + i % vectors * 16) + sum[i / vectors][i % vectors];
            }
        }
        auto store_whole = [&](auto* to, int64_t stride) {
#pragma GCC unroll 28
            for (int i = 0; i < rows * vectors; ++i) store(to + i / vectors * stride + i % vectors * 16, sum[i / vectors][i % vectors]);
        };
        return tile.rounded ? store_whole(tile.rounded + 16 * first_vector, tile.rounded_stride) : store_whole(held, tile.sums_stride);
    }
    alignas(64) float sums[rows][vectors][16];
#pragma GCC unroll 28
    for (int i = 0; i < rows * vectors; ++i) store(sums[i / vectors][i % vectors], sum[i / vectors][i % vectors]);
    store_gradients(tile, first_vector, sums[0][0], rows, vectors);
}

template <int rows>
void add_gradients_up_to(const WeightGradientTile& tile) {
    if (tile.num_outputs == rows) {
        constexpr int vectors = num_parts == 1 ? 2 : 1;
        for (int64_t v = 0; v < 2; v += vectors) add_gradients<rows, vectors>(tile, v);
        return;
    }
    if constexpr (rows > 1) add_gradients_up_to<rows - 1>(tile);
}

LinearKernels linear_kernels() {
    return {{pack_panel<float>, pack_panel<bfloat16>}, pack_rows, multiply, add_gradients_up_to<max_tile_rows>, max_tile_rows};
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
