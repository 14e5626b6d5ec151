#include "python_environment.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "paradigm/seat.h"

namespace py = pybind11;

namespace paradigm {

namespace {

bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return !Py_IsInitialized() || Py_IsFinalizing();
#else
    return !Py_IsInitialized() || _Py_IsFinalizing();
#endif
}

// What Python knows of a thread that it has not started, from its first call into Python until the thread ends: made and freed at every call, as
// pybind11 does by itself, it takes longer than a short call.
class ForeignThread {
  public:
    ForeignThread() : is_foreign_(PyGILState_GetThisThreadState() == nullptr) {
        if (!is_foreign_) return;
        py::gil_scoped_acquire gil;
        gil.inc_ref();
    }
    ~ForeignThread() {
        if (!is_foreign_ || is_finalizing()) return;
        py::gil_scoped_acquire gil;
        gil.dec_ref();
    }

  private:
    bool is_foreign_;
};

// Holds the GIL, in whichever thread.
class Gil {
    struct Known {
        Known() { thread_local const ForeignThread thread; }
    };
    Known known_;  // before it is held
    py::gil_scoped_acquire gil_;
};

// What a Python exception wants to be counted as: its `failure_reason`, if it has one.
std::string reason_of(const py::error_already_set& error) {
    if (!py::hasattr(error.value(), "failure_reason")) return "raise";
    const py::object reason = error.value().attr("failure_reason");
    return py::isinstance<py::str>(reason) ? reason.cast<std::string>() : "raise";
}

// Python's exceptions must not be held, read or destroyed without the GIL: turn them into strings while we have it.
template <class Function>
auto without_python_errors(Function&& function) {
    try {
        return function();
    } catch (const py::error_already_set& error) {
        throw EpisodeError(error.what(), reason_of(error));
    } catch (const py::builtin_exception& error) {
        throw std::runtime_error(error.what());
    }
}

std::string type_name(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

int64_t to_integer(py::handle object, const char* what) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    if (!index) {
        PyErr_Clear();
        throw std::runtime_error(std::string(what) + " must be an integer, got " + type_name(object));
    }
    int overflow = 0;
    const int64_t value = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow > 0) return std::numeric_limits<int64_t>::max();
    if (overflow < 0) return std::numeric_limits<int64_t>::min();
    return value;
}

int32_t to_int32(py::handle object, const char* what) {
    const int64_t value = to_integer(object, what);
    if (value < INT32_MIN || value > INT32_MAX) throw std::runtime_error(std::string(what) + " is out of range: " + std::to_string(value));
    return static_cast<int32_t>(value);
}

bool is_missing(py::handle object) { return !object || object.is_none(); }

py::object attribute(py::handle object, const char* name) {
    if (!py::hasattr(object, name)) throw std::runtime_error("a " + type_name(object) + " was returned that has no attribute " + name);
    return object.attr(name);
}

Observation to_observation(py::handle object) {
    Observation observation;
    observation.seat = to_int32(attribute(object, "seat"), "seat");
    observation.tokens = to_tokens(attribute(object, "tokens"), "tokens");
    const py::object legal = attribute(object, "legal");
    if (!is_missing(legal)) {
        std::vector<std::vector<int32_t>> sequences;
        for (const py::handle sequence : legal) sequences.push_back(to_tokens(sequence, "legal"));
        if (sequences.empty()) throw std::runtime_error("legal must be None or hold at least one sequence, got none");
        observation.legal = std::make_shared<const LegalSet>(sequences);
    }
    if (const py::object stop = attribute(object, "stop"); !is_missing(stop)) {
        auto [tokens, strings] = to_stop(stop);
        observation.stop = std::move(tokens);
        observation.stop_strings = std::move(strings);
    }
    const py::object limit = attribute(object, "max_action_tokens");
    if (!is_missing(limit)) {
        const int64_t most = to_integer(limit, "max_action_tokens");
        if (most < 0) throw std::runtime_error("max_action_tokens must be >= 0, got " + std::to_string(most));
        observation.max_action_tokens = static_cast<int32_t>(std::min<int64_t>(most, INT32_MAX));
    }
    const py::object thought_until = py::getattr(object, "thought_until", py::none());
    if (!thought_until.is_none()) observation.thought_until = to_int32(thought_until, "thought_until");
    return observation;
}

float to_reward(py::handle object) {
    const double value = PyFloat_AsDouble(object.ptr());
    if (PyErr_Occurred()) {
        PyErr_Clear();
        throw std::runtime_error("a reward must be a number, got " + type_name(object));
    }
    return static_cast<float>(value);
}

