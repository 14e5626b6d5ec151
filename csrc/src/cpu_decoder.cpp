// A stack of decoder layers on a paged cache as one call: the sampler's step spends no time between its parts.
#include "paradigm/cpu_decoder.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cpu_threads.h"

namespace paradigm {
namespace {

// Matrices in one allocation, each starting a cache line.
class Workspace {
  public:
    void reserve(void** place, int64_t bytes) {
        places_.push_back({place, size_});
        size_ += (bytes + 63) / 64 * 64;
    }
    void allocate() {
        memory_.reset(new char[static_cast<std::size_t>(size_ + 64)]);
        char* start = memory_.get() + (64 - reinterpret_cast<std::uintptr_t>(memory_.get()) % 64) % 64;
        for (const auto& [place, offset] : places_) *place = start + offset;
    }

  private:
    int64_t size_ = 0;
    std::vector<std::pair<void**, int64_t>> places_;
    std::unique_ptr<char[]> memory_;
};

const void* or_null(const std::vector<char>& weight) { return weight.empty() ? nullptr : weight.data(); }

// From how many on a thread gets rows of its own, and reads all weights; fewer rows are shared out by their outputs, with a wait at every product.
constexpr int64_t rows_of_thread = 48;
constexpr int64_t rows_with_cached_weights = 16;  // where the weights lie in a cache that the threads share
constexpr int64_t cached_bytes = int64_t{6} << 20;
constexpr int64_t rows_at_once = 256;  // of a thread's rows: what is computed between two attentions stays in its second cache

// What a thread keeps of the rows it is at, [rows, width] each.
struct Scratch {
    void *normed, *q, *k, *gate, *up, *product;
};
// Rows [first, first + count) and who computes them.
struct Range {
    int64_t first, count;
    int threads;
    const Scratch& scratch;
};

// One step of one decoder, by rows.
class Stack {
  public:
    Stack(const Decoder& decoder, const DecoderStep& step, int num_threads)
        : decoder_(decoder), step_(step), threads_(num_threads), width_(decoder.width), head_dim_(decoder.heads.head_dim),
          queries_(decoder.heads.num_query_heads * head_dim_), keys_(decoder.heads.num_kv_heads * head_dim_),
          intermediate_(decoder.layers[0].gate.num_outputs), own_rows_(weight_bytes() <= cached_bytes ? rows_with_cached_weights : rows_of_thread),
          num_rows_(step.num_rows), scratch_(is_shared() ? 1 : static_cast<std::size_t>(num_threads)) {
        const int64_t most_shared = std::min(num_rows_, own_rows_ * threads_);
        const int64_t row = element_bytes() * num_rows_, part = element_bytes() * (is_shared() ? num_rows_ : std::max(rows_at_once, most_shared));
        for (void** place : {&x_, &total_, &update_}) workspace_.reserve(place, row * width_);
        for (void** place : {&cos_, &sin_}) workspace_.reserve(place, num_rows_ * step.pairs * static_cast<int64_t>(sizeof(float)));
        for (void** place : {&rotated_q_, &attended_}) workspace_.reserve(place, row * queries_);
        for (void** place : {&rotated_k_, &v_}) workspace_.reserve(place, row * keys_);
        for (Scratch& scratch : scratch_) {
            workspace_.reserve(&scratch.normed, part * width_);
            workspace_.reserve(&scratch.q, part * queries_);
            workspace_.reserve(&scratch.k, part * keys_);
            for (void** place : {&scratch.gate, &scratch.up, &scratch.product}) workspace_.reserve(place, part * intermediate_);
        }
        workspace_.allocate();
        residual_ = x_;
    }

