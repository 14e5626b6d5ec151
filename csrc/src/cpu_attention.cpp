// Attention on the CPU: checks, work items, threads; and the loops for machines without AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "cpu_attention_scratch.h"
#include "cpu_threads.h"
#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#endif
#define PARADIGM_SIMD baseline
#define PARADIGM_SIMD_BYTES 16
#include "paradigm/simd.h"
#include "cpu_attention_loops.h"

namespace paradigm {
namespace {

constexpr int64_t queries_per_item = 256;  // bounds what a thread has to wait for, and the copies of keys that items repeat
constexpr int64_t rows_of_backward = 16;

int thread_index() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

AttentionKernels kernels_for(Isa isa, Dtype dtype) {
    return dtype == Dtype::bfloat16 ? PARADIGM_DISPATCH_BFLOAT16(isa, attention_kernels)() : PARADIGM_DISPATCH(isa, attention_kernels)();
}

// Keys or values as the loops read them: copied where rows of bfloat16 are not whole pairs, at whole pairs' addresses.
class KeyRows {
  public:
    KeyRows(HeadRows& rows, const Attention& call) {
        const bool is_paired = rows.row_stride % 2 == 0 && rows.head_stride % 2 == 0 && reinterpret_cast<std::uintptr_t>(rows.data) % 4 == 0;
        if (call.dtype == Dtype::float32 || is_paired) return;
        const int64_t heads = call.options.num_kv_heads, dim = call.options.head_dim;
        copy_.reset(new uint16_t[static_cast<std::size_t>(call.num_rows * heads * dim)]);
        const uint16_t* from = static_cast<const uint16_t*>(rows.data);
        for (int64_t row = 0; row < call.num_rows; ++row) {
            for (int64_t head = 0; head < heads; ++head) {
                std::copy_n(from + row * rows.row_stride + head * rows.head_stride, dim, copy_.get() + (row * heads + head) * dim);
            }
        }
        rows = {copy_.get(), heads * dim, dim};
    }

  private:
    std::unique_ptr<uint16_t[]> copy_;
};

void check_options(const AttentionOptions& o) {
    if (o.head_dim < 8 || o.head_dim > 256 || o.head_dim % 8) refuse("head_dim must be a multiple of 8 up to 256", o.head_dim);
    if (o.num_kv_heads < 1 || o.num_query_heads % o.num_kv_heads) refuse("num_query_heads must be a multiple of num_kv_heads", o.num_query_heads);
    if (o.window < 0) refuse("window must be >= 0", o.window);
}

void check_cuts(const int32_t* cuts, int64_t count, int64_t num_rows) {
    if (cuts[0] != 0) refuse("cu_seqlens must start at 0", cuts[0]);
    for (int64_t b = 0; b < count; ++b) {
        if (cuts[b + 1] < cuts[b]) refuse("cu_seqlens must not decrease", cuts[b + 1]);
    }
    if (cuts[count] > num_rows) refuse("cu_seqlens must end at or before the number of rows", cuts[count]);
}

// Memory of one thread behind an AttentionScratch.
class Memory {
  public:
    Memory(const AttentionOptions& o, int64_t num_keys, bool backward) {
        const int64_t dim = (o.head_dim + 15) / 16 * 16, keys = (num_keys + 15) / 16 * 16, rows = backward ? rows_of_backward : 8;
        const int64_t by_key = keys * dim, by_row = rows * dim, scores = rows * keys;
        const int64_t floats = backward ? 6 * by_key + 4 * by_row + 2 * scores : 2 * by_key + 2 * by_row + scores;
        floats_.reset(new float[static_cast<std::size_t>(floats + 16)]);
        tiles_.reset(new const void*[static_cast<std::size_t>(6 * (keys / 16))]);
        float* next = reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(floats_.get()) + 63) / 64 * 64);
        auto take = [&](int64_t count) { return std::exchange(next, next + count); };
        scratch.padded_dim = dim;
        scratch.padded_keys = keys;
        scratch.keys = take(by_key);
        scratch.values = take(by_key);
        scratch.scores = take(scores);
        scratch.q = take(by_row);
        scratch.out = take(by_row);
        if (backward) {
            scratch.raw_q = take(by_row);
            scratch.grad_out = take(by_row);
            scratch.transposed_values = take(by_key);
            scratch.key_rows = take(by_key);
            scratch.grad_keys = take(by_key);
            scratch.grad_values = take(by_key);
            scratch.grad_scores = take(scores);
        }
        scratch.key_tiles = tiles_.get();
        scratch.value_tiles = tiles_.get() + keys / 16;
        scratch.copied_keys = tiles_.get() + 2 * (keys / 16);
        scratch.copied_values = tiles_.get() + 3 * (keys / 16);
        scratch.ahead_key_tiles = tiles_.get() + 4 * (keys / 16);
        scratch.ahead_value_tiles = tiles_.get() + 5 * (keys / 16);
    }
    AttentionScratch scratch{};

