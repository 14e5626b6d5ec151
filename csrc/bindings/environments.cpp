#include <pybind11/pybind11.h>

namespace paradigm {

void bind_environments(pybind11::module_&) {}

}  // namespace paradigm
