// The scheduler when the cache is small: shared prompts, eviction and feeding again change no token, leak nothing and starve nobody.
#include <cstdio>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

struct Outcome {
    TrajectoryBuffer buffer;
    PolicyCounters counters;
};

Outcome play(std::unique_ptr<EpisodeRules> rules, PolicyLimits limits, int threads = 2, const std::function<void(int32_t, const Plan&)>& after = nullptr) {
    Scheduler scheduler(std::move(rules), {limits}, SamplingParameters{}, threads, false);
    TrajectoryBuffer buffer = collect(scheduler, after);
    return {std::move(buffer), scheduler.counters(0)};
}

PolicyLimits limits_of(int32_t slots, int32_t max_step_tokens, int32_t cache_tokens, int32_t block_size) {
    return {slots, max_step_tokens, 1 + cache_tokens / block_size, block_size};
}

Tokens prompt_of(const std::string& task, std::size_t length) {
    Tokens tokens(length);
    for (std::size_t i = 0; i < length; ++i) tokens[i] = static_cast<int32_t>(mix(static_cast<uint64_t>(task[0]), i) % kVocab);
    return tokens;
}

// One turn of `most` tokens behind a prompt of `length`, or of up to `less` fewer.
std::unique_ptr<EpisodeRules> one_turn(std::vector<std::string> tasks, std::size_t length, int most, int64_t group_size, int less = 0) {
    const auto answer = [length, most, less](const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
        Step step;
        const int fewer = static_cast<int>(seed % static_cast<uint64_t>(less + 1));
        step.observations = {ask(0, actions.empty() ? prompt_of(task, length) : Tokens{1}, most - fewer)};
        step.rewards = {1};
        step.terminated = !actions.empty();
        return step;
    };
    auto rules = rules_of(1, answer, std::move(tasks), static_cast<int32_t>(length) + most + 1);
    rules->group_size = group_size;
    rules->is_native = true;  // so that whole groups start together
    return rules;
}

void a_groups_prompt_is_fed_once() {
    for (const int32_t length : {21, 24}) {  // the second in whole blocks, of which the last is each member's own
        const auto make = [length] { return one_turn({"a", "b"}, static_cast<std::size_t>(length), 5, 8); };
        const Outcome apart = play(make(), limits_of(1, 1000, 64, 64));  // no block is ever full, and nobody is there to share one
        CHECK(apart.counters.prefixes_shared == 0 && apart.counters.tokens_shared == 0 && apart.counters.tokens_prefilled == 16 * length);
        for (const auto& [slots, max_step_tokens] : {std::pair(16, 1000), std::pair(16, 7), std::pair(3, 1000), std::pair(1, 1000)}) {
            const Outcome shared = play(make(), limits_of(slots, max_step_tokens, slots * 32, 4));
            check_equal(apart.buffer, shared.buffer);
            const int64_t num_shared = shared.counters.tokens_shared;
            CHECK(shared.counters.prefixes_shared == 2 * 7 && shared.counters.tokens_prefilled == 16 * length - num_shared && shared.counters.evictions == 0);
            CHECK(num_shared >= 2 * 7 * 20 && num_shared <= 2 * 7 * length);
            CHECK(slots != 16 || num_shared == 2 * 7 * length);  // all there at once: seven ride with one
            CHECK(slots != 1 || num_shared == 2 * 7 * 20);
            CHECK(shared.counters.tokens_fed == shared.counters.tokens_prefilled + 16 * 4);
        }
    }
}

void the_rest_of_a_groups_prompt_is_shared_until_it_is_fed() {
    for (const int32_t length : {21, 24}) {  // 4 and 7 tokens behind two whole blocks, and the last token
        const auto make = [length] { return one_turn({"a", "b"}, static_cast<std::size_t>(length), 6, 8, 3); };
        const Outcome alone = play(make(), limits_of(1, 1000, 64, 64));
        for (const auto& [slots, max_step_tokens] : {std::pair(16, 1000), std::pair(16, 7), std::pair(3, 1000)}) {
            const Outcome shared = play(make(), limits_of(slots, max_step_tokens, slots * 32, 8));
            check_equal(alone.buffer, shared.buffer);
            const int64_t num_shared = shared.counters.tokens_shared, num_copied = shared.counters.blocks_copied;
            CHECK(shared.counters.prefixes_shared == 2 * 7 && shared.counters.tokens_prefilled == 16 * length - num_shared);
            // who rides shares the whole prompt; who comes later feeds its last token itself, into a copy of the last block
            CHECK(slots == 16 ? num_shared == 2 * 7 * length && num_copied == (length == 21 ? 2 * 7 : 0) : num_shared > 2 * 7 * 16 && num_copied > 0);
        }
        const Outcome tight = play(make(), limits_of(16, 1000, 80, 8));
        check_equal(alone.buffer, tight.buffer);
    }
}

