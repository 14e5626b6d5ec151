// One episode: an environment, and the seats that play it. A worker runs it until a policy has to act or it is over.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "paradigm/environment.h"
#include "paradigm/request.h"
#include "paradigm/seat.h"
#include "paradigm/support_sets.h"

namespace paradigm {

enum class StopReason : uint8_t { terminated = 0, truncated = 1, length = 2, failed = 3, none = 4, stop = 5 };

// What one seat of every episode is played by: policy number `policy`, or, if that is -1, `player`.
struct SeatRole {
    int32_t policy = -1;
    std::shared_ptr<const Player> player;
};

// What all episodes of one collection share. Constant while they run, apart from the support table, which locks itself.
struct EpisodeRules {
    EnvironmentFactory factory;
    std::vector<std::string> tasks;  // empty where episodes are submitted one by one (Scheduler::submit)
    std::vector<SeatRole> roles;     // one a seat
    std::unordered_map<int64_t, std::vector<ForcedToken>> forced;  // by trajectory index
    int64_t group_size = 1;       // episodes of one task, which share its environment seed
    std::optional<std::pair<int64_t, int64_t>> episodes;  // the first to play, and the one to stop before; none: all of them
    uint64_t key = 0;
    int32_t vocab_size = 0;
    int32_t max_tokens = 0;       // greatest length of a seat's stream
    bool is_native = false;       // no environment or player waits for anything, so the driving thread may run them too
    std::shared_ptr<const TokenBytes> vocabulary;  // what tokens say; null: nobody knows, and there are no stop strings
    std::shared_ptr<const StopStrings> stop;       // ends the trajectories of `tasks`; null: nothing does
    std::shared_ptr<const TokenGrammar> grammar;  // what the policies' actions of `tasks` say, where no legal ones are listed; null: anything
    std::unique_ptr<SupportSets> supports;
    std::atomic<bool> stopping{false};
};

// A 63-bit seed, a pure function of its arguments (SplitMix64's finaliser, Steele et al. 2014, chained over them).
// `purpose` 0: an environment's reset, with a = task number; 1: a player's action, with a = trajectory index and b = decision.
uint64_t derive_seed(uint64_t key, uint64_t purpose, uint64_t a, uint64_t b);

class Episode {
  public:
    explicit Episode(const EpisodeRules& rules);

    // Makes this episode number `index` of the collection; the environment's instance is kept for reuse.
    void restart(int64_t index);
    void restart(std::shared_ptr<const Request> request);

    // Resets the environment, or hands it the acting seat's finished action; plays the seats of players; returns once a policy's seat
    // has to act (`acting` >= 0) or the episode is over. Whatever goes wrong inside fails this episode only.
    void run();

    void end(StopReason reason);
    void fail(const std::string& message, const std::string& reason);

    int64_t index = 0;
    int64_t task = 0;
    std::vector<Seat> seats;
    int32_t acting = -1;  // seat that a policy has to act for
    bool is_over = false, terminated = false, truncated = false, failed = false;
    StopReason stop_reason = StopReason::none;
    std::string message, reason;  // why it failed, and the kind of failure: see EpisodeError
    std::shared_ptr<const Request> request;  // that submitted it; null: it is one of the collection's tasks
    bool is_cancelled = false;
    bool is_held = false;     // see Request
    bool is_running = false;  // on another thread, whose its seats are meanwhile
    bool is_leaving = false;  // over, and keeps its slots only until the plans that feed it are committed

  private:
    void begin(int64_t number, int64_t task_number);
    const std::string& task_text() const;
    void advance();
    void play();
    const Observation* apply();
    void check() const;
    Progress act(Seat& seat, int32_t seat_number, const Player& player, const Observation& observation);

    const EpisodeRules& rules_;
    std::unique_ptr<Environment> environment_;
    bool is_started_ = false;
    std::vector<int32_t> action_;
    Step step_;  // the environment's last answer
};

}  // namespace paradigm
