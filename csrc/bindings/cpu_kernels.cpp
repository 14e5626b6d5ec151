#include <pybind11/pybind11.h>

namespace paradigm {

void bind_cpu_kernels(pybind11::module_&) {}

}  // namespace paradigm
