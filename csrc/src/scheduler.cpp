#include "paradigm/scheduler.h"
#include "require.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace paradigm {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kHandOverS = 2e-6;      // about what it costs to hand an episode to another thread, its memory included
constexpr double kLongestLinger = 0.02;  // seconds

std::chrono::steady_clock::duration duration(double seconds) {
    return std::chrono::duration_cast<std::chrono::steady_clock::duration>(Seconds(seconds));
}

}  // namespace

Scheduler::PolicyState::PolicyState(const PolicyLimits& given, int32_t max_tokens, const SamplingParameters& sampling, uint64_t key)
    : limits(given), blocks(given.slots, max_tokens, given.num_blocks, given.block_size) {
    const auto max_tokens_fed = static_cast<std::size_t>(limits.max_step_tokens);
    const auto max_sequences = static_cast<std::size_t>(std::min(limits.slots, limits.max_step_tokens));
    const auto max_rows = static_cast<std::size_t>(limits.slots);
    for (Planned& step : steps) {
        Plan& plan = step.plan;
        for (auto* of_tokens : {&plan.tokens, &plan.positions, &plan.probe_rows, &plan.probe_targets, &plan.shared_tokens}) {
            of_tokens->resize(max_tokens_fed);
        }
        plan.source.assign(max_tokens_fed, -1);
        plan.probe_temperature.resize(max_tokens_fed);
        plan.probe_ask.resize(max_tokens_fed);
        plan.cu_seqlens.resize(max_sequences + 1);
        plan.shared_cuts.resize(max_sequences / 2 + 1);
        for (auto* of_sequences : {&plan.context_lengths, &plan.slots, &plan.shared_splits}) of_sequences->resize(max_sequences);
        plan.sample_rows.resize(max_rows);
        plan.support_row.resize(max_rows);
        plan.trajectory.resize(max_rows);
        plan.position.resize(max_rows);
        plan.key.assign(max_rows, key);
        plan.temperature.assign(max_rows, sampling.temperature);
        plan.top_k.assign(max_rows, sampling.top_k);
        plan.top_p.assign(max_rows, sampling.top_p);
        plan.min_p.assign(max_rows, sampling.min_p);
        step.rows.reserve(max_rows);
    }
    free_rows.reserve(max_rows);
    decoding.reserve(static_cast<std::size_t>(limits.slots));
    prefilling.reserve(static_cast<std::size_t>(limits.slots));
    by_age.reserve(static_cast<std::size_t>(limits.slots));
    by_slot.assign(static_cast<std::size_t>(limits.slots), nullptr);
    block_tokens.resize(static_cast<std::size_t>(blocks.block_size()));
    for (int32_t slot = limits.slots - 1; slot >= 0; --slot) free_slots.push_back(slot);
}

