// Actions under a grammar: what is drawn, recorded and forced is what the grammar allows there.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "scheduler_cases.h"

using namespace paradigm;

namespace {

// Brackets that close, tokens 10 and 25, with an even number of 30s before each. Token 31 has no way out.
class Brackets final : public TokenGrammar {
  public:
    class Matcher final : public TokenMatcher {
      public:
        bool fill(uint32_t* words, std::size_t num_words) override {
            CHECK(num_words == 2);
            if (is_lost_) return false;
            if (num_thirties_ % 2 == 0 && depth_ < 3) words[0] |= 1u << 10;
            if (num_thirties_ % 2 == 0 && depth_ > 0) words[0] |= 1u << 25;
            if (depth_ > 0) words[0] |= 1u << 30;
            if (depth_ == 3) words[0] |= 1u << 31;
            return depth_ == 0 && num_read_ > 0;
        }
        void read(int32_t token) override {
            ++num_read_;
            depth_ += token == 10 ? 1 : token == 25 ? -1 : 0;
            num_thirties_ += token == 30 ? 1 : 0;
            is_lost_ = token == 31;
        }

      private:
        int depth_ = 0, num_thirties_ = 0, num_read_ = 0;
        bool is_lost_ = false;
    };
    std::unique_ptr<TokenMatcher> begin() const override { return std::make_unique<Matcher>(); }
};

void grammars_say_what_is_legal() {
    constexpr int kTurns = 3, kHeard = 3;
    const auto answer = [](const std::string&, uint64_t, const std::vector<Tokens>& actions) {
        Step step;
        step.rewards = {0};
        step.terminated = actions.size() == kTurns;
        if (!step.terminated) step.observations.push_back(ask(0, Tokens(kHeard, 30), 100, {0}));
        if (actions.size() == 1) step.observations[0].legal = legal({{11}, {12}});
        return step;
    };
    const std::vector<std::string> tasks(200, "x");
    TrajectoryBuffer first;
    for (const int32_t slots : {1, 64}) {
        auto rules = rules_of(1, answer, tasks, 400);
        rules->grammar = std::make_shared<Brackets>();
        rules->forced[3] = {{0, 10}, {1, 25}, {2, 10}};
        rules->forced[4] = {{0, 25}};  // not legal
        Scheduler scheduler(std::move(rules), {{slots, 400, 4000, 4}}, SamplingParameters{}, 2, false);
        const TrajectoryBuffer buffer = collect(scheduler);
        const auto& reasons = scheduler.failure_reasons();
        CHECK(reasons.size() == 2 && reasons.at("illegal") == 1 && reasons.at("dead_end") > 5 && reasons.at("dead_end") < 190);
        int num_whole = 0;
        for (std::size_t b = 0; b < buffer.index.size(); ++b) {
            if (buffer.failed[b] != 0) continue;
            auto t = static_cast<std::size_t>(buffer.offsets[b]);
            for (int turn = 0; turn < kTurns; ++turn) {
                t += kHeard;
                if (turn == 1) {  // the world listed what is legal
                    CHECK(buffer.tokens[t] == 11 || buffer.tokens[t] == 12);
                    ++t;
                    continue;
                }
                Brackets::Matcher matcher;
                while (true) {
                    uint32_t words[2] = {0, 0};
                    words[0] |= matcher.fill(words, 2) ? 1u : 0;
                    const int32_t token = buffer.tokens[t];
                    CHECK(token < 32 && (words[0] >> token & 1) == 1);
                    if (buffer.action_mask[t] == 1) {
                        const uint32_t* recorded = buffer.support_table.data() + buffer.support[t] * 2;
                        CHECK(recorded[0] == words[0] && recorded[1] == 0);
                    } else {
                        CHECK(b == 3 && buffer.support[t] == -1);
                    }
                    ++t;
                    if (token == 0) break;
                    matcher.read(token);
                }
                ++num_whole;
            }
            CHECK(t == static_cast<std::size_t>(buffer.offsets[b + 1]) && buffer.terminated[b] == 1);
        }
        CHECK(num_whole > 10);
        if (slots == 1) {
            first = buffer;
        } else {
            check_equal(first, buffer);
        }
    }
}

}  // namespace

int main() {
    grammars_say_what_is_legal();
    std::puts("token_grammar_test: ok");
}
