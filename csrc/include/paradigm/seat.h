// One seat's token stream in a running episode, and the rules by which an action of that seat begins, grows and ends.
//
// The stream of a seat holds only what that seat saw: the tokens injected for it and the tokens it generated. An action ends with the
// first of `stop` (included), with the token that completes a stop string, at `max_action_tokens`, at a leaf of the trie of legal token
// sequences, or where the grammar allows nothing more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "paradigm/environment.h"
#include "paradigm/stop_strings.h"
#include "paradigm/support_sets.h"
#include "paradigm/token_grammar.h"

namespace paradigm {

enum class Segment : uint8_t { document = 0, prompt = 1, thought = 2, action = 3, observation = 4 };

// Costs the episode in which it is thrown, and nothing else. `reason` is the kind under which it is counted: "garbage", an answer
// that is none; "raise", an exception of the environment's own; "no_action", an end before anyone was asked; "reward", rewards that are
// not finite or do not add up to a finite number; "illegal", a token that is not legal; "dead_end", a place where the grammar allows no token;
// "grammar", an exception of the grammar's; "player"; "stopped"; or what a Python exception says of itself.
struct EpisodeError : std::runtime_error {
    explicit EpisodeError(const std::string& message, std::string why = "garbage") : std::runtime_error(message), reason(std::move(why)) {}
    std::string reason;
};

// One token of a stream: half a cache line, so that a decoding sequence touches one line a step.
struct TokenRecord {
    int32_t token = 0;
    float logprob = 0, kept_logmass = 0, reward = 0;
    int32_t support = -1, decision = -1, version = 0;
    Segment segment = Segment::observation;
    bool is_action = false;
};
static_assert(sizeof(TokenRecord) == 32, "TokenRecord is laid out for half a cache line");

// The token that stands after `after` generated ones is imposed, not sampled.
struct ForcedToken {
    int32_t after;
    int32_t token;
};

enum class Progress : uint8_t { acting, action_done, out_of_room };

class Seat {
  public:
    // Empties the seat for a new episode. `forced` (sorted by `after`) must outlive the episode. The stream never exceeds max_tokens. `stop`
    // ends the actions of this episode, and the trajectory with them (see has_stopped); null: nothing does. `grammar` is what its actions say
    // where the world does not list the legal ones; null: anything.
    void clear(int64_t trajectory_index, int32_t max_tokens, const std::vector<ForcedToken>* forced, std::shared_ptr<const StopStrings> stop,
               std::shared_ptr<const TokenGrammar> grammar = nullptr);

    // What the actions from now on say.
    void set_grammar(std::shared_ptr<const TokenGrammar> grammar) { grammar_ = std::move(grammar); }

    // Empties the seat, and gives it the first `count` tokens of another's stream.
    void clear_as(const Seat& other, int32_t count, int64_t trajectory_index, int32_t max_tokens);

    // Appends tokens that the world says, as many as there is room for; returns whether all found room.
    bool inject(const std::vector<int32_t>& tokens, Segment segment);

    // Begins an action under the observation's rules. Throws EpisodeError if a legal token is outside the vocabulary, and
    // std::invalid_argument if there are stop strings but no `vocabulary`. The memory that the action needs is reserved here, so that
    // generating does not allocate.
    Progress begin_action(const Observation& observation, int32_t vocab_size, const std::shared_ptr<const TokenBytes>& vocabulary,
                          SupportSets& supports);

    // Appends a token that the seat itself chose. Throws EpisodeError if it is not legal.
    Progress choose(int32_t token, float logprob, float kept_logmass, int32_t version, SupportSets& supports) {
        return generate(token, logprob, kept_logmass, version, true, supports);
    }

    bool forced_is_due() const { return generated_ == next_forced_; }

    // Whether, if one more token is chosen and is no stop, the seat acts on and may choose any token next.
    bool is_free() const {
        const int32_t next = length() + 1;
        return legal_ == nullptr && matcher_ == nullptr && next < action_limit_ && next < max_tokens_ && generated_ + 1 != next_forced_;
    }

    // Appends the forced tokens that are due, until one has to be sampled or the action ends.
    Progress impose_forced(SupportSets& supports);

    // Ends the action as it stands; one that reaches its end by the rules ends by itself.
    void end_action();

    // Throws EpisodeError if the sum is not finite.
    void give_reward(float reward);

    // Puts a reward that no decision could take where the trajectory ends; clears all rewards if the episode failed.
    void settle_rewards(bool failed);

    int32_t max_tokens() const { return max_tokens_; }
    int32_t length() const { return static_cast<int32_t>(stream.size()); }
    bool is_full() const { return length() >= max_tokens_; }
    int32_t support_row() const { return support_row_; }
    int32_t decision() const { return decision_; }
    bool has_stopped() const { return has_stopped_; }  // the last action ended by what ends the trajectory
    // First token of the action now or last generated.
    int32_t action_start() const { return action_start_; }

