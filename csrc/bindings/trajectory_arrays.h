// What the scheduler holds as numpy arrays, which share its memory.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "paradigm/trajectory_buffer.h"

namespace paradigm {

template <class T>
pybind11::array view(const T* data, std::vector<pybind11::ssize_t> shape, pybind11::handle owner) {
    static const T nothing{};  // numpy allocates for a null pointer
    return pybind11::array_t<T>(std::move(shape), data == nullptr ? &nothing : data, owner);
}

template <class T>
pybind11::array view(const std::vector<T>& values, pybind11::handle owner) {
    return view(values.data(), {static_cast<pybind11::ssize_t>(values.size())}, owner);
}

// The arrays of paradigm.trajectory.TrajectoryBuffer, which keep the C++ buffer alive, and the messages of failed rows.
inline pybind11::tuple to_arrays(TrajectoryBuffer&& taken) {
    auto* buffer = new TrajectoryBuffer(std::move(taken));
    const pybind11::capsule owner(buffer, [](void* held) { delete static_cast<TrajectoryBuffer*>(held); });
    const auto flags = [&owner](const std::vector<uint8_t>& values) { return view(values, owner).attr("view")("bool"); };
    pybind11::dict arrays;
    arrays["tokens"] = view(buffer->tokens, owner);
    arrays["action_mask"] = flags(buffer->action_mask);
    arrays["segment"] = view(buffer->segment, owner);
    arrays["modality"] = view(buffer->modality, owner);
    arrays["decision"] = view(buffer->decision, owner);
    arrays["version"] = view(buffer->version, owner);
    arrays["rewards"] = view(buffer->rewards, owner);
    arrays["logprobs"] = view(buffer->logprobs, owner);
    arrays["kept_logmass"] = view(buffer->kept_logmass, owner);
    arrays["support"] = view(buffer->support, owner);
    arrays["offsets"] = view(buffer->offsets, owner);
    arrays["index"] = view(buffer->index, owner);
    arrays["group"] = view(buffer->group, owner);
    arrays["task"] = view(buffer->task, owner);
    arrays["seat"] = view(buffer->seat, owner);
    arrays["parent"] = view(buffer->parent, owner);
    arrays["stop_reason"] = view(buffer->stop_reason, owner);
    arrays["terminated"] = flags(buffer->terminated);
    arrays["truncated"] = flags(buffer->truncated);
    arrays["failed"] = flags(buffer->failed);
    arrays["temperature"] = view(buffer->temperature, owner);
    const pybind11::ssize_t words = buffer->words_per_support;
    const pybind11::ssize_t rows = words == 0 ? 0 : static_cast<pybind11::ssize_t>(buffer->support_table.size()) / words;
    arrays["support_table"] = view(buffer->support_table.data(), {rows, words}, owner);
    pybind11::dict failures;
    for (const auto& [row, reason, message] : buffer->failures) {
        // what an environment says need not be UTF-8
        const auto said = pybind11::reinterpret_steal<pybind11::str>(
            PyUnicode_DecodeUTF8(message.data(), static_cast<pybind11::ssize_t>(message.size()), "replace"));
        failures[pybind11::int_(row)] = pybind11::make_tuple(reason, said);
    }
    return pybind11::make_tuple(arrays, failures);
}

}  // namespace paradigm