    void run() {
        PagedAttention attention = step_.attention;
        attention.dtype = decoder_.dtype;
        attention.options = decoder_.heads;
        attention.num_rows = num_rows_;
        attention.q = {rotated_q_, queries_, head_dim_};
        attention.k = {rotated_k_, keys_, head_dim_};
        attention.v = {v_, keys_, head_dim_};
        attention.out = attended_;
        if (is_apart()) return run_apart(attention);
        const DecoderLayer* before = nullptr;
        for (const DecoderLayer& layer : decoder_.layers) {
            for_rows([&](const Range& range) {
                project_heads(layer, before, residual_, range);
            });
            if (before) residual_ = total_;
            attention.options.window = layer.window;
            if (&layer == &decoder_.layers.back()) {  // its other rows were needed for their keys and values
                attention.wanted = step_.wanted;
                attention.num_wanted = step_.num_wanted;
            }
            paged_attention(attention, threads_);
            attention.keys = static_cast<char*>(attention.keys) + step_.cache_layer_bytes;
            attention.values = static_cast<char*>(attention.values) + step_.cache_layer_bytes;
            before = &layer;
        }
        if (step_.num_wanted >= 0) keep_wanted();
        for_rows([&](const Range& range) {
            feed_forward(*before, residual_, range);
            norm(update_, total_, decoder_.final_norm, at(step_.hidden, width_, range), range);
        });
    }

  private:
    // Whether every row is a sequence's one token and all are wanted, so that threads with rows of their own need not wait for each other.
    bool is_apart() const {
        if (threads_ == 1 || is_shared()) return false;
        if (step_.attention.num_sequences != num_rows_ || step_.attention.cu_seqlens[num_rows_] != num_rows_) return false;
        if (step_.num_wanted < 0) return true;
        for (int64_t row = 0; row < step_.num_wanted; ++row) {
            if (step_.wanted[row] != row) return false;
        }
        return step_.num_wanted == num_rows_;
    }

    // Cuts of the rows, one more than threads, between which the work is about the same.
    std::vector<int64_t> even_shares(const int32_t* context_lengths) const {
        const double products = static_cast<double>(weight_bytes()) / static_cast<double>(element_bytes());
        const double a_key = 6.0 * static_cast<double>(queries_) * static_cast<double>(decoder_.layers.size());  // as many multiply-adds of a product take its time
        double total = 0.0, seen = 0.0;
        for (int64_t row = 0; row < num_rows_; ++row) total += products + a_key * context_lengths[row];
        std::vector<int64_t> cuts = {0};
        for (int64_t row = 0; row < num_rows_; ++row) {
            while (seen >= total * static_cast<double>(cuts.size()) / threads_ && static_cast<int64_t>(cuts.size()) < threads_) cuts.push_back(row);
            seen += products + a_key * context_lengths[row];
        }
        cuts.resize(static_cast<std::size_t>(threads_) + 1, num_rows_);
        return cuts;
    }

    // All layers for a thread's rows, then for the next thread's: the same arithmetic without a wait in between.
    void run_apart(PagedAttention attention) {
        check_paged_attention(attention, threads_);  // no thread may throw
        std::vector<int32_t> cuts(static_cast<std::size_t>(num_rows_ + 1));
        std::iota(cuts.begin(), cuts.end(), 0);
        const std::vector<int64_t> shares = even_shares(attention.context_lengths);
        for_each_block(threads_, threads_, [&](int64_t thread) {
            const int64_t start = shares[static_cast<std::size_t>(thread)], end = shares[static_cast<std::size_t>(thread) + 1];
            if (start == end) return;
            auto for_own_rows = [&](const auto& body) {
                for (int64_t first = start; first < end; first += rows_at_once) {
                    body({first, std::min(rows_at_once, end - first), 1, scratch_[static_cast<std::size_t>(thread)]});
                }
            };
            PagedAttention own = attention;
            own.num_rows = own.num_sequences = end - start;
            own.cu_seqlens = cuts.data();
            own.context_lengths += start;
            own.slots += start;
            for (HeadRows* rows : {&own.q, &own.k, &own.v}) rows->data = static_cast<const char*>(rows->data) + start * rows->row_stride * element_bytes();
            own.out = static_cast<char*>(own.out) + start * queries_ * element_bytes();
            const DecoderLayer* before = nullptr;
            const void* residual = x_;
            for (const DecoderLayer& layer : decoder_.layers) {
                for_own_rows([&](const Range& range) {
                    project_heads(layer, before, residual, range);
                });
                if (before) residual = total_;
                own.options.window = layer.window;
                paged_attention(own, 1);
                own.keys = static_cast<char*>(own.keys) + step_.cache_layer_bytes;
                own.values = static_cast<char*>(own.values) + step_.cache_layer_bytes;
                before = &layer;
            }
            for_own_rows([&](const Range& range) {
                feed_forward(*before, residual, range);
                norm(update_, total_, decoder_.final_norm, at(step_.hidden, width_, range), range);
            });
        });
    }

