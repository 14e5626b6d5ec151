// One work item of attention: some queries of one document and key-value head. Included once an instruction set, after cpu_attention_rows.h.
namespace paradigm {
namespace PARADIGM_SIMD {

constexpr float log2_e = 1.44269504088896341f;

// Query rows in (token, head of the group) order, block by block.
template <class T, class K>
void attend_queries(
    const AttentionOptions& options, const T* q, int64_t row_stride, int64_t head_stride, int64_t num_queries, int64_t position,
    int64_t num_keys, const K* const* k, const K* const* ahead_k, int64_t ldk, const K* const* v, const K* const* ahead_v, int64_t ldv,
    const AttentionScratch& scratch, T* out, float* lse) {
    const int64_t dim = options.head_dim, group = options.num_query_heads / options.num_kv_heads;
    AttentionBlock<K> block;
    block.k = k;
    block.v = v;
    block.ahead_k = ahead_k;
    block.ahead_v = ahead_v;
    block.ldk = ldk;
    block.ldv = ldv;
    block.dim = dim;
    block.padded = scratch.padded_dim;
    block.cap = options.softcap * log2_e;
    block.q = scratch.q;
    block.s = scratch.scores;
    block.lds = scratch.padded_keys;
    block.out = scratch.out;
    const f32x16 scale = broadcast(options.softcap > 0.0f ? options.scale / options.softcap : options.scale * log2_e);
    int count = 0;
    int64_t token_read = 0, head_read = 0, token_written = 0, head_written = 0;  // counted on: divisions take longer than a short row
    for (int64_t start = 0; start < num_queries * group; start += count) {
        const int64_t left = num_queries * group - start;
        count = left < max_rows ? static_cast<int>(left) : max_rows;
        for (int r = 0; r < count; ++r) {
            const int64_t here = position + token_read;
            const T* from = q + token_read * row_stride + head_read * head_stride;
            float* row = scratch.q + r * block.padded;
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(row + c, load_first(from + c, lanes) * scale); });
            if (++head_read == group) {
                head_read = 0;
                ++token_read;
            }
            block.first[r] = options.window > 0 && here + 1 > options.window ? here + 1 - options.window : 0;
            block.last[r] = options.causal ? here + 1 : num_keys;
        }
        attend_block<max_rows>(block, count);
        for (int r = 0; r < count; ++r) {
            const int64_t row = token_written * options.num_query_heads + head_written;
            const float* from = scratch.out + r * block.padded;
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store_first(out + row * dim + c, lanes, load(from + c)); });
            if (lse) lse[row] = block.maximum[r] + __builtin_log2f(block.denominator[r]);
            if (++head_written == group) {
                head_written = 0;
                ++token_written;
            }
        }
    }
}

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

// Float32 copies of rows [first, last), padded to 16 channels with zeros; first is a multiple of 16.
template <class T>
PARADIGM_INLINE void copy_rows(const DocumentRows<T>& rows, int64_t first, int64_t last, int64_t dim, int64_t padded, float* out) {
    for (int64_t j = first; j < last; ++j) {
        const T* from = row_at(rows, j);
        for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(out + j * padded + c, load_first(from + c, lanes)); });
    }
}

// The way back, of rows from the first on.
template <class T>
PARADIGM_INLINE void store_rows(const float* from, int64_t count, int64_t dim, int64_t padded, T* to, int64_t row_stride) {
    for (int64_t j = 0; j < count; ++j) {
        for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store_first(to + j * row_stride + c, lanes, load(from + j * padded + c)); });
    }
}