  private:
    std::unique_ptr<float[]> floats_;
    std::unique_ptr<const void*[]> tiles_;
};

// Runs `work(item, scratch)` for every item on up to num_threads threads, mostly after its neighbour in the list; `products` is the
// multiply-adds of all items together.
template <class Work>
void run_items(
    const std::vector<AttentionItem>& items, const AttentionOptions& options, int64_t num_keys, bool backward, double products, int num_threads,
    const Work& work) {
    const int64_t count = static_cast<int64_t>(items.size());
    const int threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>({num_threads, count, static_cast<int64_t>(products / 1e5)})));
    const int64_t chunk = std::clamp<int64_t>(count / (16 * threads), 1, 16);
    (void)chunk;
    std::vector<std::unique_ptr<Memory>> memory(static_cast<std::size_t>(threads));
    for (auto& each : memory) each = std::make_unique<Memory>(options, num_keys, backward);  // here, where an allocation may throw
    if (threads == 1) {
        for (const AttentionItem& item : items) work(item, memory[0]->scratch);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
#endif
    {
        const AttentionScratch& scratch = memory[static_cast<std::size_t>(thread_index())]->scratch;
#ifdef _OPENMP
#pragma omp for schedule(dynamic, chunk)
#endif
        for (int64_t i = 0; i < count; ++i) work(items[static_cast<std::size_t>(i)], scratch);
    }
}

void check_heads(const AttentionOptions& o, int64_t num_rows, int num_threads) {
    check_options(o);
    if (num_rows < 0) refuse("num_rows must be >= 0", num_rows);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
}

// Every document's length, its parent's included.
std::vector<int64_t> key_counts(const Attention& call) {
    check_cuts(call.cu_seqlens, call.num_documents, call.num_rows);
    std::vector<int64_t> counts(static_cast<std::size_t>(call.num_documents));
    for (int64_t b = 0; b < call.num_documents; ++b) {
        int64_t& count = counts[static_cast<std::size_t>(b)] = call.cu_seqlens[b + 1] - call.cu_seqlens[b];
        const int64_t parent = call.parent ? call.parent[b] : -1;
        if (parent < 0) continue;
        if (parent >= call.num_documents || parent == b || call.parent[parent] >= 0) {
            refuse("parent must be -1 or a document that has no parent itself", parent);
        }
        count += call.cu_seqlens[parent + 1] - call.cu_seqlens[parent];
    }
    return counts;
}

}  // namespace

void attention(const Attention& given, int num_threads, Isa isa) {
    check_heads(given.options, given.num_rows, num_threads);
    Attention call = given;
    const AttentionOptions& o = call.options;
    const KeyRows keys(call.k, call), values(call.v, call);
    const std::vector<int64_t> counts = key_counts(call);
    std::vector<AttentionItem> items;
    int64_t longest = 0;
    double products = 0;
    for (int64_t b = 0; b < call.num_documents; ++b) {
        const int64_t length = call.cu_seqlens[b + 1] - call.cu_seqlens[b];
        longest = std::max(longest, counts[static_cast<std::size_t>(b)]);
        products += static_cast<double>(length) * static_cast<double>(counts[static_cast<std::size_t>(b)]);
        for (int64_t first = 0; first < length; first += queries_per_item) {
            for (int64_t head = 0; head < o.num_kv_heads; ++head) items.push_back({b, head, first, std::min(first + queries_per_item, length)});
        }
    }
    const auto kernel = kernels_for(isa, call.dtype).item[static_cast<int>(call.dtype)];
    products *= static_cast<double>(o.num_query_heads * o.head_dim);
    run_items(items, o, longest, false, products, num_threads, [&](const AttentionItem& item, const AttentionScratch& scratch) {
        kernel(call, item, scratch);
    });
    const int64_t row = o.num_query_heads * o.head_dim * bytes_of(call.dtype), used = call.cu_seqlens[call.num_documents];
    std::memset(static_cast<char*>(call.out) + used * row, 0, static_cast<std::size_t>((call.num_rows - used) * row));
}