    // From here on the rows are the wanted ones.
    void keep_wanted() {
        auto keep = [&](void* to, const void* from, int64_t width) {
            const int64_t bytes = width * element_bytes();
            for (int64_t i = 0; i < step_.num_wanted; ++i) {  // they ascend: none is overwritten before it has moved
                const char* row = static_cast<const char*>(from) + step_.wanted[i] * bytes;
                std::memmove(static_cast<char*>(to) + i * bytes, row, static_cast<std::size_t>(bytes));
            }
        };
        keep(total_, residual_, width_);
        keep(attended_, attended_, queries_);
        residual_ = total_;
        num_rows_ = step_.num_wanted;
    }

    bool is_shared() const { return num_rows_ < own_rows_ * threads_; }

    int64_t weight_bytes() const {
        int64_t sum = 0;
        for (const DecoderLayer& layer : decoder_.layers) {
            for (const PackedLinear* weight : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
                sum += weight->num_inputs * weight->num_outputs * element_bytes();
            }
        }
        return sum;
    }

    int64_t element_bytes() const { return bytes_of(decoder_.dtype); }
    char* at(void* rows, int64_t width, const Range& range) const { return static_cast<char*>(rows) + range.first * width * element_bytes(); }
    const char* at(const void* rows, int64_t width, const Range& range) const {
        return static_cast<const char*>(rows) + range.first * width * element_bytes();
    }

    // Calls body(range) for all rows.
    template <class Body>
    void for_rows(const Body& body) {
        if (num_rows_ == 0) return;
        if (is_shared()) return body({0, num_rows_, threads_, scratch_[0]});
        for_each_block(threads_, threads_, [&](int64_t thread) {
            const int64_t end = (thread + 1) * num_rows_ / threads_;
            for (int64_t first = thread * num_rows_ / threads_; first < end; first += rows_at_once) {
                body({first, std::min(rows_at_once, end - first), 1, scratch_[static_cast<std::size_t>(thread)]});
            }
        });
    }

    // Of x + residual, whose sum goes to total; x and residual are all rows, y is the range's.
    void norm(const void* x, const void* residual, const std::vector<char>& weight, void* y, const Range& range) {
        RmsNorm call;
        call.dtype = decoder_.dtype;
        call.num_rows = range.count;
        call.width = width_;
        call.x = at(x, width_, range);
        call.residual = residual ? at(residual, width_, range) : nullptr;
        call.weight = weight.data();
        call.eps = decoder_.eps;
        call.y = y;
        call.total = at(total_, width_, range);
        rms_norm(call, range.threads);
    }

    void project(const void* x, std::initializer_list<PackedProduct> products, const Range& range) {
        PackedCall call;
        call.y_dtype = decoder_.dtype;
        call.num_rows = range.count;
        call.x = x;
        call.num_products = 0;
        for (const PackedProduct& product : products) call.products[call.num_products++] = product;
        linear(call, range.threads);
    }

