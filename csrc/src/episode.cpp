#include "paradigm/episode.h"

#include <cmath>
#include <exception>
#include <utility>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace paradigm {

uint64_t derive_seed(uint64_t key, uint64_t purpose, uint64_t a, uint64_t b) {
    uint64_t state = key;
    for (const uint64_t part : {purpose, a, b}) {
        state += 0x9E3779B97F4A7C15u + part;
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
        state = (state ^ (state >> 27)) * 0x94D049BB133111EBu;
        state ^= state >> 31;
    }
    return state >> 1;
}

Episode::Episode(const EpisodeRules& rules) : seats(rules.roles.size()), rules_(rules) {
    for (std::size_t s = 0; s < seats.size(); ++s) {
        seats[s].policy = rules.roles[s].policy;
        seats[s].episode = this;
    }
}

void Episode::restart(int64_t number) {
    begin(number, number / rules_.group_size);
    request.reset();
    for (std::size_t s = 0; s < seats.size(); ++s) {
        seats[s].sampling = nullptr;
        const int64_t trajectory = number * static_cast<int64_t>(seats.size()) + static_cast<int64_t>(s);
        const auto forced = rules_.forced.find(trajectory);
        seats[s].clear(trajectory, rules_.max_tokens, forced == rules_.forced.end() ? nullptr : &forced->second,
                       seats[s].policy < 0 ? nullptr : rules_.stop, seats[s].policy < 0 ? nullptr : rules_.grammar);
    }
}

void Episode::restart(std::shared_ptr<const Request> asked) {
    begin(asked->index, asked->group);
    request = std::move(asked);
    is_held = request->is_held;
    for (std::size_t s = 0; s < seats.size(); ++s) {
        seats[s].sampling = &request->sampling;
        seats[s].clear(index * static_cast<int64_t>(seats.size()) + static_cast<int64_t>(s), request->max_tokens, nullptr,
                       seats[s].policy < 0 ? nullptr : request->stop, seats[s].policy < 0 ? nullptr : request->grammar);
    }
}

void Episode::begin(int64_t number, int64_t task_number) {
    index = number;
    task = task_number;
    acting = -1;
    is_over = terminated = truncated = failed = is_started_ = is_cancelled = is_held = is_leaving = false;
    stop_reason = StopReason::none;
    message.clear();
    reason.clear();
}

const std::string& Episode::task_text() const { return request != nullptr ? request->task : rules_.tasks[static_cast<std::size_t>(task)]; }

void Episode::run() {
    try {
        play();
    } catch (const EpisodeError& error) {
        fail(error.what(), error.reason);
    } catch (const std::exception& error) {
        fail(error.what(), "raise");
#if defined(__GLIBCXX__)
    } catch (abi::__forced_unwind&) {  // the interpreter is ending this thread: glibc must see the unwinding through
        throw;
#endif
    } catch (...) {
        fail("the environment or a player threw something that is no std::exception", "raise");
    }
}

void Episode::end(StopReason reason) {
    is_over = true;
    stop_reason = reason;
    truncated = truncated || reason == StopReason::length || reason == StopReason::stop;
    for (Seat& seat : seats) seat.settle_rewards(failed);
}

void Episode::fail(const std::string& why, const std::string& kind) {
    failed = true;
    terminated = truncated = false;
    message = why;
    reason = kind;
    environment_.reset();  // it may be in any state
    end(StopReason::failed);
}

void Episode::advance() {
    if (!is_started_) {
        if (!environment_) {
            environment_ = rules_.factory();
            if (!environment_) throw EpisodeError("the environment factory returned nothing");
        }
        const uint64_t seed = derive_seed(rules_.key, 0, static_cast<uint64_t>(task), 0);
        step_ = environment_->reset(task_text(), seed);
        return;
    }
    const Seat& seat = seats[static_cast<std::size_t>(acting)];
    action_.clear();
    for (std::size_t i = static_cast<std::size_t>(seat.action_start()); i < seat.stream.size(); ++i) action_.push_back(seat.stream[i].token);
    environment_->step_into(action_.data(), action_.size(), step_);
}

void Episode::play() {
    while (true) {
        advance();
        const Observation* asked = apply();
        if (is_over) return;
        if (rules_.stopping.load(std::memory_order_relaxed)) throw EpisodeError("the collection was stopped", "stopped");
        acting = asked->seat;
        Seat& seat = seats[static_cast<std::size_t>(acting)];
        const SeatRole& role = rules_.roles[static_cast<std::size_t>(acting)];
        const Progress progress = role.policy >= 0 ? seat.begin_action(*asked, rules_.vocab_size, rules_.vocabulary, *rules_.supports)
                                                   : act(seat, acting, *role.player, *asked);
        if (progress == Progress::out_of_room) return end(StopReason::length);
        if (progress == Progress::acting && role.policy >= 0) return;
    }
}