void attention_backward(const AttentionGradient& given, int num_threads, Isa isa) {
    check_heads(given.forward.options, given.forward.num_rows, num_threads);
    AttentionGradient call = given;
    const Attention& f = call.forward;
    const AttentionOptions& o = f.options;
    const KeyRows keys_as_read(call.forward.k, f), values_as_read(call.forward.v, f);
    if (f.num_rows == 0) return;  // tensors without rows have no memory
    if (!f.lse) throw std::invalid_argument("lse must be what the forward stored, got null");
    if (call.grad_v_stride < o.num_kv_heads * o.head_dim) refuse("grad_v_stride must be at least num_kv_heads * head_dim", call.grad_v_stride);
    const std::vector<int64_t> counts = key_counts(f);
    const std::size_t n = static_cast<std::size_t>(f.num_documents);
    std::vector<int32_t> first_child(n, -1), next_sibling(n, -1);
    for (int64_t b = f.num_documents - 1; b >= 0 && f.parent; --b) {
        if (f.parent[b] < 0) continue;
        const std::size_t parent = static_cast<std::size_t>(f.parent[b]);
        next_sibling[static_cast<std::size_t>(b)] = std::exchange(first_child[parent], static_cast<int32_t>(b));
    }
    std::vector<AttentionItem> items;
    int64_t longest = 0;
    double products = 0;
    for (int64_t b = 0; b < f.num_documents; ++b) {
        longest = std::max(longest, counts[static_cast<std::size_t>(b)]);
        products += static_cast<double>(f.cu_seqlens[b + 1] - f.cu_seqlens[b]) * static_cast<double>(counts[static_cast<std::size_t>(b)]);
        if (f.parent && f.parent[b] >= 0) continue;
        for (int64_t head = 0; head < o.num_kv_heads; ++head) items.push_back({b, head, 0, 0});
    }
    const DocumentLinks links{first_child.data(), next_sibling.data()};
    const auto kernel = kernels_for(isa, f.dtype).backward_item[static_cast<int>(f.dtype)];
    products *= static_cast<double>(o.num_query_heads * o.head_dim);
    run_items(items, o, longest, true, products, num_threads, [&](const AttentionItem& item, const AttentionScratch& scratch) {
        kernel(call, item, links, scratch);
    });
    const int64_t used = f.cu_seqlens[f.num_documents], bytes = bytes_of(f.dtype), queries = o.num_query_heads * o.head_dim, keys = o.num_kv_heads * o.head_dim;
    auto clear = [&](void* grad, int64_t stride, int64_t width) {
        for (int64_t row = used; row < f.num_rows; ++row) {
            std::memset(static_cast<char*>(grad) + row * stride * bytes, 0, static_cast<std::size_t>(width * bytes));
        }
    };
    clear(call.grad_q, queries, queries);
    clear(call.grad_k, keys, keys);
    clear(call.grad_v, call.grad_v_stride, keys);
}

namespace {

// A token's key and value of one head, into their places in the cache.
template <class T>
void write_token(const PagedAttention& call, int64_t row, int64_t head, int64_t block, int64_t offset) {
    const int64_t dim = call.options.head_dim, size = call.block_size;
    const T* key = static_cast<const T*>(call.k.data) + row * call.k.row_stride + head * call.k.head_stride;
    const T* value = static_cast<const T*>(call.v.data) + row * call.v.row_stride + head * call.v.head_stride;
    const int64_t base = (block * call.options.num_kv_heads + head) * dim * size;
    T* keys = static_cast<T*>(call.keys) + base + offset;
    for (int64_t d = 0; d < dim; ++d) keys[d * size] = key[d];
    std::memcpy(static_cast<T*>(call.values) + base + offset * dim, value, static_cast<std::size_t>(dim) * sizeof(T));
}

void check_sequence(const PagedAttention& call, int64_t b) {
    const int64_t fed = call.cu_seqlens[b + 1] - call.cu_seqlens[b], context = call.context_lengths[b], slot = call.slots[b];
    auto which = [&](const char* name) { return name + ("[" + std::to_string(b) + "] must be "); };
    if (slot < 0 || slot >= call.num_slots) refuse(which("slots") + "a row of the block table's " + std::to_string(call.num_slots), slot);
    const int64_t capacity = call.max_blocks * call.block_size;
    if (context < fed || context > capacity) {
        refuse(which("context_lengths") + "in [" + std::to_string(fed) + ", " + std::to_string(capacity) + "]", context);
    }
    for (int64_t i = 0; i * call.block_size < context; ++i) {
        const int64_t block = call.block_table[slot * call.max_blocks + i];
        if (block < 0 || block >= call.num_blocks) {
            refuse("block_table[" + std::to_string(slot) + ", " + std::to_string(i) + "] must be in [0, " + std::to_string(call.num_blocks) + ")", block);
        }
    }
}

// Items for the wanted rows [begin, end) of sequence b, one a run of neighbours.
void push_wanted(int64_t b, int64_t head, const int32_t* begin, const int32_t* end, int64_t start, std::vector<AttentionItem>& items) {
    int64_t last = 0;
    for (const int32_t* row = begin; row < end;) {
        const int64_t first = *row - start;
        if (first < last) refuse("rows must ascend and be tokens of the sequences", *row);
        for (last = first; row < end && *row == start + last && last - first < queries_per_item; ++row) ++last;
        items.push_back({b, head, first, last});
    }
}

}  // namespace

