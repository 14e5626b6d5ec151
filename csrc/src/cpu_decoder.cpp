// A decoder layer on a paged cache as one call: the sampler's step spends no time between its parts.
#include <cstdint>
#include <memory>

#include "paradigm/cpu_linear.h"

namespace paradigm {
namespace {

// Rows in one allocation, handed out piece by piece on cache lines.
class Rows {
  public:
    Rows(int64_t num_rows, int64_t width, Dtype dtype, int num_pieces) : row_bytes_(dtype == Dtype::float32 ? 4 : 2), num_rows_(num_rows) {
        const int64_t size = num_rows * width * row_bytes_ + 64 * (num_pieces + 1);
        memory_.reset(new char[static_cast<std::size_t>(size)]);
        next_ = memory_.get();
    }
    void* take(int64_t width) {
        next_ += (64 - reinterpret_cast<std::uintptr_t>(next_) % 64) % 64;
        void* piece = next_;
        next_ += num_rows_ * width * row_bytes_;
        return piece;
    }

  private:
    int64_t row_bytes_, num_rows_;
    std::unique_ptr<char[]> memory_;
    char* next_;
};

}  // namespace

void decoder_layer(const DecoderLayer& call, int num_threads, Isa isa, bool amx) {
    const AttentionOptions& heads = call.attention.options;
    const int64_t queries = heads.num_query_heads * heads.head_dim, keys = heads.num_kv_heads * heads.head_dim;
    Rows rows(call.num_rows, 2 * call.width + 3 * queries + 3 * keys + 3 * call.intermediate, call.dtype, 12);
    void *normed = rows.take(call.width), *attended = rows.take(call.width);
    void *q = rows.take(queries), *k = rows.take(keys), *v = rows.take(keys), *rotated_q = rows.take(queries), *rotated_k = rows.take(keys);
    void *out = rows.take(queries), *gate = rows.take(call.intermediate), *up = rows.take(call.intermediate), *product = rows.take(call.intermediate);

    auto norm = [&](const void* x, const void* residual, const void* weight, void* total) {
        RmsNorm norm;
        norm.dtype = call.dtype;
        norm.num_rows = call.num_rows;
        norm.width = call.width;
        norm.x = x;
        norm.residual = residual;
        norm.weight = weight;
        norm.eps = call.eps;
        norm.y = normed;
        norm.total = total;
        rms_norm(norm, num_threads, isa);
    };
    auto project = [&](const void* x, int64_t inputs, const LinearOutput& weight, void* y) {
        Linear linear_call;
        linear_call.dtype = linear_call.y_dtype = call.dtype;
        linear_call.num_rows = call.num_rows;
        linear_call.num_inputs = inputs;
        linear_call.x = x;
        linear_call.outputs[0] = weight;
        linear_call.outputs[0].y = y;
        return linear_call;
    };
    auto rotate = [&](const void* x, int64_t num_heads, const void* weight, void* y) {
        Rotary rotation;
        rotation.dtype = call.dtype;
        rotation.num_rows = call.num_rows;
        rotation.num_heads = num_heads;
        rotation.head_dim = heads.head_dim;
        rotation.pairs = call.pairs;
        rotation.x = {x, num_heads * heads.head_dim, heads.head_dim};
        rotation.cos = call.cos;
        rotation.sin = call.sin;
        rotation.weight = weight;
        rotation.eps = call.eps;
        rotation.y = y;
        rotary(rotation, num_threads, isa);
    };

    const void* x = call.residual ? call.total : call.update;
    norm(call.update, call.residual, call.input_norm, call.total);
    Linear projections = project(normed, call.width, call.q, q);
    projections.outputs[1] = call.k;
    projections.outputs[1].y = k;
    projections.outputs[2] = call.v;
    projections.outputs[2].y = v;
    projections.num_weights = 3;
    linear(projections, num_threads, isa, amx);
    rotate(q, heads.num_query_heads, call.q_norm, rotated_q);
    rotate(k, heads.num_kv_heads, call.k_norm, rotated_k);
    PagedAttention attention = call.attention;
    attention.q = {rotated_q, queries, heads.head_dim};
    attention.k = {rotated_k, keys, heads.head_dim};
    attention.v = {v, keys, heads.head_dim};
    attention.out = out;
    paged_attention(attention, num_threads, isa);
    linear(project(out, queries, call.o, attended), num_threads, isa, amx);

    norm(attended, x, call.post_norm, call.total);
    Linear gates = project(normed, call.width, call.gate, gate);
    gates.outputs[1] = call.up;
    gates.outputs[1].y = up;
    gates.num_weights = 2;
    linear(gates, num_threads, isa, amx);
    swiglu(call.dtype, gate, up, product, call.num_rows * call.intermediate, num_threads, isa);
    linear(project(product, call.intermediate, call.down, call.out), num_threads, isa, amx);
}

}  // namespace paradigm
