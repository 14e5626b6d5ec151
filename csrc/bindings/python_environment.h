// Environments and players written in Python, as the C++ ones that the scheduler's threads call.
//
// Each call takes the GIL for as long as it lasts. Whatever Python raises or returns wrongly becomes an exception that costs the scheduler
// one episode; an EpisodeError of an exception's own `failure_reason` if it has this attribute, a string.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "paradigm/environment.h"
#include "paradigm/token_grammar.h"

namespace paradigm {

// A Python object that may be copied and dropped without the GIL.
using SharedObject = std::shared_ptr<pybind11::object>;
SharedObject share(pybind11::object object);

// Token ids from a Python sequence or an integer array of one dimension. Needs the GIL. Throws std::runtime_error naming `what`.
std::vector<int32_t> to_tokens(pybind11::handle object, const char* what);

// Token ids and texts, as they are given for a stop: a text, a list of both, or an array of ids.
struct StopList {
    std::vector<int32_t> tokens;
    std::vector<std::string> strings;
};
StopList to_stop(pybind11::handle object);

// A grammar written in Python (see paradigm.grammar.TokenGrammar); null for None.
std::shared_ptr<const TokenGrammar> python_grammar(pybind11::object grammar);

// Instances come from prototype.clone() if there is one, else from copy.deepcopy(prototype). What tasks[i] holds is handed to reset as it
// is; its C++ form is the eight bytes of i.
EnvironmentFactory python_environment_factory(pybind11::object prototype, pybind11::object tasks, int num_seats);
std::string python_task(std::size_t number);

// callable(observation, seed) -> token ids, where the observation is an instance of `observation_type`. An object with a method
// act(environment, observation, seed) is handed the episode's Python environment, too, and must leave it as it is.
std::shared_ptr<const Player> python_player(pybind11::object callable, pybind11::object observation_type);

}  // namespace paradigm
