#include "paradigm/trajectory_buffer.h"

#include <algorithm>
#include <utility>

namespace paradigm {

void TrajectoryStore::add(const Episode& episode, int32_t seat, float temperature) {
    const float drawn_at = episode.request != nullptr ? episode.request->sampling.temperature : temperature;
    const Seat& played = episode.seats[static_cast<std::size_t>(seat)];
    finished_.push_back({{played.stream.begin(), played.stream.end()}, played.trajectory, episode.task, seat, episode.stop_reason,
                         episode.terminated, episode.truncated, episode.failed, drawn_at > 0 ? drawn_at : 1,  // greedy log-probabilities are at 1
                         episode.reason, episode.message});
}

TrajectoryBuffer TrajectoryStore::take(const SupportSets& supports) {
    std::sort(finished_.begin(), finished_.end(), [](const Finished& a, const Finished& b) { return a.index < b.index; });
    std::size_t num_tokens = 0;
    for (const Finished& trajectory : finished_) num_tokens += trajectory.stream.size();
    const std::size_t count = finished_.size();

    TrajectoryBuffer buffer;
    for (auto* field : {&buffer.tokens, &buffer.decision, &buffer.version, &buffer.support}) field->resize(num_tokens);
    for (auto* field : {&buffer.action_mask, &buffer.segment, &buffer.modality}) field->resize(num_tokens);
    for (auto* field : {&buffer.rewards, &buffer.logprobs, &buffer.kept_logmass}) field->resize(num_tokens);
    for (auto* field : {&buffer.index, &buffer.group, &buffer.task}) field->resize(count);
    for (auto* field : {&buffer.stop_reason, &buffer.terminated, &buffer.truncated, &buffer.failed}) field->resize(count);
    buffer.seat.resize(count);
    buffer.parent.assign(count, -1);
    buffer.temperature.resize(count);
    buffer.offsets.assign(count + 1, 0);

    const SupportSets::View table = supports.view();
    buffer.words_per_support = supports.words_per_row();
    std::vector<int32_t> renumbered(static_cast<std::size_t>(table.num_rows), -1);
    const auto row_of = [&](int32_t support) {
        if (support < 0) return support;
        int32_t& row = renumbered[static_cast<std::size_t>(support)];
        if (row < 0) {
            const auto width = static_cast<std::size_t>(buffer.words_per_support);
            row = static_cast<int32_t>(buffer.support_table.size() / width);
            const uint32_t* words = table.words + static_cast<std::size_t>(support) * width;
            buffer.support_table.insert(buffer.support_table.end(), words, words + width);
        }
        return row;
    };
    std::size_t t = 0;
    for (std::size_t b = 0; b < count; ++b) {
        Finished& trajectory = finished_[b];
        for (const TokenRecord& record : trajectory.stream) {
            buffer.tokens[t] = record.token;
            buffer.decision[t] = record.decision;
            buffer.version[t] = record.version;
            buffer.support[t] = row_of(record.support);
            buffer.action_mask[t] = record.is_action ? 1 : 0;
            buffer.segment[t] = static_cast<uint8_t>(record.segment);
            buffer.rewards[t] = record.reward;
            buffer.logprobs[t] = record.logprob;
            buffer.kept_logmass[t] = record.kept_logmass;
            ++t;
        }
        buffer.offsets[b + 1] = static_cast<int64_t>(t);
        buffer.index[b] = trajectory.index;
        buffer.group[b] = buffer.task[b] = trajectory.task;
        buffer.seat[b] = trajectory.seat;
        buffer.stop_reason[b] = static_cast<uint8_t>(trajectory.stop_reason);
        buffer.terminated[b] = trajectory.terminated ? 1 : 0;
        buffer.truncated[b] = trajectory.truncated ? 1 : 0;
        buffer.failed[b] = trajectory.failed ? 1 : 0;
        buffer.temperature[b] = trajectory.temperature;
        if (trajectory.failed) buffer.failures.push_back({static_cast<int64_t>(b), std::move(trajectory.reason), std::move(trajectory.message)});
        trajectory.stream = {};  // its memory is needed no longer: the arrays are filling up
    }
    finished_.clear();
    return buffer;
}

}  // namespace paradigm