void check_paged_attention(const PagedAttention& call, int num_threads) {
    check_heads(call.options, call.num_rows, num_threads);
    check_cuts(call.cu_seqlens, call.num_sequences, call.num_rows);
    if (call.block_size < 16 || call.block_size % 16) refuse("block_size must be a multiple of 16", call.block_size);
    for (int64_t b = 0; b < call.num_sequences; ++b) check_sequence(call, b);
}

void paged_attention(const PagedAttention& call, int num_threads, Isa isa) {
    check_paged_attention(call, num_threads);
    const AttentionOptions& o = call.options;
    std::vector<AttentionItem> items;
    int64_t longest = 0;
    double products = 0;
    const AttentionKernels kernels = kernels_for(isa, call.dtype);
    bool all_feed_one = true;
    for (int64_t b = 0; b < call.num_sequences; ++b) all_feed_one &= call.cu_seqlens[b + 1] - call.cu_seqlens[b] == 1;
    // two heads at once are faster, since a few rows do not fill the time until a product is there
    const bool pair_heads = all_feed_one && call.num_wanted < 0 && call.num_sequences >= num_threads && o.num_kv_heads % 2 == 0 && o.head_dim % 16 == 0 &&
                            2 * (o.num_query_heads / o.num_kv_heads) <= kernels.rows_of_block;
    const int64_t heads = pair_heads ? 2 : 1;
    const int32_t *wanted = call.wanted, *last_wanted = call.wanted + std::max<int64_t>(0, call.num_wanted);
    for (int64_t b = 0; b < call.num_sequences; ++b) {
        const int64_t fed = call.cu_seqlens[b + 1] - call.cu_seqlens[b];
        longest = std::max<int64_t>(longest, call.context_lengths[b]);
        products += static_cast<double>(fed) * call.context_lengths[b];
        const int32_t* end = wanted;
        while (end < last_wanted && *end < call.cu_seqlens[b + 1]) ++end;
        for (int64_t head = 0; head < o.num_kv_heads; head += heads) {
            if (call.num_wanted >= 0) {
                push_wanted(b, head, wanted, end, call.cu_seqlens[b], items);
                continue;
            }
            for (int64_t first = 0; first < fed; first += queries_per_item) items.push_back({b, head, first, std::min(first + queries_per_item, fed), heads});
        }
        wanted = end;
    }
    if (wanted != last_wanted) refuse("rows must ascend and be tokens of the sequences", *wanted);
    const auto write_one = call.dtype == Dtype::float32 ? &write_token<float> : &write_token<uint16_t>;
    auto write = [&](int64_t b, int64_t head) {
        const int64_t start = call.cu_seqlens[b], fed = call.cu_seqlens[b + 1] - start;
        for (int64_t i = 0; i < fed; ++i) {
            const int64_t position = call.context_lengths[b] - fed + i;
            const int64_t block = call.block_table[call.slots[b] * call.max_blocks + position / call.block_size];
            write_one(call, start + i, head, block, position % call.block_size);
        }
    };
    // where each sequence feeds one token, its item writes it, into lines that it is about to read anyway
    const bool items_write = all_feed_one && call.num_wanted < 0;
    if (!items_write) {
        const int64_t token_elements = 2 * o.num_kv_heads * o.head_dim, fed_each = call.num_rows / std::max<int64_t>(1, call.num_sequences);
        for_blocks(call.num_sequences, 1, 4 * fed_each * token_elements, num_threads, [&](int64_t b, int64_t) {
            for (int64_t head = 0; head < o.num_kv_heads; ++head) write(b, head);
        });
    }
    const auto kernel = kernels.paged_item[static_cast<int>(call.dtype)];
    products *= static_cast<double>(o.num_query_heads * o.head_dim);
    run_items(items, o, longest, false, products, num_threads, [&](const AttentionItem& item, const AttentionScratch& scratch) {
        for (int64_t head = 0; head < item.num_kv_heads && items_write; ++head) write(item.document, item.kv_head + head);
        kernel(call, item, &item == &items.back() ? nullptr : &item + 1, scratch);
    });
    const int64_t row = o.num_query_heads * o.head_dim * bytes_of(call.dtype), used = call.cu_seqlens[call.num_sequences];
    std::memset(static_cast<char*>(call.out) + used * row, 0, static_cast<std::size_t>((call.num_rows - used) * row));
}

}  // namespace paradigm