Scheduler::Scheduler(std::unique_ptr<EpisodeRules> rules, std::vector<PolicyLimits> policies, SamplingParameters sampling, int threads,
                     bool record_all)
    : world_(std::make_shared<World>()), sampling_(sampling), record_all_(record_all), pool_(threads, [world = world_](Episode*& episode) {
          episode->run();
          std::lock_guard<std::mutex> lock(world->mutex);
          world->done.push_back(episode);
          if (world->done.size() >= world->wanted) world->completed.notify_one();
      }) {
    require(rules->group_size >= 1, "group_size must be >= 1, got " + std::to_string(rules->group_size));
    require(rules->vocab_size >= 1, "vocab_size must be >= 1, got " + std::to_string(rules->vocab_size));
    require(rules->max_tokens >= 1, "max_tokens must be >= 1, got " + std::to_string(rules->max_tokens));
    require(!rules->roles.empty(), "an environment must have at least one seat");
    require(static_cast<bool>(rules->factory), "the environment factory must be callable");
    check(sampling);
    for (const PolicyLimits& limits : policies) {
        require(limits.slots >= 1, "slots must be >= 1, got " + std::to_string(limits.slots));
        require(limits.max_step_tokens >= 1, "max_step_tokens must be >= 1, got " + std::to_string(limits.max_step_tokens));
        policies_.emplace_back(limits, rules->max_tokens, sampling, rules->key);
    }
    for (std::size_t s = 0; s < rules->roles.size(); ++s) {
        const SeatRole& role = rules->roles[s];
        require(role.policy < static_cast<int32_t>(policies_.size()), "seat " + std::to_string(s) + " names a policy that is not there");
        require(role.policy >= 0 || role.player, "seat " + std::to_string(s) + " needs a policy or a player");
        if (role.policy >= 0) ++policies_[static_cast<std::size_t>(role.policy)].num_seats;
    }
    max_live_ = 32 * static_cast<std::size_t>(threads);
    bool any_policy = false;
    for (std::size_t p = 0; p < policies_.size(); ++p) {
        const PolicyState& policy = policies_[p];
        if (policy.num_seats == 0) continue;
        require(policy.limits.slots >= policy.num_seats, "slots must be >= the " + std::to_string(policy.num_seats) +
                                                             " seats that policy " + std::to_string(p) + " plays of an episode, got " +
                                                             std::to_string(policy.limits.slots));
        const auto fit = static_cast<std::size_t>(policy.limits.slots / policy.num_seats);
        max_live_ = any_policy ? std::min(max_live_, fit) : fit;
        any_policy = true;
    }
    const auto num_seats = static_cast<int64_t>(rules->roles.size());
    const auto all = static_cast<int64_t>(rules->tasks.size()) * rules->group_size;
    const auto [first, end] = rules->episodes.value_or(std::pair<int64_t, int64_t>{0, all});
    require(0 <= first && first <= end && end <= all, "episodes must be a range within the " + std::to_string(all) + " there are, got " +
                                                          std::to_string(first) + " to " + std::to_string(end));
    takes_requests_ = rules->tasks.empty();
    next_episode_ = first;
    end_episode_ = end;
    num_episodes_ = end - first;
    for (auto& [trajectory, forced] : rules->forced) {
        require(trajectory >= 0 && trajectory < all * num_seats,
                "forced names trajectory " + std::to_string(trajectory) + " of " + std::to_string(all * num_seats));
        require(rules->roles[static_cast<std::size_t>(trajectory % num_seats)].policy >= 0,
                "forced names trajectory " + std::to_string(trajectory) + ", whose seat a player plays");
        std::stable_sort(forced.begin(), forced.end(), [](const ForcedToken& a, const ForcedToken& b) { return a.after < b.after; });
        for (std::size_t i = 0; i < forced.size(); ++i) {
            require(forced[i].after >= 0, "forced positions must be >= 0, got " + std::to_string(forced[i].after));
            require(forced[i].token >= 0 && forced[i].token < rules->vocab_size,
                    "forced token " + std::to_string(forced[i].token) + " is outside the vocabulary of " + std::to_string(rules->vocab_size));
            require(i == 0 || forced[i].after != forced[i - 1].after, "forced imposes two tokens after " + std::to_string(forced[i].after) +
                                                                          " generated ones of trajectory " + std::to_string(trajectory));
        }
    }
    rules->supports = std::make_unique<SupportSets>(rules->vocab_size);
    world_->rules = std::move(rules);
}

Scheduler::~Scheduler() { close(std::chrono::milliseconds(500)); }

bool Scheduler::close(std::chrono::milliseconds grace) {
    world_->rules->stopping = true;
    return pool_.close(grace);
}

Scheduler::PolicyState& Scheduler::state(int32_t policy) {
    if (policy < 0 || policy >= num_policies()) {
        throw std::invalid_argument("policy must be in 0.." + std::to_string(num_policies() - 1) + ", got " + std::to_string(policy));
    }
    return policies_[static_cast<std::size_t>(policy)];
}

