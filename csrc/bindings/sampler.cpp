#include <pybind11/pybind11.h>

namespace paradigm {

void bind_sampler(pybind11::module_&) {}

}  // namespace paradigm
