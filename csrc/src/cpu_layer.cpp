// A decoder layer in training on the CPU: the order of its kernels, forward and back.
#include "paradigm/cpu_layer.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <vector>

#include "paradigm/cpu_linear.h"

namespace paradigm {
namespace {

class Run {
  public:
    Run(const Layer& layer, int num_threads)
        : layer_(layer), threads_(num_threads), bytes_(bytes_of(layer.dtype)), dim_(layer.heads.head_dim), queries_(layer.heads.num_query_heads * dim_),
          keys_(layer.heads.num_kv_heads * dim_), intermediate_(layer.gate.num_outputs) {}

    void forward(const void* update, const void* residual, void* out) const {
        norm(update, residual, layer_.input_norm, residual ? layer_.x : nullptr, layer_.normed, layer_.scale);
        project(layer_.normed, layer_.width, {layer_.q, layer_.k, layer_.v}, layer_.qkv);
        rotary(turn(query_rows(layer_.qkv), layer_.heads.num_query_heads, layer_.q_norm, layer_.turned_q), threads_);
        rotary(turn(key_rows(layer_.qkv), layer_.heads.num_kv_heads, layer_.k_norm, layer_.turned_k), threads_);
        attention(attend(), threads_);
        project(layer_.attended, queries_, {layer_.o}, out);  // for the time being
        norm(out, residual ? layer_.x : update, layer_.post_norm, layer_.post_x, layer_.post_normed, layer_.post_scale);
        project(layer_.post_normed, layer_.width, {layer_.gate, layer_.up}, layer_.gate_up);
        swiglu(gated(), threads_);
        project(layer_.product, intermediate_, {layer_.down}, out);
    }

    void backward(const LayerGradient& g) const {
        const Rows by_product(*this, intermediate_), by_normed(*this, layer_.width);
        go_back(g.grad, layer_.width, {layer_.down}, intermediate_, by_product.data());
        swiglu_backward({gated(), by_product.data(), g.grad_gate_up, at(g.grad_gate_up, intermediate_)}, threads_);
        go_back(g.grad_gate_up, 2 * intermediate_, {layer_.gate, layer_.up}, layer_.width, by_normed.data());
        norm_backward(by_normed.data(), g.grad_x, layer_.post_x, layer_.post_norm, layer_.post_scale, g.grad_post_x, g.post_norm);
        if (!g.grad_qkv) return;
        const Rows by_attended(*this, queries_), by_q(*this, queries_), by_k(*this, keys_);
        go_back(g.grad_post_x, layer_.width, {layer_.o}, queries_, by_attended.data());
        attention_backward(
            {attend(), {by_attended.data(), queries_, dim_}, by_q.data(), by_k.data(), at(g.grad_qkv, queries_ + keys_), qkv_width()}, threads_);
        const Rotary q = turn(query_rows(layer_.qkv), layer_.heads.num_query_heads, layer_.q_norm, nullptr);
        const Rotary k = turn(key_rows(layer_.qkv), layer_.heads.num_kv_heads, layer_.k_norm, nullptr);
        rotary_backward({q, {by_q.data(), queries_, dim_}, g.grad_qkv, qkv_width(), g.q_norm}, threads_);
        rotary_backward({k, {by_k.data(), keys_, dim_}, at(g.grad_qkv, queries_), qkv_width(), g.k_norm}, threads_);
        go_back(g.grad_qkv, qkv_width(), {layer_.q, layer_.k, layer_.v}, layer_.width, by_normed.data());
        norm_backward(by_normed.data(), g.grad_post_x, layer_.x, layer_.input_norm, layer_.scale, g.grad_update, g.input_norm);
    }

  private:
    // Memory for rows that nothing keeps.
    class Rows {
      public:
        Rows(const Run& run, int64_t width) : memory_(new char[static_cast<std::size_t>(run.layer_.num_rows * width * run.bytes_)]) {}
        void* data() const { return memory_.get(); }

      private:
        std::unique_ptr<char[]> memory_;
    };

