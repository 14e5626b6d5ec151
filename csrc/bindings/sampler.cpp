// The rollout scheduler for Python: paradigm/sampler.py drives it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "paradigm/scheduler.h"
#include "python_environment.h"
#include "trajectory_arrays.h"

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
    std::shared_ptr<const TokenBytes> vocabulary;
    py::dict requested;     // by index, the tasks of submitted episodes that are not over
    bool is_python = false;  // the environment

    ~SchedulerHandle() {
        const py::gil_scoped_release release;
        scheduler.reset();
    }
};

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

// Null where nothing stops.
std::shared_ptr<const StopStrings> stop_strings(const SchedulerHandle& self, const py::handle& stop) {
    auto [tokens, strings] = to_stop(stop);
    if (tokens.empty() && strings.empty()) return nullptr;
    return std::make_shared<const StopStrings>(self.vocabulary, std::move(strings), std::move(tokens));
}

std::unique_ptr<SchedulerHandle> make_scheduler(const py::object& environment, const py::list& tasks, const py::list& seats,
                                                const std::vector<std::tuple<int32_t, int32_t, int32_t, int32_t>>& policies, int64_t group_size,
                                                uint64_t key, int32_t vocab_size, int32_t max_tokens,
                                                const std::tuple<float, int32_t, float, float>& sampling, const py::dict& forced,
                                                int threads, bool record_all, const py::object& observation_type,
                                                const std::shared_ptr<TokenBytes>& token_bytes, const py::object& stop,
                                                const std::optional<std::pair<int64_t, int64_t>>& episodes, const py::object& grammar) {
    auto rules = std::make_unique<EpisodeRules>();
    auto handle = std::make_unique<SchedulerHandle>();
    handle->vocabulary = rules->vocabulary = token_bytes;
    rules->stop = stop_strings(*handle, stop);
    rules->grammar = python_grammar(grammar);
    if (py::isinstance<NativeEnvironment>(environment)) {
        rules->factory = environment.cast<const NativeEnvironment&>().factory;
        rules->tasks = native_tasks(tasks);
    } else {
        handle->is_python = true;
        const bool is_requested = tasks.empty();
        rules->factory = python_environment_factory(environment, is_requested ? py::object(handle->requested) : py::object(tasks),
                                                    static_cast<int>(seats.size()));
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
    rules->episodes = episodes;
    rules->key = key;
    rules->vocab_size = vocab_size;
    rules->max_tokens = max_tokens;
    for (const auto& [slots, max_step_tokens, num_blocks, block_size] : policies) {
        handle->limits.push_back({slots, max_step_tokens, num_blocks, block_size});
    }
    const auto [temperature, top_k, top_p, min_p] = sampling;
    const py::gil_scoped_release release;
    handle->scheduler = std::make_unique<Scheduler>(std::move(rules), handle->limits, SamplingParameters{temperature, top_k, top_p, min_p},
                                                    threads, record_all);
    return handle;
}

py::dict buffers(const py::object& self, int32_t policy, int32_t number) {
    Scheduler& scheduler = *self.cast<SchedulerHandle&>().scheduler;
    if (number != 0 && number != 1) throw std::invalid_argument("number must be 0 or 1, got " + std::to_string(number));
    const Plan& plan = scheduler.plan_buffers(policy, number);
    py::dict arrays;
    arrays["tokens"] = view(plan.tokens, self);
    arrays["source"] = view(plan.source, self);
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
    arrays["probe_rows"] = view(plan.probe_rows, self);
    arrays["probe_targets"] = view(plan.probe_targets, self);
    arrays["probe_temperature"] = view(plan.probe_temperature, self);
    arrays["probe_ask"] = view(plan.probe_ask, self);
    arrays["shared_tokens"] = view(plan.shared_tokens, self);
    arrays["shared_cuts"] = view(plan.shared_cuts, self);
    arrays["shared_splits"] = view(plan.shared_splits, self);
    BlockTable& blocks = scheduler.block_table(policy);
    arrays["block_table"] = view(blocks.rows(), {scheduler.limits(policy).slots, blocks.max_blocks()}, self);
    return arrays;
}

template <bool is_ahead>
py::tuple plan(SchedulerHandle& self, int32_t policy) {
    const Plan* plan = nullptr;
    {
        const py::gil_scoped_release release;
        plan = is_ahead ? &self.scheduler->plan_ahead(policy) : &self.scheduler->plan(policy, kPatience);
    }
    return py::make_tuple(plan->num_tokens, plan->num_sequences, plan->num_samples);
}

py::tuple share_prefixes(SchedulerHandle& self, int32_t policy, int32_t split) {
    const SharedPrefixes found = self.scheduler->share_prefixes(policy, split);
    return py::make_tuple(found.num_tokens, found.num_groups, found.most);
}

void commit(SchedulerHandle& self, int32_t policy, const Array<int32_t>& tokens, const Array<float>& logprobs, const Array<float>& kept_logmass,
            const std::optional<Array<float>>& probed) {
    if (tokens.ndim() != 1 || logprobs.size() != tokens.size() || kept_logmass.size() != tokens.size()) {
        throw std::invalid_argument("tokens, logprobs and kept_logmass must have one shape [R], got sizes " + std::to_string(tokens.size()) + ", " +
                                    std::to_string(logprobs.size()) + " and " + std::to_string(kept_logmass.size()));
    }
    const int32_t num_probes = self.scheduler->oldest_plan(policy).num_probes;
    if (probed.has_value() ? probed->size() != num_probes : num_probes > 0) {
        throw std::invalid_argument("probed must have shape [" + std::to_string(num_probes) + "], got " +
                                    (probed.has_value() ? std::to_string(probed->size()) : "None"));
    }
    const float* probe = probed.has_value() ? probed->data() : nullptr;
    const int32_t* drawn = tokens.data();
    const float* logprob = logprobs.data();
    const float* kept = kept_logmass.data();
    const auto count = static_cast<std::size_t>(tokens.size());
    const py::gil_scoped_release release;
    self.scheduler->commit(policy, drawn, logprob, kept, count, probe);
}

py::array support_table(const py::object& self) {
    const SupportSets& supports = self.cast<SchedulerHandle&>().scheduler->supports();
    const SupportSets::View table = supports.view();
    return view(table.words, {table.num_rows, supports.words_per_row()}, self);
}

py::tuple take(SchedulerHandle& self) {
    TrajectoryBuffer buffer;
    {
        const py::gil_scoped_release release;
        buffer = self.scheduler->take();
    }
    return to_arrays(std::move(buffer));
}

void submit(SchedulerHandle& self, int64_t index, int64_t group, const py::object& task,
            const std::tuple<float, int32_t, float, float>& sampling, int32_t max_tokens, const py::object& stop, bool is_streamed, bool is_held,
            const py::object& grammar) {
    Request request{index, group, {}, {}, max_tokens, stop_strings(self, stop), python_grammar(grammar), is_streamed, is_held};
    const auto [temperature, top_k, top_p, min_p] = sampling;
    request.sampling = {temperature, top_k, top_p, min_p};
    if (!self.is_python) {
        py::list tasks;
        tasks.append(task);
        request.task = native_tasks(tasks).front();
        self.scheduler->submit(std::move(request));
        return;
    }
    request.task = python_task(static_cast<std::size_t>(index));
    const py::int_ number(index);
    if (self.requested.contains(number)) throw std::invalid_argument("index must not be that of a request which is not over, got " + std::to_string(index));
    self.requested[number] = task;
    try {
        self.scheduler->submit(std::move(request));
    } catch (...) {
        self.requested.attr("pop")(number);
        throw;
    }
}

void ask(SchedulerHandle& self, int64_t index, int64_t number, const std::string& kind, const py::object& tokens,
         const std::tuple<float, int32_t, float, float>& sampling, int32_t max_tokens, const py::object& stop, const py::object& legal,
         const py::object& grammar) {
    static const std::map<std::string, AskKind> kKinds{
        {"append", AskKind::append}, {"sample", AskKind::sample}, {"score", AskKind::score}, {"evaluate", AskKind::evaluate}};
    const auto found = kKinds.find(kind);
    if (found == kKinds.end()) throw std::invalid_argument("kind must be append, sample, score or evaluate, got " + kind);
    Ask ask;
    ask.number = number;
    ask.kind = found->second;
    ask.tokens = to_tokens(tokens, "tokens");
    const auto [temperature, top_k, top_p, min_p] = sampling;
    ask.sampling = {temperature, top_k, top_p, min_p};
    ask.rules.max_action_tokens = max_tokens;
    auto [stop_tokens, strings] = to_stop(stop);
    ask.rules.stop = std::move(stop_tokens);
    ask.rules.stop_strings = std::move(strings);
    if (!legal.is_none()) {
        std::vector<std::vector<int32_t>> sequences;
        for (const py::handle sequence : legal) sequences.push_back(to_tokens(sequence, "legal"));
        ask.rules.legal = std::make_shared<const LegalSet>(sequences);
    }
    ask.grammar = python_grammar(grammar);
    self.scheduler->ask(index, std::move(ask));
}

py::list take_answers(SchedulerHandle& self) {
    const auto copy = [](const auto& values) {
        return py::array_t<std::decay_t<decltype(values[0])>>(static_cast<py::ssize_t>(values.size()), values.data());
    };
    py::list answers;
    for (const Answer& answer : self.scheduler->take_answers()) {
        answers.append(py::make_tuple(answer.number, answer.error, answer.start, copy(answer.tokens), copy(answer.logprobs),
                                      copy(answer.kept_logmass), copy(answer.version), copy(answer.support)));
    }
    return answers;
}

// None if no submitted episode is over; else (arrays, failures) as of take(), and the indices of those that are.
py::object take_finished(SchedulerHandle& self) {
    if (!self.scheduler->has_over()) return py::none();
    std::vector<int64_t> over;
    TrajectoryBuffer buffer;
    {
        const py::gil_scoped_release release;
        buffer = self.scheduler->take_finished(over);
    }
    for (const int64_t index : over) self.requested.attr("pop")(py::int_(index), py::none());
    const py::tuple taken = to_arrays(std::move(buffer));
    return py::make_tuple(taken[0], taken[1], over);
}

// None if there are none.
py::object take_events(SchedulerHandle& self) {
    StreamEvents taken = self.scheduler->take_events();
    if (taken.index.empty()) return py::none();
    auto* events = new StreamEvents(std::move(taken));
    const py::capsule owner(events, [](void* held) { delete static_cast<StreamEvents*>(held); });
    py::dict arrays;
    arrays["index"] = view(events->index, owner);
    arrays["seat"] = view(events->seat, owner);
    arrays["start"] = view(events->start, owner);
    arrays["offsets"] = view(events->offsets, owner);
    arrays["tokens"] = view(events->tokens, owner);
    arrays["version"] = view(events->version, owner);
    arrays["logprobs"] = view(events->logprobs, owner);
    arrays["action_mask"] = view(events->action_mask, owner).attr("view")("bool");
    arrays["segment"] = view(events->segment, owner);
    return std::move(arrays);
}

py::list take_swaps(SchedulerHandle& self, int32_t policy) {
    static const char* const kKinds[] = {"out", "in", "drop", "fork", "copy"};
    py::list swaps;
    for (const Swap& swap : self.scheduler->take_swaps(policy)) swaps.append(py::make_tuple(kKinds[static_cast<int>(swap.kind)], swap.slot, swap.blocks));
    return swaps;
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
    values["swaps"] = counters.swaps;
    values["tokens_ahead"] = counters.tokens_ahead;
    values["tokens_overrun"] = counters.tokens_overrun;
    values["tokens_forked"] = counters.tokens_forked;
    values["blocks_copied"] = counters.blocks_copied;
    values["free_blocks"] = self.scheduler->block_table(policy).num_free();
    return values;
}

}  // namespace

