// Sequences that are opened, forked, asked and released at random beside requests, under a cache that is too small and weights that change,
// against a model of what each holds.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <random>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

constexpr int32_t kMaxTokens = 40;
constexpr uint64_t kKey = 99;  // of rules_of

Step chatting(const std::string&, uint64_t seed, const std::vector<Tokens>& actions) {
    Step step;
    step.rewards = {1};
    step.terminated = actions.size() == 2;
    if (!step.terminated) step.observations.push_back(ask(0, Tokens(1 + (seed + actions.size()) % 9, 3), 7, {5}));
    return step;
}

// What a sequence draws behind `stream`, which gets it: as an action that ends with token 5, or with the token 2 or 9 where these are legal.
Tokens drawn(Tokens& stream, int64_t trajectory, int32_t most, bool is_legal_only) {
    Tokens tokens;
    while (static_cast<int32_t>(tokens.size()) < most && static_cast<int32_t>(stream.size()) < kMaxTokens) {
        auto token = static_cast<int32_t>(HashingModel::hash_of(kKey, static_cast<uint64_t>(trajectory), stream) % kVocab);
        while (is_legal_only && token != 2 && token != 9) token = (token + 1) % kVocab;
        tokens.push_back(token);
        stream.push_back(token);
        if (token == 5 || is_legal_only) break;
    }
    return tokens;
}

struct Expected {
    bool fails = false;
    Tokens tokens;
    std::vector<float> logprobs;
};

class Machine {
  public:
    Machine(std::mt19937& random, const PolicyLimits& limits)
        : random_(random), scheduler_(rules_of(1, chatting, {}, kMaxTokens), {limits}, SamplingParameters{}, 1, false), model_(scheduler_, 0),
          most_(static_cast<std::size_t>(limits.slots)) {}

    void operate() {
        switch (random_() % 12) {
            case 0:
                if (has_room()) open();
                break;
            case 1:
            case 2:
                if (has_room() && !streams_.empty()) fork();
                break;
            case 3:
                if (!streams_.empty()) let_go();
                break;
            case 4:
                if (random_() % 2 == 0) scheduler_.set_version(0, ++version_, random_() % 3 == 0 ? OnUpdate::recompute : OnUpdate::keep);
                break;
            case 5:
                if (has_room()) request();
                break;
            default:
                if (!streams_.empty()) question();
        }
        for (auto steps = random_() % 4; steps > 0; --steps) step();
    }

    void finish() {
        while (!streams_.empty()) {
            if (random_() % 2 == 0) question();
            let_go();
        }
        for (const int64_t index : requests_) scheduler_.release(index);
        while (!scheduler_.is_idle()) step();
        step();
        model_.check_blocks();
        CHECK(expected_.empty() && model_.num_swapped() == 0);
        CHECK(scheduler_.block_table(0).num_free() == scheduler_.limits(0).num_blocks - 1);  // nothing leaked
    }

    int64_t num_answers = 0, num_refused = 0;
    const PolicyCounters& counters() { return scheduler_.counters(0); }

  private:
    bool has_room() const { return streams_.size() + requests_.size() < most_ + 2; }  // some have to wait for a slot
    int64_t any() { return std::next(streams_.begin(), static_cast<std::ptrdiff_t>(random_() % streams_.size()))->first; }
    Tokens some(std::size_t most) {
        Tokens tokens;
        for (std::size_t n = 1 + random_() % most; n > 0; --n) tokens.push_back(static_cast<int32_t>(random_() % 3));
        return tokens;
    }

    void open() {
        const Tokens tokens = some(12);
        scheduler_.open(next_, tokens);
        streams_[next_++] = tokens;
    }

