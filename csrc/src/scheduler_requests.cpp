// Episodes that come and go while others run, what is told about them on the way, and changes of weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "paradigm/scheduler.h"
#include "require.h"

namespace paradigm {

void check(const SamplingParameters& sampling) {
    require(std::isfinite(sampling.temperature) && sampling.temperature >= 0,
            "temperature must be finite and >= 0, got " + std::to_string(sampling.temperature));
    require(sampling.top_k >= 0, "top_k must be >= 0, got " + std::to_string(sampling.top_k));
    require(sampling.top_p > 0 && sampling.top_p <= 1, "top_p must be in (0, 1], got " + std::to_string(sampling.top_p));
    require(sampling.min_p >= 0 && sampling.min_p < 1, "min_p must be in [0, 1), got " + std::to_string(sampling.min_p));
}

// For what is asked for by itself.
void Scheduler::check_index(int64_t index) const {
    const int64_t most = std::numeric_limits<int64_t>::max() / static_cast<int64_t>(world_->rules->roles.size()) - 1;
    require(takes_requests_, "submit: this collection has its tasks already");
    require(index >= 0 && index <= most, "index must be in 0.." + std::to_string(most) + ", got " + std::to_string(index));
}

// Its index must be nobody else's. The lock is held.
void Scheduler::reserve(int64_t index) {
    require(world_->indices.insert(index).second, "index must not be that of a request which is not over, got " + std::to_string(index));
}

void Scheduler::submit(Request request) {
    check_index(request.index);
    require(request.group >= 0, "group must be >= 0, got " + std::to_string(request.group));
    require(request.max_tokens >= 1 && request.max_tokens <= world_->rules->max_tokens,
            "max_tokens must be in 1.." + std::to_string(world_->rules->max_tokens) + ", got " + std::to_string(request.max_tokens));
    check(request.sampling);
    auto shared = std::make_shared<const Request>(std::move(request));
    std::lock_guard<std::mutex> lock(world_->mutex);
    reserve(shared->index);
    world_->submitted.push_back(std::move(shared));
    world_->is_poked = true;
    world_->completed.notify_one();
}

void Scheduler::cancel(int64_t index) {
    std::lock_guard<std::mutex> lock(world_->mutex);
    if (world_->indices.count(index) == 0) return;
    world_->cancelled.push_back(index);
    world_->is_poked = true;
    world_->completed.notify_one();
}

void Scheduler::poke() {
    std::lock_guard<std::mutex> lock(world_->mutex);
    world_->is_poked = true;
    world_->completed.notify_one();
}

bool Scheduler::is_idle() {
    if (is_any_out()) return false;
    const bool is_blocked = pending_.empty() || num_live_ >= max_live_ || !has_slots();  // by what is held
    std::lock_guard<std::mutex> lock(world_->mutex);
    return is_blocked && num_live_ == num_held_ && num_asked_ == 0 && world_->submitted.empty() && world_->commands.empty();
}

bool Scheduler::is_any_out() const {
    return std::any_of(policies_.begin(), policies_.end(), [](const PolicyState& policy) { return policy.num_out > 0; });
}

// Whether others wait for no plan to be out.
bool Scheduler::is_held_up() {
    if (!takes_requests_ || !is_any_out()) return false;
    std::lock_guard<std::mutex> lock(world_->mutex);
    return !world_->cancelled.empty() || !world_->commands.empty();
}

// Takes over what other threads asked for; what concerns sequences that a plan may be feeding, only when none is out.
void Scheduler::take_requests() {
    const bool takes_all = !is_any_out();
    {
        std::lock_guard<std::mutex> lock(world_->mutex);
        new_requests_.swap(world_->submitted);
        if (takes_all) {
            new_cancelled_.swap(world_->cancelled);
            new_commands_.swap(world_->commands);
        }
    }
    if (new_requests_.empty() && new_cancelled_.empty() && new_commands_.empty()) return;
    num_episodes_ += static_cast<int64_t>(new_requests_.size());
    pending_.insert(pending_.end(), new_requests_.begin(), new_requests_.end());
    new_requests_.clear();
    for (const int64_t index : new_cancelled_) give_up(index);
    new_cancelled_.clear();
    take_commands();
}

std::shared_ptr<const Request> Scheduler::next_request() {
    if (pending_.empty()) return nullptr;
    std::shared_ptr<const Request> request = std::move(pending_.front());
    pending_.pop_front();
    return request;
}

void Scheduler::give_up(int64_t index) {
    const auto started = submitted_.find(index);
    if (started != submitted_.end()) {
        Episode& episode = *started->second;
        if (!episode.is_running && episode.is_over) return;  // it is held
        episode.is_cancelled = true;
        for (PolicyState& policy : policies_) {
            for (std::vector<Seat*>* queue : {&policy.decoding, &policy.prefilling}) {
                const auto at = std::find_if(queue->begin(), queue->end(), [&episode](const Seat* seat) { return seat->episode == &episode; });
                if (at == queue->end()) continue;
                queue->erase(at);
                episode.fail("the request was cancelled", "cancelled");
                finish(episode);
                return;
            }
        }
        return;  // its environment is at work: see take_back
    }
    const auto at = std::find_if(pending_.begin(), pending_.end(), [index](const auto& request) { return request->index == index; });
    if (at == pending_.end()) return;
    pending_.erase(at);
    ++num_done_;
    over_.push_back(index);
    std::lock_guard<std::mutex> lock(world_->mutex);
    world_->indices.erase(index);
}

void Scheduler::report(Episode& episode) {
    if (episode.request == nullptr || !episode.request->is_streamed || episode.is_cancelled) return;
    for (std::size_t s = 0; s < episode.seats.size(); ++s) {
        if (record_all_ || episode.seats[s].policy == 0) events_.report(episode.index, static_cast<int32_t>(s), episode.seats[s]);
    }
}

StreamEvents Scheduler::take_events() { return std::exchange(events_, StreamEvents{}); }

TrajectoryBuffer Scheduler::take_finished(std::vector<int64_t>& over) {
    over = std::exchange(over_, {});
    return finished_.take(supports());
}

void Scheduler::set_version(int32_t policy_number, int32_t version, OnUpdate on_update) {
    PolicyState& policy = state(policy_number);
    if (policy.num_out > 0) {
        throw std::logic_error("set_version needs all plans of the policy to be committed, got " + std::to_string(policy.num_out) + " that are out");
    }
    if (policy.version == version) return;
    policy.version = version;
    if (!policy.blocks.has_cache()) return;
    policy.blocks.forget_prefixes();
    for (Seat* seat : policy.by_slot) {
        if (seat == nullptr) continue;
        // one that has not started only took over a prefix, which it finds again if anybody computes it
        if (on_update == OnUpdate::keep && (seat->has_started || seat->is_swapped)) {
            seat->is_stale = seat->fed > 0;
            continue;
        }
        forget_swap(policy, *seat);
        policy.blocks.release(seat->slot);
        seat->fed = 0;
        seat->has_started = seat->is_stale = false;
    }
    const auto again = std::stable_partition(policy.decoding.begin(), policy.decoding.end(),
                                             [](const Seat* seat) { return seat->length() - seat->fed == 1; });
    policy.prefilling.insert(policy.prefilling.end(), again, policy.decoding.end());
    policy.decoding.erase(again, policy.decoding.end());
}

std::vector<Swap> Scheduler::take_swaps(int32_t policy) { return std::exchange(state(policy).swaps, {}); }

}  // namespace paradigm
