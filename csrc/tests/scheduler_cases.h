// Worlds given by a function, and a model whose draws hash everything that it can see through the paged cache: a wrong position, block, slot or
// order of feeding changes its tokens.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "paradigm/scheduler.h"

namespace paradigm {

using std::chrono::milliseconds;
using Tokens = std::vector<int32_t>;

constexpr int32_t kVocab = 40;

inline uint64_t mix(uint64_t a, uint64_t b) { return derive_seed(a, 7, b, 0); }

// An environment given by two functions.
class Scripted final : public Environment {
  public:
    using Answer = std::function<Step(const std::string& task, uint64_t seed, const std::vector<Tokens>& actions)>;

    Scripted(int num_seats, Answer answer) : num_seats_(num_seats), answer_(std::move(answer)) {}
    int num_seats() const override { return num_seats_; }
    Step reset(const std::string& task, uint64_t seed) override {
        task_ = task;
        seed_ = seed;
        actions_.clear();
        return answer_(task_, seed_, actions_);
    }
    Step step(const int32_t* action, std::size_t length) override {
        actions_.emplace_back(action, action + length);
        return answer_(task_, seed_, actions_);
    }
    std::unique_ptr<Environment> clone() const override { return std::make_unique<Scripted>(*this); }

  private:
    int num_seats_;
    Answer answer_;
    std::string task_;
    uint64_t seed_ = 0;
    std::vector<Tokens> actions_;
};

inline std::shared_ptr<const LegalSet> legal(const std::vector<Tokens>& sequences) { return std::make_shared<const LegalSet>(sequences); }

inline Observation ask(int seat, Tokens tokens, int most, Tokens stop = {}) {
    Observation observation;
    observation.seat = seat;
    observation.tokens = std::move(tokens);
    observation.max_action_tokens = most;
    observation.stop = std::move(stop);
    return observation;
}

inline std::unique_ptr<EpisodeRules> rules_of(int num_seats, Scripted::Answer answer, std::vector<std::string> tasks, int32_t max_tokens) {
    auto rules = std::make_unique<EpisodeRules>();
    rules->factory = [num_seats, answer] { return std::make_unique<Scripted>(num_seats, answer); };
    rules->tasks = std::move(tasks);
    rules->roles.assign(static_cast<std::size_t>(num_seats), SeatRole{0, nullptr});
    rules->key = 99;
    rules->vocab_size = kVocab;
    rules->max_tokens = max_tokens;
    return rules;
}

// One policy's model; all that it remembers is in its cache.
class HashingModel {
  public:
    HashingModel(Scheduler& scheduler, int32_t policy)
        : scheduler_(scheduler), policy_(policy), limits_(scheduler.limits(policy)), blocks_(scheduler.block_table(policy)),
          cache_(static_cast<std::size_t>(limits_.num_blocks * limits_.block_size), -1) {}

    // What a plan draws.
    struct Draws {
        Tokens ids;
        std::vector<float> logprobs, kept, probed;
    };

    // Runs and commits a plan.
    void run(const Plan& plan) { commit(launch(plan)); }

    void commit(const Draws& draws) {
        scheduler_.commit(policy_, draws.ids.data(), draws.logprobs.data(), draws.kept.data(), draws.ids.size(), draws.probed.data());
    }

    // Runs a plan, after checking that it keeps the rules of the cache. `before`: of the plan that is out, behind which it runs; null: none is.
    Draws launch(const Plan& plan, const Draws* before = nullptr) {
        CHECK(plan.num_tokens > 0 && plan.num_tokens <= limits_.max_step_tokens && plan.num_sequences <= limits_.slots);
        for (const Swap& swap : scheduler_.take_swaps(policy_)) apply(swap);
        check_blocks();
        check_prefixes(plan);
        for (int32_t b = 0; b < plan.num_sequences; ++b) write(plan, static_cast<std::size_t>(b), before);
        Draws draws;
        for (std::size_t row_at = 0; row_at < static_cast<std::size_t>(plan.num_samples); ++row_at) {
            const auto cut = std::lower_bound(plan.cu_seqlens.begin(), plan.cu_seqlens.begin() + plan.num_sequences + 1, plan.sample_rows[row_at] + 1);
            CHECK(cut != plan.cu_seqlens.begin() + plan.num_sequences + 1 && *cut == plan.sample_rows[row_at] + 1);  // a sequence's last token
            const auto at = static_cast<std::size_t>(cut - plan.cu_seqlens.begin() - 1);
            CHECK(plan.position[row_at] == static_cast<uint32_t>(plan.context_lengths[at]));
            const uint64_t hash = hash_of(plan.key[row_at], plan.trajectory[row_at] + (static_cast<uint64_t>(policy_) << 40),
                                          context(plan.slots[at], plan.context_lengths[at]));
            auto token = static_cast<int32_t>(hash % kVocab);
            if (plan.support_row[row_at] >= 0) {
                const SupportSets::View table = scheduler_.supports().view();
                const uint32_t* words = table.words + plan.support_row[row_at] * scheduler_.supports().words_per_row();
                while ((words[token / 32] >> (token % 32) & 1) == 0) token = (token + 1) % kVocab;
            }
            draws.ids.push_back(token);
            draws.logprobs.push_back(-static_cast<float>(hash % 1000) / 1000);
            draws.kept.push_back(-0.5F);
        }
        CHECK(static_cast<int32_t>(draws.ids.size()) == plan.num_samples);
        draws.probed = probe(plan);
        return draws;
    }

