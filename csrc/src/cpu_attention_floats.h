// The products of attention in float32, whatever the storage. Included once an instruction set, after cpu_attention_rows.h; cpu_attention_pairs.h is
// its counterpart, with the same names from put_query on.
namespace paradigm {
namespace PARADIGM_SIMD {

// Neither score_rows nor weigh_rows is inlined: each is called from several places, and unrolled it is long.
//
// Both ask for the tiles `ahead` line by line as they read their own: asked for all at once, they would keep the core waiting. Where nothing is
// ahead, that is the tiles themselves.
//
// s[r * lds + n * 16 + lane] = sum over d of q[r * ldq + d] * (tile n's key `lane`, channel d).
template <int rows, int tiles, int heads, class K>
PARADIGM_INLINE void score_tiles(
    const float* q, int64_t ldq, int64_t dim, const K* const* k, const K* const* ahead, int64_t ldk, int64_t next_head, float* s, int64_t lds) {
    f32x16 sum[rows][tiles];
    const K *tile[tiles], *next[tiles];
#pragma GCC unroll 8
    for (int n = 0; n < tiles; ++n) {
        tile[n] = k[n];
        next[n] = ahead[n];
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) sum[r][n] = broadcast(0.0f);
    }
#pragma GCC unroll 2
    for (int64_t d = 0; d < dim; ++d) {
        f32x16 key[heads][tiles];
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) {
#pragma GCC unroll 2
            for (int h = 0; h < heads; ++h) {
                key[h][n] = load(tile[n] + h * next_head + d * ldk);
                __builtin_prefetch(next[n] + h * next_head + d * ldk, 0, 2);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const f32x16 query = broadcast(q[r * ldq + d]);
#pragma GCC unroll 8
            for (int n = 0; n < tiles; ++n) sum[r][n] = fma(query, key[r / (rows / heads)][n], sum[r][n]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) store(s + r * lds + n * 16, sum[r][n]);
    }
}

template <int rows, int heads, class K>
__attribute__((noinline)) void score_rows(
    const float* q, int64_t ldq, int64_t dim, const K* const* k, const K* const* ahead, int64_t ldk, int64_t next_head, int64_t num_tiles, float* s,
    int64_t lds) {
    for_runs<tiles_of(rows, heads)>(num_tiles, [&](int64_t n, auto tiles) PARADIGM_BODY {
        score_tiles<rows, tiles.value, heads>(q, ldq, dim, k + n, ahead + n, ldk, next_head, s + n * 16, lds);
    });
}

// out[r * ldo + c] += sum over keys j in [first, last) of p[r * ldp + j] * v_j[c], for `width` vectors of channels from `channel` on.
template <int rows, int width, int heads, class V>
PARADIGM_INLINE void weigh_channels(
    int64_t channel, const float* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t next_head, int64_t first, int64_t last,
    float* out, int64_t ldo) {
    f32x16 sum[rows][width];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < width; ++c) sum[r][c] = load(out + r * ldo + channel + c * 16);
    }
    for (int64_t j = first; j < last;) {
        const int64_t tile = j / 16, stop = (tile + 1) * 16 < last ? (tile + 1) * 16 : last;
        const int64_t start = (j - tile * 16) * ldv + channel;
        const V *value = v[tile] + start, *next = ahead[tile] + start;
        for (; j < stop; ++j, value += ldv, next += ldv) {
            f32x16 x[heads][width];
#pragma GCC unroll 8
            for (int c = 0; c < width; ++c) {
#pragma GCC unroll 2
                for (int h = 0; h < heads; ++h) {
                    x[h][c] = load(value + h * next_head + c * 16);
                    __builtin_prefetch(next + h * next_head + c * 16, 0, 2);
                }
            }
#pragma GCC unroll 8
            for (int r = 0; r < rows; ++r) {
                const f32x16 weight = broadcast(p[r * ldp + j]);
#pragma GCC unroll 8
                for (int c = 0; c < width; ++c) sum[r][c] = fma(weight, x[r / (rows / heads)][c], sum[r][c]);
            }
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
    int64_t padded, const float* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t next_head, int64_t first, int64_t last,
    float* out, int64_t ldo) {
    if (first >= last) return;
    for_runs<width_of(rows)>(padded / 16, [&](int64_t c, auto width) PARADIGM_BODY {
        weigh_channels<rows, width.value, heads>(c * 16, p, ldp, v, ahead, ldv, next_head, first, last, out, ldo);
    });
}

// out[c] += sum over keys j in [first, last) of p[j] * v_j[c]: as weigh_rows<1>, where the keys are few.
template <class V>
PARADIGM_INLINE void weigh_few(int64_t padded, const float* p, const V* const* v, int64_t ldv, int64_t first, int64_t last, float* out) {
    if (first >= last) return;
    for_runs<2>(padded / 16, [&](int64_t vector, auto width) PARADIGM_BODY {
        const int64_t channel = vector * 16;
        f32x16 sum[width.value];
#pragma GCC unroll 2
        for (int c = 0; c < width.value; ++c) sum[c] = load(out + channel + c * 16);
        for (int64_t j = first; j < last; ++j) {
            const f32x16 weight = broadcast(p[j]);
            const V* value = v[j / 16] + j % 16 * ldv + channel;
#pragma GCC unroll 2
            for (int c = 0; c < width.value; ++c) sum[c] = fma(weight, load(value + c * 16), sum[c]);
        }
#pragma GCC unroll 2
        for (int c = 0; c < width.value; ++c) store(out + channel + c * 16, sum[c]);
    });
}

// A query becomes a row of the block.
template <class K, class T>
PARADIGM_INLINE void put_query(const AttentionBlock<K>& b, int row, const T* from) {
    const f32x16 scale = broadcast(b.scale);
    float* to = b.q + row * b.padded;
    for_vectors(b.dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(to + c, load_first(from + c, lanes) * scale); });
}

// Scores of keys in tiles from `base` on.
template <int rows, int heads, class K>
PARADIGM_INLINE void score_block(const AttentionBlock<K>& b, int64_t base, int64_t num_tiles) {
    score_rows<rows, heads>(b.q, b.padded, b.dim, b.k + base, b.ahead_k + base, b.ldk, b.next_head, num_tiles, b.s, b.lds);
}

// Adds each row's values [first, last), both ascending from row to row, by their numerators to its out.
template <int rows, int heads, class V>
PARADIGM_INLINE void weigh_block(const AttentionBlock<V>& b, const V* const* v, const V* const* ahead, const int64_t* first, const int64_t* last) {
    // first what a row alone sees, then what all see, then again what it alone sees: ascending for each row
    const bool overlap = heads > 1 || first[rows - 1] < last[0];
    const int64_t from = overlap ? first[rows - 1] : last[rows - 1], to = overlap ? last[0] : from;
    auto weigh_own = [&](int r, int64_t start, int64_t stop) PARADIGM_BODY {
        if (stop - start <= 16) return weigh_few(b.padded, b.s + r * b.lds, v, b.ldv, start, stop, b.out + r * b.padded);
        weigh_rows<1, 1>(b.padded, b.s + r * b.lds, 0, v, ahead, b.ldv, 0, start, stop, b.out + r * b.padded, 0);
    };
    if constexpr (heads == 1) {
        for (int r = 0; r < rows && first[r] < from; ++r) weigh_own(r, first[r], from < last[r] ? from : last[r]);
    }
    weigh_rows<rows, heads>(b.padded, b.s, b.lds, v, ahead, b.ldv, b.next_head, from, to, b.out, b.padded);
    if constexpr (heads == 1) {
        for (int r = rows - 1; r >= 0 && to < last[r]; --r) weigh_own(r, to, last[r]);
    }
}

// Copies of rows [first, last) of keys as tiles, and of values, padded to 16 channels with zeros; first is a multiple of 16.
template <class T>
PARADIGM_INLINE void copy_keys(const DocumentRows<T>& rows, int64_t first, int64_t last, int64_t dim, float* out) {
    transpose_rows(rows, first, last, dim, out);
}
template <class T>
PARADIGM_INLINE void copy_values(const DocumentRows<T>& rows, int64_t first, int64_t last, int64_t dim, int64_t padded, float* out) {
    for (int64_t j = first; j < last; ++j) {
        const T* from = row_at(rows, j);
        for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(out + j * padded + c, load_first(from + c, lanes)); });
    }
}

// The same of a tile of a cache's keys, whose channels are ldk apart.
template <class T>
PARADIGM_INLINE void copy_tile(const T* from, int64_t ldk, int64_t dim, float* out) {
    for (int64_t d = 0; d < dim; ++d) store(out + d * 16, load(from + d * ldk));
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
