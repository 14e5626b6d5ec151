// Attention of a block of query rows over tiles of sixteen keys. Included once an instruction set, after cpu_vector.h.
//
// Why the result of a row does not depend on which rows share its block: a score is summed over channels in ascending order, the
// maximum is exact, the denominator is summed lane by lane (lane = key index mod 16) over ascending tiles and then over lanes by one
// tree, and each output channel is summed over keys in ascending order from the row's first to its last. Keys outside a row's range
// are computed where that is cheaper but never read.
namespace paradigm {
namespace PARADIGM_SIMD {

// A block holds rows * width accumulators, and they must all stay in registers.
constexpr int max_rows = native_bytes == 64 ? 8 : native_bytes == 32 ? 4 : 2;
constexpr int num_accumulators = native_bytes == 64 ? 16 : native_bytes == 32 ? 4 : 2;
constexpr int width_of(int rows) {
    const int n = num_accumulators / rows;
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

// Neither score_rows nor weigh_rows is inlined: each is called from several places, and unrolled it is long.
//
// Both ask for the tiles `ahead` line by line as they read their own: asked for all at once, they would keep the core waiting. A line of
// two is enough, the second comes with it. Where nothing is ahead, that is the tiles themselves.
//
// s[r * lds + n * 16 + lane] = sum over d of q[r * ldq + d] * (tile n's key `lane`, channel d).
template <int rows, int tiles, class K>
PARADIGM_INLINE void score_tiles(
    const float* q, int64_t ldq, int64_t dim, const K* const* k, const K* const* ahead, int64_t ldk, float* s, int64_t lds) {
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
        f32x16 key[tiles];
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) {
            key[n] = load(tile[n] + d * ldk);
            if (d % 2 == 0) __builtin_prefetch(next[n] + d * ldk, 0, 2);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
            const f32x16 query = broadcast(q[r * ldq + d]);
#pragma GCC unroll 8
            for (int n = 0; n < tiles; ++n) sum[r][n] = fma(query, key[n], sum[r][n]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int n = 0; n < tiles; ++n) store(s + r * lds + n * 16, sum[r][n]);
    }
}

template <int rows, class K>
__attribute__((noinline)) void score_rows(
    const float* q, int64_t ldq, int64_t dim, const K* const* k, const K* const* ahead, int64_t ldk, int64_t num_tiles, float* s, int64_t lds) {
    constexpr int wide = width_of(rows) > 4 ? 4 : width_of(rows);
    int64_t n = 0;
    for (; n + wide <= num_tiles; n += wide) score_tiles<rows, wide>(q, ldq, dim, k + n, ahead + n, ldk, s + n * 16, lds);
    if constexpr (wide > 2) {
        if (n + 2 <= num_tiles) {
            score_tiles<rows, 2>(q, ldq, dim, k + n, ahead + n, ldk, s + n * 16, lds);
            n += 2;
        }
    }
    for (; n < num_tiles; ++n) score_tiles<rows, 1>(q, ldq, dim, k + n, ahead + n, ldk, s + n * 16, lds);
}

// out[r * ldo + c] += sum over keys j in [first, last) of p[r * ldp + j] * v_j[c], for `width` vectors of channels from `channel` on.
template <int rows, int width, class V>
PARADIGM_INLINE void weigh_channels(
    int64_t channel, const float* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t first, int64_t last, float* out,
    int64_t ldo) {
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
            f32x16 x[width];
#pragma GCC unroll 8
            for (int c = 0; c < width; ++c) {
                x[c] = load(value + c * 16);
                if (c % 2 == 0) __builtin_prefetch(next + c * 16, 0, 2);
            }
#pragma GCC unroll 8
            for (int r = 0; r < rows; ++r) {
                const f32x16 weight = broadcast(p[r * ldp + j]);
#pragma GCC unroll 8
                for (int c = 0; c < width; ++c) sum[r][c] = fma(weight, x[c], sum[r][c]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
        for (int c = 0; c < width; ++c) store(out + r * ldo + channel + c * 16, sum[r][c]);
    }
}

template <int rows, class V>
__attribute__((noinline)) void weigh_rows(
    int64_t padded, const float* p, int64_t ldp, const V* const* v, const V* const* ahead, int64_t ldv, int64_t first, int64_t last, float* out,
    int64_t ldo) {
    if (first >= last) return;
    constexpr int wide = width_of(rows);
    int64_t c = 0;
    for (; c + 16 * wide <= padded; c += 16 * wide) weigh_channels<rows, wide>(c, p, ldp, v, ahead, ldv, first, last, out, ldo);
    if constexpr (wide > 4) {
        for (; c + 64 <= padded; c += 64) weigh_channels<rows, 4>(c, p, ldp, v, ahead, ldv, first, last, out, ldo);
    }
    if constexpr (wide > 2) {
        for (; c + 32 <= padded; c += 32) weigh_channels<rows, 2>(c, p, ldp, v, ahead, ldv, first, last, out, ldo);
    }
    for (; c < padded; c += 16) weigh_channels<rows, 1>(c, p, ldp, v, ahead, ldv, first, last, out, ldo);
}

// Mask of the lanes of tile t that lie in [first, last).
PARADIGM_INLINE mask16 lanes_inside(int64_t t, int64_t first, int64_t last) {
    const int64_t low = first - t * 16, high = last - t * 16;
    const mask16 from = low <= 0 ? 0xFFFFu : low >= 16 ? 0u : (0xFFFFu << low) & 0xFFFFu;
    return from & (high >= 16 ? 0xFFFFu : high <= 0 ? 0u : (1u << high) - 1u);
}

// out[c] += sum over keys j in [first, last) of p[j] * v_j[c]: as weigh_rows<1>, where the keys are few.
template <class V>
PARADIGM_INLINE void weigh_few(int64_t padded, const float* p, const V* const* v, int64_t ldv, int64_t first, int64_t last, float* out) {
    if (first >= last) return;
    auto weigh = [&](int64_t channel, auto width) PARADIGM_BODY {
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
    };
    int64_t c = 0;
    for (; c + 32 <= padded; c += 32) weigh(c, std::integral_constant<int, 2>());
    if (c < padded) weigh(c, std::integral_constant<int, 1>());
}

// The scores of each row's keys [first, last), both ascending from row to row, become softmax numerators; what else lies in the rows' tiles becomes 0.
template <int rows>
PARADIGM_INLINE void softmax_rows(float* s, int64_t lds, const int64_t* first, const int64_t* last, float cap, float* maximum, float* denominator) {
    const int64_t begin = first[0] / 16, end = (last[rows - 1] + 15) / 16;
    // tiles from here to there are seen by all rows whole
    const int64_t whole = (first[rows - 1] + 15) / 16 < end ? (first[rows - 1] + 15) / 16 : end, ragged = last[0] / 16 > whole ? last[0] / 16 : whole;
    const f32x16 lowest = broadcast(-__builtin_inff()), zero = broadcast(0.0f);
    f32x16 top[rows], sum[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) top[r] = lowest;
    auto each = [&](int64_t from, int64_t to, auto is_ragged, const auto& body) PARADIGM_BODY {
        for (int64_t t = from; t < to; ++t) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; ++r) {
                mask16 inside = 0xFFFF;
                if constexpr (is_ragged.value) inside = lanes_inside(t, first[r], last[r]);
                body(s + r * lds + t * 16, r, inside, is_ragged);
            }
        }
    };
    auto everywhere = [&](const auto& body) PARADIGM_BODY {
        each(begin, whole, std::true_type(), body);
        each(whole, ragged, std::false_type(), body);
        each(ragged, end, std::true_type(), body);
    };
    everywhere([&](float* at, int r, mask16 inside, auto is_ragged) PARADIGM_BODY {
        f32x16 x = load(at);
        if (cap > 0.0f) x = broadcast(cap) * tanh(x);
        if constexpr (is_ragged.value) x = select(inside, x, lowest);
        if (cap > 0.0f || is_ragged.value) store(at, x);
        top[r] = max(top[r], x);  // a NaN score shows in the sum below
    });
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
        maximum[r] = max_lanes(top[r]);
        top[r] = broadcast(maximum[r]);
        sum[r] = zero;
    }
    everywhere([&](float* at, int r, mask16 inside, auto is_ragged) PARADIGM_BODY {
        f32x16 e = exp2(load(at) - top[r]);
        if constexpr (is_ragged.value) e = select(inside, e, zero);
        store(at, e);
        sum[r] = sum[r] + e;
    });
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) denominator[r] = sum_lanes(sum[r]);
}

