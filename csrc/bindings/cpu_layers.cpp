// The linear layer and the decoder stack for paradigm/cpu_backend.py, under the rules of cpu_kernels.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments.h"
#include "paradigm/cpu_decoder.h"
#include "paradigm/cpu_layer.h"
#include "paradigm/cpu_linear.h"

namespace py = pybind11;

namespace paradigm {
namespace {

using Weight = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t>;  // weight, bias or 0, outputs, inputs
using Norm = std::tuple<uintptr_t, int64_t>;                        // weight or 0, width

PackedLinear packed(Dtype dtype, const Weight& weight) {
    const auto [address, bias, outputs, inputs] = weight;
    return PackedLinear(dtype, pointer<const void>(address), pointer<const void>(bias), inputs, outputs);
}

// What `layer_forward` and `layer_backward` begin with.
void read_layer(Arguments& in, Layer& layer) {
    AttentionOptions& heads = layer.heads;
    in.read(layer.dtype, layer.num_rows, layer.width, layer.eps, layer.cos, layer.sin, layer.pairs);
    in.read(heads.num_query_heads, heads.num_kv_heads, heads.head_dim, heads.causal, heads.window, heads.scale);
    in.read(layer.cu_seqlens, layer.parent, layer.num_documents, layer.input_norm, layer.post_norm, layer.q_norm, layer.k_norm);
    for (Projection* p : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) in.read(p->weight, p->bias, p->num_outputs);
    in.read(layer.x, layer.scale, layer.normed, layer.qkv, layer.turned_q, layer.turned_k, layer.attended, layer.lse, layer.post_x, layer.post_scale,
            layer.post_normed, layer.gate_up, layer.product);
}

std::vector<char> copied(Dtype dtype, const Norm& norm) {
    const auto [address, width] = norm;
    const char* from = pointer<const char>(address);
    if (!from) return {};
    return std::vector<char>(from, from + width * bytes_of(dtype));
}

// Returns: all their rows, and their width.
std::pair<int64_t, int64_t> add_parts(const std::vector<Weight>& weights, std::vector<WeightPart>& parts) {
    int64_t num_rows = 0, width = 0;
    for (const auto& [weight, bias, rows, columns] : weights) {
        if (width != 0 && columns != width) throw std::invalid_argument("weights must be of one width, got " + std::to_string(columns));
        parts.push_back({pointer<const void>(weight), pointer<const void>(bias), rows});
        num_rows += rows;
        width = columns;
    }
    return {num_rows, width};
}

}  // namespace

void bind_cpu_layers(py::module_& m) {
    m.attr("has_avx512") = best_isa() >= Isa::avx512;
    m.attr("has_bfloat16_pairs") = best_bfloat16_unit() == Bfloat16Unit::pairs;
    m.def(
        "linear", [](int dtype, int y_dtype, int64_t num_rows, uintptr_t x, const std::vector<Weight>& weights, uintptr_t y, int num_threads) {
            Linear call;
            call.dtype = static_cast<Dtype>(dtype);
            call.y_dtype = static_cast<Dtype>(y_dtype);
            call.num_rows = num_rows;
            call.x = pointer<const void>(x);
            call.y = pointer<void>(y);
            std::tie(call.num_outputs, call.num_inputs) = add_parts(weights, call.weights);
            py::gil_scoped_release release;
            linear(call, num_threads);
        });
    m.def(
        "input_gradient",
        [](int dtype, int64_t num_rows, uintptr_t grad, const std::vector<Weight>& weights, uintptr_t grad_x, int num_threads) {
            Linear call;
            call.dtype = call.y_dtype = static_cast<Dtype>(dtype);
            call.num_rows = num_rows;
            call.x = pointer<const void>(grad);
            call.y = pointer<void>(grad_x);
            std::tie(call.num_inputs, call.num_outputs) = add_parts(weights, call.weights);
            call.by_columns = true;
            py::gil_scoped_release release;
            linear(call, num_threads);
        });
    m.def(
        "weight_gradient",
        [](int dtype, int64_t num_rows, uintptr_t grad, uintptr_t x, int64_t num_outputs, int64_t num_inputs, int out_dtype, uintptr_t grad_weight,
           bool adds, int num_threads) {
            const WeightGradient call{static_cast<Dtype>(dtype), static_cast<Dtype>(out_dtype), num_rows, num_inputs, num_outputs,
                                      pointer<const void>(grad), pointer<const void>(x), pointer<void>(grad_weight), adds};
            py::gil_scoped_release release;
            weight_gradient(call, num_threads);
        });
    m.def("layer_forward", [](const py::args& given) {
        Arguments in(given);
        Layer layer;
        const void *update = nullptr, *residual = nullptr;
        void* out = nullptr;
        int num_threads = 0;
        read_layer(in, layer);
        in.read(update, residual, out, num_threads);
        in.end();
        py::gil_scoped_release release;
        layer_forward(layer, update, residual, out, num_threads);
    });
    m.def("layer_backward", [](const py::args& given) {
        Arguments in(given);
        Layer layer;
        LayerGradient g;
        int num_threads = 0;
        read_layer(in, layer);
        in.read(g.grad, g.grad_x, g.grad_gate_up, g.grad_post_x, g.grad_qkv, g.grad_update, g.input_norm, g.post_norm, g.q_norm, g.k_norm, num_threads);
        in.end();
        py::gil_scoped_release release;
        layer_backward(layer, g, num_threads);
    });
    py::class_<PackedLinear>(m, "PackedLinear", "A weight copied into the layout of the linear layer's loops.")
        .def(py::init([](int dtype, const Weight& weight) { return packed(static_cast<Dtype>(dtype), weight); }))
        .def("multiply", [](const PackedLinear& self, int y_dtype, int64_t num_rows, uintptr_t x, uintptr_t y, int num_threads) {
            PackedCall call;
            call.y_dtype = static_cast<Dtype>(y_dtype);
            call.num_rows = num_rows;
            call.x = pointer<const void>(x);
            call.products[0] = {&self, pointer<void>(y)};
            py::gil_scoped_release release;
            linear(call, num_threads);
        });
    py::class_<Decoder>(m, "Decoder", "A copy of a decoder's weights, packed, that decodes on a paged cache.")
        .def(py::init([](int dtype, uintptr_t embeddings, int64_t vocab_size, int64_t width, int64_t query_heads, int64_t kv_heads, int64_t head_dim,
                         float scale, float eps, const Norm& final_norm) {
            auto decoder = std::make_unique<Decoder>();
            decoder->dtype = static_cast<Dtype>(dtype);
            decoder->embeddings = pointer<const void>(embeddings);
            decoder->vocab_size = vocab_size;
            decoder->width = width;
            decoder->heads.num_query_heads = query_heads;
            decoder->heads.num_kv_heads = kv_heads;
            decoder->heads.head_dim = head_dim;
            decoder->heads.scale = scale;
            decoder->eps = eps;
            decoder->final_norm = copied(decoder->dtype, final_norm);
            return decoder;
        }))
        .def("add_layer", [](Decoder& self, const std::array<Norm, 4>& norms, const std::array<Weight, 7>& weights, int64_t window) {
            const Dtype dtype = self.dtype;
            self.layers.push_back({
                copied(dtype, norms[0]), copied(dtype, norms[1]), copied(dtype, norms[2]), copied(dtype, norms[3]), packed(dtype, weights[0]),
                packed(dtype, weights[1]), packed(dtype, weights[2]), packed(dtype, weights[3]), packed(dtype, weights[4]), packed(dtype, weights[5]),
                packed(dtype, weights[6]), window});
        })
        .def("decode", [](const Decoder& self, const py::args& given) {
            Arguments in(given);
            DecoderStep step;
            PagedAttention& attention = step.attention;
            int num_threads = 0;
            in.read(step.num_rows, step.tokens, step.positions, step.cos, step.sin, step.num_positions, step.pairs, attention.keys,
                    attention.values, step.cache_layer_bytes, attention.num_blocks, attention.block_size, attention.cu_seqlens,
                    attention.context_lengths, attention.slots, attention.block_table, attention.num_sequences, attention.num_slots,
                    attention.max_blocks, step.wanted, step.num_wanted, step.hidden, num_threads);
            in.end();
            py::gil_scoped_release release;
            decode(self, step, num_threads);
        });
}

}  // namespace paradigm