bool Scheduler::has_slots() const {
    return std::all_of(policies_.begin(), policies_.end(), [](const PolicyState& policy) {
        return policy.free_slots.size() >= static_cast<std::size_t>(policy.num_seats);
    });
}

// Starts as many of the waiting episodes as all their policies have slots for.
void Scheduler::admit() {
    if (!waiting_.empty()) give_slots();
    while (num_live_ < max_live_ && has_slots()) {
        std::shared_ptr<const Request> request = next_request();
        if (request == nullptr && next_episode_ == end_episode_) break;
        if (idle_.empty()) {
            world_->episodes.push_back(std::make_unique<Episode>(*world_->rules));
            idle_.push_back(world_->episodes.back().get());
        }
        Episode& episode = *idle_.back();
        idle_.pop_back();
        if (request == nullptr) {
            episode.restart(next_episode_++);
        } else {
            submitted_[request->index] = &episode;
            episode.restart(std::move(request));
        }
        for (Seat& seat : episode.seats) {
            if (seat.policy < 0) continue;
            PolicyState& policy = policies_[static_cast<std::size_t>(seat.policy)];
            seat.slot = policy.free_slots.back();
            policy.free_slots.pop_back();
            policy.by_slot[static_cast<std::size_t>(seat.slot)] = &seat;
        }
        ++num_live_;
        to_run_.push_back(&episode);
    }
    start();
}

// Lets the episodes of to_run_ run: here as long as they are native and sooner done than handed to another thread, else on the threads.
void Scheduler::start() {
    std::size_t num_run = 0;
    bool here = world_->rules->is_native && (run_s_ < kHandOverS || ++num_handed_over_ % 8 == 0);  // now and then one, to see
    for (std::size_t count = 1; here && num_run < to_run_.size(); count = std::min<std::size_t>(2 * count, 16)) {
        const std::size_t first = num_run, end = std::min(first + count, to_run_.size());
        const Clock::time_point before = Clock::now();
        for (; num_run < end; ++num_run) {
            to_run_[num_run]->run();
            take_back(*to_run_[num_run]);
        }
        note_run(Seconds(Clock::now() - before).count() / static_cast<double>(end - first));
        here = run_s_ < kHandOverS;
    }
    to_run_.erase(to_run_.begin(), to_run_.begin() + static_cast<std::ptrdiff_t>(num_run));
    num_running_ += to_run_.size();
    for (Episode* episode : to_run_) episode->is_running = true;
    pool_.submit(to_run_);
    to_run_.clear();
}

// Of two measurements the shorter: the other may be of an interruption.
void Scheduler::note_run(double seconds) {
    run_s_ = std::min(last_run_s_, seconds);
    last_run_s_ = seconds;
}

void Scheduler::drain() {
    {
        std::lock_guard<std::mutex> lock(world_->mutex);
        taken_.swap(world_->done);
    }
    if (takes_requests_) take_requests();
    num_running_ -= taken_.size();
    for (Episode* episode : taken_) take_back(*episode);
    taken_.clear();
}

// An episode that ran waits for its acting seat's policy, or is over.
void Scheduler::take_back(Episode& episode) {
    episode.is_running = false;
    if (episode.is_cancelled && !episode.is_over) episode.fail("the request was cancelled", "cancelled");
    report(episode);
    if (episode.is_over) {
        finish(episode);
    } else {
        make_ready(episode.seats[static_cast<std::size_t>(episode.acting)]);
    }
}

void Scheduler::finish(Episode& episode) {
    for (std::size_t s = 0; s < episode.seats.size(); ++s) {
        Seat& seat = episode.seats[s];
        if ((record_all_ || seat.policy == 0) && !episode.is_cancelled) finished_.add(episode, static_cast<int32_t>(s), sampling_.temperature);
    }
    ++num_done_;
    if (episode.failed && !episode.is_cancelled) {
        ++num_failed_;
        ++failure_reasons_[episode.reason];
    }
    if (episode.request != nullptr) over_.push_back(episode.index);
    episode.is_held = episode.is_held && !episode.failed;
    if (episode.is_held) {
        ++num_held_;
        return;
    }
    forget(episode);
    episode.is_leaving = true;
    let_go_if_left(episode);
}

