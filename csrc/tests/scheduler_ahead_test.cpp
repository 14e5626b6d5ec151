// Steps planned while another is out, against the hashing model: no bit of a rollout may differ, whatever stops it and however often they overlap.
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

constexpr int32_t kMaxTokens = 44;

std::shared_ptr<const TokenBytes> letters() {
    auto said = std::make_shared<TokenBytes>();
    for (int32_t token = 0; token < kVocab; ++token) said->add(std::string(1, static_cast<char>('a' + token % 7)));
    return said;
}

// Two seats; limits, stops, legal tokens, strings that stop, rewards and failures follow from what was said. Groups share a prompt.
Step mixed(const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
    uint64_t hash = mix(seed, task.size());
    for (const Tokens& action : actions) {
        for (const int32_t token : action) hash = mix(hash, static_cast<uint64_t>(token));
    }
    if (hash % 11 == 0) std::this_thread::sleep_for(std::chrono::microseconds(hash % 300));
    if (hash % 71 == 0) throw std::runtime_error("a bad day");
    const auto draw = [&hash](uint64_t n) { return (hash = mix(hash, n)) % n; };
    Step step;
    step.rewards = {static_cast<float>(draw(5)), 1};
    if (actions.empty()) {
        for (int seat = 0; seat < 2; ++seat) step.observations.push_back(ask(seat, Tokens(9 + 5 * task.size(), seat), 0));
    }
    Observation asked = ask(static_cast<int>(draw(2)), Tokens(1 + draw(4), static_cast<int32_t>(draw(kVocab))), static_cast<int>(1 + draw(12)));
    if (draw(3) == 0) asked.legal = legal({{1, 2, 3}, {1, 2, 4}, {1, 9}, {static_cast<int32_t>(10 + draw(20))}});
    if (draw(3) == 0) asked.stop = {5, 6, 7};
    if (draw(3) == 0) asked.stop_strings = {"ab", "c"};
    step.observations.push_back(std::move(asked));
    step.terminated = actions.size() > 1 && draw(4) == 0;
    step.truncated = actions.size() > 6;
    return step;
}

std::unique_ptr<EpisodeRules> rules(bool is_native = false) {
    std::vector<std::string> tasks;
    for (std::size_t i = 0; i < 24; ++i) tasks.emplace_back(i % 4, 'x');
    auto made = rules_of(2, mixed, tasks, kMaxTokens);
    made->group_size = 4;
    made->vocabulary = letters();
    made->stop = std::make_shared<const StopStrings>(made->vocabulary, std::vector<std::string>{"gfe"}, Tokens{});
    made->is_native = is_native;
    for (int64_t i = 0; i < 192; i += 5) made->forced[i] = {{2, 1}, {3, 12}, {9, 30}};
    return made;
}

struct Outcome {
    TrajectoryBuffer buffer;
    PolicyCounters counters;
};

Outcome play(const PolicyLimits& limits, int threads, bool is_native, const std::function<bool()>& goes_ahead) {
    Scheduler scheduler(rules(is_native), {limits}, SamplingParameters{}, threads, false);
    TrajectoryBuffer buffer = collect(scheduler, nullptr, goes_ahead);
    return {std::move(buffer), scheduler.counters(0)};
}

