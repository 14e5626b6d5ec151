// paradigm._cuda: CUDA kernels called with the addresses of tensors and a stream, for paradigm/cuda_backend.py, which checks them.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "../arguments.h"
#include "paradigm/cuda_scan.h"

namespace py = pybind11;

namespace paradigm {

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of paradigm, called with device addresses and a stream.";
    m.def(
        "gae",
        [](uintptr_t rewards, uintptr_t values, uintptr_t bootstrap, uintptr_t cu_seqlens, uintptr_t advantages, uintptr_t flag,
           int64_t num_decisions, int64_t num_episodes, float gamma, float lam, uintptr_t stream) {
            const Gae call{
                pointer<const float>(rewards), pointer<const float>(values), pointer<const float>(bootstrap), pointer<const int32_t>(cu_seqlens),
                pointer<float>(advantages), pointer<long long>(flag), num_decisions, num_episodes, gamma, lam};
            cuda_gae(call, pointer<void>(stream));
        },
        py::arg("rewards"), py::arg("values"), py::arg("bootstrap"), py::arg("cu_seqlens"), py::arg("advantages"), py::arg("flag"),
        py::arg("num_decisions"), py::arg("num_episodes"), py::arg("gamma"), py::arg("lam"), py::arg("stream"),
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace paradigm
