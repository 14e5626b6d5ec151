// Gradients of attention in bfloat16 by AVX-512's dot products of pairs: as cpu_attention_backward.h, but that P and dS are rounded to bfloat16
// for the products they enter, as its other operands are. Included after cpu_attention_items.h.
//
// A pair is two neighbours along a product's inner dimension, in 32 bits. One operand gives the same pair to all lanes, the other has one a lane:
//     S = Q K^T, dO V^T        inner: channels; lanes: keys          keys and values in tiles, [tiles][head_dim / 2][16] pairs
//     dQ = dS K                inner: keys; lanes: channels          keys two by two, [keys / 2][padded_dim] pairs
//     dV = P^T dO, dK = dS^T Q     inner: queries; lanes: channels   dO and Q two by two, [rows / 2][padded_dim] pairs
namespace paradigm {
namespace PARADIGM_SIMD {

using Pair = uint32_t;

constexpr int paired_rows = 16;  // query rows that share one pass over the keys' gradients; those that are missing are zero
constexpr int lane_rows = 8;     // rows of a product at a time

PARADIGM_INLINE f32x16 add_products(const f32x16& sum, Pair everywhere, const Pair* lanes) {
    f32x16 r;
    const u32x16 a = broadcast(everywhere), b = load(lanes);
    r.part[0] = (native_f32)_mm512_dpbf16_ps((__m512)sum.part[0], (__m512bh)a.part[0], (__m512bh)b.part[0]);
    return r;
}
// Of two rows, side by side: what they have in each lane.
PARADIGM_INLINE u32x16 paired(const f32x16& first, const f32x16& second) { return shift_right<16>(bits_of(first)) | bits_of(second); }
PARADIGM_INLINE f32x16 rounded(const f32x16& x) {
    bfloat16 halves[16];
    store(halves, x);
    return load(halves);
}

// s[r * lds + t * 16 + lane] = sum over pairs d of q[r * ldq + d] * k[(t * num_pairs + d) * 16 + lane].
template <int tiles>
PARADIGM_INLINE void score_pairs(const Pair* q, int64_t ldq, int64_t num_pairs, const Pair* k, float* s, int64_t lds) {
    f32x16 sum[lane_rows][tiles];
#pragma GCC unroll 8
    for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
        for (int t = 0; t < tiles; ++t) sum[r][t] = broadcast(0.0f);
    }
    for (int64_t d = 0; d < num_pairs; ++d) {
#pragma GCC unroll 8
        for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
            for (int t = 0; t < tiles; ++t) sum[r][t] = add_products(sum[r][t], q[r * ldq + d], k + (t * num_pairs + d) * 16);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
        for (int t = 0; t < tiles; ++t) store(s + r * lds + t * 16, sum[r][t]);
    }
}
static void score_all(const Pair* q, int64_t ldq, int64_t num_pairs, const Pair* k, int64_t num_tiles, float* s, int64_t lds) {
    for (int r = 0; r < paired_rows; r += lane_rows) {
        int64_t t = 0;
        for (; t + 2 <= num_tiles; t += 2) score_pairs<2>(q + r * ldq, ldq, num_pairs, k + t * num_pairs * 16, s + r * lds + t * 16, lds);
        if (t < num_tiles) score_pairs<1>(q + r * ldq, ldq, num_pairs, k + t * num_pairs * 16, s + r * lds + t * 16, lds);
    }
}

// out[r * ldo + c] = (adds ? out[r * ldo + c] : 0) + sum over pairs i of a[r * lda + i * ldi] * b[i * ldb + c], for lane_rows rows and `width`
// vectors of channels.
template <bool adds, int width>
PARADIGM_INLINE void weigh_pairs(const Pair* a, int64_t lda, int64_t ldi, const Pair* b, int64_t ldb, int64_t count, float* out, int64_t ldo) {
    f32x16 sum[lane_rows][width];
#pragma GCC unroll 8
    for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
        for (int c = 0; c < width; ++c) sum[r][c] = adds ? load(out + r * ldo + c * 16) : broadcast(0.0f);
    }
    for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 8
        for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
            for (int c = 0; c < width; ++c) sum[r][c] = add_products(sum[r][c], a[r * lda + i * ldi], b + i * ldb + c * 16);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < lane_rows; ++r) {
#pragma GCC unroll 2
        for (int c = 0; c < width; ++c) store(out + r * ldo + c * 16, sum[r][c]);
    }
}
template <bool adds>
static void weigh_all(
    const Pair* a, int64_t lda, int64_t ldi, const Pair* b, int64_t count, int64_t num_rows, float* out, int64_t padded) {
    for (int64_t r = 0; r < num_rows; r += lane_rows) {
        int64_t c = 0;
        for (; c + 32 <= padded; c += 32) weigh_pairs<adds, 2>(a + r * lda, lda, ldi, b + c, padded, count, out + r * padded + c, padded);
        if (c < padded) weigh_pairs<adds, 1>(a + r * lda, lda, ldi, b + c, padded, count, out + r * padded + c, padded);
    }
}