// Rewards by seat: a mapping, a sequence, or (with one seat) a number. Seats that a mapping leaves out get 0.
std::vector<float> to_rewards(py::handle object, int num_seats) {
    std::vector<float> rewards;
    if (is_missing(object)) return rewards;
    if (py::isinstance<py::dict>(object)) {
        rewards.assign(static_cast<std::size_t>(num_seats), 0.0F);
        for (const auto& [seat, reward] : py::reinterpret_borrow<py::dict>(object)) {
            const int64_t number = to_integer(seat, "a seat in rewards");
            if (number < 0 || number >= num_seats) {
                throw std::runtime_error("rewards name seat " + std::to_string(number) + " of " + std::to_string(num_seats));
            }
            rewards[static_cast<std::size_t>(number)] = to_reward(reward);
        }
    } else if (PySequence_Check(object.ptr()) != 0) {
        const auto sequence = py::reinterpret_steal<py::object>(PySequence_Fast(object.ptr(), "rewards must be a sequence"));
        if (!sequence) throw py::error_already_set();
        for (const py::handle reward : sequence) rewards.push_back(to_reward(reward));
    } else {
        if (num_seats != 1) throw std::runtime_error("rewards must be by seat, got one " + type_name(object) + " for " + std::to_string(num_seats));
        rewards.push_back(to_reward(object));
    }
    return rewards;
}

bool to_flag(py::handle object, const char* what) {
    const int truth = PyObject_IsTrue(object.ptr());
    if (truth < 0) {
        PyErr_Clear();
        throw std::runtime_error(std::string(what) + " must be true or false, got " + type_name(object));
    }
    return truth == 1;
}

// Throws EpisodeError, whatever is wrong with the answer.
Step to_step(py::handle object, int num_seats) {
    try {
        Step step;
        for (const py::handle observation : attribute(object, "observations")) step.observations.push_back(to_observation(observation));
        step.rewards = to_rewards(attribute(object, "rewards"), num_seats);
        step.terminated = to_flag(attribute(object, "terminated"), "terminated");
        step.truncated = to_flag(attribute(object, "truncated"), "truncated");
        return step;
    } catch (const std::exception& error) {
        throw EpisodeError(error.what());
    }
}

class PythonEnvironment final : public Environment {
  public:
    PythonEnvironment(SharedObject prototype, SharedObject tasks, int num_seats)
        : prototype_(std::move(prototype)), tasks_(std::move(tasks)), num_seats_(num_seats) {
        const Gil gil;
        without_python_errors([this] {
            instance_ = share(py::hasattr(*prototype_, "clone") ? prototype_->attr("clone")()
                                                                : py::module_::import("copy").attr("deepcopy")(*prototype_));
        });
    }

    int num_seats() const override { return num_seats_; }

    Step reset(const std::string& task, uint64_t seed) override {
        const Gil gil;
        return without_python_errors([&] {
            uint64_t number = 0;
            std::memcpy(&number, task.data(), sizeof number);
            const py::object given = (*tasks_)[py::int_(number)];
            return to_step(instance_->attr("reset")(given, py::int_(seed)), num_seats_);
        });
    }

    Step step(const int32_t* action, std::size_t length) override {
        const Gil gil;
        return without_python_errors([&] {
            return to_step(instance_->attr("step")(py::array_t<int32_t>(static_cast<py::ssize_t>(length), action)), num_seats_);
        });
    }

    std::unique_ptr<Environment> clone() const override { return std::make_unique<PythonEnvironment>(instance_, tasks_, num_seats_); }

    const py::object& instance() const { return *instance_; }

  private:
    SharedObject prototype_, tasks_, instance_;
    int num_seats_;
};

class PythonPlayer final : public Player {
  public:
    PythonPlayer(SharedObject callable, SharedObject observation_type)
        : callable_(std::move(callable)), observation_type_(std::move(observation_type)) {}

    std::vector<int32_t> act(const Environment& environment, const Observation& observation, uint64_t seed) const override {
        const Gil gil;
        return without_python_errors([&] {
            py::object legal = py::none();
            if (observation.legal != nullptr) {
                py::list sequences;
                for (std::size_t i = 0; i < observation.legal->size(); ++i) sequences.append(to_array((*observation.legal)[i]));
                legal = std::move(sequences);
            }
            const py::object shown = (*observation_type_)(
                py::arg("tokens") = to_array(observation.tokens), py::arg("seat") = observation.seat, py::arg("legal") = legal,
                py::arg("stop") = shown_stop(observation), py::arg("max_action_tokens") = observation.max_action_tokens);
            if (!py::hasattr(*callable_, "act")) return to_tokens((*callable_)(shown, py::int_(seed)), "action");
            const auto* world = dynamic_cast<const PythonEnvironment*>(&environment);
            if (world == nullptr) throw std::runtime_error("a " + type_name(*callable_) + " with act plays in environments written in Python only");
            return to_tokens(callable_->attr("act")(world->instance(), shown, py::int_(seed)), "action");
        });
    }

  private:
    static py::object shown_stop(const Observation& observation) {
        if (observation.stop_strings.empty()) return to_array(observation.stop);
        py::list shown;
        for (const int32_t token : observation.stop) shown.append(token);
        for (const std::string& text : observation.stop_strings) shown.append(py::bytes(text));
        return std::move(shown);
    }

    static py::array_t<int32_t> to_array(const std::vector<int32_t>& tokens) {
        return py::array_t<int32_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
    }

    SharedObject callable_, observation_type_;
};

