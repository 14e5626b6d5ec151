// Gradients of attention for one document with its children, and one key-value head. Included once an instruction set, after
// cpu_attention_items.h. With P recomputed from the stored log-sum-exp and delta_i = dO_i . O_i (Dao, arXiv:2307.08691, section 3.1):
//     dV = P^T dO,  dS = P (dO V^T - delta),  dQ = scale dS K,  dK = scale dS^T Q
namespace paradigm {
namespace PARADIGM_SIMD {

// A block of 8, 4, 2 or 1 rows, whichever is the largest that `count` fills; returns how many.
template <int rows>
constexpr int largest_block(int count) {
    return count >= rows ? rows : largest_block<rows / 2>(count);
}
template <>
constexpr int largest_block<1>(int) {
    return 1;
}

constexpr int gradient_rows = 16;  // query rows that share one pass over the keys' gradients
constexpr int outer_keys = native_bytes == 64 ? 4 : native_bytes == 32 ? 2 : 1;
constexpr int outer_width = num_accumulators / outer_keys;

// out[j * ld + c] += sum over r of p[r * ldp + j] * x[r * ld + c], for outer_keys keys and `width` vectors of channels.
template <int width>
PARADIGM_INLINE void add_outer(const float* p, int64_t ldp, const float* x, int64_t ld, int count, float* out) {
    f32x16 sum[outer_keys][width];
#pragma GCC unroll 4
    for (int j = 0; j < outer_keys; ++j) {
#pragma GCC unroll 4
        for (int c = 0; c < width; ++c) sum[j][c] = load(out + j * ld + c * 16);
    }
    for (int r = 0; r < count; ++r) {
        f32x16 row[width];
#pragma GCC unroll 4
        for (int c = 0; c < width; ++c) row[c] = load(x + r * ld + c * 16);
#pragma GCC unroll 4
        for (int j = 0; j < outer_keys; ++j) {
            const f32x16 weight = broadcast(p[r * ldp + j]);
#pragma GCC unroll 4
            for (int c = 0; c < width; ++c) sum[j][c] = fma(weight, row[c], sum[j][c]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < outer_keys; ++j) {
#pragma GCC unroll 4
        for (int c = 0; c < width; ++c) store(out + j * ld + c * 16, sum[j][c]);
    }
}
static void add_outers(const float* p, int64_t ldp, const float* x, int64_t ld, int count, int64_t num_keys, float* out) {
    for (int64_t j = 0; j < num_keys; j += outer_keys) {
        int64_t c = 0;
        for (; c + 16 * outer_width <= ld; c += 16 * outer_width) add_outer<outer_width>(p + j, ldp, x + c, ld, count, out + j * ld + c);
        if constexpr (outer_width > 2) {
            for (; c + 32 <= ld; c += 32) add_outer<2>(p + j, ldp, x + c, ld, count, out + j * ld + c);
        }
        for (; c < ld; c += 16) add_outer<1>(p + j, ldp, x + c, ld, count, out + j * ld + c);
    }
}

template <int rows>
static void score_count(int count, const float* q, int64_t dim, int64_t ldq, const float* const* k, int64_t num_tiles, float* s, int64_t lds) {
    if constexpr (rows > 0) {
        if (count == rows) return score_rows<rows, 1>(q, ldq, dim, k, k, 16, 0, num_tiles, s, lds);
        score_count<rows / 2>(count, q, dim, ldq, k, num_tiles, s, lds);
    }
}
template <int rows>
static void weigh_count(int count, int64_t padded, const float* p, int64_t ldp, const float* const* v, int64_t last, float* out) {
    if constexpr (rows > 0) {
        if (count == rows) return weigh_rows<rows, 1>(padded, p, ldp, v, v, padded, 0, 0, last, out, padded);
        weigh_count<rows / 2>(count, padded, p, ldp, v, last, out);
    }
}

// From raw scores and dO V^T of keys [0, num_tiles * 16): P into s, the scores' gradient (times scale) into g; zero outside [first, last).
PARADIGM_INLINE void softmax_gradient(
    float* s, float* g, int64_t num_tiles, int64_t first, int64_t last, float lse, float delta, float scale, float cap) {
    const f32x16 zero = broadcast(0.0f), one = broadcast(1.0f);
    for (int64_t t = 0; t < num_tiles; ++t) {
        f32x16 x = load(s + t * 16), slope = broadcast(scale);
        if (cap > 0.0f) {
            x = tanh(x);
            slope = slope * (one - x * x);
            x = broadcast(cap) * x;
        }
        const mask16 inside = lanes_inside(t, first, last);
        const f32x16 p = select(inside, exp2(x - broadcast(lse)), zero);
        store(g + t * 16, select(inside, p * (load(g + t * 16) - broadcast(delta)) * slope, zero));
        store(s + t * 16, p);
    }
}

// Adds the gradients of one document's queries to scratch.grad_keys and grad_values, whose rows are its keys; writes grad_q.
template <class T>
void document_gradient(
    const AttentionGradient& call, int64_t kv_head, int64_t start, int64_t length, int64_t shared, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const AttentionOptions& o = f.options;
    const int64_t dim = o.head_dim, padded = scratch.padded_dim, group = o.num_query_heads / o.num_kv_heads, num_keys = shared + length;
    const int64_t lds = scratch.padded_keys;
    const DocumentRows<float> keys{scratch.key_rows, padded, 0, 0, 0}, values{scratch.values, padded, 0, 0, 0};
    transpose_rows(keys, 0, num_keys, dim, scratch.keys);
    transpose_rows(values, 0, num_keys, dim, scratch.transposed_values);
    const float** key_tiles = reinterpret_cast<const float**>(scratch.key_tiles);
    const float** value_tiles = reinterpret_cast<const float**>(scratch.value_tiles);
    const float** row_tiles = reinterpret_cast<const float**>(scratch.copied_keys);
    for (int64_t t = 0; t * 16 < num_keys; ++t) {
        key_tiles[t] = scratch.keys + t * 16 * dim;
        value_tiles[t] = scratch.transposed_values + t * 16 * dim;
        row_tiles[t] = scratch.key_rows + t * 16 * padded;
    }
    const f32x16 scale = broadcast(o.softcap > 0.0f ? o.scale / o.softcap : o.scale * log2_e);
    for (int64_t begin = 0; begin < length * group; begin += gradient_rows) {
        const int count = static_cast<int>(length * group - begin < gradient_rows ? length * group - begin : gradient_rows);
        int64_t first[gradient_rows] = {}, last[gradient_rows] = {};
        float delta[gradient_rows] = {}, lse[gradient_rows] = {};
        for (int r = 0; r < count; ++r) {
            const int64_t token = (begin + r) / group, here = shared + token, row = start + token;
            const int64_t head = kv_head * group + (begin + r) % group;
            const T* q = static_cast<const T*>(f.q.data) + row * f.q.row_stride + head * f.q.head_stride;
            const T* grad = static_cast<const T*>(call.grad_out.data) + row * call.grad_out.row_stride + head * call.grad_out.head_stride;
            const T* out = static_cast<const T*>(f.out) + (row * o.num_query_heads + head) * dim;
            f32x16 sum = broadcast(0.0f);
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
                const f32x16 x = load_first(q + c, lanes), g = load_first(grad + c, lanes);
                store(scratch.raw_q + r * padded + c, x);
                store(scratch.q + r * padded + c, x * scale);
                store(scratch.grad_out + r * padded + c, g);
                sum = fma(g, load_first(out + c, lanes), sum);
            });
            delta[r] = sum_lanes(sum);
            lse[r] = f.lse[row * o.num_query_heads + head];
            first[r] = o.window > 0 && here + 1 > o.window ? here + 1 - o.window : 0;
            last[r] = o.causal ? here + 1 : num_keys;
        }
        const int64_t base = first[0] / 16, origin = base * 16, stop = last[count - 1] - origin, num_tiles = (stop + 15) / 16;
        for (int r = 0, some; r < count; r += some) {
            some = largest_block<max_rows>(count - r);
            score_count<max_rows>(some, scratch.q + r * padded, dim, padded, key_tiles + base, num_tiles, scratch.scores + r * lds, lds);
            score_count<max_rows>(
                some, scratch.grad_out + r * padded, dim, padded, value_tiles + base, num_tiles, scratch.grad_scores + r * lds, lds);
        }
        for (int r = 0; r < count; ++r) {
            softmax_gradient(
                scratch.scores + r * lds, scratch.grad_scores + r * lds, num_tiles, first[r] - origin, last[r] - origin, lse[r], delta[r], o.scale,
                o.softcap * log2_e);
        }
        for (int64_t i = 0; i < count * padded; i += 16) store(scratch.out + i, broadcast(0.0f));
        for (int r = 0, some; r < count; r += some) {
            some = largest_block<max_rows>(count - r);
            weigh_count<max_rows>(some, padded, scratch.grad_scores + r * lds, lds, row_tiles + base, stop, scratch.out + r * padded);
        }
        add_outers(scratch.scores, lds, scratch.grad_out, padded, count, num_tiles * 16, scratch.grad_values + origin * padded);
        add_outers(scratch.grad_scores, lds, scratch.raw_q, padded, count, num_tiles * 16, scratch.grad_keys + origin * padded);
        for (int r = 0; r < count; ++r) {
            const int64_t row = start + (begin + r) / group, head = kv_head * group + (begin + r) % group;
            store_rows(
                scratch.out + r * padded, 1, dim, padded, static_cast<T*>(call.grad_q) + (row * o.num_query_heads + head) * dim, 0);
        }
    }
}

template <class T>
void attention_backward_item(const AttentionGradient& call, const AttentionItem& item, const DocumentLinks& links, const AttentionScratch& scratch) {
    const Attention& f = call.forward;
    const T* keys = static_cast<const T*>(f.k.data) + item.kv_head * f.k.head_stride;
    const T* values = static_cast<const T*>(f.v.data) + item.kv_head * f.v.head_stride;
    family_gradients<T>(call, item, links, scratch, [&](int64_t start, int64_t length, int64_t shared) {
        const int64_t dim = f.options.head_dim, padded = scratch.padded_dim;
        copy_values(DocumentRows<T>{keys, f.k.row_stride, 0, 0, start}, 0, length, dim, padded, scratch.key_rows + shared * padded);
        copy_values(DocumentRows<T>{values, f.v.row_stride, 0, 0, start}, 0, length, dim, padded, scratch.values + shared * padded);
        document_gradient<T>(call, item.kv_head, start, length, shared, scratch);
    });
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