    static uint64_t hash_of(uint64_t key, uint64_t trajectory, const Tokens& context) {
        uint64_t hash = mix(key, trajectory);
        for (const int32_t token : context) hash = mix(hash, static_cast<uint64_t>(token));
        return hash;
    }
    static float score_of(const Tokens& context, int32_t target) {
        return -static_cast<float>(mix(hash_of(5, 5, context), static_cast<uint64_t>(target)) % 1000) / 1000;
    }

    // How many sequences are copied out of the cache; copies that are to be forgotten count until the next plan.
    std::size_t num_swapped() {
        for (const Swap& swap : scheduler_.take_swaps(policy_)) apply(swap);
        return swapped_.size();
    }

    // Every block is either free or held by as many sequences as it has references.
    void check_blocks() const {
        std::vector<int32_t> holders(static_cast<std::size_t>(limits_.num_blocks), 0);
        for (int32_t slot = 0; slot < limits_.slots; ++slot) {
            for (int32_t i = 0; i < blocks_.max_blocks(); ++i) {
                const int32_t block = row(slot)[i];
                CHECK(block >= 0 && block < limits_.num_blocks && (block > 0) == (i < blocks_.num_held(slot)));
                if (block > 0) ++holders[static_cast<std::size_t>(block)];
            }
        }
        int32_t num_used = 0;
        for (int32_t block = 1; block < limits_.num_blocks; ++block) {
            CHECK(holders[static_cast<std::size_t>(block)] == blocks_.references(block));
            num_used += holders[static_cast<std::size_t>(block)] > 0 ? 1 : 0;
        }
        CHECK(num_used + blocks_.num_free() == limits_.num_blocks - 1);
    }

  private:
    // What sequences are said to have in common lies in the same blocks before what is fed, and is all whose chains are the same.
    void check_prefixes(const Plan& plan) {
        const int32_t size = 2, split = size * limits_.block_size;
        if (&plan != &scheduler_.last_plan(policy_)) return;
        const SharedPrefixes found = scheduler_.share_prefixes(policy_, split);
        std::vector<int32_t> whole, group(static_cast<std::size_t>(plan.num_sequences), -1);
        for (std::size_t b = 0; b < group.size(); ++b) {
            whole.push_back((plan.context_lengths[b] - plan.cu_seqlens[b + 1] + plan.cu_seqlens[b]) / split);
        }
        const auto agree = [&](std::size_t a, std::size_t b, int32_t splits) {
            const int32_t last = splits * size - 1;
            if (std::min(whole[a], whole[b]) < splits || blocks_.chain(plan.slots[a], last) != blocks_.chain(plan.slots[b], last)) return false;
            CHECK(std::equal(row(plan.slots[a]), row(plan.slots[a]) + last + 1, row(plan.slots[b])));
            return true;
        };
        int32_t m = 0, most = 0;
        for (int32_t g = 0; g < found.num_groups; ++g) {
            CHECK(plan.shared_cuts[static_cast<std::size_t>(g)] == m);
            std::vector<std::size_t> members;
            for (std::size_t b = 0; m < plan.shared_cuts[static_cast<std::size_t>(g + 1)]; ++b) {
                if (plan.shared_tokens[static_cast<std::size_t>(m)] != plan.cu_seqlens[b]) continue;
                for (int32_t t = plan.cu_seqlens[b]; t < plan.cu_seqlens[b + 1]; ++t) CHECK(plan.shared_tokens[static_cast<std::size_t>(m++)] == t);
                members.push_back(b);
                group[b] = g;
            }
            const int32_t splits = plan.shared_splits[members[0]];
            CHECK(members.size() > 1 && splits > 0);
            bool could_be_more = true;
            for (const std::size_t b : members) {
                CHECK(plan.shared_splits[b] == splits && agree(members[0], b, splits));
                could_be_more = could_be_more && agree(members[0], b, splits + 1);
            }
            CHECK(!could_be_more);
            most = std::max(most, splits);
        }
        CHECK(m == found.num_tokens && most == found.most);
        for (std::size_t a = 0; a < group.size(); ++a) {
            CHECK((group[a] < 0) == (plan.shared_splits[a] == 0));
            for (std::size_t b = 0; b < a; ++b) CHECK(!agree(a, b, 1) || (group[a] >= 0 && group[a] == group[b]));
        }
    }

