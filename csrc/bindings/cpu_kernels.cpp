// The CPU kernels for paradigm/cpu_backend.py: addresses of tensors, sizes, strides in elements. The caller has checked shapes and dtypes.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "arguments.h"
#include "paradigm/cpu_kernels.h"

namespace py = pybind11;

namespace paradigm {

void bind_cpu_layers(py::module_& m);

namespace {

void read_shape(Arguments& in, AttentionOptions& o) { in.read(o.num_query_heads, o.num_kv_heads, o.head_dim); }
void read_scores(Arguments& in, AttentionOptions& o) { in.read(o.causal, o.window, o.scale, o.softcap); }

void read_attention(Arguments& in, Attention& call) {
    in.read(call.q, call.k, call.v, call.num_rows);
    read_shape(in, call.options);
    in.read(call.cu_seqlens, call.parent, call.num_documents);
    read_scores(in, call.options);
    in.read(call.out, call.lse);
}

void bind_attention(py::module_& m) {
    bind_kernel<Attention>(m, "attention", attention, [](Arguments& in, Attention& call) {
        in.read(call.dtype);
        read_attention(in, call);
    });
    bind_kernel<AttentionGradient>(m, "attention_backward", attention_backward, [](Arguments& in, AttentionGradient& call) {
        in.read(call.forward.dtype, call.grad_out);
        read_attention(in, call.forward);
        in.read(call.grad_q, call.grad_k, call.grad_v, call.grad_v_stride);
    });
    bind_kernel<PagedAttention>(m, "paged_attention", paged_attention, [](Arguments& in, PagedAttention& call) {
        in.read(call.dtype, call.q, call.k, call.v, call.num_rows);
        read_shape(in, call.options);
        in.read(call.keys, call.values, call.num_blocks, call.block_size, call.cu_seqlens, call.context_lengths, call.slots, call.block_table,
                call.num_sequences, call.num_slots, call.max_blocks);
        read_scores(in, call.options);
        in.read(call.out);
    });
}

void bind_norms(py::module_& m) {
    bind_kernel<RmsNorm>(m, "rms_norm", rms_norm, [](Arguments& in, RmsNorm& call) {
        in.read(call.dtype, call.num_rows, call.width, call.x, call.residual, call.weight, call.eps, call.y, call.total, call.scale);
    });
    bind_kernel<RmsNormGradient>(m, "rms_norm_backward", rms_norm_backward, [](Arguments& in, RmsNormGradient& call) {
        in.read(call.dtype, call.num_rows, call.width, call.grad_y, call.grad_total, call.total, call.weight, call.scale, call.grad_x,
                call.grad_weight);
    });
}

void read_rotary(Arguments& in, Rotary& call) {
    in.read(call.dtype, call.num_rows, call.num_heads, call.head_dim, call.pairs, call.x, call.cos, call.sin, call.weight, call.eps);
}

void bind_rotary(py::module_& m) {
    bind_kernel<Rotary>(m, "rotary", rotary, [](Arguments& in, Rotary& call) {
        read_rotary(in, call);
        in.read(call.y);
    });
    bind_kernel<RotaryGradient>(m, "rotary_backward", rotary_backward, [](Arguments& in, RotaryGradient& call) {
        read_rotary(in, call.forward);
        in.read(call.grad_y, call.grad_x, call.grad_x_stride, call.grad_weight);
    });
}

void bind_pointwise(py::module_& m) {
    auto read = [](Arguments& in, Swiglu& call) { in.read(call.dtype, call.num_rows, call.width, call.row_stride, call.gate, call.up); };
    bind_kernel<Swiglu>(m, "swiglu", swiglu, [read](Arguments& in, Swiglu& call) {
        read(in, call);
        in.read(call.y);
    });
    bind_kernel<SwigluGradient>(m, "swiglu_backward", swiglu_backward, [read](Arguments& in, SwigluGradient& call) {
        read(in, call.forward);
        in.read(call.grad_y, call.grad_gate, call.grad_up);
    });
    bind_kernel<LogitsGradient>(m, "logits_gradient", logits_gradient, [](Arguments& in, LogitsGradient& call) {
        in.read(call.logits, call.num_rows, call.vocab_size, call.target, call.grad_logprob, call.grad_entropy, call.temperature, call.support,
                call.support_table, call.support_rows, call.support_words);
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
    m.def("vtrace", [](const py::args& given) {
        Arguments in(given);
        Vtrace call;
        in.read(call.logprob, call.behaviour_logprob, call.rewards, call.values, call.bootstrap, call.cu_seqlens, call.num_episodes, call.gamma,
                call.lam, call.rho_clip, call.c_clip, call.pg_rho_clip, call.targets, call.advantages);
        in.end();
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