void members_of_a_group_are_found_in_a_plan() {
    Scheduler scheduler(one_turn({"a", "b"}, 21, 5, 4), {limits_of(8, 1000, 8 * 32, 4)}, SamplingParameters{}, 1, false);
    HashingModel model(scheduler, 0);
    model.run(scheduler.plan(0, milliseconds(50)));  // one member of each computes the prompt
    const Plan& second = scheduler.plan(0, milliseconds(50));
    SharedPrefixes found = scheduler.share_prefixes(0, 20);
    CHECK(second.num_tokens == 8 && found.num_groups == 2 && found.num_tokens == 8 && found.most == 1);
    found = scheduler.share_prefixes(0, 8);
    CHECK(found.num_groups == 2 && found.num_tokens == 8 && found.most == 2 && second.shared_splits == Tokens(8, 2));
    CHECK(second.shared_cuts[0] == 0 && second.shared_cuts[1] == 4 && second.shared_cuts[2] == 8);
    CHECK(scheduler.share_prefixes(0, 24).num_groups == 0);
    model.run(second);
    for (const int32_t split : {0, -4, 6}) {
        try {
            scheduler.share_prefixes(0, split);
            CHECK(false);
        } catch (const std::invalid_argument&) {
        }
    }
}

void a_common_beginning_is_shared_by_groups_that_go_on_differently() {
    const auto answer = [](const std::string& task, uint64_t, const std::vector<Tokens>& actions) {
        Tokens prompt = prompt_of("s", 16);
        prompt.resize(22, task[0] - 'a');
        Step step;
        step.observations = {ask(0, prompt, 3)};
        step.terminated = !actions.empty();
        return step;
    };
    const auto make = [&answer] {
        auto rules = rules_of(1, answer, {"a", "b", "c"}, 48);
        rules->group_size = 2;
        rules->is_native = true;
        return rules;
    };
    const Outcome shared = play(make(), limits_of(6, 1000, 6 * 48, 4));
    check_equal(play(make(), limits_of(6, 1000, 6 * 64, 64)).buffer, shared.buffer);
    CHECK(shared.counters.prefixes_shared == 5 && shared.counters.tokens_shared == 2 * 16 + 3 * 22);
}

void new_weights_share_nothing_of_the_old() {
    const auto make = [] { return one_turn({"a"}, 21, 5, 6); };
    Scheduler scheduler(make(), {limits_of(1, 1000, 32, 4)}, SamplingParameters{}, 1, false);
    int64_t num_done = 0;
    const TrajectoryBuffer buffer = collect(scheduler, [&](int32_t, const Plan&) {
        if (scheduler.num_done() == num_done) return;
        num_done = scheduler.num_done();
        scheduler.set_version(0, static_cast<int32_t>(num_done / 2), OnUpdate::keep);  // setting it to what it is changes nothing
    });
    CHECK(scheduler.counters(0).prefixes_shared == 3 && scheduler.counters(0).tokens_shared == 3 * 20);
    CHECK(buffer.version[static_cast<std::size_t>(buffer.offsets[5]) + 22] == 2);
}

void the_oldest_is_in_every_step() {
    const auto make = [] { return one_turn({"a", "b", "c", "d", "e", "f", "g", "h"}, 9, 14, 3); };
    const PolicyLimits roomy = limits_of(24, 1000, 24 * 24, 4), tight = limits_of(24, 1000, 24, 4);
    const Outcome expected = play(make(), roomy);
    CHECK(expected.counters.evictions == 0);
    std::set<uint64_t> seen, over;
    int64_t num_steps = 0;
    const Outcome evicting = play(make(), tight, 1, [&](int32_t, const Plan& plan) {
        ++num_steps;
        uint64_t oldest = 0;
        while (over.count(oldest) > 0) ++oldest;
        bool has_oldest = seen.count(oldest) == 0;  // its environment may not have answered yet
        for (int32_t r = 0; r < plan.num_samples; ++r) {
            const auto at = static_cast<std::size_t>(r);
            seen.insert(plan.trajectory[at]);
            has_oldest = has_oldest || plan.trajectory[at] == oldest;
            if (plan.position[at] + 1 == 9 + 14) over.insert(plan.trajectory[at]);
        }
        CHECK(has_oldest);
    });
    check_equal(expected.buffer, evicting.buffer);
    CHECK(evicting.counters.evictions > 0 && evicting.counters.tokens_recomputed > 0 && num_steps <= 24 * 14);
    CHECK(seen.size() == 24 && over.size() == 24);
}

