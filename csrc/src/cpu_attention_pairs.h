// The products of attention in bfloat16 by AVX-512's dot products of pairs, with PARADIGM_HAS_BFLOAT16 in place of cpu_attention_floats.h: the same
// names from put_query on. Included after cpu_attention_rows.h.
//
// A pair is two neighbours along a product's inner dimension, in 32 bits. One operand gives the same pair to all lanes, the other has one a lane. Of
// keys, pairs are channels by lanes of keys; of values, keys by lanes of channels. Memory has them either side by side, as Words, or as a cache has
// them, in two rows of bfloat16, which are put together as they are read.
namespace paradigm {
namespace PARADIGM_SIMD {

PARADIGM_INLINE f32x16 add_products(const f32x16& sum, const u32x16& a, const u32x16& b) {
    f32x16 r;
    r.part[0] = (native_f32)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)a.part[0], (__m512bh)b.part[0]);
    return r;
}
PARADIGM_INLINE f32x16 add_products(const f32x16& sum, Word everywhere, const Word* lanes) { return add_products(sum, broadcast(everywhere), load(lanes)); }

// Of two rows, side by side: what they have in each lane.
PARADIGM_INLINE u32x16 paired(const f32x16& first, const f32x16& second) { return shift_right<16>(bits_of(first)) | bits_of(second); }
// Both rounded, the first in the lower half; and those paired.
PARADIGM_INLINE __m512i halves_of(const f32x16& first, const f32x16& second) {
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)second.part[0], (__m512)first.part[0]);
}
PARADIGM_INLINE u32x16 paired(const __m512i& halves) {
    alignas(64) static constexpr uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    u32x16 r;
    r.part[0] = (native_u32)_mm512_maskz_permutexvar_epi16(0xFFFFFFFFu, _mm512_load_si512(order), halves);
    return r;
}

// The index-th pairs of 16 lanes, of rows that are ld apart.
PARADIGM_INLINE u32x16 load_pairs(const Word* from, int64_t index, int64_t ld) { return load(from + index * ld); }
PARADIGM_INLINE u32x16 load_pairs(const bfloat16* from, int64_t index, int64_t ld) {
    __m256i first, second;
    std::memcpy(&first, from + 2 * index * ld, 32);
    std::memcpy(&second, from + (2 * index + 1) * ld, 32);
    return paired(_mm512_maskz_inserti64x4(0xFF, _mm512_castsi256_si512(first), second, 1));
}
// Asks for them; copies are at hand.
PARADIGM_INLINE void ask_for_pairs(const Word*, int64_t, int64_t) {}
PARADIGM_INLINE void ask_for_pairs(const bfloat16* from, int64_t index, int64_t ld) {
    __builtin_prefetch(from + 2 * index * ld, 0, 2);
    if (ld > 16) __builtin_prefetch(from + (2 * index + 1) * ld, 0, 2);
}

// As the functions of these names in cpu_attention_floats.h.
template <int rows, int tiles, int heads, class K>
PARADIGM_INLINE void score_tiles(
    const Word* q, int64_t ldq, int64_t num_pairs, const K* const* k, const K* const* ahead, int64_t ldk, int64_t next_head, float scale, float* s,
    int64_t lds) {
    f32x16 sum[rows][tiles];
    const K *tile[tiles], *next[tiles];
#pragma GCC unroll 8
    for (int n = 0; n < tiles; ++n) {
        tile[n] = k[n];
        next[n] = ahead[n];
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) sum[r][n] = broadcast(0.0f);
    }
    for (int64_t d = 0; d < num_pairs; ++d) {
        u32x16 key[heads][tiles];
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) {
#pragma GCC unroll 2
            for (int h = 0; h < heads; ++h) {
                key[h][n] = load_pairs(tile[n] + h * next_head, d, ldk);
                ask_for_pairs(next[n] + h * next_head, d, ldk);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const u32x16 query = broadcast(q[r * ldq + d]);
#pragma GCC unroll 8
            for (int n = 0; n < tiles; ++n) sum[r][n] = add_products(sum[r][n], query, key[r / (rows / heads)][n]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) store(s + r * lds + n * 16, sum[r][n] * broadcast(scale));
    }
}

template <int rows, int heads, class K>
__attribute__((noinline)) void score_rows(
    const Word* q, int64_t ldq, int64_t num_pairs, const K* const* k, const K* const* ahead, int64_t ldk, int64_t next_head, int64_t num_tiles, float scale,
    float* s, int64_t lds) {
    for_runs<tiles_of(rows, heads)>(num_tiles, [&](int64_t n, auto tiles) PARADIGM_BODY {
        score_tiles<rows, tiles.value, heads>(q, ldq, num_pairs, k + n, ahead + n, ldk, next_head, scale, s + n * 16, lds);
    });
}

