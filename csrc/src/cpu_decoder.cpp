// A stack of decoder layers on a paged cache as one call: the sampler's step spends no time between its parts.
#include "paradigm/cpu_decoder.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "cpu_threads.h"

namespace paradigm {
namespace {

// Rows of several widths in one allocation, each on a cache line.
class Workspace {
  public:
    Workspace(int64_t num_rows, Dtype dtype) : row_bytes_(num_rows * (dtype == Dtype::float32 ? 4 : 2)) {}

    void reserve(void** place, int64_t width) {
        places_.push_back({place, size_});
        size_ += (width * row_bytes_ + 63) / 64 * 64;
    }
    void allocate() {
        memory_.reset(new char[static_cast<std::size_t>(size_ + 64)]);
        char* start = memory_.get() + (64 - reinterpret_cast<std::uintptr_t>(memory_.get()) % 64) % 64;
        for (const auto& [place, offset] : places_) *place = start + offset;
    }

  private:
    int64_t row_bytes_, size_ = 0;
    std::vector<std::pair<void**, int64_t>> places_;
    std::unique_ptr<char[]> memory_;
};

const void* or_null(const std::vector<char>& weight) { return weight.empty() ? nullptr : weight.data(); }

constexpr int64_t min_block_rows = 48;  // fewer rows are one block, which threads share by its outputs

int64_t rows_of_block(int64_t num_rows, int num_threads) {
    return num_rows < min_block_rows * num_threads ? std::max<int64_t>(num_rows, 1) : (num_rows + num_threads - 1) / num_threads;
}

// One step of one decoder, by rows.
class Stack {
  public:
    Stack(const Decoder& decoder, const DecoderStep& step, int num_threads)
        : decoder_(decoder), step_(step), threads_(num_threads), head_dim_(decoder.heads.head_dim), queries_(decoder.heads.num_query_heads * head_dim_),
          keys_(decoder.heads.num_kv_heads * head_dim_), intermediate_(decoder.layers[0].gate.num_outputs), workspace_(step.num_rows, decoder.dtype) {
        for (void** place : {&total_, &update_, &normed_}) workspace_.reserve(place, decoder.width);
        for (void** place : {&q_, &rotated_q_, &attended_}) workspace_.reserve(place, queries_);
        for (void** place : {&k_, &v_, &rotated_k_}) workspace_.reserve(place, keys_);
        for (void** place : {&gate_, &up_, &product_}) workspace_.reserve(place, intermediate_);
        workspace_.allocate();
        block_ = rows_of_block(step.num_rows, num_threads);
    }

    void run() {
        PagedAttention attention = step_.attention;
        attention.dtype = decoder_.dtype;
        attention.options = decoder_.heads;
        attention.num_rows = step_.num_rows;
        attention.q = {rotated_q_, queries_, head_dim_};
        attention.k = {rotated_k_, keys_, head_dim_};
        attention.v = {v_, keys_, head_dim_};
        attention.out = attended_;
        const DecoderLayer* before = nullptr;
        for (const DecoderLayer& layer : decoder_.layers) {
            for_rows([&](int64_t first, int64_t count, int threads) {
                if (before) feed_forward(*before, first, count, threads);
                project_heads(layer, before != nullptr, first, count, threads);
            });
            attention.options.window = layer.window;
            paged_attention(attention, threads_);
            attention.keys = static_cast<char*>(attention.keys) + step_.cache_layer_bytes;
            attention.values = static_cast<char*>(attention.values) + step_.cache_layer_bytes;
            before = &layer;
        }
        for_rows([&](int64_t first, int64_t count, int threads) {
            feed_forward(*before, first, count, threads);
            norm(update_, total_, decoder_.final_norm, step_.hidden, first, count, threads);
        });
    }

  private:
    int64_t element_bytes() const { return decoder_.dtype == Dtype::float32 ? 4 : 2; }
    void* at(void* rows, int64_t width, int64_t first) const { return static_cast<char*>(rows) + first * width * element_bytes(); }
    const void* at(const void* rows, int64_t width, int64_t first) const { return static_cast<const char*>(rows) + first * width * element_bytes(); }

