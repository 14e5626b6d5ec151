// The rollout scheduler for Python: paradigm/sampler.py drives it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "paradigm/scheduler.h"
#include "python_environment.h"

namespace py = pybind11;

namespace paradigm {

namespace {

constexpr std::chrono::milliseconds kPatience{50};  // how long a call may keep Python from seeing Ctrl-C
constexpr std::chrono::milliseconds kGrace{500};    // how long closing waits for environments

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// Threads of the scheduler take the GIL when they step a Python environment, so it must be free while they are joined.
struct SchedulerHandle {
    std::unique_ptr<Scheduler> scheduler;
    std::vector<PolicyLimits> limits;

    ~SchedulerHandle() {
        const py::gil_scoped_release release;
        scheduler.reset();
    }
};

template <class T>
py::array view(const T* data, std::vector<py::ssize_t> shape, py::handle owner) {
    static const T nothing{};  // numpy allocates for a null pointer
    return py::array_t<T>(std::move(shape), data == nullptr ? &nothing : data, owner);
}

template <class T>
py::array view(const std::vector<T>& values, py::handle owner) {
    return view(values.data(), {static_cast<py::ssize_t>(values.size())}, owner);
}

std::vector<std::string> native_tasks(const py::list& tasks) {
    std::vector<std::string> strings;
    for (const py::handle task : tasks) {
        if (!py::isinstance<py::bytes>(task) && !py::isinstance<py::str>(task)) {
            throw py::type_error("tasks of a native environment must be str or bytes, got " + std::string(Py_TYPE(task.ptr())->tp_name));
        }
        strings.push_back(task.cast<std::string>());
    }
    return strings;
}

std::vector<std::string> python_tasks(const py::list& tasks) {
    std::vector<std::string> numbers;
    for (std::size_t i = 0; i < tasks.size(); ++i) numbers.push_back(python_task(i));
    return numbers;
}

SeatRole to_role(const py::handle& seat, const py::object& observation_type) {
    if (py::isinstance<py::int_>(seat)) return {seat.cast<int32_t>(), nullptr};
    if (py::isinstance<NativePlayer>(seat)) return {-1, seat.cast<const NativePlayer&>().player};
    if (PyCallable_Check(seat.ptr()) == 0 && !py::hasattr(seat, "act")) {
        throw py::type_error("a seat must be played by a policy, a NativePlayer, a callable or an object with act, got " +
                             std::string(Py_TYPE(seat.ptr())->tp_name));
    }
    return {-1, python_player(py::reinterpret_borrow<py::object>(seat), observation_type)};
}

std::unique_ptr<SchedulerHandle> make_scheduler(const py::object& environment, const py::list& tasks, const py::list& seats,
                                                const std::vector<std::tuple<int32_t, int32_t, int32_t, int32_t>>& policies, int64_t group_size,
                                                uint64_t key, int32_t vocab_size, int32_t max_tokens,
                                                const std::tuple<float, int32_t, float, float>& sampling, const py::dict& forced,
                                                int threads, bool record_all, const py::object& observation_type) {
    auto rules = std::make_unique<EpisodeRules>();
    if (py::isinstance<NativeEnvironment>(environment)) {
        rules->factory = environment.cast<const NativeEnvironment&>().factory;
        rules->tasks = native_tasks(tasks);
    } else {
        rules->factory = python_environment_factory(environment, tasks, static_cast<int>(seats.size()));
        rules->tasks = python_tasks(tasks);
    }
    rules->is_native = py::isinstance<NativeEnvironment>(environment);
    for (const py::handle seat : seats) {
        rules->roles.push_back(to_role(seat, observation_type));
        rules->is_native = rules->is_native && (py::isinstance<py::int_>(seat) || py::isinstance<NativePlayer>(seat));
    }
    for (const auto& [trajectory, imposed] : forced) {
        std::vector<ForcedToken>& list = rules->forced[trajectory.cast<int64_t>()];
        for (const py::handle entry : imposed) {
            const auto pair = entry.cast<py::sequence>();
            if (pair.size() != 2) throw std::invalid_argument("forced must list pairs (n, token ids)");
            const auto after = pair[0].cast<int32_t>();
            int32_t number = 0;
            for (const int32_t token : to_tokens(pair[1], "forced")) list.push_back({after + number++, token});
        }
    }
    rules->group_size = group_size;
    rules->key = key;
    rules->vocab_size = vocab_size;
    rules->max_tokens = max_tokens;
    auto handle = std::make_unique<SchedulerHandle>();
    for (const auto& [slots, max_step_tokens, num_blocks, block_size] : policies) {
        handle->limits.push_back({slots, max_step_tokens, num_blocks, block_size});
    }
    const auto [temperature, top_k, top_p, min_p] = sampling;
    const py::gil_scoped_release release;
    handle->scheduler = std::make_unique<Scheduler>(std::move(rules), handle->limits, SamplingParameters{temperature, top_k, top_p, min_p},
                                                    threads, record_all);
    return handle;
}

py::dict buffers(const py::object& self, int32_t policy) {
    Scheduler& scheduler = *self.cast<SchedulerHandle&>().scheduler;
    const Plan& plan = scheduler.plan_buffers(policy);
    py::dict arrays;
    arrays["tokens"] = view(plan.tokens, self);
    arrays["positions"] = view(plan.positions, self);
    arrays["cu_seqlens"] = view(plan.cu_seqlens, self);
    arrays["context_lengths"] = view(plan.context_lengths, self);
    arrays["slots"] = view(plan.slots, self);
    arrays["sample_rows"] = view(plan.sample_rows, self);
    arrays["temperature"] = view(plan.temperature, self);
    arrays["top_k"] = view(plan.top_k, self);
    arrays["top_p"] = view(plan.top_p, self);
    arrays["min_p"] = view(plan.min_p, self);
    arrays["key"] = view(plan.key, self);
    arrays["trajectory"] = view(plan.trajectory, self);
    arrays["position"] = view(plan.position, self);
    arrays["support_row"] = view(plan.support_row, self);
    BlockTable& blocks = scheduler.block_table(policy);
    arrays["block_table"] = view(blocks.rows(), {scheduler.limits(policy).slots, blocks.max_blocks()}, self);
    return arrays;
}

py::tuple plan(SchedulerHandle& self, int32_t policy) {
    const Plan* plan = nullptr;
    {
        const py::gil_scoped_release release;
        plan = &self.scheduler->plan(policy, kPatience);
    }
    return py::make_tuple(plan->num_tokens, plan->num_sequences, plan->num_samples);
}

void commit(SchedulerHandle& self, int32_t policy, const Array<int32_t>& tokens, const Array<float>& logprobs, const Array<float>& kept_logmass) {
    if (tokens.ndim() != 1 || logprobs.size() != tokens.size() || kept_logmass.size() != tokens.size()) {
        throw std::invalid_argument("tokens, logprobs and kept_logmass must have one shape [R], got sizes " + std::to_string(tokens.size()) + ", " +
                                    std::to_string(logprobs.size()) + " and " + std::to_string(kept_logmass.size()));
    }
    const int32_t* drawn = tokens.data();
    const float* logprob = logprobs.data();
    const float* kept = kept_logmass.data();
    const auto count = static_cast<std::size_t>(tokens.size());
    const py::gil_scoped_release release;
    self.scheduler->commit(policy, drawn, logprob, kept, count);
}

py::array support_table(const py::object& self) {
    const SupportSets& supports = self.cast<SchedulerHandle&>().scheduler->supports();
    const SupportSets::View table = supports.view();
    return view(table.words, {table.num_rows, supports.words_per_row()}, self);
}

// The arrays of paradigm.trajectory.TrajectoryBuffer, which keep the C++ buffer alive, and the messages of failed rows.
py::tuple take(SchedulerHandle& self) {
    auto* buffer = new TrajectoryBuffer;
    const py::capsule owner(buffer, [](void* held) { delete static_cast<TrajectoryBuffer*>(held); });
    {
        const py::gil_scoped_release release;
        *buffer = self.scheduler->take();
    }
    const auto flags = [&owner](const std::vector<uint8_t>& values) { return view(values, owner).attr("view")("bool"); };
    py::dict arrays;
    arrays["tokens"] = view(buffer->tokens, owner);
    arrays["action_mask"] = flags(buffer->action_mask);
    arrays["segment"] = view(buffer->segment, owner);
    arrays["modality"] = view(buffer->modality, owner);
    arrays["decision"] = view(buffer->decision, owner);
    arrays["version"] = view(buffer->version, owner);
    arrays["rewards"] = view(buffer->rewards, owner);
    arrays["logprobs"] = view(buffer->logprobs, owner);
    arrays["kept_logmass"] = view(buffer->kept_logmass, owner);
    arrays["support"] = view(buffer->support, owner);
    arrays["offsets"] = view(buffer->offsets, owner);
    arrays["index"] = view(buffer->index, owner);
    arrays["group"] = view(buffer->group, owner);
    arrays["task"] = view(buffer->task, owner);
    arrays["seat"] = view(buffer->seat, owner);
    arrays["parent"] = view(buffer->parent, owner);
    arrays["stop_reason"] = view(buffer->stop_reason, owner);
    arrays["terminated"] = flags(buffer->terminated);
    arrays["truncated"] = flags(buffer->truncated);
    arrays["failed"] = flags(buffer->failed);
    arrays["temperature"] = view(buffer->temperature, owner);
    const py::ssize_t words = buffer->words_per_support;
    const py::ssize_t rows = words == 0 ? 0 : static_cast<py::ssize_t>(buffer->support_table.size()) / words;
    arrays["support_table"] = view(buffer->support_table.data(), {rows, words}, owner);
    py::dict failures;
    for (const auto& [row, message] : buffer->failures) {
        // what an environment says need not be UTF-8
        failures[py::int_(row)] = py::reinterpret_steal<py::str>(
            PyUnicode_DecodeUTF8(message.data(), static_cast<py::ssize_t>(message.size()), "replace"));
    }
    return py::make_tuple(arrays, failures);
}

py::dict counters(SchedulerHandle& self, int32_t policy) {
    const PolicyCounters& counters = self.scheduler->counters(policy);
    py::dict values;
    values["steps"] = counters.steps;
    values["tokens_fed"] = counters.tokens_fed;
    values["tokens_prefilled"] = counters.tokens_prefilled;
    values["tokens_sampled"] = counters.tokens_sampled;
    values["tokens_covered"] = counters.tokens_covered;
    values["keys_covered"] = counters.keys_covered;
    values["prefixes_shared"] = counters.prefixes_shared;
    values["tokens_shared"] = counters.tokens_shared;
    values["evictions"] = counters.evictions;
    values["tokens_recomputed"] = counters.tokens_recomputed;
    values["free_blocks"] = self.scheduler->block_table(policy).num_free();
    return values;
}

}  // namespace

void bind_sampler(py::module_& m) {
    py::class_<SchedulerHandle>(m, "Scheduler", "Continuous batching of episodes over the cache slots of policies; see paradigm.sampler.")
        .def(py::init(&make_scheduler), py::kw_only(), py::arg("environment"), py::arg("tasks"), py::arg("seats"), py::arg("policies"),
             py::arg("group_size"), py::arg("key"), py::arg("vocab_size"), py::arg("max_tokens"), py::arg("sampling"), py::arg("forced"),
             py::arg("threads"), py::arg("record_all"), py::arg("observation_type"))
        .def("plan", &plan, py::arg("policy"),
             "Plans a policy's next step into its buffers; waits at most 50 ms, and only if no policy could run.\n\n"
             "Returns: (T tokens, B sequences, R rows to sample), zeros if there is nothing for this policy to do now.")
        .def("commit", &commit, py::arg("policy"), py::arg("tokens").noconvert(), py::arg("logprobs").noconvert(), py::arg("kept_logmass").noconvert(),
             "Hands back what was drawn for the R rows of the policy's plan: int32, float32, float32 [R].")
        .def("wait", [](SchedulerHandle& self) { self.scheduler->wait(kPatience); }, py::call_guard<py::gil_scoped_release>(),
             "For collections without a policy: waits at most 50 ms for episodes to end.")
        .def("buffers", &buffers, py::arg("policy"), "The arrays of a policy's plans by name; they stay where they are.")
        .def("support_table", &support_table, "uint32 [S, W]: the sets of legal tokens that plans refer to so far.")
        .def("take", &take, "Once done: (arrays of a TrajectoryBuffer, {row: message of a failed episode}).")
        .def("set_version", [](SchedulerHandle& self, int32_t policy, int32_t version) { self.scheduler->set_version(policy, version); },
             py::arg("policy"), py::arg("version"),
             "Tags tokens committed from now on; prompts computed under another version are not shared any more.")
        .def("close", [](SchedulerHandle& self) { return self.scheduler->close(kGrace); }, py::call_guard<py::gil_scoped_release>(),
             "Stops the threads; returns False if one was still inside an environment after half a second and was let go.")
        .def_property_readonly("is_done", [](const SchedulerHandle& self) { return self.scheduler->is_done(); })
        .def_property_readonly("num_done", [](const SchedulerHandle& self) { return self.scheduler->num_done(); })
        .def_property_readonly("num_failed", [](const SchedulerHandle& self) { return self.scheduler->num_failed(); })
        .def_property_readonly("wait_s", [](const SchedulerHandle& self) { return self.scheduler->wait_s(); })
        .def("counters", &counters, py::arg("policy"),
             "Of a policy so far: steps, tokens_fed, tokens_prefilled, tokens_sampled, tokens_covered (each token counted once, however "
             "often it was fed), keys_covered (tokens attended to, summed over these), prefixes_shared (sequences that took over the "
             "beginning of their prompt), tokens_shared (not fed for that), evictions, tokens_recomputed (fed again after one). "
             "And free_blocks, of its cache now.");
}

}  // namespace paradigm
