// Requests that come, are streamed and are given up from other threads, and weights that change, against collections and the hashing model.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

// One or two turns of a few tokens that follow from what was said; some answers take a while.
Step chatting(const std::string& task, uint64_t seed, const std::vector<Tokens>& actions) {
    uint64_t hash = mix(seed, task.size());
    for (const Tokens& action : actions) {
        for (const int32_t token : action) hash = mix(hash, static_cast<uint64_t>(token));
    }
    if (hash % 7 == 0) std::this_thread::sleep_for(std::chrono::microseconds(hash % 900));
    Step step;
    step.rewards = {static_cast<float>(hash % 5)};
    step.terminated = actions.size() == 2;
    if (!step.terminated) step.observations.push_back(ask(0, Tokens(1 + hash % 9, 3), static_cast<int>(1 + hash % 12), {5, 6}));
    return step;
}

constexpr int32_t kMaxTokens = 48;

std::unique_ptr<EpisodeRules> chat(std::vector<std::string> tasks) { return rules_of(1, chatting, std::move(tasks), kMaxTokens); }

Request request_of(int64_t index) {
    Request request;
    request.index = request.group = index;
    request.task = std::string(static_cast<std::size_t>(1 + index % 5), 'x');
    request.max_tokens = kMaxTokens;
    request.is_streamed = index % 3 != 0;
    return request;
}

