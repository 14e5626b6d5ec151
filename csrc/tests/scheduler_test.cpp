// The scheduler against a hashing model: rollouts must not depend on slots, threads, chunks or the order in which environments answer.
#include <chrono>
#include <cstdio>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

class HashPlayer final : public Player {
  public:
    Tokens act(const Environment&, const Observation& observation, uint64_t seed) const override {
        if (observation.legal != nullptr) return (*observation.legal)[seed % observation.legal->size()];
        return Tokens(1, static_cast<int32_t>(seed % kVocab));
    }
};

TrajectoryBuffer collect(std::unique_ptr<EpisodeRules> rules, int32_t slots, int threads, int32_t max_step_tokens, bool record_all = false) {
    const int32_t block_size = 4;
    const int32_t num_blocks = 1 + slots * ((rules->max_tokens + block_size - 1) / block_size);
    Scheduler scheduler(std::move(rules), {{slots, max_step_tokens, num_blocks, block_size}}, SamplingParameters{}, threads, record_all);
    return collect(scheduler);
}

// Two seats; prompts, limits, stops, legal sets and lengths all follow from a hash of what happened. Sleeps shuffle the arrival.
Step wandering(const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
    uint64_t hash = seed;
    for (const char c : task) hash = mix(hash, static_cast<uint64_t>(c));
    for (const Tokens& action : actions) {
        for (const int32_t token : action) hash = mix(hash, static_cast<uint64_t>(token));
    }
    if (hash % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(hash % 700));
    if (hash % 61 == 0) throw std::runtime_error("a bad day");
    Step step;
    const auto draw = [&hash](uint64_t n) { return (hash = mix(hash, n)) % n; };
    step.rewards = {static_cast<float>(draw(9)), -static_cast<float>(draw(9))};
    if (actions.empty()) step.observations.push_back(ask(1, Tokens(1 + draw(11), 3), 0));
    const auto seat = static_cast<int>(draw(2));
    Observation asked = ask(seat, Tokens(1 + draw(13), static_cast<int32_t>(draw(kVocab))), static_cast<int>(1 + draw(9)), {5, 6, 7});
    if (draw(2) == 0) asked.legal = legal({{1, 2, 3}, {1, 2, 4}, {1, 9}, {static_cast<int32_t>(10 + draw(20))}});
    if (draw(2) == 0) asked.thought_until = 11;
    step.observations.push_back(std::move(asked));
    step.terminated = actions.size() > 2 && draw(4) == 0;
    step.truncated = actions.size() > 5;
    return step;
}

void rollouts_do_not_depend_on_how_they_are_scheduled() {
    const auto make = [] {
        std::vector<std::string> tasks;
        for (int i = 0; i < 40; ++i) tasks.push_back("task " + std::to_string(i));
        auto rules = rules_of(2, wandering, tasks, 48);
        rules->group_size = 2;
        for (int64_t i = 0; i < 160; i += 7) rules->forced[i] = {{2, 1}, {3, 12}, {9, 30}};
        return rules;
    };
    const TrajectoryBuffer expected = collect(make(), 2, 1, 64);
    CHECK(expected.index.size() == 160);
    int64_t seen[5] = {};
    for (const uint8_t reason : expected.stop_reason) ++seen[reason];
    CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
    for (std::size_t i = 0; i < expected.index.size(); ++i) CHECK(expected.index[i] == static_cast<int64_t>(i));
    check_equal(expected, collect(make(), 7, 3, 5));
    check_equal(expected, collect(make(), 64, 4, 1000));
    check_equal(expected, collect(make(), 64, 1, 7));
    auto helped = make();
    helped->is_native = true;  // the driving thread runs episodes too
    check_equal(expected, collect(std::move(helped), 16, 2, 50));

    // played in parts, which cut a group, they are the same episodes
    std::size_t trajectory = 0;
    for (const auto& [first, end] : {std::pair<int64_t, int64_t>{0, 27}, {27, 27}, {27, 80}}) {
        auto part = make();
        part->episodes = {first, end};
        const TrajectoryBuffer found = collect(std::move(part), 7, 3, 5);
        CHECK(found.index.size() == static_cast<std::size_t>(2 * (end - first)));
        for (std::size_t i = 0; i < found.index.size(); ++i, ++trajectory) {
            CHECK(found.index[i] == expected.index[trajectory] && found.group[i] == expected.group[trajectory]);
            const auto begin = found.offsets[i], size = found.offsets[i + 1] - begin, at = expected.offsets[trajectory];
            CHECK(expected.offsets[trajectory + 1] - at == size);
            CHECK(std::equal(found.tokens.begin() + begin, found.tokens.begin() + begin + size, expected.tokens.begin() + at));
            CHECK(std::equal(found.logprobs.begin() + begin, found.logprobs.begin() + begin + size, expected.logprobs.begin() + at));
        }
    }
    CHECK(trajectory == 160);
}