// Its index may be another's from now on.
void Scheduler::forget(const Episode& episode) {
    if (episode.request == nullptr) return;
    submitted_.erase(episode.index);
    std::lock_guard<std::mutex> lock(world_->mutex);
    world_->indices.erase(episode.index);
}

void Scheduler::let_go_if_left(Episode& episode) {
    if (!episode.is_leaving || std::any_of(episode.seats.begin(), episode.seats.end(), [](const Seat& seat) { return seat.num_out > 0; })) return;
    episode.is_leaving = false;
    let_go(episode);
}

// Takes back the slots and blocks of an episode that is over.
void Scheduler::let_go(Episode& episode) {
    for (Seat& seat : episode.seats) {
        if (seat.policy < 0) continue;
        PolicyState& policy = policies_[static_cast<std::size_t>(seat.policy)];
        forget_swap(policy, seat);
        policy.blocks.release(seat.slot);
        policy.by_slot[static_cast<std::size_t>(seat.slot)] = nullptr;
        policy.free_slots.push_back(seat.slot);
    }
    --num_live_;
    idle_.push_back(&episode);
}

void Scheduler::make_ready(Seat& seat) {
    PolicyState& policy = policies_[static_cast<std::size_t>(seat.policy)];
    (seat.length() - seat.fed == 1 ? policy.decoding : policy.prefilling).push_back(&seat);
}

// Waits until `enough` episodes have been handed back, or the deadline. Returns whether any were. Rather than idle, it runs those of
// the waiting native episodes that it expects to get done in time.
bool Scheduler::await(Clock::time_point deadline, std::size_t enough) {
    const Clock::time_point start = Clock::now();
    for (Clock::time_point now = start; world_->rules->is_native && now + duration(run_s_) < deadline;) {
        if (!pool_.help()) break;
        const Clock::time_point after = Clock::now();
        note_run(Seconds(after - now).count());
        now = after;
    }
    bool any = false;
    {
        std::unique_lock<std::mutex> lock(world_->mutex);
        world_->wanted = enough;
        world_->completed.wait_until(lock, deadline, [this, enough] { return world_->is_poked || world_->done.size() >= enough; });
        world_->wanted = SIZE_MAX;
        world_->is_poked = false;
        any = !world_->done.empty();
    }
    wait_s_ += Seconds(Clock::now() - start).count();
    return any;
}

// A step costs much the same for few sequences as for many, so it may wait for environments a fraction of what a step takes. The first waits for all:
// they begin together, and those with one prompt are to find it fed.
void Scheduler::linger(const PolicyState& policy) {
    const std::size_t num_ready = policy.decoding.size() + policy.prefilling.size(), num_refused = std::min(policy.num_refused, num_ready);
    const bool is_first = policy.counters.steps == 0;
    if (num_running_ == 0 || (!is_first && 2 * (num_ready - num_refused) >= num_live_ - num_refused)) return;
    if (await(Clock::now() + duration(is_first ? kLongestLinger : std::min(0.25 * policy.step_s, kLongestLinger)), num_running_)) drain();
}

void Scheduler::wait(std::chrono::milliseconds patience) {
    const Clock::time_point deadline = Clock::now() + patience;
    const int64_t done_before = num_done_;
    do {
        drain();
        admit();
        if (is_done() || num_done_ != done_before) return;
    } while (await(deadline, std::max<std::size_t>(1, num_running_ / 2)));
}

TrajectoryBuffer Scheduler::take() {
    if (!is_done()) throw std::logic_error("take: " + std::to_string(num_episodes_ - num_done_) + " episodes are not over");
    return finished_.take(supports());
}

}  // namespace paradigm
