// Sequences that are opened, forked, asked and released while episodes run.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "paradigm/scheduler.h"
#include "require.h"

namespace paradigm {

namespace {

void check_tokens(const std::vector<int32_t>& tokens, int32_t vocab_size) {
    for (const int32_t token : tokens) {
        require(token >= 0 && token < vocab_size, "tokens must be in 0.." + std::to_string(vocab_size - 1) + ", got " + std::to_string(token));
    }
}

void check_room(const Seat& seat, std::size_t count) {
    if (count > static_cast<std::size_t>(seat.max_tokens() - seat.length())) {
        throw EpisodeError("max_tokens=" + std::to_string(seat.max_tokens()) + " leaves no room for " + std::to_string(count) +
                           " tokens behind " + std::to_string(seat.length()));
    }
}

bool begins_alike(const Seat& child, const Seat& parent, int32_t count) {
    return std::equal(child.stream.begin(), child.stream.begin() + count, parent.stream.begin(),
                      [](const TokenRecord& a, const TokenRecord& b) { return a.token == b.token; });
}

}  // namespace

void Scheduler::open(int64_t index, std::vector<int32_t> tokens) {
    require(!tokens.empty(), "tokens must be one at least, got none");
    require(tokens.size() <= static_cast<std::size_t>(world_->rules->max_tokens),
            "tokens must be max_tokens=" + std::to_string(world_->rules->max_tokens) + " at most, got " + std::to_string(tokens.size()));
    check_tokens(tokens, world_->rules->vocab_size);
    require(world_->rules->roles.front().policy >= 0, "a sequence needs a policy, but seat 0 is a player's");
    SequenceCommand command;
    command.index = index;
    command.tokens = std::move(tokens);
    push(std::move(command));
}

void Scheduler::fork(int64_t index, int64_t parent, int32_t seat, int32_t length) {
    const auto num_seats = static_cast<int32_t>(world_->rules->roles.size());
    require(seat >= 0 && seat < num_seats, "seat must be in 0.." + std::to_string(num_seats - 1) + ", got " + std::to_string(seat));
    require(length == -1 || length >= 1, "a fork needs a token at least, got " + std::to_string(length));
    SequenceCommand command;
    command.kind = SequenceCommand::Kind::fork;
    command.index = index;
    command.parent = parent;
    command.seat = seat;
    command.length = length;
    push(std::move(command));
}

void Scheduler::ask(int64_t index, Ask ask) {
    check_tokens(ask.tokens, world_->rules->vocab_size);
    check_tokens(ask.rules.stop, world_->rules->vocab_size);
    require(ask.kind != AskKind::score || !ask.tokens.empty(), "tokens must be one at least, got none");
    require(ask.kind != AskKind::sample || ask.rules.max_action_tokens >= 1,
            "max_tokens must be >= 1, got " + std::to_string(ask.rules.max_action_tokens));
    check(ask.sampling);
    SequenceCommand command;
    command.kind = SequenceCommand::Kind::ask;
    command.index = index;
    command.ask = std::move(ask);
    push(std::move(command));
}

void Scheduler::release(int64_t index) {
    SequenceCommand command;
    command.kind = SequenceCommand::Kind::release;
    command.index = index;
    push(std::move(command));
}

void Scheduler::push(SequenceCommand command) {
    const bool is_new = command.kind == SequenceCommand::Kind::open || command.kind == SequenceCommand::Kind::fork;
    if (is_new) check_index(command.index);
    std::lock_guard<std::mutex> lock(world_->mutex);
    if (is_new) reserve(command.index);
    world_->commands.push_back(std::move(command));
    world_->is_poked = true;
    world_->completed.notify_one();
}

std::vector<Answer> Scheduler::take_answers() { return std::exchange(answers_, {}); }

void Scheduler::take_commands() {
    for (SequenceCommand& command : new_commands_) {
        const auto found = sequences_.find(command.index);
        switch (command.kind) {
            case SequenceCommand::Kind::open:
            case SequenceCommand::Kind::fork: {
                auto sequence = std::make_unique<Sequence>();
                sequence->index = command.index;
                sequence->seat.sequence = sequence.get();
                sequence->parent = command.parent;
                sequence->parent_seat = command.seat;
                sequence->length = command.length;
                if (const auto parent = sequences_.find(command.parent); parent != sequences_.end()) sequence->after = parent->second->num_asked;
                if (command.kind == SequenceCommand::Kind::open) {
                    sequence->seat.policy = world_->rules->roles.front().policy;
                    sequence->seat.clear(command.index * static_cast<int64_t>(world_->rules->roles.size()), world_->rules->max_tokens, nullptr, nullptr);
                    sequence->seat.inject(command.tokens, Segment::prompt);
                    sequence->is_born = true;
                }
                waiting_.push_back(sequence.get());
                sequences_[command.index] = std::move(sequence);
                give_slots();
                break;
            }
            case SequenceCommand::Kind::ask:
                if (found == sequences_.end()) {
                    Answer answer;
                    answer.number = command.ask.number;
                    answer.sequence = command.index;
                    answer.error = "the sequence was released";
                    answers_.push_back(std::move(answer));
                    break;
                }
                found->second->asked.push_back(std::move(command.ask));
                ++found->second->num_asked;
                go_on(*found->second);
                break;
            case SequenceCommand::Kind::release:
                if (found != sequences_.end()) {
                    release(*found->second);
                } else if (const auto held = submitted_.find(command.index); held != submitted_.end()) {
                    Episode& episode = *held->second;
                    const bool is_kept = !episode.is_running && episode.is_over;
                    episode.is_held = false;
                    if (is_kept) {
                        --num_held_;
                        forget(episode);
                        let_go(episode);
                    }
                } else {
                    for (std::shared_ptr<const Request>& waiting : pending_) {
                        if (waiting->index != command.index) continue;
                        auto changed = std::make_shared<Request>(*waiting);
                        changed->is_held = false;
                        waiting = std::move(changed);
                    }
                }
                break;
        }
    }
    new_commands_.clear();
}

const Seat* Scheduler::find_seat(int64_t index, int32_t seat) {
    if (const auto sequence = sequences_.find(index); sequence != sequences_.end()) return &sequence->second->seat;
    const auto episode = submitted_.find(index);
    return episode == submitted_.end() ? nullptr : &episode->second->seats[static_cast<std::size_t>(seat)];
}

// Gives a fork its tokens. Returns false if it has to wait for them: its parent does, or has questions to answer, or is another thread's now.
bool Scheduler::bear(Sequence& sequence) {
    if (sequence.is_born || !sequence.error.empty()) return true;
    if (const auto parent = sequences_.find(sequence.parent); parent != sequences_.end()) {
        if (!parent->second->is_born) {
            sequence.error = parent->second->error;
            return !sequence.error.empty();
        }
        if (parent->second->num_answered < sequence.after) return false;
    }
    if (const auto parent = submitted_.find(sequence.parent); parent != submitted_.end() && parent->second->is_running) return false;
    const Seat* seat = find_seat(sequence.parent, sequence.parent_seat);
    const int32_t length = seat == nullptr ? 0 : sequence.length < 0 ? seat->length() : sequence.length;
    if (seat == nullptr) {
        sequence.error = "there is no sequence " + std::to_string(sequence.parent) + " to fork, and no such request at work or held";
    } else if (seat->policy < 0) {
        sequence.error = "seat " + std::to_string(sequence.parent_seat) + " is a player's: only a policy's tokens can be forked";
    } else if (length > seat->length() || length == 0) {
        sequence.error = "a fork of " + std::to_string(length) + " tokens was asked for, but there are " + std::to_string(seat->length());
    } else {
        const int64_t trajectory = sequence.index * static_cast<int64_t>(world_->rules->roles.size()) + sequence.parent_seat;
        sequence.seat.policy = seat->policy;
        sequence.seat.clear_as(*seat, length, trajectory, world_->rules->max_tokens);
        sequence.is_born = true;
    }
    return true;
}

// To sequences in the order in which they came, but that none waits for another's tokens.
void Scheduler::give_slots() {
    std::vector<Sequence*> begun;
    for (std::size_t i = 0; i < waiting_.size();) {
        Sequence& sequence = *waiting_[i];
        if (!bear(sequence)) {
            ++i;
            continue;
        }
        if (sequence.error.empty()) {
            PolicyState& policy = policies_[static_cast<std::size_t>(sequence.seat.policy)];
            if (policy.free_slots.empty()) {
                ++i;
                continue;
            }
            sequence.seat.slot = policy.free_slots.back();
            policy.free_slots.pop_back();
            policy.by_slot[static_cast<std::size_t>(sequence.seat.slot)] = &sequence.seat;
            share_with_parent(policy, sequence);
        }
        waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
        begun.push_back(&sequence);
    }
    for (Sequence* sequence : begun) go_on(*sequence);
}

// Takes over what the parent has in the cache, if it is still there and still the parent's.
void Scheduler::share_with_parent(PolicyState& policy, Sequence& sequence) {
    Seat& seat = sequence.seat;
    if (sequence.parent < 0) return;
    if (const auto episode = submitted_.find(sequence.parent); episode != submitted_.end() && episode->second->is_running) return;
    auto* parent = const_cast<Seat*>(find_seat(sequence.parent, sequence.parent_seat));
    if (parent == nullptr || parent->slot < 0 || parent->policy != seat.policy) return;
    const int32_t count = std::min({parent->fed, seat.length(), parent->length()});
    if (count == 0 || !begins_alike(seat, *parent, count)) return;
    if (parent->is_swapped) {
        policy.swaps.push_back({Swap::Kind::fork, seat.slot, {parent->slot}});
        seat.is_swapped = true;
        ++policy.num_swapped;
    } else {
        policy.blocks.fork(parent->slot, seat.slot, count);
        seat.has_started = seat.shares_tail = parent->shares_tail = true;
    }
    seat.is_stale = parent->is_stale;
    seat.fed = seat.covered = count;
    seat.prefix = PrefixIndex::kNone;
    policy.counters.tokens_forked += count;
}

// Does what is asked, until something has to be fed for it.
void Scheduler::go_on(Sequence& sequence) {
    while (!sequence.is_at_work && !sequence.asked.empty() && (sequence.seat.slot >= 0 || !sequence.error.empty())) {
        if (!sequence.error.empty()) {
            complete(sequence, sequence.error);
            continue;
        }
        try {
            sequence.is_at_work = begin(sequence, sequence.asked.front());
        } catch (const std::exception& error) {  // an EpisodeError, or stop strings without a vocabulary
            complete(sequence, error.what());
            continue;
        }
        if (!sequence.is_at_work) {
            complete(sequence, "");
            continue;
        }
        ++num_asked_;
        make_ready(sequence.seat);
    }
}

// Returns whether something has to be fed.
bool Scheduler::begin(Sequence& sequence, Ask& ask) {
    Seat& seat = sequence.seat;
    PolicyState& policy = policies_[static_cast<std::size_t>(seat.policy)];
    const int32_t length = seat.length();
    sequence.probe = {};
    if (ask.kind == AskKind::append) {
        check_room(seat, ask.tokens.size());
        seat.inject(ask.tokens, Segment::observation);
        return false;
    }
    if (ask.kind == AskKind::sample) {
        check_room(seat, 1);
        seat.set_grammar(ask.grammar);
        seat.begin_action(ask.rules, world_->rules->vocab_size, world_->rules->vocabulary, *world_->rules->supports);
        seat.sampling = &ask.sampling;
    } else {
        sequence.probe.ask = ask.number;
        sequence.probe.first = sequence.probe.next = length - 1;
        sequence.probe.temperature = ask.sampling.temperature;
        if (ask.kind == AskKind::score) {
            require(ask.sampling.temperature > 0, "temperature must be > 0 to score, got " + std::to_string(ask.sampling.temperature));
            check_room(seat, ask.tokens.size());
            sequence.probe.targets = ask.tokens;
            seat.inject({ask.tokens.begin(), ask.tokens.end() - 1}, Segment::observation);  // the last one predicts nothing
        }
        seat.probe = &sequence.probe;
    }
    seat.fed = std::min(seat.fed, length - 1);  // the last token's state is needed, and is not kept
    seat.shares_tail = true;                    // that token's block may be published
    publish_filled(policy, seat, length - 1);
    return true;
}

// What the sequence has computed so far is a prompt to it from now on, which others may share and it may find again after an eviction.
void Scheduler::publish_filled(PolicyState& policy, Seat& seat, int32_t prompt_length) {
    BlockTable& blocks = policy.blocks;
    seat.prompt_length = prompt_length;
    if (!blocks.has_cache() || seat.fed == 0 || seat.is_swapped) return;
    seat.prefix = seat.is_stale ? PrefixIndex::kNone : blocks.prefixes().root();
    for (int32_t number = 0; (number + 1) * blocks.block_size() <= std::min(seat.fed, prompt_length); ++number) {
        for (std::size_t i = 0; i < policy.block_tokens.size(); ++i) {
            policy.block_tokens[i] = seat.stream[static_cast<std::size_t>(number) * policy.block_tokens.size() + i].token;
        }
        seat.prefix = blocks.publish_filled(seat.slot, number, seat.prefix, policy.block_tokens.data());
    }
}

// Answers the first question, `error` empty if it was done.
void Scheduler::complete(Sequence& sequence, std::string error) {
    Seat& seat = sequence.seat;
    const Ask& ask = sequence.asked.front();
    Answer answer;
    answer.number = ask.number;
    answer.sequence = sequence.index;
    if (error.empty() && ask.kind == AskKind::sample) {
        answer.start = seat.action_start();
        for (auto record = seat.stream.begin() + answer.start; record != seat.stream.end(); ++record) {
            answer.tokens.push_back(record->token);
            answer.version.push_back(record->version);
            answer.support.push_back(record->support);
            answer.logprobs.push_back(record->logprob);
            answer.kept_logmass.push_back(record->kept_logmass);
        }
    } else if (error.empty() && ask.kind == AskKind::score) {
        seat.inject({ask.tokens.back()}, Segment::observation);
        answer.start = sequence.probe.first + 1;
        answer.tokens = ask.tokens;
        answer.logprobs = std::move(sequence.probe.logprobs);
        answer.version = std::move(sequence.probe.version);
        answer.support.assign(ask.tokens.size(), -1);
        answer.kept_logmass.assign(ask.tokens.size(), 0);
    } else {
        answer.start = seat.length() - (ask.kind == AskKind::append && error.empty() ? static_cast<int32_t>(ask.tokens.size()) : 0);
    }
    answer.error = std::move(error);
    answers_.push_back(std::move(answer));
    seat.probe = nullptr;
    seat.sampling = nullptr;
    sequence.asked.pop_front();
    ++sequence.num_answered;
    if (!waiting_.empty()) give_slots();
    if (!sequence.is_at_work) return;
    sequence.is_at_work = false;
    --num_asked_;
    go_on(sequence);
}

void Scheduler::release(Sequence& sequence) {
    Seat& seat = sequence.seat;
    if (seat.slot >= 0) {
        PolicyState& policy = policies_[static_cast<std::size_t>(seat.policy)];
        for (std::vector<Seat*>* queue : {&policy.decoding, &policy.prefilling}) queue->erase(std::remove(queue->begin(), queue->end(), &seat), queue->end());
        forget_swap(policy, seat);
        policy.blocks.release(seat.slot);
        policy.by_slot[static_cast<std::size_t>(seat.slot)] = nullptr;
        policy.free_slots.push_back(seat.slot);
        seat.slot = -1;
    }
    waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), &sequence), waiting_.end());
    sequence.error = "the sequence was released";
    if (sequence.is_at_work) --num_asked_;
    sequence.is_at_work = false;
    go_on(sequence);
    std::lock_guard<std::mutex> lock(world_->mutex);
    world_->indices.erase(sequence.index);
    sequences_.erase(sequence.index);
}

}  // namespace paradigm