struct PairRow {
    int64_t first, last;  // its keys, counted from the scores' first
    float lse, delta;
};

// From raw scores and dO V^T of two rows, [lds] each: pairs of P in place of the scores' first row, pairs of the scores' gradient (times scale) in
// place of the other's, and that gradient's rows of bfloat16.
PARADIGM_INLINE void softmax_pairs(
    float* s, float* g, int64_t lds, int64_t num_tiles, const PairRow* rows, const AttentionOptions& o, bfloat16* by_row) {
    const f32x16 zero = broadcast(0.0f), one = broadcast(1.0f), cap = broadcast(o.softcap * log2_e);
    const f32x16 scale = broadcast(o.softcap > 0.0f ? o.scale / o.softcap : o.scale * log2_e);
    for (int64_t t = 0; t < num_tiles; ++t) {
        f32x16 p[2], slope[2];
#pragma GCC unroll 2
        for (int r = 0; r < 2; ++r) {
            f32x16 x = load(s + r * lds + t * 16) * scale, by_score = broadcast(o.scale);
            if (o.softcap > 0.0f) {
                x = tanh(x);
                by_score = by_score * (one - x * x);
                x = cap * x;
            }
            const mask16 inside = lanes_inside(t, rows[r].first, rows[r].last);
            const f32x16 weight = select(inside, exp2(x - broadcast(rows[r].lse)), zero);
            p[r] = rounded(weight);
            slope[r] = rounded(select(inside, weight * (load(g + r * lds + t * 16) - broadcast(rows[r].delta)) * by_score, zero));
            store(by_row + r * lds + t * 16, slope[r]);
        }
        store(reinterpret_cast<Pair*>(s) + t * 16, paired(p[0], p[1]));
        store(reinterpret_cast<Pair*>(g) + t * 16, paired(slope[0], slope[1]));
    }
}

// Rows from `first` on, which is even, two by two; those from num_keys up to `end` are zero.
static void pair_rows(const DocumentRows<bfloat16>& rows, int64_t first, int64_t num_keys, int64_t end, int64_t dim, int64_t padded, Pair* out) {
    static const bfloat16 nothing[256] = {};
    for (int64_t j = first; j < end; j += 2) {
        const bfloat16* a = j < num_keys ? row_at(rows, j) : nothing;
        const bfloat16* b = j + 1 < num_keys ? row_at(rows, j + 1) : nothing;
        Pair* to = out + j / 2 * padded;
        for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(to + c, paired(load_first(a + c, lanes), load_first(b + c, lanes))); });
    }
}

// A block's rows of queries or output gradients: as they are, [paired_rows][padded], and two by two.
struct PairedRows {
    bfloat16* rows;
    Pair* pairs;
    PairedRows(float* memory, int64_t padded) : rows(reinterpret_cast<bfloat16*>(memory)), pairs(reinterpret_cast<Pair*>(memory) + paired_rows / 2 * padded) {}
    void pair(int64_t padded) const {
        for (int r = 0; r < paired_rows; r += 2) {
            for (int64_t c = 0; c < padded; c += 16) store(pairs + r / 2 * padded + c, paired(load(rows + r * padded + c), load(rows + (r + 1) * padded + c)));
        }
    }
};