    std::vector<TokenRecord> stream;
    int32_t fed = 0;            // tokens whose keys and values are in the cache
    int32_t slot = -1;          // of its policy, while the episode runs
    int32_t num_out = 0;        // plans that are out and feed it, or draw for it
    std::size_t row = 0;        // among those of the plan that fed it last
    int64_t trajectory = 0;     // the trajectory's index, which names its sampling noise
    const struct SamplingParameters* sampling = nullptr;  // of its draws; null: the collection's
    int32_t policy = -1;        // who plays it; -1: a player
    int32_t prompt_length = 0;  // tokens before the first action, once it has begun
    class Episode* episode = nullptr;
    bool has_started = false;   // some of the tokens fed were its own, not taken over from another sequence
    bool is_stale = false;      // some of its keys and values in the cache were computed under earlier weights
    bool is_swapped = false;    // they were copied out of the cache, and have to be copied back before more is fed
    int32_t covered = 0;        // greatest `fed` so far, that of the steps planned included but for what may be over-run: an eviction does not lower it
    uint64_t prefix = 0;        // number, in the prefix index, of its first fed / block_size blocks of prompt, while that is being fed
    int32_t reported = 0;       // tokens that were reported, where they are
    struct Sequence* sequence = nullptr;  // whose these tokens are, if no episode's
    struct Probe* probe = nullptr;        // what is asked of the tokens being fed, in place of a draw
    bool shares_tail = false;   // others may hold, or find, the block that its next token goes to

  private:
    static constexpr int kInlineStops = 4;

    Progress generate(int32_t token, float logprob, float kept_logmass, int32_t version, bool chosen, SupportSets& supports);
    bool is_stop(int32_t token) const;
    bool completes_stop(int32_t token);
    bool descend(int32_t token, SupportSets& supports);
    void find_support(SupportSets& supports);
    void read_by_grammar(int32_t token);
    bool find_grammar_support(SupportSets& supports);

    int32_t action_start_ = 0, action_limit_ = 0;  // stream lengths at which the action began and must end
    int32_t max_tokens_ = 0;
    int32_t generated_ = 0, next_forced_ = INT32_MAX;
    int32_t decision_ = -1;
    int32_t support_row_ = -1;
    int32_t thought_until_ = -1;
    int32_t num_stop_ = 0;
    int32_t stop_[kInlineStops] = {};
    int32_t last_chosen_ = -1;   // token of this action that was chosen last; -1: none yet
    int32_t reward_token_ = -1;  // where rewards go: the token that completed the latest decision
    bool is_thinking_ = false, has_text_stops_ = false, has_stopped_ = false;
    float early_reward_ = 0;     // received before the first decision

    std::vector<int32_t> more_stops_;
    int32_t action_stop_state_ = 0, trajectory_stop_state_ = 0;
    std::shared_ptr<const StopStrings> action_stop_, trajectory_stop_;  // the observation's; the episode's
    std::shared_ptr<const LegalSet> legal_;  // the trie node is the range [legal_low_, legal_high_) of its ranks at depth legal_depth_
    std::size_t legal_low_ = 0, legal_high_ = 0, legal_depth_ = 0;
    std::shared_ptr<const TokenGrammar> grammar_;
    std::unique_ptr<TokenMatcher> matcher_;        // of the action, where the grammar applies
    std::vector<uint32_t> mask_;                   // what it allows now
    int32_t root_row_ = -1;                        // support of an action's first token; -1 unless legal_ was met before
    std::vector<int32_t> scratch_, last_support_;  // tokens legal at a node; those of the row found last
    int32_t last_support_row_ = -1;
    const std::vector<ForcedToken>* forced_ = nullptr;
    std::size_t forced_index_ = 0;
};

inline bool Seat::is_stop(int32_t token) const {
    bool found = false;
    for (int i = 0; i < kInlineStops; ++i) found |= i < num_stop_ && stop_[i] == token;
    if (num_stop_ <= kInlineStops) return found;
    for (const int32_t stop : more_stops_) found |= stop == token;
    return found;
}

inline Progress Seat::generate(int32_t token, float logprob, float kept_logmass, int32_t version, bool chosen, SupportSets& supports) {
    const int32_t support = support_row_;
    const bool is_leaf = legal_ != nullptr && descend(token, supports);
    if (matcher_ != nullptr) read_by_grammar(token);
    if (is_thinking_ && token == thought_until_) is_thinking_ = false;
    TokenRecord record;
    record.token = token;
    if (chosen) {
        record.logprob = logprob;
        record.kept_logmass = kept_logmass;
        record.support = support;
        record.decision = decision_;
        record.version = version;
        record.segment = is_thinking_ ? Segment::thought : Segment::action;
        record.is_action = true;
        last_chosen_ = length();
    }
    stream.push_back(record);
    ++generated_;
    const bool is_text_end = has_text_stops_ && completes_stop(token);
    if (is_leaf || is_stop(token) || is_text_end || length() >= action_limit_) {
        end_action();
        return Progress::action_done;
    }
    if (is_full()) return Progress::out_of_room;
    if (matcher_ != nullptr && !find_grammar_support(supports)) {
        end_action();
        return Progress::action_done;
    }
    return Progress::acting;
}

}  // namespace paradigm