    void fork() {
        const int64_t parent = any();
        const Tokens& whole = streams_[parent];
        const auto length = random_() % 3 == 0 ? whole.size() : 1 + random_() % whole.size();
        scheduler_.fork(next_, parent, 0, length == whole.size() && random_() % 2 == 0 ? -1 : static_cast<int32_t>(length));
        streams_[next_++] = Tokens(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    }

    void request() {
        Request request;
        request.index = request.group = next_;
        request.max_tokens = kMaxTokens;
        request.is_held = random_() % 2 == 0;
        scheduler_.submit(request);
        if (request.is_held) requests_.push_back(next_);
        ++next_;
        if (requests_.size() > 2) {
            scheduler_.release(requests_.front());
            requests_.erase(requests_.begin());
        }
    }

    void question() {
        const int64_t index = any();
        Tokens& stream = streams_[index];
        Ask ask;
        ask.number = static_cast<int64_t>(random_());
        while (expected_.count(ask.number) > 0) ++ask.number;
        Expected& expected = expected_[ask.number];
        const auto kind = random_() % 5;
        const std::size_t room = kMaxTokens - stream.size();
        if (kind == 0) {
            ask.kind = AskKind::append;
            ask.tokens = some(9);
            expected.fails = ask.tokens.size() > room;
            if (!expected.fails) stream.insert(stream.end(), ask.tokens.begin(), ask.tokens.end());
        } else if (kind == 1) {
            ask.kind = AskKind::evaluate;
        } else if (kind == 2) {
            ask.kind = AskKind::score;
            ask.tokens = some(14);
            expected.fails = ask.tokens.size() > room;
            for (std::size_t i = 0; !expected.fails && i < ask.tokens.size(); ++i) {
                expected.logprobs.push_back(HashingModel::score_of(stream, ask.tokens[i]));
                stream.push_back(ask.tokens[i]);
            }
            if (!expected.fails) expected.tokens = ask.tokens;
        } else {
            ask.kind = AskKind::sample;
            ask.rules.max_action_tokens = static_cast<int>(1 + random_() % 9);
            ask.rules.stop = {5};
            const bool is_legal_only = random_() % 3 == 0;
            if (is_legal_only) ask.rules.legal = legal({{2}, {9}});
            expected.fails = room == 0;
            if (!expected.fails) expected.tokens = drawn(stream, index, ask.rules.max_action_tokens, is_legal_only);
        }
        scheduler_.ask(index, ask);
        ++num_asked_[index];
    }

    void let_go() {
        answer_all();
        const int64_t index = any();
        if (num_asked_[index] > 0) return;  // it waits for a slot
        scheduler_.release(index);
        streams_.erase(index);
    }

    // Until nothing is at work; questions to sequences that wait for a slot are left.
    void answer_all() {
        step();
        while (!scheduler_.is_idle()) step();
    }

    void step() {
        const Plan& plan = scheduler_.plan(0, milliseconds(50));
        if (plan.num_tokens > 0) model_.run(plan);
        std::vector<int64_t> over;
        scheduler_.take_finished(over);
        for (const Answer& answer : scheduler_.take_answers()) {
            const auto found = expected_.find(answer.number);
            CHECK(found != expected_.end());
            const Expected& expected = found->second;
            ++num_answers;
            --num_asked_[answer.sequence];
            CHECK(answer.error.empty() != expected.fails);
            CHECK(answer.tokens == expected.tokens && answer.version.size() == expected.tokens.size());
            if (!expected.logprobs.empty()) CHECK(answer.logprobs == expected.logprobs);
            num_refused += answer.error.empty() ? 0 : 1;
            expected_.erase(found);
        }
    }

    std::mt19937& random_;
    Scheduler scheduler_;
    HashingModel model_;
    std::size_t most_;
    int64_t next_ = 0;
    int32_t version_ = 0;
    std::map<int64_t, Tokens> streams_;
    std::vector<int64_t> requests_;
    std::map<int64_t, Expected> expected_;  // by question
    std::map<int64_t, int> num_asked_;      // by sequence: unanswered
};

void sequences_hold_what_the_model_says() {
    std::mt19937 random(3);
    PolicyCounters sum;
    int64_t num_answers = 0, num_refused = 0;
    for (int round = 0; round < 100; ++round) {
        const auto block_size = static_cast<int32_t>(1 + random() % 5), least = (kMaxTokens + block_size - 1) / block_size;
        const PolicyLimits limits{static_cast<int32_t>(3 + random() % 6), static_cast<int32_t>(1 + random() % 40),
                                  1 + least + static_cast<int32_t>(random() % 20), block_size};
        Machine machine(random, limits);
        for (int i = 0; i < 250; ++i) machine.operate();
        machine.finish();
        num_answers += machine.num_answers;
        num_refused += machine.num_refused;
        sum.tokens_forked += machine.counters().tokens_forked;
        sum.blocks_copied += machine.counters().blocks_copied;
        sum.evictions += machine.counters().evictions;
        sum.swaps += machine.counters().swaps;
        sum.prefixes_shared += machine.counters().prefixes_shared;
    }
    CHECK(num_answers > 4000 && num_refused > 50 && sum.tokens_forked > 2000 && sum.blocks_copied > 100);
    CHECK(sum.evictions > 200 && sum.swaps > 20 && sum.prefixes_shared > 200);
}

void a_fork_shares_what_was_generated_and_copies_one_block() {
    Scheduler scheduler(rules_of(1, chatting, {}, kMaxTokens), {{4, 100, 41, 4}}, SamplingParameters{}, 1, false);
    HashingModel model(scheduler, 0);
    const auto run = [&] {
        do {
            const Plan& plan = scheduler.plan(0, milliseconds(50));
            if (plan.num_tokens > 0) model.run(plan);
        } while (!scheduler.is_idle());
        return scheduler.take_answers();
    };
    const auto sample = [&](int64_t index) {
        Ask ask;
        ask.kind = AskKind::sample;
        ask.rules.max_action_tokens = 10;
        scheduler.ask(index, ask);
    };
    scheduler.open(0, {1, 2, 3});
    sample(0);
    CHECK(run().at(0).tokens.size() == 10);
    const int64_t fed = scheduler.counters(0).tokens_fed;
    CHECK(fed == 12);  // 3 blocks; the last token drawn has not been fed
    for (const int64_t child : {1, 2, 3}) scheduler.fork(child, 0, 0, -1);
    for (const int64_t child : {1, 2, 3}) sample(child);
    CHECK(run().size() == 3);
    CHECK(scheduler.counters(0).tokens_fed == fed + 30 && scheduler.counters(0).tokens_forked == 36);
    CHECK(scheduler.counters(0).blocks_copied == 0);  // 12 tokens fill their blocks
    sample(0);
    run();
    scheduler.release(3);
    scheduler.fork(4, 0, 0, 22);  // its 22nd token is fed again, into the block that it shares with its parent
    sample(4);
    CHECK(run().size() == 1);
    CHECK(scheduler.counters(0).blocks_copied == 1);

    scheduler.fork(5, 77, 0, -1);
    sample(5);
    scheduler.release(1);
    const std::vector<Answer> answers = run();
    CHECK(answers.at(0).error == "there is no sequence 77 to fork, and no such request at work or held");
    const auto refuses = [](const std::string& expected, const std::function<void()>& call) {
        try {
            call();
        } catch (const std::invalid_argument& error) {
            CHECK(std::string(error.what()).find(expected) != std::string::npos);
            return;
        }
        CHECK(false);
    };
    refuses("index must not be that of a request which is not over, got 2", [&] { scheduler.open(2, {1}); });
    refuses("tokens must be one at least", [&] { scheduler.open(9, {}); });
    refuses("tokens must be in 0..39, got 40", [&] { scheduler.open(9, {40}); });
    refuses("tokens must be max_tokens=40 at most, got 41", [&] { scheduler.open(9, Tokens(41, 1)); });
    refuses("a fork needs a token at least, got 0", [&] { scheduler.fork(9, 0, 0, 0); });
    refuses("seat must be in 0..0, got 1", [&] { scheduler.fork(9, 0, 1, -1); });
    refuses("max_tokens must be >= 1, got 0", [&] {
        Ask ask;
        ask.kind = AskKind::sample;
        scheduler.ask(0, ask);
    });
}

// For TSan: the driving thread alone touches sequences.
void other_threads_ask() {
    Scheduler scheduler(rules_of(1, chatting, {}, kMaxTokens), {{6, 20, 30, 4}}, SamplingParameters{}, 2, false);
    HashingModel model(scheduler, 0);
    constexpr int64_t kEach = 60;
    std::atomic<int> num_left{3};
    std::vector<std::thread> callers;
    for (int64_t caller = 0; caller < 3; ++caller) {
        callers.emplace_back([&scheduler, &num_left, caller] {
            for (int64_t i = 0; i < kEach; ++i) {
                const int64_t index = 1000 * (caller + 1) + 3 * i;
                Request request;
                request.index = request.group = index;
                request.max_tokens = kMaxTokens;
                request.is_held = true;
                scheduler.submit(request);
                scheduler.fork(index + 1, index, 0, -1);
                scheduler.open(index + 2, {1, 2, static_cast<int32_t>(i % 7)});
                for (const int64_t sequence : {index + 1, index + 2}) {
                    Ask ask;
                    ask.number = sequence;
                    ask.kind = AskKind::score;
                    ask.tokens = {1, 2, 3};
                    scheduler.ask(sequence, ask);
                    std::this_thread::sleep_for(std::chrono::microseconds(200));
                    scheduler.release(sequence);
                }
                if (i % 3 == 0) scheduler.cancel(index);
                scheduler.release(index);
            }
            --num_left;
            scheduler.poke();
        });
    }
    std::map<int64_t, Answer> answers;
    while (num_left > 0 || !scheduler.is_idle()) {
        const Plan& plan = scheduler.plan(0, milliseconds(2));
        if (plan.num_tokens > 0) model.run(plan);
        for (Answer& answer : scheduler.take_answers()) answers[answer.number] = std::move(answer);
        std::vector<int64_t> over;
        scheduler.take_finished(over);
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(answers.size() == 2 * 3 * kEach);
    for (const auto& [number, answer] : answers) {
        const int64_t place = number % 1000;
        if (!answer.error.empty() || place % 3 != 2) continue;  // of a fork, by what its parent said just then
        Tokens stream{1, 2, static_cast<int32_t>(place / 3 % 7)};
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(answer.logprobs[i] == HashingModel::score_of(stream, answer.tokens[i]));
            stream.push_back(answer.tokens[i]);
        }
    }
    model.check_blocks();
    CHECK(scheduler.block_table(0).num_free() == 29);
}

}  // namespace

int main() {
    a_fork_shares_what_was_generated_and_copies_one_block();
    sequences_hold_what_the_model_says();
    other_threads_ask();
    std::puts("scheduler_sequences_test: ok");
}
