#include "paradigm/seat.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace paradigm {

namespace {

constexpr int32_t kReservedTokens = 1 << 16;  // an action allowed to be longer than this grows its stream as it goes

void add_reward(float& sum, float reward) {
    sum += reward;
    if (!std::isfinite(sum)) throw EpisodeError("rewards must add up to a finite number", "reward");
}

}  // namespace

void Seat::clear(int64_t trajectory_index, int32_t max_tokens, const std::vector<ForcedToken>* forced, std::shared_ptr<const StopStrings> stop,
                 std::shared_ptr<const TokenGrammar> grammar) {
    stream.clear();
    trajectory = trajectory_index;
    fed = covered = prompt_length = reported = 0;
    has_started = is_stale = is_swapped = shares_tail = has_stopped_ = false;
    probe = nullptr;
    trajectory_stop_ = std::move(stop);
    grammar_ = std::move(grammar);
    max_tokens_ = max_tokens;
    action_start_ = action_limit_ = 0;
    generated_ = 0;
    decision_ = support_row_ = last_chosen_ = reward_token_ = -1;
    early_reward_ = 0;
    is_thinking_ = false;
    forced_ = forced;
    forced_index_ = 0;
    next_forced_ = forced == nullptr || forced->empty() ? INT32_MAX : forced->front().after;
}

void Seat::clear_as(const Seat& other, int32_t count, int64_t trajectory_index, int32_t max_tokens) {
    clear(trajectory_index, max_tokens, nullptr, nullptr);
    stream.assign(other.stream.begin(), other.stream.begin() + count);
    for (const TokenRecord& record : stream) decision_ = std::max(decision_, record.decision);
}

bool Seat::inject(const std::vector<int32_t>& tokens, Segment segment) {
    const auto room = static_cast<std::size_t>(max_tokens_ - length());
    const std::size_t count = std::min(room, tokens.size());
    for (std::size_t i = 0; i < count; ++i) {
        TokenRecord record;
        record.token = tokens[i];
        record.segment = segment;
        stream.push_back(record);
    }
    return count == tokens.size();
}

Progress Seat::begin_action(const Observation& observation, int32_t vocab_size, const std::shared_ptr<const TokenBytes>& vocabulary,
                            SupportSets& supports) {
    if (stream.empty()) throw EpisodeError("seat " + std::to_string(observation.seat) + " was asked to act before it was given a token");
    if (legal_ != observation.legal) {
        legal_ = observation.legal;
        root_row_ = -1;
        if (legal_ != nullptr && (legal_->min_token() < 0 || legal_->max_token() >= vocab_size)) {
            const int32_t token = legal_->min_token() < 0 ? legal_->min_token() : legal_->max_token();
            legal_ = nullptr;
            throw EpisodeError("legal token " + std::to_string(token) + " is outside the vocabulary of " + std::to_string(vocab_size));
        }
    }
    support_row_ = root_row_;
    if (legal_ != nullptr) {
        legal_low_ = legal_depth_ = 0;
        legal_high_ = legal_->num_distinct();
        if (root_row_ < 0) {
            find_support(supports);
            root_row_ = support_row_;
        }
    }
    matcher_ = legal_ == nullptr && grammar_ != nullptr ? grammar_->begin() : nullptr;

    num_stop_ = static_cast<int32_t>(observation.stop.size());
    std::copy_n(observation.stop.begin(), std::min<std::size_t>(observation.stop.size(), kInlineStops), stop_);
    if (num_stop_ > kInlineStops) more_stops_ = observation.stop;
    if (observation.stop_strings.empty()) {
        action_stop_.reset();
    } else if (action_stop_ == nullptr || action_stop_->strings() != observation.stop_strings) {  // turn after turn they are often the same
        action_stop_ = std::make_shared<const StopStrings>(vocabulary, observation.stop_strings, std::vector<int32_t>{});
    }
    action_stop_state_ = trajectory_stop_state_ = 0;
    has_text_stops_ = action_stop_ != nullptr || trajectory_stop_ != nullptr;
    thought_until_ = observation.thought_until;
    is_thinking_ = thought_until_ >= 0;

    ++decision_;
    last_chosen_ = -1;
    action_start_ = length();
    if (decision_ == 0) prompt_length = length();
    action_limit_ = static_cast<int32_t>(std::min<int64_t>(INT32_MAX, int64_t{action_start_} + observation.max_action_tokens));
    if (is_full()) return Progress::out_of_room;
    const auto needed = static_cast<std::size_t>(std::min({action_limit_, max_tokens_, action_start_ + kReservedTokens}));
    if (needed > stream.capacity()) stream.reserve(std::max(needed, 2 * stream.capacity()));
    if (matcher_ != nullptr && !find_grammar_support(supports)) {
        throw EpisodeError("the grammar allows no token at the beginning of an action", "dead_end");
    }
    return impose_forced(supports);
}

