// The linear layer and the whole decoder layer for paradigm/cpu_backend.py, under the rules of cpu_kernels.cpp.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "paradigm/cpu_linear.h"

namespace py = pybind11;

namespace paradigm {
namespace {

using Weight = std::tuple<uintptr_t, uintptr_t, int64_t>;  // weight, bias or 0, number of outputs

LinearOutput weight_of(const Weight& weight, uintptr_t y = 0) {
    LinearOutput output;
    output.weight = reinterpret_cast<const void*>(std::get<0>(weight));
    output.bias = reinterpret_cast<const void*>(std::get<1>(weight));
    output.num_outputs = std::get<2>(weight);
    output.y = reinterpret_cast<void*>(y);
    return output;
}

template <class T>
const T* pointer(uintptr_t address) {
    return reinterpret_cast<const T*>(address);
}

}  // namespace

void bind_cpu_layers(py::module_& m) {
    m.def("linear", [](int dtype, int y_dtype, int64_t num_rows, int64_t num_inputs, uintptr_t x, const Weight& weight, uintptr_t y, int num_threads) {
        Linear call;
        call.dtype = static_cast<Dtype>(dtype);
        call.y_dtype = static_cast<Dtype>(y_dtype);
        call.num_rows = num_rows;
        call.num_inputs = num_inputs;
        call.x = pointer<void>(x);
        call.outputs[0] = weight_of(weight, y);
        py::gil_scoped_release release;
        linear(call, num_threads);
    });
    m.def(
        "decoder_layer",
        [](int dtype, int64_t num_rows, int64_t width, uintptr_t update, uintptr_t residual, float eps, const std::array<uintptr_t, 4>& norms,
           const std::array<Weight, 7>& weights, uintptr_t cos, uintptr_t sin, int64_t pairs, int64_t query_heads, int64_t kv_heads, int64_t dim,
           int64_t window, float scale, uintptr_t keys, uintptr_t values, int64_t num_blocks, int64_t block_size,
           const std::array<uintptr_t, 4>& layout, int64_t num_sequences, int64_t num_slots, int64_t max_blocks, uintptr_t out, uintptr_t total,
           int num_threads) {
            DecoderLayer call;
            call.dtype = static_cast<Dtype>(dtype);
            call.num_rows = num_rows;
            call.width = width;
            call.intermediate = std::get<2>(weights[4]);
            call.update = pointer<void>(update);
            call.residual = pointer<void>(residual);
            call.eps = eps;
            call.input_norm = pointer<void>(norms[0]);
            call.post_norm = pointer<void>(norms[1]);
            call.q_norm = pointer<void>(norms[2]);
            call.k_norm = pointer<void>(norms[3]);
            LinearOutput* projections[] = {&call.q, &call.k, &call.v, &call.o, &call.gate, &call.up, &call.down};
            for (std::size_t i = 0; i < weights.size(); ++i) *projections[i] = weight_of(weights[i]);
            call.cos = pointer<float>(cos);
            call.sin = pointer<float>(sin);
            call.pairs = pairs;
            PagedAttention& attention = call.attention;
            attention.dtype = call.dtype;
            attention.options.num_query_heads = query_heads;
            attention.options.num_kv_heads = kv_heads;
            attention.options.head_dim = dim;
            attention.options.window = window;
            attention.options.scale = scale;
            attention.num_rows = num_rows;
            attention.keys = reinterpret_cast<void*>(keys);
            attention.values = reinterpret_cast<void*>(values);
            attention.num_blocks = num_blocks;
            attention.block_size = block_size;
            attention.cu_seqlens = pointer<int32_t>(layout[0]);
            attention.context_lengths = pointer<int32_t>(layout[1]);
            attention.slots = pointer<int32_t>(layout[2]);
            attention.block_table = pointer<int32_t>(layout[3]);
            attention.num_sequences = num_sequences;
            attention.num_slots = num_slots;
            attention.max_blocks = max_blocks;
            call.out = reinterpret_cast<void*>(out);
            call.total = reinterpret_cast<void*>(total);
            py::gil_scoped_release release;
            decoder_layer(call, num_threads);
        });
    m.def("has_amx", [] { return has_amx(); });
}

}  // namespace paradigm