    // Calls body(first row, rows, threads it may use) for all rows.
    template <class Body>
    void for_rows(const Body& body) {
        const int64_t num_blocks = (step_.num_rows + block_ - 1) / block_;
        if (num_blocks <= 1) return body(0, step_.num_rows, threads_);
        for_each_block(num_blocks, threads_, [&](int64_t i) { body(i * block_, std::min(block_, step_.num_rows - i * block_), 1); });
    }

    void norm(const void* x, const void* residual, const std::vector<char>& weight, void* y, int64_t first, int64_t count, int threads) {
        const int64_t width = decoder_.width;
        RmsNorm call;
        call.dtype = decoder_.dtype;
        call.num_rows = count;
        call.width = width;
        call.x = at(x, width, first);
        call.residual = residual ? at(residual, width, first) : nullptr;
        call.weight = weight.data();
        call.eps = decoder_.eps;
        call.y = at(y, width, first);
        call.total = at(total_, width, first);
        rms_norm(call, threads);
    }

    void project(const void* x, std::initializer_list<PackedProduct> products, int64_t first, int64_t count, int threads) {
        PackedCall call;
        call.y_dtype = decoder_.dtype;
        call.num_rows = count;
        call.num_products = 0;
        for (const PackedProduct& product : products) {
            call.x = at(x, product.weight->num_inputs, first);
            call.products[call.num_products++] = {product.weight, at(product.y, product.weight->num_outputs, first)};
        }
        linear(call, threads);
    }

    void rotate(const void* x, int64_t num_heads, const std::vector<char>& weight, void* y, int64_t first, int64_t count, int threads) {
        const int64_t width = num_heads * head_dim_;
        Rotary call;
        call.dtype = decoder_.dtype;
        call.num_rows = count;
        call.num_heads = num_heads;
        call.head_dim = head_dim_;
        call.pairs = step_.pairs;
        call.x = {at(x, width, first), width, head_dim_};
        call.cos = step_.cos + first * step_.pairs;
        call.sin = step_.sin + first * step_.pairs;
        call.weight = or_null(weight);
        call.eps = decoder_.eps;
        call.y = at(y, width, first);
        rotary(call, threads);
    }

    // Up to attention; the residual stream is x, or else total + update.
    void project_heads(const DecoderLayer& layer, bool has_update, int64_t first, int64_t count, int threads) {
        norm(has_update ? update_ : step_.x, has_update ? total_ : nullptr, layer.input_norm, normed_, first, count, threads);
        project(normed_, {{&layer.q, q_}, {&layer.k, k_}, {&layer.v, v_}}, first, count, threads);
        rotate(q_, decoder_.heads.num_query_heads, layer.q_norm, rotated_q_, first, count, threads);
        rotate(k_, decoder_.heads.num_kv_heads, layer.k_norm, rotated_k_, first, count, threads);
    }

    // What follows attention: the layer's output is in update, to be added to total.
    void feed_forward(const DecoderLayer& layer, int64_t first, int64_t count, int threads) {
        project(attended_, {{&layer.o, update_}}, first, count, threads);
        norm(update_, &layer == decoder_.layers.data() ? step_.x : total_, layer.post_norm, normed_, first, count, threads);
        project(normed_, {{&layer.gate, gate_}, {&layer.up, up_}}, first, count, threads);
        swiglu(decoder_.dtype, at(gate_, intermediate_, first), at(up_, intermediate_, first), at(product_, intermediate_, first), count * intermediate_, threads);
        project(product_, {{&layer.down, update_}}, first, count, threads);
    }

    const Decoder& decoder_;
    const DecoderStep& step_;
    int threads_;
    int64_t head_dim_, queries_, keys_, intermediate_, block_ = 1;
    Workspace workspace_;
    void *total_, *update_, *normed_, *q_, *k_, *v_, *rotated_q_, *rotated_k_, *attended_, *gate_, *up_, *product_;
};

}  // namespace

void decode(const Decoder& decoder, const DecoderStep& step, int num_threads) {
    if (!decoder.layers.empty() && step.num_rows > 0) Stack(decoder, step, num_threads).run();
}

}  // namespace paradigm