// Several seats and turns; prompts of a group are the same, all else follows from a hash of what happened.
Step rambling(int num_seats, const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
    uint64_t hash = seed;
    for (const Tokens& action : actions) {
        for (const int32_t token : action) hash = mix(hash, static_cast<uint64_t>(token));
    }
    if (hash % 53 == 0) throw std::runtime_error("a bad day");
    Step step;
    const auto draw = [&hash](uint64_t n) { return (hash = mix(hash, n)) % n; };
    step.rewards.assign(static_cast<std::size_t>(num_seats), static_cast<float>(draw(9)));
    const auto seat = static_cast<int>(draw(static_cast<uint64_t>(num_seats)));
    if (actions.empty()) {
        for (int s = 0; s < num_seats; ++s) step.observations.push_back(ask(s, prompt_of(task, 1 + (seed + static_cast<uint64_t>(s)) % 19), 0));
    }
    Observation asked = ask(seat, Tokens(1 + draw(5), static_cast<int32_t>(draw(kVocab))), static_cast<int>(1 + draw(12)), {5, 6, 7});
    if (draw(3) == 0) asked.legal = legal({{1, 2, 3}, {1, 2, 4}, {1, 9}, {static_cast<int32_t>(10 + draw(20))}});
    step.observations.push_back(std::move(asked));
    step.terminated = actions.size() > 1 && draw(4) == 0;
    step.truncated = actions.size() > 4;
    return step;
}

void random_schedules_under_memory_pressure() {
    std::mt19937 random(7);
    const auto draw = [&random](int32_t low, int32_t high) { return low + static_cast<int32_t>(random() % static_cast<uint32_t>(high - low + 1)); };
    int64_t num_evicting = 0, num_sharing = 0, num_steps = 0;
    for (int round = 0; round < 200; ++round) {
        const int num_seats = draw(1, 2), num_tasks = draw(1, 8), group_size = draw(1, 6);
        const int32_t max_tokens = draw(20, 60);
        const bool is_native = draw(0, 1) == 1;
        const auto make = [&] {
            std::vector<std::string> tasks;
            for (int i = 0; i < num_tasks; ++i) tasks.push_back(std::string(1, static_cast<char>('a' + i % 3)));
            auto rules = rules_of(num_seats, [num_seats](const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
                return rambling(num_seats, task, seed, actions);
            }, tasks, max_tokens);
            rules->group_size = group_size;
            rules->is_native = is_native;
            for (int64_t i = 0; i < num_tasks * group_size * num_seats; i += 5) rules->forced[i] = {{1, 12}, {6, 30}};
            return rules;
        };
        const Outcome expected = play(make(), limits_of(64, 1000, 64 * 64, 64), 1);
        for (int variant = 0; variant < 3; ++variant) {
            const int32_t block_size = draw(1, 5), slots = draw(num_seats, 20), least = (max_tokens + block_size - 1) / block_size;
            const PolicyLimits limits{slots, draw(1, 40), 1 + draw(least, 3 * least), block_size};
            const Outcome tight = play(make(), limits, draw(1, 3));
            check_equal(expected.buffer, tight.buffer);
            CHECK(tight.counters.tokens_covered == expected.counters.tokens_covered);
            CHECK(tight.counters.keys_covered == expected.counters.keys_covered);
            num_evicting += tight.counters.evictions > 0 ? 1 : 0;
            num_sharing += tight.counters.prefixes_shared > 0 ? 1 : 0;
            num_steps += tight.counters.steps;
        }
    }
    CHECK(num_evicting > 200 && num_sharing > 200 && num_steps > 35000);
}

// A policy's and its opponent's cache run out independently.
void two_policies_with_a_cache_each() {
    const auto make = [] {
        std::vector<std::string> tasks(12, "a");
        auto rules = rules_of(2, [](const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
            return rambling(2, task, seed, actions);
        }, tasks, 40);
        rules->group_size = 2;
        rules->roles[1] = {1, nullptr};
        return rules;
    };
    const auto run = [&make](const PolicyLimits& ours, const PolicyLimits& theirs) {
        Scheduler scheduler(make(), {ours, theirs}, SamplingParameters{}, 2, true);
        TrajectoryBuffer buffer = collect(scheduler);
        return std::pair(std::move(buffer), scheduler.counters(0).evictions + scheduler.counters(1).evictions);
    };
    const auto expected = run(limits_of(24, 1000, 24 * 40, 4), limits_of(24, 1000, 24 * 40, 4));
    CHECK(expected.second == 0);
    for (const auto& [ours, theirs] : {std::pair(40, 24 * 40), std::pair(60, 48), std::pair(40, 40)}) {
        const auto tight = run(limits_of(24, 30, ours, 4), limits_of(24, 30, theirs, 4));
        check_equal(expected.first, tight.first);
        CHECK(tight.second > 0);
    }
}

}  // namespace

int main() {
    a_groups_prompt_is_fed_once();
    the_rest_of_a_groups_prompt_is_shared_until_it_is_fed();
    members_of_a_group_are_found_in_a_plan();
    a_common_beginning_is_shared_by_groups_that_go_on_differently();
    new_weights_share_nothing_of_the_old();
    the_oldest_is_in_every_step();
    random_schedules_under_memory_pressure();
    two_policies_with_a_cache_each();
    std::puts("scheduler_memory_test: ok");
}