// Token by token: what is prompt, thought, action and observation, which decision, where rewards lie.
void transcript_by_hand() {
    const auto answer = [](const std::string&, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        if (actions.empty()) {
            Observation asked = ask(0, {1, 2, 3}, 3);
            asked.legal = legal({{10, 11}, {10, 12}});
            asked.thought_until = 11;
            step.observations = {asked};
            step.rewards = {0.25F};  // before the first decision: belongs to it
        } else if (actions.size() == 1) {
            CHECK((actions[0] == Tokens{10, 11}));
            step.observations = {ask(0, {20, 21}, 2)};
            step.rewards = {1};
        } else {
            CHECK(actions[1].size() == 2);
            step.observations = {ask(0, {22}, 1)};
            step.rewards = {2};
            step.terminated = true;
        }
        return step;
    };
    auto rules = rules_of(1, answer, {"x"}, 100);
    rules->forced[0] = {{1, 11}, {2, 33}};
    const TrajectoryBuffer buffer = collect(std::move(rules), 1, 1, 100);
    CHECK(buffer.tokens.size() == 10);
    CHECK((Tokens{buffer.tokens.begin(), buffer.tokens.begin() + 8} == Tokens{1, 2, 3, 10, 11, 20, 21, 33}));
    CHECK(buffer.tokens[9] == 22);
    CHECK((buffer.segment == std::vector<uint8_t>{1, 1, 1, 2, 4, 4, 4, 4, 3, 4}));
    CHECK((buffer.action_mask == std::vector<uint8_t>{0, 0, 0, 1, 0, 0, 0, 0, 1, 0}));
    CHECK((buffer.decision == Tokens{-1, -1, -1, 0, -1, -1, -1, -1, 1, -1}));
    CHECK((buffer.rewards == std::vector<float>{0, 0, 0, 1.25F, 0, 0, 0, 0, 2, 0}));
    CHECK((buffer.support == Tokens{-1, -1, -1, 0, -1, -1, -1, -1, -1, -1}));
    CHECK(buffer.support_table[0] == 1u << 10);  // both sequences begin with 10
    CHECK(buffer.logprobs[3] < 0 && buffer.logprobs[4] == 0 && buffer.kept_logmass[3] == -0.5F && buffer.kept_logmass[4] == 0);
    CHECK(buffer.stop_reason[0] == 0 && buffer.terminated[0] == 1 && buffer.truncated[0] == 0);
}

void a_full_stream_ends_the_episode() {
    const auto endless = [](const std::string&, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        step.observations = {ask(0, {1, 2}, actions.empty() ? 4 : 1000)};
        step.rewards = {1};
        return step;
    };
    const TrajectoryBuffer buffer = collect(rules_of(1, endless, {"x"}, 11), 1, 1, 100);
    CHECK(buffer.tokens.size() == 11 && buffer.stop_reason[0] == 2 && buffer.truncated[0] == 1 && buffer.terminated[0] == 0);
    CHECK(buffer.rewards[5] == 2 && buffer.rewards[10] == 0);
    const TrajectoryBuffer prompt = collect(rules_of(1, endless, {"x"}, 1), 1, 1, 100);
    CHECK(prompt.tokens.size() == 1 && prompt.stop_reason[0] == 2 && prompt.rewards[0] == 1);
}