// Adds to each row's out its values from the key `first` on: those before `common`, which is even, that all rows see, and the rest up to its own last,
// which ascend. Of a pair that is not whole the missing key has no part, be it a NaN.
template <int rows, int width, int heads, class V>
PARADIGM_INLINE void weigh_channels(
    int64_t channel, const Word* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t next_head, int64_t first, int64_t common,
    const int64_t* last, float* out, int64_t ldo) {
    constexpr Word lower = 0xFFFFu, upper = 0xFFFF0000u;
    f32x16 sum[rows][width];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < width; ++c) sum[r][c] = load(out + r * ldo + channel + c * 16);
    }
    u32x16 x[heads][width];
    auto load_values = [&](int64_t tile, int64_t pair) PARADIGM_BODY {
#pragma GCC unroll 8
        for (int c = 0; c < width; ++c) {
#pragma GCC unroll 2
            for (int h = 0; h < heads; ++h) {
                x[h][c] = load_pairs(v[tile] + h * next_head + channel + c * 16, pair, ldv);
                if (c % 2 == 0) ask_for_pairs(ahead[tile] + h * next_head + channel + c * 16, pair, ldv);
            }
        }
    };
    auto add_all = [&](int64_t i) PARADIGM_BODY {
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const u32x16 weight = broadcast(p[r * ldp + i]);
#pragma GCC unroll 8
            for (int c = 0; c < width; ++c) sum[r][c] = add_products(sum[r][c], weight, x[r / (rows / heads)][c]);
        }
    };
    if (first % 2 != 0) {
        load_values(first / 16, first % 16 / 2);
#pragma GCC unroll 8
        for (int i = 0; i < heads * width; ++i) x[i / width][i % width] = x[i / width][i % width] & broadcast(upper);
        add_all(first / 2);
    }
    for (int64_t i = (first + 1) / 2; i < common / 2;) {
        const int64_t tile = i / 8, stop = (tile + 1) * 8 < common / 2 ? (tile + 1) * 8 : common / 2;
        for (; i < stop; ++i) {
            load_values(tile, i - tile * 8);
            add_all(i);
        }
    }
    for (int64_t i = common / 2; 2 * i < last[rows - 1]; ++i) {
        load_values(i / 8, i % 8);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const int64_t left = last[r] - 2 * i;
            const u32x16 weight = broadcast(p[r * ldp + i]), mask = broadcast(left > 1 ? lower | upper : lower);
            const mask16 sees = left > 0 ? 0xFFFF : 0;  // of a product under a mask GCC 12 leaves out the upper half
#pragma GCC unroll 8
            for (int c = 0; c < width; ++c) sum[r][c] = select(sees, add_products(sum[r][c], weight, x[r / (rows / heads)][c] & mask), sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < width; ++c) store(out + r * ldo + channel + c * 16, sum[r][c]);
    }
}

template <int rows, int heads, class V>
__attribute__((noinline)) void weigh_rows(
    int64_t padded, const Word* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t next_head, int64_t first, int64_t common,
    const int64_t* last, float* out, int64_t ldo) {
    for_runs<(width_of(rows) > 4 ? 4 : width_of(rows))>(padded / 16, [&](int64_t c, auto width) PARADIGM_BODY {
        weigh_channels<rows, width.value, heads>(c * 16, p, ldp, v, ahead, ldv, next_head, first, common, last, out, ldo);
    });
}

template <class K>
PARADIGM_INLINE void put_query(const AttentionBlock<K>& b, int row, const bfloat16* from) {
    std::memcpy(b.q + row * b.padded, from, static_cast<std::size_t>(b.dim) * 2);
}

template <int rows, int heads, class K>
PARADIGM_INLINE void score_block(const AttentionBlock<K>& b, int64_t base, int64_t num_tiles) {
    score_rows<rows, heads>(b.q, b.padded, b.dim / 2, b.k + base, b.ahead_k + base, b.ldk, b.next_head, num_tiles, b.scale, b.s, b.lds);
}

template <int rows, int heads, class V>
PARADIGM_INLINE void weigh_block(const AttentionBlock<V>& b, const V* const* v, const V* const* ahead, const int64_t* first, const int64_t* last) {
    const Word* p = reinterpret_cast<const Word*>(b.s);
    const int64_t even = (first[rows - 1] + 1) / 2 * 2, common = last[0] / 2 * 2;
    if constexpr (heads == 1) {
        for (int r = 0; r < rows && (first[r] < even || even > common); ++r) {  // first what a row alone sees, be it all
            const int64_t stop = even > common ? last[r] : even;
            weigh_rows<1, 1>(b.padded, p + r * b.lds, 0, v, ahead, b.ldv, 0, first[r], stop / 2 * 2, &stop, b.out + r * b.padded, 0);
        }
        if (even > common) return;
    }
    weigh_rows<rows, heads>(b.padded, p, b.lds, v, ahead, b.ldv, b.next_head, heads == 1 ? even : first[0], common, last, b.out, b.padded);
}

// Rows lie an even number of elements apart and at addresses that four divides: pairs of channels are moved as numbers of 32 bits are.
PARADIGM_INLINE void copy_keys(const DocumentRows<bfloat16>& rows, int64_t first, int64_t last, int64_t dim, Word* out) {
    const DocumentRows<float> pairs{reinterpret_cast<const float*>(rows.data), rows.row_stride / 2, rows.parent_start, rows.shared, rows.start};
    transpose_rows(pairs, first, last, dim / 2, reinterpret_cast<float*>(out));
}
// The last pair's second row is zero where there is none.
PARADIGM_INLINE void copy_values(const DocumentRows<bfloat16>& rows, int64_t first, int64_t last, int64_t dim, int64_t padded, Word* out) {
    static const bfloat16 nothing[256] = {};
    for (int64_t j = first; j < last; j += 2) {
        const bfloat16 *a = row_at(rows, j), *b = j + 1 < last ? row_at(rows, j + 1) : nothing;
        Word* to = out + j / 2 * padded;
        for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(to + c, paired(load_first(a + c, lanes), load_first(b + c, lanes))); });
    }
}

PARADIGM_INLINE void copy_tile(const bfloat16* from, int64_t ldk, int64_t dim, Word* out) {
    for (int64_t d = 0; d < dim / 2; ++d) store(out + d * 16, load_pairs(from, d, ldk));
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
