// paradigm._core: each concept binds itself in its own file beside this one; no other folder includes pybind11.
#include <pybind11/pybind11.h>

namespace paradigm {
void bind_sampler(pybind11::module_& m);
void bind_environments(pybind11::module_& m);
void bind_cpu_kernels(pybind11::module_& m);
void bind_token_sampling(pybind11::module_& m);
}  // namespace paradigm

PYBIND11_MODULE(_core, m) {
    m.doc() = "The C++ core: rollout scheduler, token sampling, native environments and CPU kernels.";
    paradigm::bind_environments(m);
    paradigm::bind_sampler(m);
    paradigm::bind_cpu_kernels(m);
    paradigm::bind_token_sampling(m);
}