// Keys and values lie in the scratch memory; adds the gradients of one document's queries to theirs, and writes grad_q.
static void paired_document(const AttentionGradient& call, int64_t kv_head, int64_t start, int64_t length, int64_t shared, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const AttentionOptions& o = f.options;
    const int64_t dim = o.head_dim, padded = scratch.padded_dim, group = o.num_query_heads / o.num_kv_heads, num_keys = shared + length;
    const int64_t lds = scratch.padded_keys;
    const Pair *keys = reinterpret_cast<Pair*>(scratch.keys), *values = reinterpret_cast<Pair*>(scratch.transposed_values);
    const Pair* key_pairs = reinterpret_cast<Pair*>(scratch.key_rows);
    const PairedRows q(scratch.raw_q, padded), grad(scratch.grad_out, padded);
    bfloat16* slopes = reinterpret_cast<bfloat16*>(scratch.values);  // [paired_rows][lds]
    for (int64_t begin = 0; begin < length * group; begin += paired_rows) {
        const int count = static_cast<int>(length * group - begin < paired_rows ? length * group - begin : paired_rows);
        PairRow rows[paired_rows] = {};
        std::memset(q.rows, 0, static_cast<std::size_t>(paired_rows * padded) * sizeof(bfloat16));
        std::memset(grad.rows, 0, static_cast<std::size_t>(paired_rows * padded) * sizeof(bfloat16));
        for (int r = 0; r < count; ++r) {
            const int64_t token = (begin + r) / group, here = shared + token, row = start + token;
            const int64_t head = kv_head * group + (begin + r) % group;
            const bfloat16* from = static_cast<const bfloat16*>(f.q.data) + row * f.q.row_stride + head * f.q.head_stride;
            const bfloat16* grad_out = static_cast<const bfloat16*>(call.grad_out.data) + row * call.grad_out.row_stride + head * call.grad_out.head_stride;
            const bfloat16* out = static_cast<const bfloat16*>(f.out) + (row * o.num_query_heads + head) * dim;
            std::memcpy(q.rows + r * padded, from, static_cast<std::size_t>(dim) * sizeof(bfloat16));
            std::memcpy(grad.rows + r * padded, grad_out, static_cast<std::size_t>(dim) * sizeof(bfloat16));
            f32x16 sum = broadcast(0.0f);
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
                sum = fma(load_first(grad_out + c, lanes), load_first(out + c, lanes), sum);
            });
            rows[r].delta = sum_lanes(sum);
            rows[r].lse = f.lse[row * o.num_query_heads + head];
            rows[r].first = o.window > 0 && here + 1 > o.window ? here + 1 - o.window : 0;
            rows[r].last = o.causal ? here + 1 : num_keys;
        }
        q.pair(padded);
        grad.pair(padded);
        const int64_t base = rows[0].first / 16, origin = base * 16, num_tiles = (rows[count - 1].last - origin + 15) / 16;
        for (int r = 0; r < count; ++r) {
            rows[r].first -= origin;
            rows[r].last -= origin;
        }
        const auto words = [](const bfloat16* from) { return reinterpret_cast<const Pair*>(from); };
        score_all(words(q.rows), padded / 2, dim / 2, keys + origin * dim / 2, num_tiles, scratch.scores, lds);
        score_all(words(grad.rows), padded / 2, dim / 2, values + origin * dim / 2, num_tiles, scratch.grad_scores, lds);
        for (int r = 0; r < paired_rows; r += 2) {
            softmax_pairs(scratch.scores + r * lds, scratch.grad_scores + r * lds, lds, num_tiles, rows + r, o, slopes + r * lds);
        }
        const Pair *p = reinterpret_cast<Pair*>(scratch.scores), *slope = reinterpret_cast<Pair*>(scratch.grad_scores);
        weigh_all<false>(words(slopes), lds / 2, 1, key_pairs + origin / 2 * padded, num_tiles * 8, paired_rows, scratch.out, padded);
        weigh_all<true>(p, 1, 2 * lds, grad.pairs, paired_rows / 2, num_tiles * 16, scratch.grad_values + origin * padded, padded);
        weigh_all<true>(slope, 1, 2 * lds, q.pairs, paired_rows / 2, num_tiles * 16, scratch.grad_keys + origin * padded, padded);
        for (int r = 0; r < count; ++r) {
            const int64_t row = start + (begin + r) / group, head = kv_head * group + (begin + r) % group;
            store_rows(
                scratch.out + r * padded, 1, dim, padded, static_cast<bfloat16*>(call.grad_q) + (row * o.num_query_heads + head) * dim, 0);
        }
    }
}

// As attention_backward_item, for rows that are an even number of channels apart.
void attention_backward_pairs(const AttentionGradient& call, const AttentionItem& item, const DocumentLinks& links, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const int64_t dim = f.options.head_dim, root_start = f.cu_seqlens[item.document];
    const bfloat16* keys = static_cast<const bfloat16*>(f.k.data) + item.kv_head * f.k.head_stride;
    const bfloat16* values = static_cast<const bfloat16*>(f.v.data) + item.kv_head * f.v.head_stride;
    family_gradients<bfloat16>(call, item, links, scratch, [&](int64_t start, int64_t length, int64_t shared) {
        const int64_t num_keys = shared + length, end = (num_keys + 15) / 16 * 16;
        auto tiles = [&](const bfloat16* data, int64_t row_stride, float* out) {  // pairs of channels are moved as numbers of 32 bits are
            const DocumentRows<float> rows{reinterpret_cast<const float*>(data), row_stride / 2, root_start, shared, start};
            transpose_rows(rows, shared / 16 * 16, num_keys, dim / 2, out);
        };
        tiles(keys, f.k.row_stride, scratch.keys);
        tiles(values, f.v.row_stride, scratch.transposed_values);
        const DocumentRows<bfloat16> rows{keys, f.k.row_stride, root_start, shared, start};
        pair_rows(rows, shared / 2 * 2, num_keys, end, dim, scratch.padded_dim, reinterpret_cast<Pair*>(scratch.key_rows));
        paired_document(call, item.kv_head, start, length, shared, scratch);
    });
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
