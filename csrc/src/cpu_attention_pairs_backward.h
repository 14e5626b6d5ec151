// Gradients of attention in bfloat16 by AVX-512's dot products of pairs: as cpu_attention_backward.h, but that P and dS are rounded to bfloat16
// for the products they enter, as its other operands are. Included after cpu_attention_items.h.
//
//     S = Q K^T, dO V^T        inner: channels; lanes: keys          keys and values in tiles, [tiles][head_dim / 2][16] pairs
//     dQ = dS K                inner: keys; lanes: channels          keys two by two, [keys / 2][padded_dim] pairs
//     dV = P^T dO, dK = dS^T Q     inner: queries; lanes: channels   dO and Q two by two, [rows / 2][padded_dim] pairs
namespace paradigm {
namespace PARADIGM_SIMD {

constexpr int paired_rows = 16;  // query rows that share one pass over the keys' gradients; those that are missing are zero
constexpr int lane_rows = 8;     // rows of a product at a time

// s[r * lds + t * 16 + lane] = sum over pairs d of q[r * ldq + d] * k[(t * num_pairs + d) * 16 + lane].
template <int tiles>
PARADIGM_INLINE void score_pairs(const Word* q, int64_t ldq, int64_t num_pairs, const Word* k, float* s, int64_t lds) {
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
static void score_all(const Word* q, int64_t ldq, int64_t num_pairs, const Word* k, int64_t num_tiles, float* s, int64_t lds) {
    for (int r = 0; r < paired_rows; r += lane_rows) {
        int64_t t = 0;
        for (; t + 2 <= num_tiles; t += 2) score_pairs<2>(q + r * ldq, ldq, num_pairs, k + t * num_pairs * 16, s + r * lds + t * 16, lds);
        if (t < num_tiles) score_pairs<1>(q + r * ldq, ldq, num_pairs, k + t * num_pairs * 16, s + r * lds + t * 16, lds);
    }
}

// out[r * ldo + c] = (adds ? out[r * ldo + c] : 0) + sum over pairs i of a[r * lda + i * ldi] * b[i * ldb + c], for lane_rows rows and `width`
// vectors of channels.
template <bool adds, int width>
PARADIGM_INLINE void weigh_pairs(const Word* a, int64_t lda, int64_t ldi, const Word* b, int64_t ldb, int64_t count, float* out, int64_t ldo) {
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
    const Word* a, int64_t lda, int64_t ldi, const Word* b, int64_t count, int64_t num_rows, float* out, int64_t padded) {
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
    const f32x16 zero = broadcast(0.0f), one = broadcast(1.0f), cap = broadcast(o.softcap * log2_e), lse[2] = {broadcast(rows[0].lse), broadcast(rows[1].lse)};
    const f32x16 scale = broadcast(o.softcap > 0.0f ? o.scale / o.softcap : o.scale * log2_e), slope = broadcast(o.scale);
    const f32x16 delta[2] = {broadcast(rows[0].delta), broadcast(rows[1].delta)};
    auto tile = [&](int64_t t, auto is_whole) PARADIGM_BODY {
        f32x16 p[2], by_score[2];
#pragma GCC unroll 2
        for (int r = 0; r < 2; ++r) {
            f32x16 x = load(s + r * lds + t * 16) * scale, factor = slope;
            if (o.softcap > 0.0f) {
                x = tanh(x);
                factor = factor * (one - x * x);
                x = cap * x;
            }
            p[r] = exp2(x - lse[r]);
            if constexpr (!is_whole.value) p[r] = select(lanes_inside(t, rows[r].first, rows[r].last), p[r], zero);
            by_score[r] = p[r] * (load(g + r * lds + t * 16) - delta[r]) * factor;
            if constexpr (!is_whole.value) by_score[r] = select(lanes_inside(t, rows[r].first, rows[r].last), by_score[r], zero);
        }
        const __m512i halves = halves_of(by_score[0], by_score[1]);
        const __m256i first = _mm512_maskz_extracti64x4_epi64(0xF, halves, 0), second = _mm512_maskz_extracti64x4_epi64(0xF, halves, 1);
        std::memcpy(by_row + t * 16, &first, 32);
        std::memcpy(by_row + lds + t * 16, &second, 32);
        store(reinterpret_cast<Word*>(s) + t * 16, paired(halves_of(p[0], p[1])));
        store(reinterpret_cast<Word*>(g) + t * 16, paired(halves));
    };
    const int64_t both_seen = rows[0].last < rows[1].last ? rows[0].last : rows[1].last;
    const int64_t num_whole = rows[0].first > 0 || rows[1].first > 0 ? 0 : both_seen / 16;  // without a window, from the first on
    for (int64_t t = 0; t < num_whole; ++t) tile(t, std::true_type());
    for (int64_t t = num_whole; t < num_tiles; ++t) tile(t, std::false_type());
}

// A block's rows of queries or output gradients: as they are, [paired_rows][padded], and two by two.
struct PairedRows {
    bfloat16* rows;
    Word* pairs;
    PairedRows(float* memory, int64_t padded) : rows(reinterpret_cast<bfloat16*>(memory)), pairs(reinterpret_cast<Word*>(memory) + paired_rows / 2 * padded) {}
    __attribute__((always_inline)) void put(int r, int64_t padded, int64_t c, const f32x16& first, const f32x16& second) const {
        store(rows + r * padded + c, first);
        store(rows + (r + 1) * padded + c, second);
        store(pairs + r / 2 * padded + c, paired(first, second));
    }
};

// Tokens of a document and heads of a group, in the order of a block's rows: counted, since divisions take longer than a short row.
struct RowCounter {
    int64_t token, head, group;
    void next() {
        if (++head < group) return;
        head = 0;
        ++token;
    }
};

// Keys and values lie in the scratch memory; adds the gradients of one document's queries to theirs, and writes grad_q.
static void paired_document(const AttentionGradient& call, int64_t kv_head, int64_t start, int64_t length, int64_t shared, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const AttentionOptions& o = f.options;
    const int64_t dim = o.head_dim, padded = scratch.padded_dim, group = o.num_query_heads / o.num_kv_heads, num_keys = shared + length;
    const int64_t lds = scratch.padded_keys;
    const Word *keys = reinterpret_cast<Word*>(scratch.keys), *values = reinterpret_cast<Word*>(scratch.transposed_values);
    const Word* key_pairs = reinterpret_cast<Word*>(scratch.key_rows);
    const PairedRows q(scratch.raw_q, padded), grad(scratch.grad_out, padded);
    bfloat16* slopes = reinterpret_cast<bfloat16*>(scratch.values);  // [paired_rows][lds]
    static const bfloat16 nothing[256] = {};
    RowCounter read{0, 0, group}, written = read;
    const int64_t tokens_ahead = (paired_rows + group - 1) / group;  // a block's: the next one's rows are asked for
    for (int64_t begin = 0; begin < length * group; begin += paired_rows) {
        const int count = static_cast<int>(length * group - begin < paired_rows ? length * group - begin : paired_rows);
        PairRow rows[paired_rows] = {};
        for (int r = 0; r < paired_rows; r += 2) {
            const bfloat16 *queries[2] = {nothing, nothing}, *grads[2] = {nothing, nothing}, *outs[2] = {nothing, nothing};
            for (int i = 0; i < 2 && r + i < count; ++i, read.next()) {
                const int64_t here = shared + read.token, row = start + read.token, head = kv_head * group + read.head;
                queries[i] = static_cast<const bfloat16*>(f.q.data) + row * f.q.row_stride + head * f.q.head_stride;
                grads[i] = static_cast<const bfloat16*>(call.grad_out.data) + row * call.grad_out.row_stride + head * call.grad_out.head_stride;
                outs[i] = static_cast<const bfloat16*>(f.out) + (row * o.num_query_heads + head) * dim;
                __builtin_prefetch(queries[i] + tokens_ahead * f.q.row_stride);
                __builtin_prefetch(grads[i] + tokens_ahead * call.grad_out.row_stride);
                __builtin_prefetch(outs[i] + tokens_ahead * o.num_query_heads * dim);
                rows[r + i].lse = f.lse[row * o.num_query_heads + head];
                rows[r + i].first = o.window > 0 && here + 1 > o.window ? here + 1 - o.window : 0;
                rows[r + i].last = o.causal ? here + 1 : num_keys;
            }
            f32x16 sums[2] = {broadcast(0.0f), broadcast(0.0f)};
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
                const f32x16 first = load_first(grads[0] + c, lanes), second = load_first(grads[1] + c, lanes);
                sums[0] = fma(first, load_first(outs[0] + c, lanes), sums[0]);
                sums[1] = fma(second, load_first(outs[1] + c, lanes), sums[1]);
                grad.put(r, padded, c, first, second);
                q.put(r, padded, c, load_first(queries[0] + c, lanes), load_first(queries[1] + c, lanes));
            });
            rows[r].delta = sum_lanes(sums[0]);
            rows[r + 1].delta = sum_lanes(sums[1]);
        }
        const int64_t base = rows[0].first / 16, origin = base * 16, num_tiles = (rows[count - 1].last - origin + 15) / 16;
        for (int r = 0; r < count; ++r) {
            rows[r].first -= origin;
            rows[r].last -= origin;
        }
        const auto words = [](const bfloat16* from) { return reinterpret_cast<const Word*>(from); };
        score_all(words(q.rows), padded / 2, dim / 2, keys + origin * dim / 2, num_tiles, scratch.scores, lds);
        score_all(words(grad.rows), padded / 2, dim / 2, values + origin * dim / 2, num_tiles, scratch.grad_scores, lds);
        for (int r = 0; r < paired_rows; r += 2) {
            softmax_pairs(scratch.scores + r * lds, scratch.grad_scores + r * lds, lds, num_tiles, rows + r, o, slopes + r * lds);
        }
        const Word *p = reinterpret_cast<Word*>(scratch.scores), *slope = reinterpret_cast<Word*>(scratch.grad_scores);
        weigh_all<false>(words(slopes), lds / 2, 1, key_pairs + origin / 2 * padded, num_tiles * 8, paired_rows, scratch.out, padded);
        weigh_all<true>(p, 1, 2 * lds, grad.pairs, paired_rows / 2, num_tiles * 16, scratch.grad_values + origin * padded, padded);
        weigh_all<true>(slope, 1, 2 * lds, q.pairs, paired_rows / 2, num_tiles * 16, scratch.grad_keys + origin * padded, padded);
        for (int r = 0; r < count; ++r, written.next()) {
            const int64_t row = start + written.token, head = kv_head * group + written.head;
            store_rows(
                scratch.out + r * padded, 1, dim, padded, static_cast<bfloat16*>(call.grad_q) + (row * o.num_query_heads + head) * dim, 0);
        }
    }
}

// As attention_backward_item. Rows lie as copy_keys takes them.
void attention_backward_pairs(const AttentionGradient& call, const AttentionItem& item, const DocumentLinks& links, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const int64_t dim = f.options.head_dim, padded = scratch.padded_dim, root_start = f.cu_seqlens[item.document];
    const bfloat16* keys = static_cast<const bfloat16*>(f.k.data) + item.kv_head * f.k.head_stride;
    const bfloat16* values = static_cast<const bfloat16*>(f.v.data) + item.kv_head * f.v.head_stride;
    family_gradients<bfloat16>(call, item, links, scratch, [&](int64_t start, int64_t length, int64_t shared) {
        const int64_t num_keys = shared + length, end = (num_keys + 15) / 16 * 16;
        const DocumentRows<bfloat16> key_rows{keys, f.k.row_stride, root_start, shared, start}, value_rows{values, f.v.row_stride, root_start, shared, start};
        copy_keys(key_rows, shared / 16 * 16, num_keys, dim, reinterpret_cast<Word*>(scratch.keys));
        copy_keys(value_rows, shared / 16 * 16, num_keys, dim, reinterpret_cast<Word*>(scratch.transposed_values));
        Word* pairs = reinterpret_cast<Word*>(scratch.key_rows);
        copy_values(key_rows, shared / 2 * 2, num_keys, dim, padded, pairs);
        for (int64_t i = (num_keys + 1) / 2 * padded; i < end / 2 * padded; i += 16) store(pairs + i, broadcast(0u));
        paired_document(call, item.kv_head, start, length, shared, scratch);
    });
}

AttentionKernels attention_kernels() {
    return {max_rows, {nullptr, &attention_item<bfloat16>}, {nullptr, &paged_item<bfloat16>}, {nullptr, &attention_backward_pairs}};
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