    // Weights one below the other as `linear` takes them: in one piece if they cannot be cut into panels.
    class Parts {
      public:
        Parts(const Run& run, std::initializer_list<Projection> projections, int64_t num_inputs) {
            bool fit = true;
            for (const Projection& p : projections) {
                fit &= num_rows % panel_outputs == 0;
                num_rows += p.num_outputs;
                parts.push_back({p.weight, p.bias, p.num_outputs});
            }
            if (fit) return;
            const int64_t row_bytes = num_inputs * run.bytes_;
            const bool has_bias = std::any_of(parts.begin(), parts.end(), [](const WeightPart& part) { return part.bias != nullptr; });
            weights_.reset(new char[static_cast<std::size_t>(num_rows * row_bytes)]);
            biases_.reset(new char[static_cast<std::size_t>(num_rows * run.bytes_)]());
            char *weight = weights_.get(), *bias = biases_.get();
            for (const WeightPart& part : parts) {
                std::memcpy(weight, part.weight, static_cast<std::size_t>(part.num_rows * row_bytes));
                if (part.bias) std::memcpy(bias, part.bias, static_cast<std::size_t>(part.num_rows * run.bytes_));
                weight += part.num_rows * row_bytes;
                bias += part.num_rows * run.bytes_;
            }
            parts = {{weights_.get(), has_bias ? biases_.get() : nullptr, num_rows}};
        }
        std::vector<WeightPart> parts;
        int64_t num_rows = 0;

      private:
        std::unique_ptr<char[]> weights_, biases_;
    };

    void* at(void* rows, int64_t column) const { return static_cast<char*>(rows) + column * bytes_; }
    int64_t qkv_width() const { return queries_ + 2 * keys_; }
    HeadRows query_rows(void* qkv) const { return {qkv, qkv_width(), dim_}; }
    HeadRows key_rows(void* qkv) const { return {at(qkv, queries_), qkv_width(), dim_}; }
    HeadRows value_rows(void* qkv) const { return {at(qkv, queries_ + keys_), qkv_width(), dim_}; }

    void norm(const void* x, const void* residual, const void* weight, void* total, void* y, float* scale) const {
        rms_norm({layer_.dtype, layer_.num_rows, layer_.width, x, residual, weight, layer_.eps, y, total, scale}, threads_);
    }
    void norm_backward(
        const void* grad_y, const void* grad_total, const void* total, const void* weight, const float* scale, void* grad_x, float* grad_weight) const {
        rms_norm_backward({layer_.dtype, layer_.num_rows, layer_.width, grad_y, grad_total, total, weight, scale, grad_x, grad_weight}, threads_);
    }

    void project(const void* x, int64_t num_inputs, std::initializer_list<Projection> projections, void* y) const {
        Parts parts(*this, projections, num_inputs);
        linear({layer_.dtype, layer_.dtype, layer_.num_rows, num_inputs, parts.num_rows, x, std::move(parts.parts), y, false}, threads_);
    }
    // From a gradient of projections' outputs, side by side, to that of their inputs.
    void go_back(const void* grad, int64_t num_outputs, std::initializer_list<Projection> projections, int64_t num_inputs, void* grad_inputs) const {
        Parts parts(*this, projections, num_inputs);
        linear({layer_.dtype, layer_.dtype, layer_.num_rows, num_outputs, num_inputs, grad, std::move(parts.parts), grad_inputs, true}, threads_);
    }

    Rotary turn(const HeadRows& x, int64_t num_heads, const void* weight, void* y) const {
        return {layer_.dtype, layer_.num_rows, num_heads, dim_, layer_.pairs, x, layer_.cos, layer_.sin, weight, layer_.eps, y};
    }
    Attention attend() const {
        const HeadRows q{layer_.turned_q, queries_, dim_}, k{layer_.turned_k, keys_, dim_};
        return {layer_.dtype,      layer_.heads,  q,                    k,               value_rows(layer_.qkv), layer_.num_rows,
                layer_.cu_seqlens, layer_.parent, layer_.num_documents, layer_.attended, layer_.lse};
    }
    Swiglu gated() const {
        return {layer_.dtype, layer_.num_rows, intermediate_, 2 * intermediate_, layer_.gate_up, at(layer_.gate_up, intermediate_), layer_.product};
    }

    const Layer& layer_;
    int threads_;
    int64_t bytes_, dim_, queries_, keys_, intermediate_;
};

}  // namespace

void layer_forward(const Layer& layer, const void* update, const void* residual, void* out, int num_threads) {
    Run(layer, num_threads).forward(update, residual, out);
}

void layer_backward(const Layer& layer, const LayerGradient& gradient, int num_threads) { Run(layer, num_threads).backward(gradient); }

}  // namespace paradigm