void garbage_costs_only_its_own_episode() {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<std::pair<std::string, std::function<void(Step&)>>> kinds = {
        {"outside the vocabulary", [](Step& s) { s.observations[0].tokens = {kVocab}; }},
        {"outside the vocabulary", [](Step& s) { s.observations[0].tokens = {-1}; }},
        {"outside the vocabulary", [](Step& s) { s.observations[0].stop = {kVocab}; }},
        {"outside the vocabulary", [](Step& s) { s.observations[0].legal = legal({{kVocab}}); }},
        {"outside the vocabulary", [](Step& s) { s.observations[0].thought_until = kVocab; }},
        {"spoke to seat", [](Step& s) { s.observations[0].seat = 1; }},
        {"spoke to seat", [](Step& s) { s.observations[0].seat = -1; }},
        {"2 seats to act", [](Step& s) { s.observations.push_back(s.observations[0]); }},
        {"asked no seat", [](Step& s) { s.observations.clear(); }},
        {"max_action_tokens", [](Step& s) { s.observations[0].max_action_tokens = -1; }},
        {"finite", [nan](Step& s) { s.rewards = {nan}; }},
        {"one a seat", [](Step& s) { s.rewards = {1, 2}; }},
        {"empty sequence", [](Step& s) { s.observations[0].legal = legal({{1}, {}}); }},
        {"prefix-free", [](Step& s) { s.observations[0].legal = legal({{1, 2}, {3}, {1}}); }},
        {"before it was given", [](Step& s) { s.observations[0].tokens = {}; }},
        {"oops", [](Step&) { throw std::runtime_error("oops"); }},
        {"no std::exception", [](Step&) { throw 1; }},
        {"ended before it asked", [](Step& s) { s.truncated = true; }},
    };
    const std::map<std::string, std::string> reasons = {
        {"finite", "reward"}, {"ended before it asked", "no_action"}, {"oops", "raise"}, {"no std::exception", "raise"},
        {"empty sequence", "raise"}, {"prefix-free", "raise"},  // the environment's own set refuses them by an exception
    };
    const auto reason_of = [&](std::size_t i) -> std::string {
        const auto found = reasons.find(kinds[i].first);
        return found == reasons.end() ? "garbage" : found->second;
    };
    std::vector<std::string> tasks;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        tasks.push_back(std::to_string(i));
        tasks.push_back("good");
    }
    const auto answer = [kinds](const std::string& task, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        step.observations = {ask(0, {1, 2}, 3)};
        step.rewards = {1};
        const bool later = task != "good" && std::stoi(task) < 14;  // these go wrong in the second turn
        if (task != "good" && actions.size() == (later ? 1 : 0)) kinds[static_cast<std::size_t>(std::stoi(task))].second(step);
        step.terminated = step.terminated || actions.size() == 3;
        return step;
    };
    const TrajectoryBuffer buffer = collect(rules_of(1, answer, tasks, 50), 3, 2, 100);
    CHECK(buffer.failures.size() == kinds.size());
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const auto& [row, reason, message] = buffer.failures[i];
        const auto at = static_cast<std::size_t>(row);
        CHECK(at == 2 * i && buffer.failed[at] == 1 && buffer.failed[at + 1] == 0);
        if (message.find(kinds[i].first) == std::string::npos) std::fprintf(stderr, "%s\n", message.c_str());
        CHECK(message.find(kinds[i].first) != std::string::npos && reason == reason_of(i));
        CHECK(buffer.stop_reason[at] == 3 && buffer.terminated[at] == 0 && buffer.truncated[at] == 0);
        for (int64_t t = buffer.offsets[at]; t < buffer.offsets[at + 1]; ++t) CHECK(buffer.rewards[static_cast<std::size_t>(t)] == 0);
        CHECK(buffer.offsets[at + 2] - buffer.offsets[at + 1] == 4 * 2 + 3 * 3);
    }
}