    void rotate(const void* x, int64_t num_heads, const std::vector<char>& weight, void* y, const Range& range) {
        Rotary call;
        call.dtype = decoder_.dtype;
        call.num_rows = range.count;
        call.num_heads = num_heads;
        call.head_dim = head_dim_;
        call.pairs = step_.pairs;
        call.x = {x, num_heads * head_dim_, head_dim_};
        call.cos = static_cast<const float*>(cos_) + range.first * step_.pairs;
        call.sin = static_cast<const float*>(sin_) + range.first * step_.pairs;
        call.weight = or_null(weight);
        call.eps = decoder_.eps;
        call.y = at(y, num_heads * head_dim_, range);
        rotary(call, range.threads);
    }

    // Embeddings of the tokens, and cosines and sines of their positions.
    void look_up(const Range& range) {
        const int64_t row_bytes = width_ * element_bytes();
        for (int64_t row = range.first; row < range.first + range.count; ++row) {
            std::memcpy(static_cast<char*>(x_) + row * row_bytes, static_cast<const char*>(decoder_.embeddings) + step_.tokens[row] * row_bytes,
                        static_cast<std::size_t>(row_bytes));
            std::copy_n(step_.cos + step_.positions[row] * step_.pairs, step_.pairs, static_cast<float*>(cos_) + row * step_.pairs);
            std::copy_n(step_.sin + step_.positions[row] * step_.pairs, step_.pairs, static_cast<float*>(sin_) + row * step_.pairs);
        }
    }

    // From the attention of the layer before, or for the first from the tokens, up to attention; the residual stream is then total + update, or x.
    void project_heads(const DecoderLayer& layer, const DecoderLayer* before, const void* residual, const Range& range) {
        const Scratch& own = range.scratch;
        if (before) {
            feed_forward(*before, residual, range);
        } else {
            look_up(range);
        }
        norm(before ? update_ : x_, before ? total_ : nullptr, layer.input_norm, own.normed, range);
        project(own.normed, {{&layer.q, own.q}, {&layer.k, own.k}, {&layer.v, at(v_, keys_, range)}}, range);
        rotate(own.q, decoder_.heads.num_query_heads, layer.q_norm, rotated_q_, range);
        rotate(own.k, decoder_.heads.num_kv_heads, layer.k_norm, rotated_k_, range);
    }

    // What follows attention, with the residual stream before it: the layer's output is in update, to be added to total.
    void feed_forward(const DecoderLayer& layer, const void* residual, const Range& range) {
        const Scratch& own = range.scratch;
        project(at(attended_, queries_, range), {{&layer.o, at(update_, width_, range)}}, range);
        norm(update_, residual, layer.post_norm, own.normed, range);
        project(own.normed, {{&layer.gate, own.gate}, {&layer.up, own.up}}, range);
        swiglu({decoder_.dtype, range.count, intermediate_, intermediate_, own.gate, own.up, own.product}, range.threads);
        project(own.product, {{&layer.down, at(update_, width_, range)}}, range);
    }

    const Decoder& decoder_;
    const DecoderStep& step_;
    int threads_;
    int64_t width_, head_dim_, queries_, keys_, intermediate_;
    int64_t own_rows_;  // see rows_of_thread
    int64_t num_rows_;
    const void* residual_;  // what the coming update is added to
    std::vector<Scratch> scratch_;
    Workspace workspace_;
    void *x_, *cos_, *sin_, *total_, *update_, *rotated_q_, *attended_, *rotated_k_, *v_;  // all rows
};

}  // namespace

void decode(const Decoder& decoder, const DecoderStep& step, int num_threads) {
    for (int64_t row = 0; row < step.num_rows; ++row) {  // no thread may throw
        if (step.tokens[row] < 0 || step.tokens[row] >= decoder.vocab_size) refuse("tokens must be below " + std::to_string(decoder.vocab_size), step.tokens[row]);
        if (step.positions[row] < 0 || step.positions[row] >= step.num_positions) {
            refuse("positions must be below " + std::to_string(step.num_positions), step.positions[row]);
        }
    }
    if (!decoder.layers.empty() && step.num_rows > 0) Stack(decoder, step, num_threads).run();
}

}  // namespace paradigm
