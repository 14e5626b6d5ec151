// Attention of a block of query rows over tiles of sixteen keys. Included once an instruction set, after cpu_vector.h.
//
// Why the result of a row does not depend on which rows share its block: a score is summed over channels in ascending order, the
// maximum is exact, the denominator is summed lane by lane (lane = key index mod 16) over ascending tiles and then over lanes by one
// tree, and each output channel is summed over keys in ascending order from the row's first to its last. Keys outside a row's range
// are computed where that is cheaper but never read.
//
// With PARADIGM_HAS_BFLOAT16 products are of pairs of bfloat16, for which the numerators of the softmax are rounded to it: two neighbouring channels
// of queries and keys are multiplied at once, and the values of two neighbouring keys, the first of which has an even index.
namespace paradigm {
namespace PARADIGM_SIMD {

#ifdef PARADIGM_HAS_BFLOAT16
using Word = uint32_t;  // what products read at once: here a pair
using Numerator = bfloat16;
constexpr int64_t word_size = 2;
#else
using Word = float;
using Numerator = float;
constexpr int64_t word_size = 1;
#endif

// A block holds rows * width accumulators, and they must all stay in registers.
constexpr int max_rows = native_bytes == 64 ? 8 : native_bytes == 32 ? 4 : 2;
constexpr int num_accumulators = native_bytes == 64 ? 16 : native_bytes == 32 ? 4 : 2;
constexpr int width_of(int rows) {
    const int n = num_accumulators / rows;
    return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

// Mask of the lanes of tile t that lie in [first, last).
PARADIGM_INLINE mask16 lanes_inside(int64_t t, int64_t first, int64_t last) {
    const int64_t low = first - t * 16, high = last - t * 16;
    const mask16 from = low <= 0 ? 0xFFFFu : low >= 16 ? 0u : (0xFFFFu << low) & 0xFFFFu;
    return from & (high >= 16 ? 0xFFFFu : high <= 0 ? 0u : (1u << high) - 1u);
}

// The scores of each row's keys [first, last), both ascending from row to row, become softmax numerators, from the start of its memory on; what else
// lies in the rows' tiles becomes 0.
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
        float* row = s + r * lds;
        store(reinterpret_cast<Numerator*>(row) + (at - row), e);  // no score that is still to be read lies there
        sum[r] = sum[r] + e;
    });
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) denominator[r] = sum_lanes(sum[r]);
}

// How many tiles are scored at once: accumulators, and the tiles of one or two heads, in registers.
constexpr int tiles_of(int rows, int heads) {
    if (heads == 1) return width_of(rows) > 4 ? 4 : width_of(rows);
    return 18 / rows > 4 ? 4 : 18 / rows;
}

// Calls body(first, n), n a constant, for [0, count) in runs of `wide`, then of the powers of two below.
template <int wide, class Body>
PARADIGM_INLINE void for_runs(int64_t count, const Body& body) {
    int64_t first = 0;
    auto run = [&](auto n) PARADIGM_BODY {
        for (; first + n.value <= count; first += n.value) body(first, n);
    };
    run(std::integral_constant<int, wide>());
    if constexpr (wide > 4) run(std::integral_constant<int, 4>());
    if constexpr (wide > 2) run(std::integral_constant<int, 2>());
    if constexpr (wide > 1) run(std::integral_constant<int, 1>());
}

// A block of query rows, the same number for each of one or two neighbouring key-value heads; of two heads all rows see the same keys. Key indices count
// from the first key of the rows' document.
template <class T>
struct AttentionBlock {
    const T* const* k;     // [tiles], each [head_dim][ldk], or of Words [head_dim / word_size][ldk]
    const T* const* v;     // [tiles], each 16 rows ldv apart, or 16 / word_size of Words
    const T* const* ahead_k;  // [tiles], what will be read after these
    const T* const* ahead_v;
    int64_t ldk, ldv;
    int64_t next_head;     // elements from a tile to the second head's
    int64_t dim, padded;   // head_dim, and rounded up to 16
    float cap;             // softcap times log2 e, or 0
    float scale;           // by which scores come out in base 2, or as the argument of tanh
    Word* q;               // [rows][padded]; floats are scaled
    int64_t first[max_rows], last[max_rows];  // each row's keys, both ascending
    float* s;              // [rows][lds]
    int64_t lds;
    float* out;            // [rows][padded]
    float maximum[max_rows], denominator[max_rows];  // of each row's softmax
};

// One head's keys or values of a document, the first `shared` of which are its parent's.
template <class T>
struct DocumentRows {
    const T* data;
    int64_t row_stride, parent_start, shared, start;
};
template <class T>
PARADIGM_INLINE const T* row_at(const DocumentRows<T>& rows, int64_t key) {
    return rows.data + (key < rows.shared ? rows.parent_start + key : rows.start + key - rows.shared) * rows.row_stride;
}

// Tiles of 16 rows, transposed: out[tile * 16 * dim + d * 16 + lane]; lanes past `last` are zero.
template <class T>
PARADIGM_INLINE void transpose_rows(const DocumentRows<T>& rows, int64_t first, int64_t last, int64_t dim, float* out) {
    for (int64_t j = first; j < last; j += 16) {
        const int count = static_cast<int>(last - j < 16 ? last - j : 16);
        float* to = out + j * dim;
        if (j >= rows.shared || j + count <= rows.shared) {
            transpose16(row_at(rows, j), rows.row_stride, count, dim, to);
            continue;
        }
        for (int i = 0; i < 16; ++i) {  // the tile in which the parent ends
            const T* from = i < count ? row_at(rows, j + i) : nullptr;
            for (int64_t d = 0; d < dim; ++d) to[d * 16 + i] = from ? widen(from[d]) : 0.0f;
        }
    }
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