// Gives rewards and tokens to the seats. Returns the observation that asks for an action, unless the episode is over. Behind an action that
// ended the trajectory, nothing is said any more.
const Observation* Episode::apply() {
    check();
    const Step& step = step_;
    const Segment segment = is_started_ ? Segment::observation : Segment::prompt;
    is_started_ = true;
    for (std::size_t s = 0; s < step.rewards.size(); ++s) {
        if (step.rewards[s] != 0) seats[s].give_reward(step.rewards[s]);
    }
    const bool has_stopped = acting >= 0 && seats[static_cast<std::size_t>(acting)].has_stopped();
    bool all_fit = true;
    const Observation* asked = nullptr;
    for (const Observation& observation : step.observations) {
        if (has_stopped) break;
        all_fit = seats[static_cast<std::size_t>(observation.seat)].inject(observation.tokens, segment) && all_fit;
        if (observation.max_action_tokens > 0) asked = &observation;
    }
    terminated = step.terminated;
    truncated = step.truncated;
    if (terminated || truncated) {
        end(terminated ? StopReason::terminated : StopReason::truncated);
    } else if (has_stopped) {
        end(StopReason::stop);
    } else if (!all_fit) {
        end(StopReason::length);
    }
    return asked;
}

void Episode::check() const {
    const Step& step = step_;
    const auto num_seats = static_cast<int>(seats.size());
    const auto in_vocabulary = [this](const std::vector<int32_t>& tokens, const char* what) {
        for (const int32_t token : tokens) {
            if (token < 0 || token >= rules_.vocab_size) {
                throw EpisodeError(std::string(what) + " token " + std::to_string(token) + " is outside the vocabulary of " +
                                   std::to_string(rules_.vocab_size));
            }
        }
    };
    int num_asked = 0;
    for (const Observation& observation : step.observations) {
        if (observation.seat < 0 || observation.seat >= num_seats) {
            throw EpisodeError("the environment spoke to seat " + std::to_string(observation.seat) + " of " + std::to_string(num_seats));
        }
        in_vocabulary(observation.tokens, "observation");
        in_vocabulary(observation.stop, "stop");
        if (observation.max_action_tokens < 0) {
            throw EpisodeError("max_action_tokens must be >= 0, got " + std::to_string(observation.max_action_tokens));
        }
        if (observation.thought_until < -1 || observation.thought_until >= rules_.vocab_size) {
            throw EpisodeError("thought_until token " + std::to_string(observation.thought_until) + " is outside the vocabulary of " +
                               std::to_string(rules_.vocab_size));
        }
        num_asked += observation.max_action_tokens > 0 ? 1 : 0;
    }
    if (!step.rewards.empty() && step.rewards.size() != seats.size()) {
        throw EpisodeError("rewards must be one a seat (" + std::to_string(num_seats) + "), got " + std::to_string(step.rewards.size()));
    }
    for (const float reward : step.rewards) {
        if (!std::isfinite(reward)) throw EpisodeError("rewards must be finite, got " + std::to_string(reward), "reward");
    }
    if (step.terminated || step.truncated) {
        if (acting < 0) throw EpisodeError("the environment ended before it asked a seat to act", "no_action");
        return;
    }
    if (num_asked == 0) throw EpisodeError("the environment is not over, yet asked no seat to act");
    if (num_asked > 1) throw EpisodeError("the environment asked " + std::to_string(num_asked) + " seats to act at once");
}

// A player's whole action. It may stop short of the action's limit, as the environment decides what that means; never go on past its end.
Progress Episode::act(Seat& seat, int32_t seat_number, const Player& player, const Observation& observation) {
    const uint64_t seed = derive_seed(rules_.key, 1, static_cast<uint64_t>(seat.trajectory), static_cast<uint64_t>(seat.decision() + 1));
    const auto player_error = [seat_number](const std::string& what) {
        return EpisodeError("the player of seat " + std::to_string(seat_number) + what, "player");
    };
    const std::vector<int32_t> tokens = player.act(*environment_, observation, seed);
    if (tokens.empty()) throw player_error(" returned an empty action");
    Progress progress = seat.begin_action(observation, rules_.vocab_size, rules_.vocabulary, *rules_.supports);
    for (const int32_t token : tokens) {
        if (progress == Progress::out_of_room) return progress;
        if (progress == Progress::action_done) {
            throw player_error(" went on after the end of its action");
        }
        if (token < 0 || token >= rules_.vocab_size) {
            throw player_error(" chose token " + std::to_string(token) + ", outside the vocabulary of " + std::to_string(rules_.vocab_size));
        }
        progress = seat.choose(token, 0, 0, 0, *rules_.supports);
        if (progress == Progress::acting) progress = seat.impose_forced(*rules_.supports);
    }
    if (progress == Progress::acting) {
        if (observation.legal != nullptr) throw player_error(" stopped inside a legal sequence");
        seat.end_action();
        progress = Progress::action_done;
    }
    return progress;
}

}  // namespace paradigm