void forced_tokens_must_be_legal() {
    const auto answer = [](const std::string&, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        Observation asked = ask(0, {1}, 8);
        asked.legal = legal({{4, 5}, {4, 6}});
        step.observations = {asked};
        step.terminated = actions.size() == 1;
        return step;
    };
    auto rules = rules_of(1, answer, {"a", "b", "c"}, 50);
    rules->forced[0] = {{0, 7}};
    rules->forced[1] = {{1, 7}};
    rules->forced[2] = {{0, 4}, {1, 6}};
    const TrajectoryBuffer buffer = collect(std::move(rules), 3, 1, 50);
    CHECK(buffer.failed[0] == 1 && buffer.failed[1] == 1 && buffer.failed[2] == 0);
    CHECK(buffer.failures[0].message.find("not legal") != std::string::npos);
    CHECK(buffer.tokens[static_cast<std::size_t>(buffer.offsets[2]) + 2] == 6);
}

// A policy, a second policy and a player at three seats; and players alone.
void opponents_and_players() {
    const auto table_talk = [](const std::string&, uint64_t seed, const std::vector<Tokens>& actions) {
        Step step;
        const auto turn = static_cast<int>(actions.size() % 3);
        for (int seat = 0; actions.empty() && seat < 3; ++seat) step.observations.push_back(ask(seat, {static_cast<int32_t>(seat)}, 0));
        Observation asked = ask(turn, {}, 2);
        for (const Tokens& action : actions) {
            if (&action + 3 > &actions.back()) asked.tokens.insert(asked.tokens.end(), action.begin(), action.end());
        }
        asked.legal = legal({{8, 9}, {8, 10}, {static_cast<int32_t>(11 + seed % 9)}});
        step.observations.push_back(asked);
        step.rewards = {1, 10, 100};
        step.terminated = actions.size() == 7;
        return step;
    };
    const auto make = [&table_talk](int policies) {
        auto rules = rules_of(3, table_talk, {"a", "b", "c", "d", "e"}, 200);
        rules->group_size = 4;
        rules->roles[1] = policies > 1 ? SeatRole{1, nullptr} : SeatRole{-1, std::make_shared<HashPlayer>()};
        rules->roles[2] = {-1, std::make_shared<HashPlayer>()};
        if (policies == 0) rules->roles[0] = rules->roles[2];
        return rules;
    };
    const auto run = [](std::unique_ptr<EpisodeRules> rules, std::vector<PolicyLimits> limits, int threads, bool record_all) {
        Scheduler scheduler(std::move(rules), std::move(limits), SamplingParameters{}, threads, record_all);
        return collect(scheduler);
    };
    const TrajectoryBuffer mixed = run(make(2), {{3, 50, 200, 4}, {5, 50, 300, 4}}, 2, true);
    check_equal(mixed, run(make(2), {{20, 7, 1100, 4}, {2, 50, 150, 4}}, 1, true));
    CHECK(mixed.index.size() == 60);
    const TrajectoryBuffer own = run(make(2), {{3, 50, 200, 4}, {5, 50, 300, 4}}, 2, false);
    CHECK(own.index.size() == 20 && own.index[1] == 3);
    CHECK((Tokens{own.tokens.begin(), own.tokens.begin() + own.offsets[1]} == Tokens{mixed.tokens.begin(), mixed.tokens.begin() + mixed.offsets[1]}));

    const TrajectoryBuffer players = run(make(0), {}, 2, true);
    auto helped = make(0);
    helped->is_native = true;
    check_equal(players, run(std::move(helped), {}, 1, true));
    CHECK(players.index.size() == 60);
    for (std::size_t t = 0; t < players.tokens.size(); ++t) {
        CHECK(players.logprobs[t] == 0 && (players.action_mask[t] == 0) == (players.decision[t] < 0));
        CHECK((players.support[t] >= 0) == (players.action_mask[t] == 1));
    }
    float total = 0;
    for (const float reward : players.rewards) total += reward;
    CHECK(total == 20 * 8 * 111);
}

