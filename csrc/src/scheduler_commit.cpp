// Steps that are planned while another is out, and what becomes of what a step drew.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>

#include "paradigm/scheduler.h"

namespace paradigm {

const Plan& Scheduler::plan_ahead(int32_t policy_number) {
    PolicyState& policy = state(policy_number);
    if (policy.num_out != 1) {
        throw std::logic_error("plan_ahead needs exactly one plan of the policy to be out, got " + std::to_string(policy.num_out));
    }
    clear(policy, 1 - policy.last);
    const Plan& plan = policy.made().plan;
    if (!is_held_up()) {
        drain();
        admit();
        find_free(policy);
        if (is_plenty(policy)) {
            fill_decoding(policy);  // they have been ready for longer
            fill_ahead(policy);
            fill_prefilling(policy);
        } else if (can_decode_ahead(policy)) {
            fill_decoding(policy);
            fill_ahead(policy);
        }
    }
    if (plan.num_tokens == 0) {
        policy.last = 1 - policy.last;
    } else {
        hand_out(policy);
    }
    return plan;
}

// Which rows of the plan that is out can be fed what they draw.
void Scheduler::find_free(PolicyState& policy) {
    const Planned& before = policy.steps[1 - policy.last];
    for (std::size_t i = 0; i < before.rows.size(); ++i) {
        const Row& row = before.rows[i];
        if (row.sample >= 0 && !row.is_overrun && row.seat->sequence == nullptr && row.seat->is_free()) policy.free_rows.push_back(i);
    }
}

// Where blocks are scarce: whether there is one for each that needs it to decode, and nobody else waits but those who found too few blocks when
// more were free.
bool Scheduler::can_decode_ahead(const PolicyState& policy) {
    const BlockTable& blocks = policy.blocks;
    if (policy.num_swapped > 0 || policy.prefilling.size() > policy.num_prefills_refused) return false;
    if (!policy.prefilling.empty() && blocks.num_free() > policy.num_free_then) return false;
    int32_t needed = 0;
    const auto add = [&](const Seat& seat, int32_t end) {
        needed += std::max(0, blocks.num_blocks_for(end) - blocks.num_held(seat.slot)) + (seat.shares_tail ? 1 : 0);
    };
    for (const Seat* seat : policy.decoding) add(*seat, seat->fed + 1);
    for (const std::size_t i : policy.free_rows) {
        const Row& row = policy.steps[1 - policy.last].rows[i];
        add(*row.seat, row.seat->fed + row.num_tokens + 1);
    }
    return needed <= blocks.num_free();
}

void Scheduler::fill_ahead(PolicyState& policy) {
    Planned& before = policy.steps[1 - policy.last];
    for (const std::size_t i : policy.free_rows) {
        if (room(policy) == 0) return;
        append_ahead(policy, before.rows[i]);
    }
}

// One token, which the row of the plan before draws.
void Scheduler::append_ahead(PolicyState& policy, Row& row) {
    Planned& step = policy.made();
    const auto t = static_cast<std::size_t>(step.plan.num_tokens);
    step.plan.tokens[t] = 0;
    step.plan.source[t] = row.sample;
    row.ahead = static_cast<int32_t>(step.rows.size());
    add_row(policy, *row.seat, row.seat->fed + row.num_tokens, 1, true);
    ++policy.counters.tokens_ahead;
}

void Scheduler::check_draws(const Planned& step, const int32_t* tokens, const float* logprobs, const float* kept_logmass, std::size_t count,
                            const float* probed) const {
    const auto num_samples = static_cast<std::size_t>(step.plan.num_samples);
    if (count != num_samples) {
        throw std::invalid_argument("commit needs one token for each of " + std::to_string(num_samples) + " sampling rows, got " + std::to_string(count));
    }
    const int32_t vocab_size = world_->rules->vocab_size;
    for (std::size_t r = 0; r < count; ++r) {
        if (tokens[r] < 0 || tokens[r] >= vocab_size) {
            throw std::invalid_argument("the token drawn for row " + std::to_string(r) + " must be in 0.." + std::to_string(vocab_size - 1) +
                                        ", got " + std::to_string(tokens[r]));
        }
        if (!std::isfinite(logprobs[r]) || !std::isfinite(kept_logmass[r])) {
            throw std::invalid_argument("the log-probability of row " + std::to_string(r) + " must be finite, got " +
                                        std::to_string(logprobs[r]) + ": the policy's logits are not");
        }
    }
    for (int32_t q = 0; q < step.plan.num_probes; ++q) {
        if (probed == nullptr || !std::isfinite(probed[q])) {
            throw std::invalid_argument("commit needs a finite log-probability for each of " + std::to_string(step.plan.num_probes) + " probes");
        }
    }
}

void Scheduler::commit(int32_t policy_number, const int32_t* tokens, const float* logprobs, const float* kept_logmass, std::size_t count,
                       const float* probed) {
    PolicyState& policy = state(policy_number);
    if (policy.num_out == 0) throw std::logic_error("commit: nothing is planned for the policy");
    Planned& step = policy.oldest();
    Planned& behind = policy.made();  // itself, if it is the only one
    check_draws(step, tokens, logprobs, kept_logmass, count, probed);
    --policy.num_out;
    for (std::size_t q = 0; q < step.probed.size(); ++q) {
        Probe& probe = *step.probed[q]->probe;
        ++probe.next;
        if (probe.targets.empty()) continue;
        probe.logprobs.push_back(probed[q]);
        probe.version.push_back(policy.version);
    }
    const Clock::time_point now = Clock::now();
    policy.step_s = std::chrono::duration<double>(now - std::max(step.at, policy.committed_at)).count();
    policy.committed_at = now;
    SupportSets& supports = *world_->rules->supports;
    std::size_t num_unfinished = 0;
    for (const Row& row : step.rows) {
        Seat& seat = *row.seat;
        --seat.num_out;
        if (row.is_overrun) {
            ++policy.counters.tokens_overrun;
            let_go_if_left(*seat.episode);
            continue;
        }
        seat.fed += row.num_tokens;
        if (row.sample < 0) {
            if (seat.probe != nullptr && seat.fed == seat.length()) {
                complete(*seat.sequence, "");
                continue;
            }
            policy.prefilling.insert(policy.prefilling.begin() + static_cast<std::ptrdiff_t>(num_unfinished++), &seat);
            continue;
        }
        const auto r = static_cast<std::size_t>(row.sample);
        ++policy.counters.tokens_sampled;
        bool goes_on = false;
        try {
            Progress progress = seat.choose(tokens[r], logprobs[r], kept_logmass[r], policy.version, supports);
            if (progress == Progress::acting && seat.forced_is_due()) progress = seat.impose_forced(supports);
            if (takes_requests_ && seat.episode != nullptr) report(*seat.episode);
            goes_on = progress == Progress::acting;
            if (row.ahead >= 0) {
                if (goes_on) count_fed(policy, seat, seat.fed + 1);
                behind.rows[static_cast<std::size_t>(row.ahead)].is_overrun = !goes_on;
            } else if (goes_on) {
                make_ready(seat);
            }
            if (!goes_on && seat.episode != nullptr) {
                resume(*seat.episode, progress);
            } else if (!goes_on) {
                complete(*seat.sequence, "");
            }
        } catch (const EpisodeError& error) {
            if (row.ahead >= 0) behind.rows[static_cast<std::size_t>(row.ahead)].is_overrun = true;
            if (seat.episode == nullptr) {
                complete(*seat.sequence, error.what());
            } else {
                seat.episode->fail(error.what(), error.reason);
                finish(*seat.episode);
            }
        }
    }
    step.rows.clear();
    start();
}

// An action has ended, or its stream is full.
void Scheduler::resume(Episode& episode, Progress progress) {
    if (progress == Progress::action_done) {
        to_run_.push_back(&episode);
        return;
    }
    episode.end(StopReason::length);
    finish(episode);
}

}  // namespace paradigm