// Gradients by the keys and values of a document, which has no parent, and of its children, which follow by `links`: summed in
// scratch.grad_keys and grad_values by add(start, length, shared) for each, and stored once all have been added.
template <class T, class Add>
PARADIGM_INLINE void family_gradients(
    const AttentionGradient& call, const AttentionItem& item, const DocumentLinks& links, const AttentionScratch& scratch, const Add& add) {
    const AttentionOptions& o = call.forward.options;
    const int32_t* cuts = call.forward.cu_seqlens;
    const int64_t dim = o.head_dim, padded = scratch.padded_dim, stride = o.num_kv_heads * dim;
    const int64_t root_length = cuts[item.document + 1] - cuts[item.document];
    auto store_both = [&](int64_t first, int64_t length, int64_t to) {
        T *keys = static_cast<T*>(call.grad_k) + item.kv_head * dim, *values = static_cast<T*>(call.grad_v) + item.kv_head * dim;
        const int64_t value_stride = call.grad_v_stride;
        store_rows(scratch.grad_keys + first * padded, length, dim, padded, keys + to * stride, stride);
        store_rows(scratch.grad_values + first * padded, length, dim, padded, values + to * value_stride, value_stride);
    };
    for (int64_t document = item.document; document >= 0;
         document = document == item.document ? links.first_child[document] : links.next_sibling[document]) {
        const int64_t start = cuts[document], length = cuts[document + 1] - start, shared = document == item.document ? 0 : root_length;
        const int64_t end = (shared + length + 15) / 16 * 16;
        for (int64_t i = shared * padded; i < end * padded; i += 16) {
            store(scratch.grad_keys + i, broadcast(0.0f));
            store(scratch.grad_values + i, broadcast(0.0f));
        }
        add(start, length, shared);
        if (document != item.document) store_both(shared, length, start);
    }
    store_both(0, root_length, cuts[item.document]);
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

template <class T>
void attention_item(const Attention& call, const AttentionItem& item, const AttentionScratch& scratch) {
    const AttentionOptions& o = call.options;
    const int64_t group = o.num_query_heads / o.num_kv_heads, start = call.cu_seqlens[item.document];
    const int64_t length = call.cu_seqlens[item.document + 1] - start;
    const int64_t parent = call.parent ? call.parent[item.document] : -1;
    const int64_t parent_start = parent >= 0 ? call.cu_seqlens[parent] : 0;
    const int64_t shared = parent >= 0 ? call.cu_seqlens[parent + 1] - parent_start : 0;
    const int64_t position = shared + item.first, num_keys = shared + length;
    const int64_t last = o.causal ? shared + item.last : num_keys;
    const int64_t first = o.window > 0 && position + 1 > o.window ? (position + 1 - o.window) / 16 * 16 : 0;
    const DocumentRows<T> keys{
        static_cast<const T*>(call.k.data) + item.kv_head * call.k.head_stride, call.k.row_stride, parent_start, shared, start};
    const DocumentRows<T> values{
        static_cast<const T*>(call.v.data) + item.kv_head * call.v.head_stride, call.v.row_stride, parent_start, shared, start};
    transpose_rows(keys, first, last, o.head_dim, scratch.keys);
    const float** key_tiles = reinterpret_cast<const float**>(scratch.key_tiles);
    for (int64_t t = first / 16; t * 16 < last; ++t) key_tiles[t] = scratch.keys + t * 16 * o.head_dim;

    const int64_t row = start + item.first, query_head = item.kv_head * group;
    const T* q = static_cast<const T*>(call.q.data) + row * call.q.row_stride + query_head * call.q.head_stride;
    T* out = static_cast<T*>(call.out) + (row * o.num_query_heads + query_head) * o.head_dim;
    float* lse = call.lse ? call.lse + row * o.num_query_heads + query_head : nullptr;
    const float** tiles = reinterpret_cast<const float**>(scratch.value_tiles);
    int64_t stride = scratch.padded_dim;
    if constexpr (sizeof(T) == sizeof(float)) {
        if (shared == 0 && o.head_dim % 16 == 0) {  // read where they lie
            stride = call.v.row_stride;
            for (int64_t t = first / 16; t * 16 < last; ++t) tiles[t] = row_at(values, t * 16);
        }
    }
    if (sizeof(T) != sizeof(float) || shared != 0 || o.head_dim % 16 != 0) {
        copy_rows(values, first, last, o.head_dim, stride, scratch.values);
        for (int64_t t = first / 16; t * 16 < last; ++t) tiles[t] = scratch.values + t * 16 * stride;
    }
    attend_queries(
        o, q, call.q.row_stride, call.q.head_stride, item.last - item.first, position, num_keys, key_tiles, key_tiles, 16, tiles, tiles, stride,
        scratch, out, lse);
}

// The keys that an item's queries see: [first, last), counted from the sequence's start, first a multiple of 16.
struct KeyRange {
    int64_t first, last, position, context;  // position: the first query's
};
PARADIGM_INLINE KeyRange keys_of(const PagedAttention& call, const AttentionItem& item) {
    const int64_t context = call.context_lengths[item.document], window = call.options.window;
    const int64_t position = context - (call.cu_seqlens[item.document + 1] - call.cu_seqlens[item.document]) + item.first;
    const int64_t last = call.options.causal ? position + item.last - item.first : context;
    return {window > 0 && position + 1 > window ? (position + 1 - window) / 16 * 16 : 0, last, position, context};
}

// Where a tile of an item's keys and values lies that begins at token `offset` of its index-th block.
template <class T>
PARADIGM_INLINE void find_tile(
    const PagedAttention& call, const AttentionItem& item, int64_t index, int64_t offset, const T** key_tile, const T** value_tile) {
    const int64_t size = call.block_size, dim = call.options.head_dim;
    const int64_t block = call.block_table[call.slots[item.document] * call.max_blocks + index];
    const int64_t base = (block * call.options.num_kv_heads + item.kv_head) * dim * size;
    *key_tile = static_cast<const T*>(call.keys) + base + offset;
    *value_tile = static_cast<const T*>(call.values) + base + offset * dim;
}

// `next` is the item that this thread takes afterwards, as far as is known, or null.
template <class T>
void paged_item(const PagedAttention& call, const AttentionItem& item, const AttentionItem* next, const AttentionScratch& scratch) {
    const AttentionOptions& o = call.options;
    const int64_t group = o.num_query_heads / o.num_kv_heads, start = call.cu_seqlens[item.document], size = call.block_size, dim = o.head_dim;
    const auto [first, last, position, context] = keys_of(call, item);
    const T** key_tiles = reinterpret_cast<const T**>(scratch.key_tiles);
    const T** tiles = reinterpret_cast<const T**>(scratch.value_tiles);
    const T** ahead_keys = reinterpret_cast<const T**>(scratch.ahead_key_tiles);
    const T** ahead_values = reinterpret_cast<const T**>(scratch.ahead_value_tiles);
    KeyRange coming{0, 0, 0, 0};
    if (next) coming = keys_of(call, *next);
    for (int64_t t = first / 16, index = first / size, offset = first % size; t * 16 < last; ++t) {
        find_tile(call, item, index, offset, key_tiles + t, tiles + t);
        if (coming.first <= t * 16 && t * 16 < coming.last) {
            find_tile(call, *next, index, offset, ahead_keys + t, ahead_values + t);
        } else {
            ahead_keys[t] = key_tiles[t];
            ahead_values[t] = tiles[t];
        }
        offset += 16;
        if (offset == size) {
            offset = 0;
            ++index;
        }
    }
    const int64_t row = start + item.first, query_head = item.kv_head * group;
    const T* q = static_cast<const T*>(call.q.data) + row * call.q.row_stride + query_head * call.q.head_stride;
    T* out = static_cast<T*>(call.out) + (row * o.num_query_heads + query_head) * dim;
    const int64_t queries = item.last - item.first;
    if (dim % 16 == 0) {
        return attend_queries(
            o, q, call.q.row_stride, call.q.head_stride, queries, position, context, key_tiles, ahead_keys, size, tiles,
            ahead_values, dim, scratch, out, nullptr);
    }
    const float** float_keys = reinterpret_cast<const float**>(scratch.copied_keys);
    const float** float_values = reinterpret_cast<const float**>(scratch.copied_values);
    for (int64_t t = first / 16; t * 16 < last; ++t) {
        const int64_t count = last - t * 16 < 16 ? last - t * 16 : 16;
        float* keys = scratch.keys + t * 16 * dim;
        for (int64_t d = 0; d < dim; ++d) store(keys + d * 16, load(key_tiles[t] + d * size));
        float* values = scratch.values + t * 16 * scratch.padded_dim;
        copy_rows(DocumentRows<T>{tiles[t], dim, 0, 0, 0}, 0, count, dim, scratch.padded_dim, values);
        float_keys[t] = keys;
        float_values[t] = values;
    }
    attend_queries(
        o, q, call.q.row_stride, call.q.head_stride, queries, position, context, float_keys, float_keys, 16, float_values,
        float_values, scratch.padded_dim, scratch, out, nullptr);
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
