// A stack of decoder layers on a paged cache as one call: the sampler's step spends no time between its parts.
#include "paradigm/cpu_decoder.h"

#include <cstdint>
#include <memory>
#include <utility>

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

}  // namespace

void decode(const Decoder& decoder, const DecoderStep& step, int num_threads) {
    if (decoder.layers.empty()) return;
    const Dtype dtype = decoder.dtype;
    const int64_t head_dim = decoder.heads.head_dim, queries = decoder.heads.num_query_heads * head_dim, keys = decoder.heads.num_kv_heads * head_dim;
    const int64_t intermediate = decoder.layers[0].gate.num_outputs;
    Workspace workspace(step.num_rows, dtype);
    void *total, *update, *normed, *q, *k, *v, *rotated_q, *rotated_k, *attended, *gate, *up, *product;
    for (void** place : {&total, &update, &normed}) workspace.reserve(place, decoder.width);
    for (void** place : {&q, &rotated_q, &attended}) workspace.reserve(place, queries);
    for (void** place : {&k, &v, &rotated_k}) workspace.reserve(place, keys);
    for (void** place : {&gate, &up, &product}) workspace.reserve(place, intermediate);
    workspace.allocate();

    auto norm = [&](const void* x, const void* residual, const std::vector<char>& weight, void* y) {
        RmsNorm call;
        call.dtype = dtype;
        call.num_rows = step.num_rows;
        call.width = decoder.width;
        call.x = x;
        call.residual = residual;
        call.weight = weight.data();
        call.eps = decoder.eps;
        call.y = y;
        call.total = total;
        rms_norm(call, num_threads);
    };
    auto project = [&](const void* x, std::initializer_list<PackedProduct> products) {
        PackedCall call;
        call.y_dtype = dtype;
        call.num_rows = step.num_rows;
        call.x = x;
        call.num_products = 0;
        for (const PackedProduct& product : products) call.products[call.num_products++] = product;
        linear(call, num_threads);
    };
    auto rotate = [&](const void* x, int64_t num_heads, const std::vector<char>& weight, void* y) {
        Rotary call;
        call.dtype = dtype;
        call.num_rows = step.num_rows;
        call.num_heads = num_heads;
        call.head_dim = head_dim;
        call.pairs = step.pairs;
        call.x = {x, num_heads * head_dim, head_dim};
        call.cos = step.cos;
        call.sin = step.sin;
        call.weight = or_null(weight);
        call.eps = decoder.eps;
        call.y = y;
        rotary(call, num_threads);
    };

    PagedAttention attention = step.attention;
    attention.dtype = dtype;
    attention.options = decoder.heads;
    attention.num_rows = step.num_rows;
    attention.q = {rotated_q, queries, head_dim};
    attention.k = {rotated_k, keys, head_dim};
    attention.v = {v, keys, head_dim};
    attention.out = attended;
    const void *incoming = step.x, *residual = nullptr;  // their sum is the residual stream
    for (const DecoderLayer& layer : decoder.layers) {
        norm(incoming, residual, layer.input_norm, normed);
        project(normed, {{&layer.q, q}, {&layer.k, k}, {&layer.v, v}});
        rotate(q, decoder.heads.num_query_heads, layer.q_norm, rotated_q);
        rotate(k, decoder.heads.num_kv_heads, layer.k_norm, rotated_k);
        attention.options.window = layer.window;
        paged_attention(attention, num_threads);
        attention.keys = static_cast<char*>(attention.keys) + step.cache_layer_bytes;
        attention.values = static_cast<char*>(attention.values) + step.cache_layer_bytes;
        project(attended, {{&layer.o, update}});
        norm(update, residual ? total : incoming, layer.post_norm, normed);
        project(normed, {{&layer.gate, gate}, {&layer.up, up}});
        swiglu(dtype, gate, up, product, step.num_rows * intermediate, num_threads);
        project(product, {{&layer.down, update}});
        incoming = update;
        residual = total;
    }
    norm(incoming, residual, decoder.final_norm, step.hidden);
}

}  // namespace paradigm