void no_bit_differs() {
    const auto blocks = [](int32_t slots) { return 1 + slots * (kMaxTokens / 4); };
    const Outcome expected = play({8, 1000, blocks(8), 4}, 2, false, nullptr);
    CHECK(expected.counters.tokens_ahead == 0 && expected.counters.tokens_overrun == 0);
    std::mt19937 random(3);
    int64_t num_ahead = 0, num_overrun = 0, num_evictions = 0, num_shared = 0;
    for (const PolicyLimits& limits : {PolicyLimits{2, 64, blocks(2), 4}, PolicyLimits{7, 5, blocks(7), 4}, PolicyLimits{256, 1000, blocks(256), 4},
                                       PolicyLimits{16, 1, blocks(16), 4}, PolicyLimits{16, 40, blocks(3), 4}, PolicyLimits{16, 40, blocks(9), 4}}) {
        for (int way = 0; way < 4; ++way) {
            const Outcome found = play(limits, 1 + way % 2, way > 1, [&random, way] { return way % 2 == 0 || random() % 3 > 0; });
            check_equal(expected.buffer, found.buffer);
            CHECK(found.counters.tokens_sampled == expected.counters.tokens_sampled);
            CHECK(found.counters.tokens_covered == expected.counters.tokens_covered && found.counters.keys_covered == expected.counters.keys_covered);
            CHECK(found.counters.tokens_overrun <= found.counters.tokens_ahead);
            // with room for three of sixteen
            if (limits.num_blocks == blocks(3) && way % 2 == 0) CHECK(found.counters.tokens_ahead > 300);
            num_ahead += found.counters.tokens_ahead;
            num_overrun += found.counters.tokens_overrun;
            num_evictions += found.counters.evictions;
            num_shared += found.counters.prefixes_shared;
        }
    }
    CHECK(num_ahead > 5000 && num_overrun > 500 && num_evictions > 100 && num_shared > 500);
}

void wait_for(Scheduler& scheduler, int64_t num_done) {
    while (scheduler.num_done() < num_done) scheduler.wait(milliseconds(50));
}

// One seat that acts once, behind a prompt of 3 tokens.
std::unique_ptr<EpisodeRules> one_action(int most, std::size_t num_tasks, const std::function<void(Observation&)>& change = nullptr) {
    const auto answer = [most, change](const std::string&, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        step.observations = {ask(0, {1, 2, 3}, most)};
        if (change) change(step.observations[0]);
        step.terminated = !actions.empty();
        return step;
    };
    auto made = rules_of(1, answer, std::vector<std::string>(num_tasks, "x"), 32);
    made->is_native = true;
    return made;
}

void only_what_is_free_is_planned_ahead() {
    {
        Scheduler scheduler(one_action(3, 1), {{1, 100, 9, 4}}, SamplingParameters{}, 1, false);
        HashingModel model(scheduler, 0);
        const Plan& first = scheduler.plan(0, milliseconds(50));
        CHECK(first.num_tokens == 3 && first.num_samples == 1 && first.source[2] == -1 && &first == &scheduler.plan_buffers(0, 0));
        const HashingModel::Draws draws = model.launch(first);
        const Plan& second = scheduler.plan_ahead(0);
        CHECK(&second == &scheduler.plan_buffers(0, 1) && second.num_tokens == 1 && second.source[0] == 0 && second.positions[0] == 3);
        CHECK(second.context_lengths[0] == 4 && second.position[0] == 4 && second.num_samples == 1 && scheduler.num_out(0) == 2);
        const HashingModel::Draws more = model.launch(second, &draws);
        model.commit(draws);
        CHECK(scheduler.plan_ahead(0).num_tokens == 1);  // the second of three tokens is out, the last one may follow
        CHECK(scheduler.num_out(0) == 2);
        const HashingModel::Draws last = model.launch(scheduler.last_plan(0), &more);
        model.commit(more);
        CHECK(scheduler.plan_ahead(0).num_tokens == 0 && scheduler.num_out(0) == 1);  // the action surely ends with what is out
        model.commit(last);
        wait_for(scheduler, 1);
        CHECK(scheduler.counters(0).tokens_overrun == 0 && scheduler.counters(0).tokens_ahead == 2);
    }
    const auto num_ahead = [](std::unique_ptr<EpisodeRules> made) {
        Scheduler scheduler(std::move(made), {{1, 100, 9, 4}}, SamplingParameters{}, 1, false);
        HashingModel model(scheduler, 0);
        model.launch(scheduler.plan(0, milliseconds(50)));
        return scheduler.plan_ahead(0).num_tokens;
    };
    CHECK(num_ahead(one_action(9, 1)) == 1);
    CHECK(num_ahead(one_action(1, 1)) == 0);
    CHECK(num_ahead(one_action(9, 1, [](Observation& asked) { asked.legal = legal({{1, 2, 3}, {4}}); })) == 0);
    auto forced = one_action(9, 1);
    forced->forced[0] = {{1, 7}};
    CHECK(num_ahead(std::move(forced)) == 0);
    auto full = one_action(9, 1);
    full->max_tokens = 4;
    CHECK(num_ahead(std::move(full)) == 0);
    auto stopped = one_action(9, 1);  // a string stops it, which is seen when the token is
    stopped->vocabulary = letters();
    stopped->stop = std::make_shared<const StopStrings>(stopped->vocabulary, std::vector<std::string>{"ab"}, Tokens{});
    CHECK(num_ahead(std::move(stopped)) == 1);
}

