// Native worlds and players: opaque to Python on their way to the sampler, and open to be stepped by hand.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "paradigm/arithmetic.h"
#include "paradigm/connect_four.h"
#include "paradigm/environment.h"
#include "paradigm/uniform_player.h"

namespace py = pybind11;

namespace paradigm {
namespace {

using IntArray = py::array_t<int32_t, py::array::c_style>;
using BoolArray = py::array_t<bool, py::array::c_style>;

// One world in the middle of an episode.
struct NativeInstance {
    std::unique_ptr<Environment> environment;
};

template <typename T, typename Container>
py::array_t<T> array_of(const Container& values) {
    py::array_t<T> array(static_cast<py::ssize_t>(values.size()));
    std::copy(values.begin(), values.end(), array.mutable_data());
    return array;
}

EncodingTable encoding_table(const std::optional<IntArray>& table) {
    EncodingTable encoding = identity_encoding();
    if (table) {
        if (table->ndim() != 1 || table->size() != 256) {
            throw std::invalid_argument("encoding must be int32 [256], got " + std::to_string(table->size()) + " values in " + std::to_string(table->ndim()) + " dimensions");
        }
        std::copy(table->data(), table->data() + 256, encoding.begin());
    }
    return encoding;
}

std::shared_ptr<const ByteEncoding> make_encoding(const std::optional<IntArray>& table, std::string_view alphabet) {
    return std::make_shared<ByteEncoding>(encoding_table(table), alphabet);
}

py::object sequences_of(const std::shared_ptr<const LegalSet>& legal) {
    if (legal == nullptr) return py::none();
    py::list sequences;
    for (std::size_t i = 0; i < legal->size(); ++i) sequences.append(py::cast((*legal)[i]));
    return std::move(sequences);
}

void require_flat(const char* name, const py::array& array) {
    if (array.ndim() != 1) throw std::invalid_argument(std::string(name) + " must have one dimension, got " + std::to_string(array.ndim()));
}

ArithmeticSplit split_named(const std::string& name) {
    if (name == "train") return ArithmeticSplit::train;
    if (name == "validation") return ArithmeticSplit::validation;
    if (name == "test") return ArithmeticSplit::test;
    throw std::invalid_argument("split must be \"train\", \"validation\" or \"test\", got \"" + name + "\"");
}

ArithmeticProblem problem_of(const std::string& text) {
    const auto problem = parse_arithmetic(text);
    if (!problem) throw std::invalid_argument("problem must be like 347+586, 586-347, 47*36 or 852/4, got \"" + text.substr(0, 40) + "\"");
    return *problem;
}

std::vector<std::string> tasks(uint64_t seed, std::size_t n, const std::string& split, std::string operations, int digits,
                               std::vector<std::pair<int, int>> products, std::optional<int> dividend_digits) {
    const ArithmeticTaskOptions options{std::move(operations), digits, std::move(products), dividend_digits.value_or(digits)};
    const ArithmeticSplit which = split_named(split);
    const py::gil_scoped_release release;
    return arithmetic_tasks(seed, n, which, options);
}

std::vector<std::string> documents(const std::vector<std::string>& problems, bool calculator) {
    const py::gil_scoped_release release;
    std::vector<std::string> texts;
    texts.reserve(problems.size());
    for (const std::string& problem : problems) texts.push_back(arithmetic_document(problem_of(problem), calculator));
    return texts;
}

py::array_t<int64_t> result_positions(const IntArray& tokens, const std::optional<IntArray>& encoding) {
    require_flat("tokens", tokens);
    const auto codec = make_encoding(encoding, kArithmeticAlphabet);
    std::vector<int64_t> positions;
    for (const ScratchStep& step : scratch_steps(codec->decode(tokens.data(), static_cast<std::size_t>(tokens.size())))) {
        if (step.second_digit == 0) continue;
        positions.push_back(static_cast<int64_t>(step.first_digit));
        positions.push_back(static_cast<int64_t>(step.second_digit));
    }
    const auto num_steps = static_cast<py::ssize_t>(positions.size() / 2);
    return array_of<int64_t>(positions).reshape({num_steps, py::ssize_t{2}});
}

py::array_t<uint8_t> classify(const IntArray& tokens, const BoolArray& action_mask, const std::optional<IntArray>& encoding) {
    require_flat("tokens", tokens);
    require_flat("action_mask", action_mask);
    if (tokens.size() != action_mask.size()) {
        throw std::invalid_argument("action_mask must be as long as tokens (" + std::to_string(tokens.size()) + "), got " + std::to_string(action_mask.size()));
    }
    const auto codec = make_encoding(encoding, kArithmeticAlphabet);
    return array_of<uint8_t>([&] {
        std::vector<uint8_t> codes;
        for (const ArithmeticLabel label : arithmetic_labels(codec->decode(tokens.data(), static_cast<std::size_t>(tokens.size())), action_mask.data())) {
            codes.push_back(static_cast<uint8_t>(label));
        }
        return codes;
    }());
}

void bind_protocol(py::module_& m) {
    py::class_<Observation>(m, "Observation", "What one seat hears, and what it is asked; the fields of paradigm.environments.Observation.")
        .def_readonly("seat", &Observation::seat)
        .def_property_readonly("tokens", [](const Observation& o) { return array_of<int32_t>(o.tokens); }, "int32 [n]")
        .def_property_readonly("legal", [](const Observation& o) { return sequences_of(o.legal); })
        .def_property_readonly("stop", [](const Observation& o) -> py::object { return o.stop.empty() ? py::object(py::none()) : py::cast(o.stop); })
        .def_readonly("max_action_tokens", &Observation::max_action_tokens)
        .def_readonly("thought_until", &Observation::thought_until);
    py::class_<Step>(m, "Step", "What an environment answers; the fields of paradigm.environments.Step.")
        .def_readonly("observations", &Step::observations)
        .def_readonly("rewards", &Step::rewards)
        .def_readonly("terminated", &Step::terminated)
        .def_readonly("truncated", &Step::truncated);
    py::class_<NativeInstance>(m, "NativeInstance", "One native world, to be stepped by hand.")
        .def("reset", [](NativeInstance& self, const std::string& task, uint64_t seed) { return self.environment->reset(task, seed); }, py::arg("task"),
             py::arg("seed") = 0, "Starts the episode of `task` (str or bytes). Raises ValueError for a task that is none.")
        .def("step",
             [](NativeInstance& self, const IntArray& action) {
                 require_flat("action", action);
                 return self.environment->step(action.data(), static_cast<std::size_t>(action.size()));
             },
             py::arg("action"), "Takes one action, int32 [n].")
        .def("clone", [](const NativeInstance& self) { return NativeInstance{self.environment->clone()}; }, "A copy that goes its own way.");
    py::class_<NativeEnvironment>(m, "NativeEnvironment", "A native world: what `make` makes, and what the sampler steps without Python.")
        .def_readonly("num_seats", &NativeEnvironment::num_seats)
        .def("make", [](const NativeEnvironment& self) { return NativeInstance{self.factory()}; }, "A fresh instance, to be reset before its first step.");
    py::class_<NativePlayer>(m, "NativePlayer", "A native player for a seat.")
        .def("act",
             [](const NativePlayer& self, const NativeInstance& world, const Observation& observation, uint64_t seed) {
                 std::vector<int32_t> action;
                 {
                     const py::gil_scoped_release release;
                     action = self.player->act(*world.environment, observation, seed);
                 }
                 return array_of<int32_t>(action);
             },
             py::arg("world"), py::arg("observation"), py::arg("seed"), "The action, int32 [n], for the observation that asks for it.");
}

void bind_arithmetic(py::module_& m) {
    m.def("arithmetic_environment",
          [](bool calculator, const std::optional<IntArray>& encoding) {
              auto codec = make_encoding(encoding, kArithmeticAlphabet);
              return NativeEnvironment{[codec, calculator] { return std::make_unique<Arithmetic>(codec, calculator); }, 1};
          },
          py::arg("calculator") = true, py::arg("encoding") = py::none());
    m.def("arithmetic_demonstrator",
          [](double error_rate, double notice_rate) { return NativePlayer{std::make_shared<ArithmeticDemonstrator>(error_rate, notice_rate)}; },
          py::arg("error_rate"), py::arg("notice_rate"));
    m.def("arithmetic_tasks", &tasks, py::arg("seed"), py::arg("n"), py::arg("split"), py::arg("operations"), py::arg("digits"), py::arg("products"),
          py::arg("dividend_digits"));
    m.def("arithmetic_documents", &documents, py::arg("problems"), py::arg("calculator"));
    m.def("arithmetic_result_positions", &result_positions, py::arg("tokens"), py::arg("encoding") = py::none());
    m.def("arithmetic_classify", &classify, py::arg("tokens"), py::arg("action_mask"), py::arg("encoding") = py::none());
    m.def("arithmetic_verify", [](const std::string& problem, const std::string& written) { return verify_arithmetic(problem_of(problem), written); },
          py::arg("problem"), py::arg("written"));
    m.def("arithmetic_split",
          [](const std::string& problem) {
              constexpr const char* kNames[] = {"train", "validation", "test"};
              return kNames[static_cast<int>(arithmetic_split(problem_of(problem)))];
          },
          py::arg("problem"));
}

void bind_connect_four(py::module_& m) {
    m.def("connect_four_environment",
          [](const std::optional<IntArray>& encoding) {
              auto tokens = std::make_shared<const ConnectFourTokens>(encoding_table(encoding));
              return NativeEnvironment{[tokens] { return std::make_unique<ConnectFour>(tokens); }, 2};
          },
          py::arg("encoding") = py::none());
    m.def("connect_four_openings", &connect_four_openings, py::arg("seed"), py::arg("n"), py::arg("plies"), py::call_guard<py::gil_scoped_release>());
    m.def("alpha_beta_player",
          [](int depth, double random_move_rate) { return NativePlayer{std::make_shared<AlphaBetaPlayer>(depth, random_move_rate)}; }, py::arg("depth"),
          py::arg("random_move_rate"));
    m.def("uniform_player", [] { return NativePlayer{std::make_shared<UniformPlayer>()}; });
}

}  // namespace

void bind_environments(py::module_& m) {
    bind_protocol(m);
    bind_arithmetic(m);
    bind_connect_four(m);
}

}  // namespace paradigm