    void apply(const Swap& swap) {
        const auto size = static_cast<std::size_t>(limits_.block_size);
        Tokens& copy = swapped_[swap.slot];
        if (swap.kind == Swap::Kind::out) copy.clear();
        if (swap.kind == Swap::Kind::fork) {
            CHECK(swapped_.count(swap.blocks[0]) == 1);
            copy = swapped_[swap.blocks[0]];
            return;
        }
        if (swap.kind == Swap::Kind::copy) {
            swapped_.erase(swap.slot);
            const auto from = cache_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(swap.blocks[0]) * size);
            std::copy_n(from, size, cache_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(swap.blocks[1]) * size));
            return;
        }
        for (std::size_t i = 0; i < swap.blocks.size(); ++i) {
            CHECK(swap.blocks[i] > 0);
            const auto block = cache_.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(swap.blocks[i]) * size);
            if (swap.kind == Swap::Kind::out) copy.insert(copy.end(), block, block + static_cast<std::ptrdiff_t>(size));
            if (swap.kind == Swap::Kind::in) std::copy_n(copy.begin() + static_cast<std::ptrdiff_t>(i * size), size, block);
        }
        if (swap.kind != Swap::Kind::out) swapped_.erase(swap.slot);
    }

    Tokens context(int32_t slot, int32_t length) const {
        Tokens seen;
        for (int32_t i = 0; i < length; ++i) seen.push_back(cache_[place(slot, i)]);
        return seen;
    }

    std::vector<float> probe(const Plan& plan) const {
        std::vector<float> scores;
        for (int32_t q = 0, b = 0; q < plan.num_probes; ++q) {
            const auto at = static_cast<std::size_t>(q);
            while (plan.cu_seqlens[static_cast<std::size_t>(b + 1)] <= plan.probe_rows[at]) ++b;
            const int32_t position = plan.positions[static_cast<std::size_t>(plan.probe_rows[at])];
            scores.push_back(score_of(context(plan.slots[static_cast<std::size_t>(b)], position + 1), plan.probe_targets[at]));
        }
        return scores;
    }

    const int32_t* row(int32_t slot) const { return blocks_.rows() + slot * blocks_.max_blocks(); }
    std::size_t place(int32_t slot, int32_t position) const {
        CHECK(position < blocks_.num_held(slot) * limits_.block_size);
        return static_cast<std::size_t>(row(slot)[position / limits_.block_size] * limits_.block_size + position % limits_.block_size);
    }
    void write(const Plan& plan, std::size_t b, const Draws* before) {
        CHECK(plan.positions[static_cast<std::size_t>(plan.cu_seqlens[b + 1] - 1)] == plan.context_lengths[b] - 1);
        // itself, and who rides with it
        const auto last_sample = plan.sample_rows.begin() + plan.num_samples;
        const auto num_drawing = std::max<std::ptrdiff_t>(1, std::count(plan.sample_rows.begin(), last_sample, plan.cu_seqlens[b + 1] - 1));
        for (int32_t t = plan.cu_seqlens[b]; t < plan.cu_seqlens[b + 1]; ++t) {
            const int32_t position = plan.positions[static_cast<std::size_t>(t)];
            CHECK(blocks_.references(row(plan.slots[b])[position / limits_.block_size]) == num_drawing);  // nobody else reads or writes it
            const int32_t source = plan.source[static_cast<std::size_t>(t)];
            CHECK(source < 0 || before != nullptr);
            cache_[place(plan.slots[b], position)] = source < 0 ? plan.tokens[static_cast<std::size_t>(t)] : before->ids.at(static_cast<std::size_t>(source));
        }
    }

    Scheduler& scheduler_;
    int32_t policy_;
    PolicyLimits limits_;
    BlockTable& blocks_;
    Tokens cache_;
    std::map<int32_t, Tokens> swapped_;  // by slot
};