// Who is over keeps its slot and blocks until the plan that feeds it is committed.
void an_overrun_sequence_leaves_last() {
    Tokens all(kVocab);
    for (int32_t token = 0; token < kVocab; ++token) all[static_cast<std::size_t>(token)] = token;
    Scheduler scheduler(one_action(9, 2, [&all](Observation& asked) { asked.stop = all; }), {{1, 100, 9, 4}}, SamplingParameters{}, 1, false);
    HashingModel model(scheduler, 0);
    const HashingModel::Draws draws = model.launch(scheduler.plan(0, milliseconds(50)));
    const HashingModel::Draws overrun = model.launch(scheduler.plan_ahead(0), &draws);
    model.commit(draws);
    wait_for(scheduler, 1);
    CHECK(scheduler.block_table(0).num_held(0) == 1 && scheduler.block_table(0).num_free() == 7);
    CHECK(scheduler.plan_ahead(0).num_tokens == 0);  // the other episode has no slot yet
    model.commit(overrun);
    CHECK(scheduler.block_table(0).num_held(0) == 0 && scheduler.block_table(0).num_free() == 8);
    CHECK(scheduler.counters(0).tokens_overrun == 1 && scheduler.counters(0).tokens_sampled == 1);
    model.run(scheduler.plan(0, milliseconds(50)));
    wait_for(scheduler, 2);
    CHECK(scheduler.is_done());
}

template <class Call>
void refuses(const std::string& expected, const Call& call) {
    try {
        call();
    } catch (const std::logic_error& error) {
        CHECK(std::string(error.what()).find(expected) != std::string::npos);
        return;
    }
    CHECK(false);
}

void what_needs_no_plan_out_is_refused() {
    Scheduler scheduler(one_action(9, 1), {{1, 100, 9, 4}}, SamplingParameters{}, 1, false);
    HashingModel model(scheduler, 0);
    refuses("plan_ahead needs exactly one plan of the policy to be out, got 0", [&] { scheduler.plan_ahead(0); });
    const HashingModel::Draws draws = model.launch(scheduler.plan(0, milliseconds(50)));
    const HashingModel::Draws more = model.launch(scheduler.plan_ahead(0), &draws);
    refuses("plan_ahead needs exactly one plan of the policy to be out, got 2", [&] { scheduler.plan_ahead(0); });
    refuses("plan: the policy's last plan has not been committed", [&] { scheduler.plan(0, milliseconds(1)); });
    refuses("set_version needs all plans of the policy to be committed, got 2", [&] { scheduler.set_version(0, 1, OnUpdate::keep); });
    model.commit(draws);
    refuses("set_version needs all plans of the policy to be committed, got 1", [&] { scheduler.set_version(0, 1, OnUpdate::keep); });
    model.commit(more);
    scheduler.set_version(0, 1, OnUpdate::recompute);
    refuses("commit: nothing is planned for the policy", [&] { model.commit(more); });
}