void bad_arguments_are_refused() {
    const auto make = [] { return rules_of(1, wandering, {"x"}, 100); };
    const auto refused = [](std::unique_ptr<EpisodeRules> rules, PolicyLimits limits, SamplingParameters sampling, const std::string& why) {
        try {
            Scheduler scheduler(std::move(rules), {limits}, sampling, 1, false);
        } catch (const std::invalid_argument& error) {
            CHECK(std::string(error.what()).find(why) != std::string::npos);
            return;
        }
        CHECK(!"an argument was accepted");
    };
    refused(make(), {4, 16, 25, 4}, {}, "can never fit");
    refused(make(), {0, 16, 100, 4}, {}, "slots");
    refused(make(), {4, 16, 100, 0}, {}, "block_size");
    refused(make(), {4, 16, 100, 4}, {-1, 0, 1, 0}, "temperature");
    refused(make(), {4, 16, 100, 4}, {1, -1, 1, 0}, "top_k");
    refused(make(), {4, 16, 100, 4}, {1, 0, 0, 0}, "top_p");
    refused(make(), {4, 16, 100, 4}, {1, 0, 1, 1}, "min_p");
    auto twice = make();
    twice->forced[0] = {{3, 1}, {3, 2}};
    refused(std::move(twice), {4, 16, 100, 4}, {}, "two tokens");
    auto unknown = make();
    unknown->forced[1] = {{3, 1}};
    refused(std::move(unknown), {4, 16, 100, 4}, {}, "forced names trajectory");
    for (const auto& [first, end] : {std::pair<int64_t, int64_t>{-1, 1}, {1, 0}, {0, 2}}) {
        auto outside = make();
        outside->episodes = {first, end};
        refused(std::move(outside), {4, 16, 100, 4}, {}, "episodes must be a range");
    }

    const auto plain = [](const std::string&, uint64_t, const std::vector<Tokens>&) {
        Step step;
        step.observations = {ask(0, {1}, 2)};
        return step;
    };
    Scheduler scheduler(rules_of(1, plain, {"x"}, 100), {{4, 16, 100, 4}}, {}, 1, false);
    while (scheduler.plan(0, milliseconds(50)).num_tokens == 0) {
    }
    const int32_t bad = kVocab;
    const float nan = std::numeric_limits<float>::quiet_NaN(), zero = 0;
    const int32_t good = 0;
    int refusals = 0;
    for (const auto& [token, logprob] : {std::pair(&bad, &zero), std::pair(&good, &nan)}) {
        try {
            scheduler.commit(0, token, logprob, &zero, 1);
        } catch (const std::invalid_argument&) {
            ++refusals;
        }
    }
    CHECK(refusals == 2);
    scheduler.commit(0, &good, &zero, &zero, 1);
}

void closing_waits_for_no_stuck_environment() {
    const auto stuck = [](const std::string&, uint64_t, const std::vector<Tokens>&) -> Step {
        std::this_thread::sleep_for(milliseconds(400));
        return {};
    };
    const auto start = std::chrono::steady_clock::now();
    {
        Scheduler scheduler(rules_of(1, stuck, {"x", "y", "z"}, 100), {{4, 16, 100, 4}}, {}, 2, false);
        CHECK(scheduler.plan(0, milliseconds(20)).num_tokens == 0);
        CHECK(!scheduler.close(milliseconds(50)));
    }
    CHECK(std::chrono::steady_clock::now() - start < milliseconds(350));
    std::this_thread::sleep_for(milliseconds(600));  // the threads that were let go end, and with them what they held
}

}  // namespace

int main() {
    rollouts_do_not_depend_on_how_they_are_scheduled();
    transcript_by_hand();
    a_full_stream_ends_the_episode();
    garbage_costs_only_its_own_episode();
    forced_tokens_must_be_legal();
    opponents_and_players();
    bad_arguments_are_refused();
    closing_waits_for_no_stuck_environment();
    std::puts("scheduler_test: ok");
}
