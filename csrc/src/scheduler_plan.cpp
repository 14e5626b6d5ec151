// What a step feeds, and who gets the cache's blocks for it.
#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <vector>

#include "paradigm/scheduler.h"

namespace paradigm {

namespace {

int32_t num_left(const Seat& seat) { return seat.length() - seat.fed; }

void copy_tokens(const Seat& seat, int32_t first, std::vector<int32_t>& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = seat.stream[static_cast<std::size_t>(first) + i].token;
}

bool is_older(const Seat* a, const Seat* b) { return a->trajectory < b->trajectory; }

constexpr int32_t kFewestForked = 4;  // tokens for which a sequence waits for another to be fed, and a block is copied

}  // namespace

int32_t Scheduler::room(const PolicyState& policy) { return policy.limits.max_step_tokens - policy.steps[policy.last].plan.num_tokens; }

const Plan& Scheduler::plan(int32_t policy_number, std::chrono::milliseconds patience) {
    PolicyState& policy = state(policy_number);
    if (policy.num_out > 0) throw std::logic_error("plan: the policy's last plan has not been committed");
    clear(policy, 0);
    const Plan& plan = policy.made().plan;

    const auto is_ready = [](const PolicyState& p) { return !p.decoding.empty() || !p.prefilling.empty(); };
    const Clock::time_point deadline = Clock::now() + patience;
    while (true) {
        drain();
        admit();
        if (is_done() || num_running_ == 0 || is_any_out() || std::any_of(policies_.begin(), policies_.end(), is_ready) || !await(deadline, 1)) break;
    }
    if (!is_ready(policy) || is_held_up()) return plan;
    linger(policy);
    admit();
    if (!is_ready(policy)) return plan;  // meanwhile all were cancelled

    policy.num_refused = policy.num_prefills_refused = 0;
    if (is_plenty(policy)) {
        fill_decoding(policy);
        fill_prefilling(policy);
    } else {
        fill_scarce(policy);
    }
    hand_out(policy);
    return plan;
}

// Begins a plan in buffers that no plan out uses.
void Scheduler::clear(PolicyState& policy, std::size_t number) {
    policy.last = number;
    Planned& step = policy.made();
    step.plan.num_tokens = step.plan.num_sequences = step.plan.num_samples = step.plan.num_riding = step.plan.num_probes = 0;
    step.rows.clear();
    step.ends_prompt = false;
    step.probed.clear();
    policy.free_rows.clear();
    policy.blocks.confirm();  // what earlier plans fill: they run before this one
}

void Scheduler::hand_out(PolicyState& policy) {
    ++policy.num_out;
    policy.made().at = Clock::now();
    ++policy.counters.steps;
    policy.counters.tokens_fed += policy.made().plan.num_tokens;
}

// Whether there are blocks for all that are ready, with all that they are to be fed, and to spare.
bool Scheduler::is_plenty(const PolicyState& policy) {
    const BlockTable& blocks = policy.blocks;
    if (!blocks.can_run_out()) return true;
    if (policy.num_swapped > 0) return false;
    int64_t needed = static_cast<int64_t>(policy.decoding.size() + policy.free_rows.size()) + blocks.num_holding();
    for (const Seat* seat : policy.prefilling) needed += blocks.num_blocks_for(seat->length()) - blocks.num_held(seat->slot);
    return needed <= blocks.num_free();
}

// In the order in which they became ready, as below.
void Scheduler::fill_decoding(PolicyState& policy) {
    std::size_t num_decoding = 0;
    for (; num_decoding < policy.decoding.size() && room(policy) > 0; ++num_decoding) append(policy, *policy.decoding[num_decoding], 1);
    policy.decoding.erase(policy.decoding.begin(), policy.decoding.begin() + static_cast<std::ptrdiff_t>(num_decoding));
}

void Scheduler::fill_prefilling(PolicyState& policy) {
    std::size_t num_waiting = 0;
    for (Seat* seat : policy.prefilling) {
        if (policy.made().ends_prompt && ride(policy, *seat)) continue;
        if (room(policy) > 0 && take_over_prefix(policy, *seat) && take_over_rest(policy, *seat)) {
            const int32_t num_tokens = std::min(num_left(*seat), room(policy));
            policy.counters.tokens_prefilled += num_tokens;
            append(policy, *seat, num_tokens);
        } else {
            policy.prefilling[num_waiting++] = seat;
        }
    }
    policy.prefilling.resize(num_waiting);
}

// The oldest first, each taking blocks from younger ones where it must. A row is left for each that decodes.
void Scheduler::fill_scarce(PolicyState& policy) {
    const Plan& plan = policy.made().plan;
    policy.by_age.assign(policy.decoding.begin(), policy.decoding.end());
    policy.by_age.insert(policy.by_age.end(), policy.prefilling.begin(), policy.prefilling.end());
    std::sort(policy.by_age.begin(), policy.by_age.end(), is_older);
    auto num_decoding = static_cast<int32_t>(policy.decoding.size());
    policy.decoding.clear();
    policy.prefilling.clear();
    bool is_closed = false;  // to sequences that have not started
    for (Seat* seat : policy.by_age) {
        const int32_t left = room(policy);
        const bool decodes = num_left(*seat) == 1;
        if (decodes) num_decoding = std::max(0, num_decoding - 1);
        const int32_t most = plan.num_sequences == 0 ? std::max(1, left - num_decoding) : decodes ? std::min(1, left) : left - num_decoding;
        if (most > 0 && claim(policy, *seat, most, is_closed)) {
            const int32_t num_tokens = std::min(num_left(*seat), most);
            policy.counters.tokens_prefilled += decodes ? 0 : num_tokens;
            append(policy, *seat, num_tokens);
        } else {
            (num_left(*seat) == 1 ? policy.decoding : policy.prefilling).push_back(seat);
        }
    }
    if (!is_closed) return;
    policy.num_refused = policy.decoding.size() + policy.prefilling.size();
    policy.num_prefills_refused = policy.prefilling.size();
    policy.num_free_then = policy.blocks.num_free();
}

// Gets the sequence blocks for its next tokens, `most` at most. Returns false if it has to wait.
bool Scheduler::claim(PolicyState& policy, Seat& seat, int32_t most, bool& is_closed) {
    BlockTable& blocks = policy.blocks;
    const bool is_first = policy.made().plan.num_sequences == 0;
    if (!seat.has_started && !is_first && is_closed) return false;
    if (!take_over_prefix(policy, seat)) return false;
    if (!seat.has_started && !is_first) {
        // One that starts only to be evicted a few steps later costs its prefill: it leaves half of those at work a block to grow by.
        // Who comes after it waits too, so that a long prompt is not passed over for ever.
        const int32_t needed = blocks.num_blocks_for(seat.length()) - blocks.num_held(seat.slot);
        if (needed + std::min<int64_t>(blocks.num_holding() / 2, blocks.most_growth()) > blocks.num_free()) {
            is_closed = true;
            return false;
        }
    }
    const int32_t end = seat.fed + std::min(num_left(seat), most);
    while (!own_tail(policy, seat, seat.fed) || !blocks.extend(seat.slot, end)) {
        is_closed = true;
        if (!evict_for(policy, seat)) return false;
    }
    if (seat.is_swapped) swap_in(policy, seat);
    return true;
}

// Evicts the youngest sequence, if it is younger than this one, or if this one is the first of its plan.
bool Scheduler::evict_for(PolicyState& policy, const Seat& seat) {
    Seat* youngest = nullptr;
    for (Seat* other : policy.by_slot) {
        if (other == nullptr || other == &seat || policy.blocks.num_held(other->slot) == 0) continue;
        if (youngest == nullptr || is_older(youngest, other)) youngest = other;
    }
    if (youngest == nullptr) return false;
    // the other seats of its own episode wait for it, so they may go too
    const bool is_own = youngest->episode == seat.episode && seat.episode != nullptr;
    if (policy.made().plan.num_sequences > 0 && is_older(youngest, &seat) && !is_own) return false;
    policy.counters.evictions += youngest->has_started ? 1 : 0;
    if (youngest->is_stale) {
        swap_out(policy, *youngest);
    } else {
        youngest->fed = 0;
    }
    policy.blocks.release(youngest->slot);
    youngest->has_started = false;
    return true;
}

// Its keys and values could not be computed again: the weights that made them are gone.
void Scheduler::swap_out(PolicyState& policy, Seat& seat) {
    const int32_t* row = policy.blocks.blocks_of(seat.slot);
    policy.swaps.push_back({Swap::Kind::out, seat.slot, {row, row + policy.blocks.num_blocks_for(seat.fed)}});
    seat.is_swapped = true;
    ++policy.num_swapped;
    ++policy.counters.swaps;
}

void Scheduler::swap_in(PolicyState& policy, Seat& seat) {
    const int32_t* row = policy.blocks.blocks_of(seat.slot);
    policy.swaps.push_back({Swap::Kind::in, seat.slot, {row, row + policy.blocks.num_blocks_for(seat.fed)}});
    seat.is_swapped = false;
    --policy.num_swapped;
}

void Scheduler::forget_swap(PolicyState& policy, Seat& seat) {
    if (!seat.is_swapped) return;
    policy.swaps.push_back({Swap::Kind::drop, seat.slot, {}});
    seat.is_swapped = false;
    --policy.num_swapped;
}

// Lets the sequence hold the blocks of its prompt that others have computed. Returns false if the next one is being computed in this step.
bool Scheduler::take_over_prefix(PolicyState& policy, Seat& seat) {
    BlockTable& blocks = policy.blocks;
    if (!blocks.has_cache()) return true;
    if (seat.fed == 0) seat.prefix = blocks.prefixes().root();
    const int32_t size = blocks.block_size();
    const int32_t limit = std::min(seat.prompt_length, seat.length() - 1);  // its last token it feeds itself: something has to be predicted from
    while (seat.fed + size <= limit && holds_what_is_fed(policy, seat)) {
        copy_tokens(seat, seat.fed, policy.block_tokens);
        const PrefixIndex::Match match = blocks.prefixes().find(seat.prefix, policy.block_tokens.data());
        if (match.block == 0) return true;
        if (match.is_pending) return false;
        blocks.share(seat.slot, match.block);
        seat.fed += size;
        seat.prefix = match.prefix;
        if (seat.has_started) policy.counters.tokens_shared += size;
    }
    return true;
}

bool Scheduler::holds_what_is_fed(const PolicyState& policy, const Seat& seat) {
    return policy.blocks.num_held(seat.slot) * policy.blocks.block_size() == seat.fed;
}

// Another live sequence that has been fed the prompt of one that has not begun, but perhaps for its last token, or is about to be; null: there is none.
Seat* Scheduler::find_prompt(PolicyState& policy, const Seat& seat) {
    BlockTable& blocks = policy.blocks;
    const int32_t size = blocks.block_size(), end = seat.prompt_length - 1;
    if (!blocks.has_cache() || seat.has_started || seat.fed > end || !holds_what_is_fed(policy, seat)) return nullptr;
    uint64_t prefix = seat.fed == 0 ? blocks.prefixes().root() : seat.prefix;
    int32_t first = seat.fed;
    for (; first + size <= end; first += size) {
        copy_tokens(seat, first, policy.block_tokens);
        const PrefixIndex::Match match = blocks.prefixes().find(prefix, policy.block_tokens.data());
        if (match.block == 0) return nullptr;
        prefix = match.prefix;
    }
    policy.rest_tokens.resize(static_cast<std::size_t>(end - first));
    copy_tokens(seat, first, policy.rest_tokens);
    const int32_t slot = blocks.prompts().find(prefix, policy.rest_tokens);
    return slot < 0 || slot == seat.slot ? nullptr : policy.by_slot[static_cast<std::size_t>(slot)];
}

// For a sequence that is about to be fed: what of its prompt is behind whole blocks, but for the last token, it takes over from another with the same
// prompt, whose block it shares as forks do. Returns false if it has to wait, since the other is being fed that now.
bool Scheduler::take_over_rest(PolicyState& policy, Seat& seat) {
    BlockTable& blocks = policy.blocks;
    const int32_t end = seat.prompt_length - 1;
    Seat* const other = end - seat.fed < kFewestForked ? nullptr : find_prompt(policy, seat);
    if (other == nullptr) return true;
    if (other->fed < end) return other->num_out == 0;
    blocks.share(seat.slot, blocks.blocks_of(other->slot)[end / blocks.block_size()]);
    seat.fed = end;
    seat.prefix = PrefixIndex::kNone;  // its block has been published
    seat.shares_tail = other->shares_tail = true;
    return true;
}

// A sequence that is at the end of its prompt draws from the row of another with the same prompt, if the plan feeds that the prompt's last token: it is
// fed nothing, and shares all of the other's blocks as forks do.
bool Scheduler::ride(PolicyState& policy, Seat& seat) {
    BlockTable& blocks = policy.blocks;
    Planned& step = policy.made();
    const int32_t end = seat.prompt_length;
    if (seat.length() != end || seat.probe != nullptr) return false;
    Seat* const other = find_prompt(policy, seat);
    if (other == nullptr || other->num_out != 1 || other->row >= step.rows.size()) return false;  // 2: this plan feeds it what is behind its prompt
    const Row row = step.rows[other->row];
    if (row.seat != other || row.sample < 0) return false;
    // the plan feeds it, so that it is no other thread's
    if (other->fed + row.num_tokens != end || other->prompt_length != end) return false;
    if (other->stream[static_cast<std::size_t>(end - 1)].token != seat.stream.back().token) return false;
    const int32_t num_held = blocks.num_held(seat.slot);  // if it has waited: of the same tokens, but where two computed them perhaps not the other's
    if (num_held > 0 && blocks.chain(seat.slot, num_held - 1) != blocks.chain(other->slot, num_held - 1)) return false;
    for (int32_t number = num_held; number < blocks.num_blocks_for(end); ++number) blocks.share(seat.slot, blocks.blocks_of(other->slot)[number]);
    if (end % blocks.block_size() != 0) seat.shares_tail = other->shares_tail = true;
    seat.prefix = PrefixIndex::kNone;  // its blocks have been published
    seat.has_started = true;
    ++policy.counters.prefixes_shared;
    policy.counters.tokens_shared += end;
    count_fed(policy, seat, end);
    ++seat.num_out;
    step.rows.push_back({&seat, end - seat.fed, step.plan.num_samples});
    ++step.plan.num_riding;
    add_sample(step.plan, seat, step.plan.sample_rows[static_cast<std::size_t>(row.sample)], end);
    return true;
}

// Before the sequence writes its token number `start`: gives it a block of its own for that, if forks share it. Returns false if none is free.
bool Scheduler::own_tail(PolicyState& policy, Seat& seat, int32_t start) {
    if (!seat.shares_tail) return true;
    BlockTable& blocks = policy.blocks;
    const int32_t number = start / blocks.block_size();
    if (blocks.is_shared(seat.slot, number)) {
        if (blocks.num_free() == 0) return false;
        const int32_t from = blocks.blocks_of(seat.slot)[number], to = blocks.replace(seat.slot, number);
        policy.swaps.push_back({Swap::Kind::copy, seat.slot, {from, to}});
        ++policy.counters.blocks_copied;
    } else {
        blocks.forget(seat.slot, number);
    }
    seat.shares_tail = false;
    return true;
}

// Publishes the blocks of its prompt that the tokens [fed, end) fill, and the prompt itself once its last block is begun.
void Scheduler::publish_prefix(PolicyState& policy, Seat& seat, int32_t end) {
    BlockTable& blocks = policy.blocks;
    const int32_t size = blocks.block_size(), rest = seat.prompt_length - 1;
    if (seat.fed == 0) seat.prefix = blocks.prefixes().root();
    for (int32_t number = seat.fed / size; number * size < end; ++number) {
        if (number == rest / size && blocks.prefixes().is_current(seat.prefix)) {
            policy.rest_tokens.resize(static_cast<std::size_t>(rest % size));
            copy_tokens(seat, number * size, policy.rest_tokens);
            blocks.prompts().note(seat.slot, seat.prefix, policy.rest_tokens);
        }
        if ((number + 1) * size > std::min(end, seat.prompt_length)) return;
        copy_tokens(seat, number * size, policy.block_tokens);
        seat.prefix = blocks.publish(seat.slot, number, seat.prefix, policy.block_tokens.data());
    }
}

void Scheduler::append(PolicyState& policy, Seat& seat, int32_t num_tokens) {
    Plan& plan = policy.made().plan;
    const int32_t end = seat.fed + num_tokens;
    if (!seat.has_started) {
        seat.has_started = true;
        const int32_t shared = seat.is_stale ? 0 : seat.fed;  // a stale one was copied back
        policy.counters.prefixes_shared += shared > 0 ? 1 : 0;
        policy.counters.tokens_shared += shared;
    }
    count_fed(policy, seat, end);
    auto t = static_cast<std::size_t>(plan.num_tokens);
    for (int32_t position = seat.fed; position < end; ++position, ++t) {
        plan.tokens[t] = seat.stream[static_cast<std::size_t>(position)].token;
        plan.source[t] = -1;
    }
    add_row(policy, seat, seat.fed, num_tokens, end == seat.length() && seat.probe == nullptr);
    if (seat.fed < seat.prompt_length && policy.blocks.has_cache()) {
        publish_prefix(policy, seat, end);
        policy.made().ends_prompt |= end >= seat.prompt_length;
    }
    if (seat.probe != nullptr) probe(policy, seat, end);
}

// The sequence's tokens up to `end` are certain to be fed.
void Scheduler::count_fed(PolicyState& policy, Seat& seat, int32_t end) {
    if (seat.fed < seat.covered) policy.counters.tokens_recomputed += std::min(end, seat.covered) - seat.fed;
    if (end > seat.covered) {
        policy.counters.tokens_covered += end - seat.covered;
        policy.counters.keys_covered += int64_t{end - seat.covered} * (seat.covered + end + 1) / 2;
        seat.covered = end;
    }
}

// Everything about a sequence that is fed from token number `start` on, but for the tokens themselves.
void Scheduler::add_row(PolicyState& policy, Seat& seat, int32_t start, int32_t num_tokens, bool samples) {
    Planned& step = policy.made();
    Plan& plan = step.plan;
    const auto b = static_cast<std::size_t>(plan.num_sequences++);
    const int32_t end = start + num_tokens;
    if (!own_tail(policy, seat, start) || !policy.blocks.extend(seat.slot, end)) throw std::logic_error("plan: a sequence has no block for its tokens");
    for (int32_t position = start; position < end; ++position) plan.positions[static_cast<std::size_t>(plan.num_tokens++)] = position;
    plan.cu_seqlens[b + 1] = plan.num_tokens;
    plan.context_lengths[b] = end;
    plan.slots[b] = seat.slot;
    ++seat.num_out;
    seat.row = step.rows.size();
    step.rows.push_back({&seat, num_tokens, samples ? plan.num_samples : -1});
    if (samples) add_sample(plan, seat, plan.num_tokens - 1, end);
}

// A draw of the sequence's token number `end` from what is predicted by the plan's token number `token`.
void Scheduler::add_sample(Plan& plan, const Seat& seat, int32_t token, int32_t end) {
    const auto r = static_cast<std::size_t>(plan.num_samples++);
    plan.sample_rows[r] = token;
    plan.trajectory[r] = static_cast<uint64_t>(seat.trajectory);
    plan.position[r] = static_cast<uint32_t>(end);
    plan.support_row[r] = seat.support_row();
    if (seat.sampling != nullptr) {
        plan.temperature[r] = seat.sampling->temperature;
        plan.top_k[r] = seat.sampling->top_k;
        plan.top_p[r] = seat.sampling->top_p;
        plan.min_p[r] = seat.sampling->min_p;
    }
}

// The hidden states among [fed, end) that were asked for.
void Scheduler::probe(PolicyState& policy, Seat& seat, int32_t end) {
    Plan& plan = policy.made().plan;
    const Probe& wanted = *seat.probe;
    for (int32_t position = std::max(seat.fed, wanted.next); position < end; ++position) {
        const auto q = static_cast<std::size_t>(plan.num_probes++);
        plan.probe_rows[q] = plan.num_tokens - (end - position);
        plan.probe_targets[q] = wanted.targets.empty() ? -1 : wanted.targets[static_cast<std::size_t>(position - wanted.first)];
        plan.probe_temperature[q] = wanted.temperature;
        plan.probe_ask[q] = wanted.ask;
        policy.made().probed.push_back(&seat);
    }
}

}  // namespace paradigm