// A block of query rows of one key-value head. Key indices count from the first key of the rows' document.
template <class T>
struct AttentionBlock {
    const T* const* k;     // [tiles], each [head_dim][ldk]
    const T* const* v;     // [tiles], each 16 rows ldv apart
    const T* const* ahead_k;  // [tiles], what will be read after these
    const T* const* ahead_v;
    int64_t ldk, ldv;
    int64_t dim, padded;   // head_dim, and rounded up to 16
    float cap;             // softcap times log2 e, or 0
    const float* q;        // [rows][padded], scaled so that scores come out in base 2, or as the argument of tanh
    int64_t first[max_rows], last[max_rows];  // each row's keys, both ascending
    float* s;              // [rows][lds]
    int64_t lds;
    float* out;            // [rows][padded]
    float maximum[max_rows], denominator[max_rows];  // of each row's softmax
};

template <int rows, class T>
void attend_rows(AttentionBlock<T>& b) {
    const int64_t base = b.first[0] / 16, origin = base * 16, num_tiles = (b.last[rows - 1] + 15) / 16 - base;
    const T *const* v = b.v + base, *const* ahead = b.ahead_v + base;
    score_rows<rows>(b.q, b.padded, b.dim, b.k + base, b.ahead_k + base, b.ldk, num_tiles, b.s, b.lds);
    for (int64_t i = 0; i < rows * b.padded; i += 16) store(b.out + i, broadcast(0.0f));
    int64_t first[rows], last[rows];
    for (int r = 0; r < rows; ++r) {
        first[r] = b.first[r] - origin;
        last[r] = b.last[r] - origin;
    }
    softmax_rows<rows>(b.s, b.lds, first, last, b.cap, b.maximum, b.denominator);
    // first what a row alone sees, then what all see, then again what it alone sees: ascending for each row
    const bool overlap = first[rows - 1] < last[0];
    const int64_t from = overlap ? first[rows - 1] : last[rows - 1], to = overlap ? last[0] : from;
    auto weigh_own = [&](int r, int64_t start, int64_t stop) PARADIGM_BODY {
        if (stop - start <= 16) return weigh_few(b.padded, b.s + r * b.lds, v, b.ldv, start, stop, b.out + r * b.padded);
        weigh_rows<1>(b.padded, b.s + r * b.lds, 0, v, ahead, b.ldv, start, stop, b.out + r * b.padded, 0);
    };
    for (int r = 0; r < rows && first[r] < from; ++r) weigh_own(r, first[r], from < last[r] ? from : last[r]);
    weigh_rows<rows>(b.padded, b.s, b.lds, v, ahead, b.ldv, from, to, b.out, b.padded);
    for (int r = rows - 1; r >= 0 && to < last[r]; --r) weigh_own(r, to, last[r]);
    for (int r = 0; r < rows; ++r) {
        const f32x16 scale = broadcast(1.0f / b.denominator[r]);
        for (int64_t c = 0; c < b.padded; c += 16) store(b.out + r * b.padded + c, load(b.out + r * b.padded + c) * scale);
    }
}

template <int rows, class T>
PARADIGM_INLINE void attend_block(AttentionBlock<T>& block, int count) {
    if constexpr (rows > 0) {
        if (count == rows) return attend_rows<rows>(block);
        attend_block<rows - 1>(block, count);
    }
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
