// Environments and players written in Python, as the C++ ones that the scheduler's threads call.
//
// Each call takes the GIL for as long as it lasts. Whatever Python raises or returns wrongly becomes a std::runtime_error, which costs
// the scheduler one episode.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

#include "paradigm/environment.h"

namespace paradigm {

// A Python object that may be copied and dropped without the GIL.
using SharedObject = std::shared_ptr<pybind11::object>;
SharedObject share(pybind11::object object);

// Token ids from a Python sequence or an integer array of one dimension. Needs the GIL. Throws std::runtime_error naming `what`.
std::vector<int32_t> to_tokens(pybind11::handle object, const char* what);

// Instances come from prototype.clone() if there is one, else from copy.deepcopy(prototype). The i-th task is handed to reset as it
// is; its C++ form is the eight bytes of i.
EnvironmentFactory python_environment_factory(pybind11::object prototype, pybind11::list tasks, int num_seats);
std::string python_task(std::size_t number);

// callable(observation, seed) -> token ids, where the observation is an instance of `observation_type`. An object with a method
// act(environment, observation, seed) is handed the episode's Python environment, too, and must leave it as it is.
std::shared_ptr<const Player> python_player(pybind11::object callable, pybind11::object observation_type);

}  // namespace paradigm