template <class Function>
auto by_grammar(Function&& function) {
    const Gil gil;
    try {
        return function();
    } catch (const EpisodeError&) {
        throw;
    } catch (const std::exception& error) {  // a Python exception, or an answer that is none
        throw EpisodeError(std::string("the grammar failed: ") + error.what(), "grammar");
    }
}

class PythonMatcher final : public TokenMatcher {
  public:
    explicit PythonMatcher(SharedObject matcher) : matcher_(std::move(matcher)) {}

    bool fill(uint32_t* words, std::size_t num_words) override {
        return by_grammar([&] {
            const auto answer = matcher_->attr("legal")().cast<std::pair<py::buffer, bool>>();
            const py::buffer_info mask = answer.first.request();
            const auto num_bytes = static_cast<std::size_t>(mask.size * mask.itemsize);
            if (num_bytes != num_words * sizeof *words || mask.ndim != 1 || mask.strides[0] != mask.itemsize) {
                throw std::runtime_error("its mask must be " + std::to_string(num_words * sizeof *words) + " bytes, got " + std::to_string(num_bytes));
            }
            std::memcpy(words, mask.ptr, num_bytes);
            return answer.second;
        });
    }

    void read(int32_t token) override {
        by_grammar([&] { matcher_->attr("read")(token); });
    }

  private:
    SharedObject matcher_;
};

class PythonGrammar final : public TokenGrammar {
  public:
    explicit PythonGrammar(SharedObject grammar) : grammar_(std::move(grammar)) {}

    std::unique_ptr<TokenMatcher> begin() const override {
        return by_grammar([&] { return std::make_unique<PythonMatcher>(share(grammar_->attr("begin")())); });
    }

  private:
    SharedObject grammar_;
};

}  // namespace

SharedObject share(py::object object) {
    return {new py::object(std::move(object)), [](py::object* held) {
                const Gil gil;
                delete held;
            }};
}

std::vector<int32_t> to_tokens(py::handle object, const char* what) {
    std::vector<int32_t> tokens;
    if (PyList_Check(object.ptr()) != 0 || PyTuple_Check(object.ptr()) != 0) {
        tokens.reserve(static_cast<std::size_t>(py::len(object)));
        for (const py::handle token : object) tokens.push_back(to_int32(token, what));
        return tokens;
    }
    const py::array array = py::array::ensure(object);
    if (!array) {
        PyErr_Clear();
        throw std::runtime_error(std::string(what) + " must be token ids, got " + type_name(object));
    }
    const char kind = array.dtype().kind();
    if (array.ndim() != 1 || (array.size() > 0 && kind != 'i' && kind != 'u')) {
        throw std::runtime_error(std::string(what) + " must be integers in one dimension, got a " + type_name(object) + " of " +
                                 std::to_string(array.ndim()) + " dimensions and type " + py::str(array.dtype()).cast<std::string>());
    }
    const auto wide = py::array_t<int64_t, py::array::c_style | py::array::forcecast>::ensure(array);
    tokens.reserve(static_cast<std::size_t>(wide.size()));
    for (py::ssize_t i = 0; i < wide.size(); ++i) {
        const int64_t token = wide.data()[i];
        if (token < INT32_MIN || token > INT32_MAX) throw std::runtime_error(std::string(what) + " is out of range: " + std::to_string(token));
        tokens.push_back(static_cast<int32_t>(token));
    }
    return tokens;
}

StopList to_stop(py::handle object) {
    const auto is_text = [](py::handle item) { return py::isinstance<py::str>(item) || py::isinstance<py::bytes>(item); };
    if (is_text(object)) return {{}, {object.cast<std::string>()}};
    if (PyList_Check(object.ptr()) == 0 && PyTuple_Check(object.ptr()) == 0) return {to_tokens(object, "stop"), {}};
    StopList stop;
    for (const py::handle item : object) {
        if (is_text(item)) {
            stop.strings.push_back(item.cast<std::string>());
        } else {
            stop.tokens.push_back(to_int32(item, "stop"));
        }
    }
    return stop;
}

EnvironmentFactory python_environment_factory(py::object prototype, py::object tasks, int num_seats) {
    return [prototype = share(std::move(prototype)), tasks = share(std::move(tasks)), num_seats]() -> std::unique_ptr<Environment> {
        return std::make_unique<PythonEnvironment>(prototype, tasks, num_seats);
    };
}

std::string python_task(std::size_t number) {
    const uint64_t wide = number;
    std::string task(sizeof wide, '\0');
    std::memcpy(task.data(), &wide, sizeof wide);
    return task;
}

std::shared_ptr<const TokenGrammar> python_grammar(py::object grammar) {
    if (grammar.is_none()) return nullptr;
    if (!py::hasattr(grammar, "begin")) throw py::type_error("grammar must have a method begin, got a " + type_name(grammar));
    return std::make_shared<PythonGrammar>(share(std::move(grammar)));
}

std::shared_ptr<const Player> python_player(py::object callable, py::object observation_type) {
    return std::make_shared<PythonPlayer>(share(std::move(callable)), share(std::move(observation_type)));
}

}  // namespace paradigm