// Two policies whose plans are out by turns: none waits for the other, and each draws what it would alone.
void two_policies_overlap() {
    const auto make = [] {
        auto made = rules();
        made->roles[1].policy = 1;
        return made;
    };
    const PolicyLimits limits{9, 50, 1 + 9 * (kMaxTokens / 4), 4}, tight{9, 50, 1 + 2 * (kMaxTokens / 4), 4};
    Scheduler apart(make(), {limits, limits}, SamplingParameters{}, 1, true), together(make(), {limits, tight}, SamplingParameters{}, 2, true);
    const TrajectoryBuffer expected = collect(apart);
    check_equal(expected, collect(together, nullptr, [] { return true; }));
    CHECK(together.counters(0).tokens_ahead > 100);
}

// Requests come and are given up at any time; held ones are forked. Nobody's tokens change, and everything is given back.
void requests_come_and_go() {
    std::mt19937 random(17);
    int64_t num_overrun = 0, num_cancelled = 0, num_forked = 0;
    for (int round = 0; round < 40; ++round) {
        const auto answer = [](const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) { return mixed(task, seed, actions); };
        const auto num_blocks = static_cast<int32_t>(1 + (2 + random() % 30) * kMaxTokens / 4);
        auto made = rules_of(2, answer, {}, kMaxTokens);
        made->vocabulary = letters();
        Scheduler scheduler(std::move(made), {{12, static_cast<int32_t>(1 + random() % 50), num_blocks, 4}}, SamplingParameters{}, 2, false);
        Overlapping policy(scheduler, 0);
        std::map<int64_t, bool> held;
        int64_t next = 0, next_sequence = 1000, number = 0;
        std::vector<int64_t> over, sequences;
        const auto step = [&] {
            policy.step(milliseconds(5), random() % 4 > 0);
            for (const Answer& answered : scheduler.take_answers()) CHECK(!answered.error.empty() || !answered.tokens.empty());
        };
        while (next < 30 || !scheduler.is_idle()) {
            if (next < 30) {
                Request request;
                request.index = request.group = next;
                request.task = "xx";
                request.max_tokens = kMaxTokens;
                request.is_held = random() % 4 == 0;
                scheduler.submit(request);
                if (request.is_held) held[next] = true;
                ++next;
            }
            for (auto steps = random() % 5; steps > 0; --steps) step();
            if (random() % 5 == 0) {
                scheduler.cancel(static_cast<int64_t>(random() % static_cast<uint64_t>(next)));
                ++num_cancelled;
            }
            if (!held.empty() && random() % 3 == 0) {
                const int64_t parent = held.begin()->first;
                scheduler.fork(next_sequence, parent, 0, -1);
                Ask question;
                question.number = ++number;
                question.kind = AskKind::sample;
                question.rules.max_action_tokens = 4;
                scheduler.ask(next_sequence, question);
                sequences.push_back(next_sequence++);
                ++num_forked;
            }
            if (!sequences.empty() && random() % 3 == 0) {
                scheduler.release(sequences.back());
                sequences.pop_back();
            }
            if (!held.empty() && (next == 30 || random() % 4 == 0)) {
                scheduler.release(held.begin()->first);
                held.erase(held.begin());
            }
            if (random() % 9 == 0) {
                policy.drain();
                scheduler.set_version(0, static_cast<int32_t>(next + round), random() % 2 == 0 ? OnUpdate::recompute : OnUpdate::keep);
            }
            scheduler.take_finished(over);
        }
        for (const auto& [index, is_held] : held) scheduler.release(index);
        for (const int64_t index : sequences) scheduler.release(index);
        while (!scheduler.is_idle()) step();
        step();
        policy.drain();
        policy.model.check_blocks();
        CHECK(policy.model.num_swapped() == 0 && scheduler.block_table(0).num_free() == num_blocks - 1);
        num_overrun += scheduler.counters(0).tokens_overrun;
    }
    CHECK(num_overrun > 100 && num_cancelled > 100 && num_forked > 100);
}

}  // namespace

int main() {
    only_what_is_free_is_planned_ahead();
    an_overrun_sequence_leaves_last();
    what_needs_no_plan_out_is_refused();
    no_bit_differs();
    two_policies_overlap();
    requests_come_and_go();
    std::puts("scheduler_ahead_test: ok");
}
