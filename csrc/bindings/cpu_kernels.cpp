// The CPU kernels for paradigm/cpu_backend.py: addresses of tensors, sizes, strides in elements. The caller has checked shapes and dtypes.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "paradigm/cpu_kernels.h"

namespace py = pybind11;

namespace paradigm {

void bind_cpu_layers(py::module_& m);

namespace {

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

HeadRows heads(uintptr_t data, int64_t row_stride, int64_t head_stride) { return {pointer<const void>(data), row_stride, head_stride}; }

AttentionOptions options(int64_t query_heads, int64_t kv_heads, int64_t dim, bool causal, int64_t window, float scale, float softcap) {
    AttentionOptions o;
    o.num_query_heads = query_heads;
    o.num_kv_heads = kv_heads;
    o.head_dim = dim;
    o.causal = causal;
    o.window = window;
    o.scale = scale;
    o.softcap = softcap;
    return o;
}

void bind_attention(py::module_& m) {
    m.def(
        "attention",
        [](int dtype, uintptr_t q, int64_t q_row, int64_t q_head, uintptr_t k, int64_t k_row, int64_t k_head, uintptr_t v, int64_t v_row,
           int64_t v_head, int64_t num_rows, int64_t query_heads, int64_t kv_heads, int64_t dim, uintptr_t cu_seqlens, uintptr_t parent,
           int64_t num_documents, bool causal, int64_t window, float scale, float softcap, uintptr_t out, uintptr_t lse, int num_threads) {
            Attention call;
            call.dtype = static_cast<Dtype>(dtype);
            call.options = options(query_heads, kv_heads, dim, causal, window, scale, softcap);
            call.q = heads(q, q_row, q_head);
            call.k = heads(k, k_row, k_head);
            call.v = heads(v, v_row, v_head);
            call.num_rows = num_rows;
            call.cu_seqlens = pointer<const int32_t>(cu_seqlens);
            call.parent = pointer<const int32_t>(parent);
            call.num_documents = num_documents;
            call.out = pointer<void>(out);
            call.lse = pointer<float>(lse);
            py::gil_scoped_release release;
            attention(call, num_threads);
        });
    m.def(
        "attention_backward",
        [](int dtype, uintptr_t grad, int64_t grad_row, int64_t grad_head, uintptr_t q, int64_t q_row, int64_t q_head, uintptr_t k, int64_t k_row,
           int64_t k_head, uintptr_t v, int64_t v_row, int64_t v_head, int64_t num_rows, int64_t query_heads, int64_t kv_heads, int64_t dim,
           uintptr_t cu_seqlens, uintptr_t parent, int64_t num_documents, bool causal, int64_t window, float scale, float softcap, uintptr_t out,
           uintptr_t lse, uintptr_t grad_q, uintptr_t grad_k, uintptr_t grad_v, int num_threads) {
            AttentionGradient call;
            call.forward.dtype = static_cast<Dtype>(dtype);
            call.forward.options = options(query_heads, kv_heads, dim, causal, window, scale, softcap);
            call.forward.q = heads(q, q_row, q_head);
            call.forward.k = heads(k, k_row, k_head);
            call.forward.v = heads(v, v_row, v_head);
            call.forward.num_rows = num_rows;
            call.forward.cu_seqlens = pointer<const int32_t>(cu_seqlens);
            call.forward.parent = pointer<const int32_t>(parent);
            call.forward.num_documents = num_documents;
            call.forward.out = pointer<void>(out);
            call.forward.lse = pointer<float>(lse);
            call.grad_out = heads(grad, grad_row, grad_head);
            call.grad_q = pointer<void>(grad_q);
            call.grad_k = pointer<void>(grad_k);
            call.grad_v = pointer<void>(grad_v);
            py::gil_scoped_release release;
            attention_backward(call, num_threads);
        });
    m.def(
        "paged_attention",
        [](int dtype, uintptr_t q, int64_t q_row, int64_t q_head, uintptr_t k, int64_t k_row, int64_t k_head, uintptr_t v, int64_t v_row,
           int64_t v_head, int64_t num_rows, int64_t query_heads, int64_t kv_heads, int64_t dim, uintptr_t keys, uintptr_t values, int64_t num_blocks,
           int64_t block_size, uintptr_t cu_seqlens, uintptr_t context_lengths, uintptr_t slots, uintptr_t block_table, int64_t num_sequences,
           int64_t num_slots, int64_t max_blocks, bool causal, int64_t window, float scale, float softcap, uintptr_t out, int num_threads) {
            PagedAttention call;
            call.dtype = static_cast<Dtype>(dtype);
            call.options = options(query_heads, kv_heads, dim, causal, window, scale, softcap);
            call.q = heads(q, q_row, q_head);
            call.k = heads(k, k_row, k_head);
            call.v = heads(v, v_row, v_head);
            call.num_rows = num_rows;
            call.keys = pointer<void>(keys);
            call.values = pointer<void>(values);
            call.num_blocks = num_blocks;
            call.block_size = block_size;
            call.cu_seqlens = pointer<const int32_t>(cu_seqlens);
            call.context_lengths = pointer<const int32_t>(context_lengths);
            call.slots = pointer<const int32_t>(slots);
            call.block_table = pointer<const int32_t>(block_table);
            call.num_sequences = num_sequences;
            call.num_slots = num_slots;
            call.max_blocks = max_blocks;
            call.out = pointer<void>(out);
            py::gil_scoped_release release;
            paged_attention(call, num_threads);
        });
}

void bind_norms(py::module_& m) {
    m.def(
        "rms_norm",
        [](int dtype, int64_t num_rows, int64_t width, uintptr_t x, uintptr_t residual, uintptr_t weight, float eps, uintptr_t y, uintptr_t total,
           uintptr_t scale, int num_threads) {
            RmsNorm call;
            call.dtype = static_cast<Dtype>(dtype);
            call.num_rows = num_rows;
            call.width = width;
            call.x = pointer<const void>(x);
            call.residual = pointer<const void>(residual);
            call.weight = pointer<const void>(weight);
            call.eps = eps;
            call.y = pointer<void>(y);
            call.total = pointer<void>(total);
            call.scale = pointer<float>(scale);
            py::gil_scoped_release release;
            rms_norm(call, num_threads);
        });
    m.def(
        "rms_norm_backward",
        [](int dtype, int64_t num_rows, int64_t width, uintptr_t grad_y, uintptr_t grad_total, uintptr_t total, uintptr_t weight, uintptr_t scale,
           uintptr_t grad_x, uintptr_t grad_weight, int num_threads) {
            RmsNormGradient call;
            call.dtype = static_cast<Dtype>(dtype);
            call.num_rows = num_rows;
            call.width = width;
            call.grad_y = pointer<const void>(grad_y);
            call.grad_total = pointer<const void>(grad_total);
            call.total = pointer<const void>(total);
            call.weight = pointer<const void>(weight);
            call.scale = pointer<const float>(scale);
            call.grad_x = pointer<void>(grad_x);
            call.grad_weight = pointer<float>(grad_weight);
            py::gil_scoped_release release;
            rms_norm_backward(call, num_threads);
        });
}

Rotary rotary_call(
    int dtype, int64_t num_rows, int64_t num_heads, int64_t dim, int64_t pairs, const HeadRows& x, uintptr_t cos, uintptr_t sin, uintptr_t weight,
    float eps) {
    Rotary call;
    call.dtype = static_cast<Dtype>(dtype);
    call.num_rows = num_rows;
    call.num_heads = num_heads;
    call.head_dim = dim;
    call.pairs = pairs;
    call.x = x;
    call.cos = pointer<const float>(cos);
    call.sin = pointer<const float>(sin);
    call.weight = pointer<const void>(weight);
    call.eps = eps;
    return call;
}

void bind_rotary(py::module_& m) {
    m.def(
        "rotary",
        [](int dtype, int64_t num_rows, int64_t num_heads, int64_t dim, int64_t pairs, uintptr_t x, int64_t x_row, int64_t x_head, uintptr_t cos,
           uintptr_t sin, uintptr_t weight, float eps, uintptr_t y, int num_threads) {
            Rotary call = rotary_call(dtype, num_rows, num_heads, dim, pairs, heads(x, x_row, x_head), cos, sin, weight, eps);
            call.y = pointer<void>(y);
            py::gil_scoped_release release;
            rotary(call, num_threads);
        });
    m.def(
        "rotary_backward",
        [](int dtype, int64_t num_rows, int64_t num_heads, int64_t dim, int64_t pairs, uintptr_t x, int64_t x_row, int64_t x_head, uintptr_t cos,
           uintptr_t sin, uintptr_t weight, float eps, uintptr_t grad, int64_t grad_row, int64_t grad_head, uintptr_t grad_x, uintptr_t grad_weight,
           int num_threads) {
            RotaryGradient call;
            call.forward = rotary_call(dtype, num_rows, num_heads, dim, pairs, heads(x, x_row, x_head), cos, sin, weight, eps);
            call.grad_y = heads(grad, grad_row, grad_head);
            call.grad_x = pointer<void>(grad_x);
            call.grad_weight = pointer<float>(grad_weight);
            py::gil_scoped_release release;
            rotary_backward(call, num_threads);
        });
}

void bind_pointwise(py::module_& m) {
    m.def("swiglu", [](int dtype, uintptr_t gate, uintptr_t up, uintptr_t y, int64_t size, int num_threads) {
        py::gil_scoped_release release;
        swiglu(static_cast<Dtype>(dtype), pointer<const void>(gate), pointer<const void>(up), pointer<void>(y), size, num_threads);
    });
    m.def(
        "swiglu_backward",
        [](int dtype, uintptr_t grad, uintptr_t gate, uintptr_t up, uintptr_t grad_gate, uintptr_t grad_up, int64_t size, int num_threads) {
            py::gil_scoped_release release;
            swiglu_backward(
                static_cast<Dtype>(dtype), pointer<const void>(grad), pointer<const void>(gate), pointer<const void>(up), pointer<void>(grad_gate),
                pointer<void>(grad_up), size, num_threads);
        });
    m.def(
        "logits_gradient",
        [](uintptr_t logits, int64_t num_rows, int64_t vocab_size, uintptr_t target, uintptr_t grad_logprob, uintptr_t grad_entropy, float temperature,
           uintptr_t support, uintptr_t support_table, int64_t support_rows, int64_t support_words, int num_threads) {
            LogitsGradient call;
            call.logits = pointer<float>(logits);
            call.num_rows = num_rows;
            call.vocab_size = vocab_size;
            call.target = pointer<const int64_t>(target);
            call.grad_logprob = pointer<const float>(grad_logprob);
            call.grad_entropy = pointer<const float>(grad_entropy);
            call.temperature = temperature;
            call.support = pointer<const int32_t>(support);
            call.support_table = pointer<const uint32_t>(support_table);
            call.support_rows = support_rows;
            call.support_words = support_words;
            py::gil_scoped_release release;
            logits_gradient(call, num_threads);
        });
}

void bind_scans(py::module_& m) {
    m.def(
        "gae",
        [](uintptr_t rewards, uintptr_t values, uintptr_t bootstrap, uintptr_t cu_seqlens, int64_t num_episodes, float gamma, float lam,
           uintptr_t advantages) {
            py::gil_scoped_release release;
            gae(pointer<const float>(rewards), pointer<const float>(values), pointer<const float>(bootstrap), pointer<const int32_t>(cu_seqlens),
                num_episodes, gamma, lam, pointer<float>(advantages));
        });
    m.def(
        "vtrace",
        [](uintptr_t logprob, uintptr_t behaviour_logprob, uintptr_t rewards, uintptr_t values, uintptr_t bootstrap, uintptr_t cu_seqlens,
           int64_t num_episodes, float gamma, float lam, float rho_clip, float c_clip, float pg_rho_clip, uintptr_t targets, uintptr_t advantages) {
            Vtrace call;
            call.logprob = pointer<const float>(logprob);
            call.behaviour_logprob = pointer<const float>(behaviour_logprob);
            call.rewards = pointer<const float>(rewards);
            call.values = pointer<const float>(values);
            call.bootstrap = pointer<const float>(bootstrap);
            call.cu_seqlens = pointer<const int32_t>(cu_seqlens);
            call.num_episodes = num_episodes;
            call.gamma = gamma;
            call.lam = lam;
            call.rho_clip = rho_clip;
            call.c_clip = c_clip;
            call.pg_rho_clip = pg_rho_clip;
            call.targets = pointer<float>(targets);
            call.advantages = pointer<float>(advantages);
            py::gil_scoped_release release;
            vtrace(call);
        });
}

}  // namespace

void bind_cpu_kernels(py::module_& module) {
    py::module_ m = module.def_submodule("cpu", "CPU kernels by address: see csrc/include/paradigm/cpu_kernels.h.");
    bind_attention(m);
    bind_norms(m);
    bind_rotary(m);
    bind_pointwise(m);
    bind_scans(m);
    bind_cpu_layers(m);
}

}  // namespace paradigm
