// One work item of attention: some queries of one document and key-value head. Included once an instruction set, after cpu_attention_floats.h or
// cpu_attention_pairs.h.
namespace paradigm {
namespace PARADIGM_SIMD {

constexpr float log2_e = 1.44269504088896341f;

template <int rows, int heads, class T>
void attend_rows(AttentionBlock<T>& b) {
    const int64_t base = b.first[0] / 16, origin = base * 16, num_tiles = (b.last[rows - 1] + 15) / 16 - base;
    const T *const* v = b.v + base, *const* ahead = b.ahead_v + base;
    score_block<rows, heads>(b, base, num_tiles);
    for (int64_t i = 0; i < rows * b.padded; i += 16) store(b.out + i, broadcast(0.0f));
    int64_t first[rows], last[rows];
    for (int r = 0; r < rows; ++r) {
        first[r] = b.first[r] - origin;
        last[r] = b.last[r] - origin;
    }
    softmax_rows<rows>(b.s, b.lds, first, last, b.cap, b.maximum, b.denominator);
    weigh_block<rows, heads>(b, v, ahead, first, last);
    for (int r = 0; r < rows; ++r) {
        const f32x16 scale = broadcast(1.0f / b.denominator[r]);
        for (int64_t c = 0; c < b.padded; c += 16) store(b.out + r * b.padded + c, load(b.out + r * b.padded + c) * scale);
    }
}

template <int rows, class T>
PARADIGM_INLINE void attend_block(AttentionBlock<T>& block, int count, int64_t heads) {
    if constexpr (rows > 0) {
        if (count != rows) return attend_block<rows - 1>(block, count, heads);
        if constexpr (rows % 2 == 0) {
            if (heads == 2) return attend_rows<rows, 2>(block);
        }
        attend_rows<rows, 1>(block);
    }
}

// Query rows in (token, head of the group) order, block by block. Of two heads, whose tiles are next_head elements apart, the rows of both, at most
// max_rows, of one token.
template <class T, class K>
void attend_queries(
    const AttentionOptions& options, const T* q, int64_t row_stride, int64_t head_stride, int64_t num_queries, int64_t position,
    int64_t num_keys, int64_t heads, int64_t next_head, const K* const* k, const K* const* ahead_k, int64_t ldk, const K* const* v, const K* const* ahead_v,
    int64_t ldv, const AttentionScratch& scratch, T* out, float* lse) {
    const int64_t dim = options.head_dim, group = heads * (options.num_query_heads / options.num_kv_heads);
    AttentionBlock<K> block;
    block.k = k;
    block.v = v;
    block.ahead_k = ahead_k;
    block.ahead_v = ahead_v;
    block.ldk = ldk;
    block.ldv = ldv;
    block.next_head = next_head;
    block.dim = dim;
    block.padded = scratch.padded_dim;
    block.cap = options.softcap * log2_e;
    block.scale = options.softcap > 0.0f ? options.scale / options.softcap : options.scale * log2_e;
    block.q = reinterpret_cast<Word*>(scratch.q);
    block.s = scratch.scores;
    block.lds = scratch.padded_keys;
    block.out = scratch.out;
    int count = 0;
    int64_t token_read = 0, head_read = 0, token_written = 0, head_written = 0;  // counted on: divisions take longer than a short row
    for (int64_t start = 0; start < num_queries * group; start += count) {
        const int64_t left = num_queries * group - start;
        count = left < max_rows ? static_cast<int>(left) : max_rows;
        for (int r = 0; r < count; ++r) {
            const int64_t here = position + token_read;
            put_query(block, r, q + token_read * row_stride + head_read * head_stride);
            if (++head_read == group) {
                head_read = 0;
                ++token_read;
            }
            block.first[r] = options.window > 0 && here + 1 > options.window ? here + 1 - options.window : 0;
            block.last[r] = options.causal ? here + 1 : num_keys;
        }
        attend_block<max_rows>(block, count, heads);
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
    Word *copied_keys = reinterpret_cast<Word*>(scratch.keys), *copied_values = reinterpret_cast<Word*>(scratch.values);
    copy_keys(keys, first, last, o.head_dim, copied_keys);
    const Word** key_tiles = reinterpret_cast<const Word**>(scratch.key_tiles);
    for (int64_t t = first / 16; t * 16 < last; ++t) key_tiles[t] = copied_keys + t * 16 * o.head_dim / word_size;

    const int64_t row = start + item.first, query_head = item.kv_head * group;
    const T* q = static_cast<const T*>(call.q.data) + row * call.q.row_stride + query_head * call.q.head_stride;
    T* out = static_cast<T*>(call.out) + (row * o.num_query_heads + query_head) * o.head_dim;
    float* lse = call.lse ? call.lse + row * o.num_query_heads + query_head : nullptr;
    const Word** tiles = reinterpret_cast<const Word**>(scratch.value_tiles);
    int64_t stride = scratch.padded_dim;
    if constexpr (sizeof(T) == sizeof(float)) {
        if (shared == 0 && o.head_dim % 16 == 0) {  // read where they lie
            stride = call.v.row_stride;
            for (int64_t t = first / 16; t * 16 < last; ++t) tiles[t] = row_at(values, t * 16);
        }
    }
    if (sizeof(T) != sizeof(float) || shared != 0 || o.head_dim % 16 != 0) {
        copy_values(values, first, last, o.head_dim, stride, copied_values);
        for (int64_t t = first / 16; t * 16 < last; ++t) tiles[t] = copied_values + t * 16 * stride / word_size;
    }
    attend_queries(
        o, q, call.q.row_stride, call.q.head_stride, item.last - item.first, position, num_keys, 1, 0, key_tiles, key_tiles, 16, tiles, tiles,
        stride, scratch, out, lse);
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
            o, q, call.q.row_stride, call.q.head_stride, queries, position, context, item.num_kv_heads, dim * size, key_tiles, ahead_keys, size,
            tiles, ahead_values, dim, scratch, out, nullptr);
    }
    const Word** copied_keys = reinterpret_cast<const Word**>(scratch.copied_keys);
    const Word** copied_values = reinterpret_cast<const Word**>(scratch.copied_values);
    for (int64_t t = first / 16; t * 16 < last; ++t) {
        const int64_t count = last - t * 16 < 16 ? last - t * 16 : 16;
        Word* keys = reinterpret_cast<Word*>(scratch.keys) + t * 16 * dim / word_size;
        copy_tile(key_tiles[t], size, dim, keys);
        Word* values = reinterpret_cast<Word*>(scratch.values) + t * 16 * scratch.padded_dim / word_size;
        copy_values(DocumentRows<T>{tiles[t], dim, 0, 0, 0}, 0, count, dim, scratch.padded_dim, values);
        copied_keys[t] = keys;
        copied_values[t] = values;
    }
    attend_queries(
        o, q, call.q.row_stride, call.q.head_stride, queries, position, context, 1, 0, copied_keys, copied_keys, 16, copied_values,
        copied_values, scratch.padded_dim, scratch, out, nullptr);
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