// One policy's side of a collection whose steps may overlap.
class Overlapping {
  public:
    Overlapping(Scheduler& scheduler, int32_t policy) : scheduler_(scheduler), policy_(policy), model(scheduler, policy) {}

    // Runs what is planned now if nothing is out, then, if it goes ahead, what can be planned behind that, and commits the first of them.
    // Returns the plan that was committed, if any.
    const Plan* step(milliseconds patience, bool goes_ahead) {
        if (out_.empty()) launch(scheduler_.plan(policy_, patience));
        if (out_.empty()) return nullptr;
        if (goes_ahead) launch(scheduler_.plan_ahead(policy_));
        return commit();
    }

    void drain() {
        while (!out_.empty()) commit();
        CHECK(scheduler_.num_out(policy_) == 0);
    }

  private:
    void launch(const Plan& plan) {
        CHECK(plan.num_tokens == 0 || &plan == &scheduler_.last_plan(policy_));
        if (plan.num_tokens > 0) out_.emplace_back(&plan, model.launch(plan, out_.empty() ? nullptr : &out_.front().second));
        CHECK(scheduler_.num_out(policy_) == static_cast<int32_t>(out_.size()));
    }

    const Plan* commit() {
        const Plan* plan = out_.front().first;
        CHECK(plan == &scheduler_.oldest_plan(policy_));
        model.commit(out_.front().second);
        out_.pop_front();
        return plan;
    }

    Scheduler& scheduler_;
    int32_t policy_;
    std::deque<std::pair<const Plan*, HashingModel::Draws>> out_;

  public:
    HashingModel model;
};

// Runs a collection with hashing models; `after` is called after each step, `goes_ahead` says whether the next one overlaps it.
inline TrajectoryBuffer collect(Scheduler& scheduler, const std::function<void(int32_t policy, const Plan&)>& after = nullptr,
                                const std::function<bool()>& goes_ahead = nullptr) {
    std::vector<Overlapping> policies;
    for (int32_t p = 0; p < scheduler.num_policies(); ++p) policies.emplace_back(scheduler, p);
    while (!scheduler.is_done()) {
        if (scheduler.num_policies() == 0) scheduler.wait(milliseconds(50));
        for (int32_t p = 0; p < scheduler.num_policies(); ++p) {
            const Plan* plan = policies[static_cast<std::size_t>(p)].step(milliseconds(50), goes_ahead && goes_ahead());
            if (plan != nullptr && after) after(p, *plan);
        }
    }
    for (int32_t p = 0; p < scheduler.num_policies(); ++p) {
        policies[static_cast<std::size_t>(p)].drain();
        policies[static_cast<std::size_t>(p)].model.check_blocks();
        CHECK(scheduler.block_table(p).num_free() == scheduler.limits(p).num_blocks - 1);  // nothing leaked
    }
    return scheduler.take();
}

inline void check_equal(const TrajectoryBuffer& a, const TrajectoryBuffer& b) {
    CHECK(a.tokens == b.tokens && a.decision == b.decision && a.version == b.version && a.action_mask == b.action_mask);
    CHECK(a.segment == b.segment && a.rewards == b.rewards && a.logprobs == b.logprobs && a.kept_logmass == b.kept_logmass);
    CHECK(a.offsets == b.offsets && a.index == b.index && a.task == b.task && a.seat == b.seat && a.stop_reason == b.stop_reason);
    CHECK(a.terminated == b.terminated && a.truncated == b.truncated && a.failed == b.failed);
    // rows of the support table are numbered in the order in which they were met; what they allow must agree
    for (std::size_t t = 0; t < a.support.size(); ++t) {
        CHECK((a.support[t] < 0) == (b.support[t] < 0));
        for (int32_t w = 0; a.support[t] >= 0 && w < a.words_per_support; ++w) {
            CHECK(a.support_table[static_cast<std::size_t>(a.support[t] * a.words_per_support + w)] ==
                  b.support_table[static_cast<std::size_t>(b.support[t] * b.words_per_support + w)]);
        }
    }
}

}  // namespace paradigm