void bind_sampler(py::module_& m) {
    py::class_<TokenBytes, std::shared_ptr<TokenBytes>>(m, "TokenBytes", "What each token of a vocabulary says: from bytes [V], empty where nothing.")
        .def(py::init([](const std::vector<py::bytes>& said) {
                 auto vocabulary = std::make_shared<TokenBytes>();
                 for (const py::bytes& bytes : said) vocabulary->add(bytes);
                 return vocabulary;
             }),
             py::arg("said"));
    py::class_<SchedulerHandle>(m, "Scheduler", "Continuous batching of episodes over the cache slots of policies; see paradigm.sampler.")
        .def(py::init(&make_scheduler), py::kw_only(), py::arg("environment"), py::arg("tasks"), py::arg("seats"), py::arg("policies"),
             py::arg("group_size"), py::arg("key"), py::arg("vocab_size"), py::arg("max_tokens"), py::arg("sampling"), py::arg("forced"),
             py::arg("threads"), py::arg("record_all"), py::arg("observation_type"), py::arg("token_bytes") = py::none(),
             py::arg("stop") = py::tuple(), py::arg("episodes") = py::none(), py::arg("grammar") = py::none(),
             "Without tasks, episodes are submitted one by one.\n\n"
             "token_bytes: needed where there are stop strings. stop: token ids and strings (str, bytes), any of which ends a trajectory.\n"
             "grammar: what actions say, see paradigm.grammar.TokenGrammar.")
        .def("plan", &plan<false>, py::arg("policy"),
             "Plans a policy's next step into its buffers; waits at most 50 ms, and only if no policy could run.\n\n"
             "Returns: (T tokens, B sequences, R rows to sample), zeros if there is nothing for this policy to do now.")
        .def("plan_ahead", &plan<true>, py::arg("policy"),
             "Plans the step behind the one that is out, into the policy's other buffers; never waits. Tokens whose `source` is not -1 are those\n"
             "drawn in that row of the step that is out, and it must be run behind it.\n\n"
             "Returns: as plan; zeros: commit first. Raises: RuntimeError unless one plan of the policy is out.")
        .def("share_prefixes", &share_prefixes, py::arg("policy"), py::arg("split"),
             "Fills shared_tokens, shared_cuts and shared_splits of the plan last made: see paradigm.kernels.shared_prefixes, whose SharedPrefixes\n"
             "these are, in blocks of `split` tokens.\n\n"
             "Returns: (M tokens of sequences that share, G groups, the most splits that one shares), zeros if none does.")
        .def("commit", &commit, py::arg("policy"), py::arg("tokens").noconvert(), py::arg("logprobs").noconvert(), py::arg("kept_logmass").noconvert(),
             py::arg("probed") = py::none(),
             "Hands back what was drawn for the R rows of the policy's oldest plan: int32, float32, float32 [R]. probed: float32 [Q], the log-probs\n"
             "of its probes' targets, any finite number where there is no target; None if there are no probes.")
        .def("num_riding", [](SchedulerHandle& self, int32_t policy) { return self.scheduler->last_plan(policy).num_riding; }, py::arg("policy"),
             "How many sampling rows of the policy's latest plan draw from where another sequence does.")
        .def("num_probes", [](SchedulerHandle& self, int32_t policy) { return self.scheduler->last_plan(policy).num_probes; }, py::arg("policy"),
             "Q: hidden states of the policy's latest plan that sequences asked for.")
        .def("num_out", [](SchedulerHandle& self, int32_t policy) { return self.scheduler->num_out(policy); }, py::arg("policy"),
             "Plans of a policy that have not been committed: 0 to 2.")
        .def("wait", [](SchedulerHandle& self) { self.scheduler->wait(kPatience); }, py::call_guard<py::gil_scoped_release>(),
             "For collections without a policy: waits at most 50 ms for episodes to end.")
        .def("buffers", &buffers, py::arg("policy"), py::arg("number") = 0,
             "The arrays of a policy's plans by name; they stay where they are. plan fills those of number 0, plan_ahead those that the plan\n"
             "which is out does not use. Both have the block table in common.")
        .def("take_table_changes",
             [](SchedulerHandle& self, int32_t policy) {
                 const std::vector<int32_t> places = self.scheduler->block_table(policy).take_changes();
                 return py::array_t<int32_t>(static_cast<py::ssize_t>(places.size()), places.data());
             },
             py::arg("policy"),
             "int32 [n]: places in a policy's flat block table where a block came in since the last call, some more than once; the first time,\n"
             "all that hold one, and from then on they are kept.")
        .def("support_table", &support_table, "uint32 [S, W]: the sets of legal tokens that plans refer to so far.")
        .def("take", &take, "Once done: (arrays of a TrajectoryBuffer, {row of a failed episode: (reason, message)}).")
        .def("set_version",
             [](SchedulerHandle& self, int32_t policy, int32_t version, bool keep) {
                 self.scheduler->set_version(policy, version, keep ? OnUpdate::keep : OnUpdate::recompute);
             },
             py::arg("policy"), py::arg("version"), py::arg("keep") = false,
             "Tags tokens committed from now on; prompts computed under another version are not shared any more. Live sequences are fed again\n"
             "from their first token, or keep what they have in the cache.")
        .def("take_swaps", &take_swaps, py::arg("policy"),
             "What is to be done with the cache before the plan last made is run, in this order: [(\"out\", \"in\", \"drop\", \"fork\" or \"copy\",\n"
             "slot, blocks)]: copy a sequence's blocks out, back into the first of them, forget the copy; let a fork share that of slot blocks[0];\n"
             "copy block blocks[0] to blocks[1]. Only sequences that kept what earlier weights had made are swapped.")
        .def("submit", &submit, py::kw_only(), py::arg("index"), py::arg("group"), py::arg("task"), py::arg("sampling"), py::arg("max_tokens"),
             py::arg("stop"), py::arg("is_streamed"), py::arg("is_held") = false, py::arg("grammar") = py::none(),
             "Asks for one more episode. From any thread, as cancel and poke. is_held: until it is released, it can be forked when it is over.")
        .def("open", [](SchedulerHandle& self, int64_t index, const py::object& tokens) { self.scheduler->open(index, to_tokens(tokens, "tokens")); },
             py::arg("index"), py::arg("tokens"), "Makes a sequence of the policy that plays seat 0. From any thread, as fork, ask and release.")
        .def("fork",
             [](SchedulerHandle& self, int64_t index, int64_t parent, int32_t seat, int32_t length) { self.scheduler->fork(index, parent, seat, length); },
             py::arg("index"), py::arg("parent"), py::arg("seat") = 0, py::arg("length") = -1,
             "Makes a sequence of the first tokens (-1: all) of another, or of what a seat saw of a request that is not over, or is held.")
        .def("ask", &ask, py::arg("index"), py::kw_only(), py::arg("number"), py::arg("kind"), py::arg("tokens") = py::tuple(),
             py::arg("sampling") = std::make_tuple(1.0f, 0, 1.0f, 0.0f), py::arg("max_tokens") = 0, py::arg("stop") = py::tuple(),
             py::arg("legal") = py::none(), py::arg("grammar") = py::none(),
             "Asks a sequence to append, sample, score or evaluate; answered under the number by take_answers.")
        .def("release", [](SchedulerHandle& self, int64_t index) { self.scheduler->release(index); }, py::arg("index"),
             "Lets go of a sequence, or of a held request.")
        .def("take_answers", &take_answers,
             "[(number, error, start, tokens, logprobs, kept_logmass, version, support)] since the last call; error is empty where all went well.")
        .def("cancel", [](SchedulerHandle& self, int64_t index) { self.scheduler->cancel(index); }, py::arg("index"), "Gives a submitted episode up.")
        .def("poke", [](SchedulerHandle& self) { self.scheduler->poke(); }, "Makes a plan or wait that waits return at once.")
        .def("take_finished", &take_finished,
             "None, or (arrays, failures, indices) of the submitted episodes that are over since the last call; cancelled ones have only an index.")
        .def("take_events", &take_events, "None, or the tokens of streamed episodes since the last call, as arrays by name.")
        .def_property_readonly("is_idle", [](const SchedulerHandle& self) { return self.scheduler->is_idle(); },
                               "Whether nothing runs, nor can start before something is released.")
        .def("close", [](SchedulerHandle& self) { return self.scheduler->close(kGrace); }, py::call_guard<py::gil_scoped_release>(),
             "Stops the threads; returns False if one was still inside an environment after half a second and was let go.")
        .def_property_readonly("is_done", [](const SchedulerHandle& self) { return self.scheduler->is_done(); })
        .def_property_readonly("num_done", [](const SchedulerHandle& self) { return self.scheduler->num_done(); })
        .def_property_readonly("num_failed", [](const SchedulerHandle& self) { return self.scheduler->num_failed(); })
        .def_property_readonly("failure_reasons", [](const SchedulerHandle& self) { return self.scheduler->failure_reasons(); },
                               "{reason: failed episodes}, see EpisodeError.")
        .def_property_readonly("wait_s", [](const SchedulerHandle& self) { return self.scheduler->wait_s(); })
        .def("counters", &counters, py::arg("policy"),
             "Of a policy so far: steps, tokens_fed, tokens_prefilled, tokens_sampled, tokens_covered (each token counted once, however "
             "often it was fed), keys_covered (tokens attended to, summed over these), prefixes_shared (sequences that took over the "
             "beginning of their prompt), tokens_shared (not fed for that), evictions, tokens_recomputed (fed again, after one or under new "
             "weights), swaps (evictions that copied blocks out), tokens_ahead (fed before their value was known here), tokens_overrun (those of them "
             "behind an end), tokens_forked (not fed because a fork took them over), blocks_copied (last "
             "blocks that forks had to copy). "
             "And free_blocks, of its cache now.");
}

}  // namespace paradigm