Progress Seat::impose_forced(SupportSets& supports) {
    Progress progress = Progress::acting;
    while (progress == Progress::acting && forced_is_due()) {
        const int32_t token = (*forced_)[forced_index_].token;
        ++forced_index_;
        next_forced_ = forced_index_ < forced_->size() ? (*forced_)[forced_index_].after : INT32_MAX;
        progress = generate(token, 0, 0, 0, false, supports);
    }
    return progress;
}

bool Seat::completes_stop(int32_t token) {
    has_stopped_ = trajectory_stop_ != nullptr && trajectory_stop_->reads_end(token, trajectory_stop_state_);
    const bool ends_action = action_stop_ != nullptr && action_stop_->reads_end(token, action_stop_state_);
    return has_stopped_ || ends_action;
}

bool Seat::descend(int32_t token, SupportSets& supports) {
    const auto at_depth = [this](std::size_t rank) { return legal_->token(rank, legal_depth_); };
    std::size_t low = legal_low_;
    while (low < legal_high_ && at_depth(low) < token) ++low;
    std::size_t high = low;
    while (high < legal_high_ && at_depth(high) == token) ++high;
    if (low == high) {
        throw EpisodeError("token " + std::to_string(token) + " after " + std::to_string(legal_depth_) + " tokens of the action is not legal", "illegal");
    }
    legal_low_ = low;
    legal_high_ = high;
    ++legal_depth_;
    if (legal_->length(low) == legal_depth_) return true;
    find_support(supports);
    return false;
}

void Seat::find_support(SupportSets& supports) {
    scratch_.clear();
    for (std::size_t rank = legal_low_; rank < legal_high_; ++rank) {
        const int32_t token = legal_->token(rank, legal_depth_);
        if (scratch_.empty() || scratch_.back() != token) scratch_.push_back(token);
    }
    if (scratch_ != last_support_) {  // turn after turn it is often the same set
        last_support_row_ = supports.row(scratch_.data(), scratch_.size());
        last_support_.swap(scratch_);
    }
    support_row_ = last_support_row_;
}

void Seat::read_by_grammar(int32_t token) {
    if ((mask_[static_cast<std::size_t>(token / 32)] >> (token % 32) & 1) == 0) {
        throw EpisodeError("the grammar does not allow token " + std::to_string(token) + " after " + std::to_string(length() - action_start_) +
                               " tokens of the action", "illegal");
    }
    if (!is_stop(token)) matcher_->read(token);
}

// Returns false if the action ends here, since nothing more may be said.
bool Seat::find_grammar_support(SupportSets& supports) {
    mask_.assign(static_cast<std::size_t>(supports.words_per_row()), 0);
    const bool may_end = matcher_->fill(mask_.data(), mask_.size());
    if (supports.vocab_size() % 32 != 0) mask_.back() &= (1u << (supports.vocab_size() % 32)) - 1;
    const auto allow = [this, may_end](int32_t token) {
        uint32_t& word = mask_[static_cast<std::size_t>(token / 32)];
        const uint32_t bit = 1u << (token % 32);
        word = may_end ? word | bit : word & ~bit;
    };
    for (int i = 0; i < std::min(num_stop_, int32_t{kInlineStops}); ++i) allow(stop_[i]);
    if (num_stop_ > kInlineStops) std::for_each(more_stops_.begin(), more_stops_.end(), allow);
    if (std::all_of(mask_.begin(), mask_.end(), [](uint32_t word) { return word == 0; })) {
        if (may_end) return false;
        throw EpisodeError("the grammar allows no token after " + std::to_string(length() - action_start_) + " tokens of an action, nor its end",
                           "dead_end");
    }
    support_row_ = supports.row(mask_.data());
    return true;
}

void Seat::end_action() {
    reward_token_ = last_chosen_ >= 0 ? last_chosen_ : length() - 1;
    add_reward(stream[static_cast<std::size_t>(reward_token_)].reward, early_reward_);
    early_reward_ = 0;
}

void Seat::give_reward(float reward) {
    if (reward_token_ < 0) {
        add_reward(early_reward_, reward);
    } else {
        add_reward(stream[static_cast<std::size_t>(reward_token_)].reward, reward);
    }
}

void Seat::settle_rewards(bool failed) {
    if (failed) {
        for (TokenRecord& record : stream) record.reward = 0;
    } else if (early_reward_ != 0 && !stream.empty()) {
        add_reward(stream[static_cast<std::size_t>(last_chosen_ >= 0 ? last_chosen_ : length() - 1)].reward, early_reward_);
    }
    early_reward_ = 0;
}

}  // namespace paradigm