void requests_from_other_threads_give_what_a_collection_gives() {
    constexpr int64_t kNum = 120;
    std::vector<std::string> tasks;
    for (int64_t i = 0; i < kNum; ++i) tasks.push_back(request_of(i).task);
    const PolicyLimits limits{7, 30, 1 + 3 * (kMaxTokens / 4), 4};  // it evicts
    Scheduler fixed(chat(tasks), {limits}, SamplingParameters{}, 2, false);
    const TrajectoryBuffer expected = collect(fixed);

    Scheduler open(chat({}), {limits}, SamplingParameters{}, 2, false);
    std::atomic<int64_t> num_left{0};
    const auto is_given_up = [](int64_t index) { return index % 4 == 3; };
    std::vector<std::thread> callers;
    for (int64_t first = 0; first < 3; ++first) {
        ++num_left;
        callers.emplace_back([&open, &num_left, &is_given_up, first] {
            for (int64_t index = first; index < kNum; index += 3) {
                open.submit(request_of(index));
                if (index % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
                if (is_given_up(index)) open.cancel(index);
                if (index % 6 == 0) open.cancel(index + 1000);  // there is none
            }
            --num_left;
            open.poke();
        });
    }
    HashingModel model(open, 0);
    std::map<int64_t, Tokens> streamed, finished;
    std::vector<int64_t> over;
    while (num_left > 0 || !open.is_idle()) {
        const Plan& plan = open.plan(0, milliseconds(5));
        if (plan.num_tokens > 0) model.run(plan);
        const StreamEvents events = open.take_events();
        for (std::size_t e = 0; e < events.index.size(); ++e) {
            Tokens& stream = streamed[events.index[e]];
            CHECK(events.start[e] == static_cast<int32_t>(stream.size()) && events.index[e] % 3 != 0);
            stream.insert(stream.end(), events.tokens.begin() + events.offsets[e], events.tokens.begin() + events.offsets[e + 1]);
        }
        std::vector<int64_t> ended;
        const TrajectoryBuffer buffer = open.take_finished(ended);
        over.insert(over.end(), ended.begin(), ended.end());
        for (std::size_t b = 0; b < buffer.index.size(); ++b) {
            CHECK(std::find(ended.begin(), ended.end(), buffer.index[b]) != ended.end());
            finished[buffer.index[b]] = Tokens(buffer.tokens.begin() + buffer.offsets[b], buffer.tokens.begin() + buffer.offsets[b + 1]);
        }
    }
    for (std::thread& caller : callers) caller.join();
    std::sort(over.begin(), over.end());
    std::vector<int64_t> all(kNum);
    std::iota(all.begin(), all.end(), 0);
    CHECK(over == all && open.num_failed() == 0);
    for (int64_t index = 0; index < kNum; ++index) {
        const auto at = static_cast<std::size_t>(index);
        const Tokens whole(expected.tokens.begin() + expected.offsets[at], expected.tokens.begin() + expected.offsets[at + 1]);
        if (finished.count(index) > 0) {
            CHECK(finished[index] == whole);
            CHECK(index % 3 == 0 || streamed[index] == whole);
        } else {
            CHECK(is_given_up(index));
            CHECK(streamed[index].size() <= whole.size() && std::equal(streamed[index].begin(), streamed[index].end(), whole.begin()));
        }
    }
    model.check_blocks();
    CHECK(open.block_table(0).num_free() == limits.num_blocks - 1);
}

void a_request_ends_as_it_is_asked_to() {
    Scheduler scheduler(chat({}), {{4, 100, 60, 4}}, SamplingParameters{}, 1, false);
    Request hot = request_of(3);
    hot.sampling.temperature = 2;
    hot.sampling.top_k = 9;
    hot.stop = std::make_shared<const StopStrings>(nullptr, std::vector<std::string>{}, Tokens{0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13});
    scheduler.submit(hot);
    HashingModel model(scheduler, 0);
    while (!scheduler.is_idle()) {
        const Plan& plan = scheduler.plan(0, milliseconds(50));
        if (plan.num_tokens == 0) continue;
        for (int32_t r = 0; r < plan.num_samples; ++r) CHECK(plan.temperature[0] == 2 && plan.top_k[0] == 9);
        model.run(plan);
    }
    std::vector<int64_t> over;
    const TrajectoryBuffer buffer = scheduler.take_finished(over);
    CHECK(over == std::vector<int64_t>{3} && buffer.temperature[0] == 2);
    const bool has_stopped = buffer.stop_reason[0] == static_cast<uint8_t>(StopReason::stop);
    CHECK(!has_stopped || (buffer.truncated[0] == 1 && buffer.action_mask.back() == 1));

    const auto refuses = [&scheduler](const std::string& expected, const std::function<void(Request&)>& change) {
        Request request = request_of(1);
        change(request);
        try {
            scheduler.submit(request);
        } catch (const std::invalid_argument& error) {
            CHECK(std::string(error.what()).find(expected) != std::string::npos);
            return;
        }
        CHECK(false);
    };
    refuses("index must be in 0", [](Request& r) { r.index = -1; });
    refuses("group must be >= 0", [](Request& r) { r.group = -1; });
    refuses("max_tokens must be in 1..48", [](Request& r) { r.max_tokens = 49; });
    refuses("top_p must be in (0, 1]", [](Request& r) { r.sampling.top_p = 0; });
    scheduler.submit(request_of(1));
    refuses("index must not be that of a request which is not over, got 1", [](Request&) {});
    scheduler.cancel(1);
    while (!scheduler.is_idle()) scheduler.plan(0, milliseconds(1));
    scheduler.submit(request_of(1));
}

// The model's cache holds tokens, so whether contexts are fed again or copied out and back, the same tokens have to be drawn.
void weights_change_at_any_step() {
    std::mt19937 random(11);
    std::vector<std::string> tasks(30, "xx");
    Scheduler quiet(chat(tasks), {{64, 1000, 1 + 64 * kMaxTokens, 1}}, SamplingParameters{}, 2, false);
    const TrajectoryBuffer expected = collect(quiet);
    int64_t num_swaps = 0, num_recomputed = 0;
    for (int round = 0; round < 60; ++round) {
        const auto block_size = static_cast<int32_t>(1 + random() % 5), least = (kMaxTokens + block_size - 1) / block_size;
        const PolicyLimits limits{static_cast<int32_t>(4 + random() % 12), static_cast<int32_t>(1 + random() % 40),
                                  1 + least + static_cast<int32_t>(random() % 3), block_size};
        Scheduler scheduler(chat(tasks), {limits}, SamplingParameters{}, 2, false);
        HashingModel model(scheduler, 0);
        int32_t version = 0;
        while (!scheduler.is_done()) {
            const Plan& plan = scheduler.plan(0, milliseconds(50));
            if (plan.num_tokens > 0) model.run(plan);
            if (random() % 6 == 0) scheduler.set_version(0, ++version, random() % 4 == 0 ? OnUpdate::recompute : OnUpdate::keep);
        }
        model.check_blocks();
        CHECK(scheduler.block_table(0).num_free() == limits.num_blocks - 1 && model.num_swapped() == 0);
        num_swaps += scheduler.counters(0).swaps;
        num_recomputed += scheduler.counters(0).tokens_recomputed;
        TrajectoryBuffer buffer = scheduler.take();
        for (std::size_t t = 1; t < buffer.version.size(); ++t) CHECK(buffer.version[t] >= 0 && buffer.version[t] <= version);
        buffer.version = expected.version;
        check_equal(expected, buffer);
    }
    CHECK(num_swaps > 100 && num_recomputed > 1000);
}

}  // namespace

int main() {
    requests_from_other_threads_give_what_a_collection_gives();
    a_request_ends_as_it_is_asked_to();
    weights_change_at_any_step();
    std::puts("scheduler_requests_test: ok");
}
