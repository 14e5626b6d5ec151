#include "paradigm/support_sets.h"

#include <algorithm>

namespace paradigm {

namespace {

uint64_t hash_tokens(const int32_t* tokens, std::size_t count) {
    uint64_t hash = 0xCBF29CE484222325u ^ count;
    for (std::size_t i = 0; i < count; ++i) {
        hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

}  // namespace

int32_t SupportSets::find(uint64_t hash, const int32_t* tokens, std::size_t count) const {
    const auto [first, last] = rows_by_hash_.equal_range(hash);
    for (auto entry = first; entry != last; ++entry) {
        const std::size_t start = offsets_[static_cast<std::size_t>(entry->second)];
        const std::size_t length = offsets_[static_cast<std::size_t>(entry->second) + 1] - start;
        if (length == count && std::equal(tokens, tokens + count, tokens_.begin() + static_cast<std::ptrdiff_t>(start))) return entry->second;
    }
    return -1;
}

// An empty row at the end. The lock is held.
uint32_t* SupportSets::add_row() {
    const auto width = static_cast<std::size_t>(words_per_row_);
    if (num_rows_ == capacity_) {
        const int32_t capacity = std::max(64, 2 * capacity_);
        auto grown = std::make_unique<uint32_t[]>(static_cast<std::size_t>(capacity) * width);
        if (!buffers_.empty()) std::copy_n(buffers_.back().get(), static_cast<std::size_t>(num_rows_) * width, grown.get());
        buffers_.push_back(std::move(grown));
        capacity_ = capacity;
    }
    return buffers_.back().get() + static_cast<std::size_t>(num_rows_++) * width;
}

int32_t SupportSets::row(const int32_t* tokens, std::size_t count) {
    const uint64_t hash = hash_tokens(tokens, count);
    std::lock_guard<std::mutex> lock(mutex_);
    if (const int32_t known = find(hash, tokens, count); known >= 0) return known;
    uint32_t* words = add_row();
    for (std::size_t i = 0; i < count; ++i) words[tokens[i] / 32] |= 1u << (tokens[i] % 32);
    tokens_.insert(tokens_.end(), tokens, tokens + count);
    offsets_.push_back(tokens_.size());
    rows_by_hash_.emplace(hash, num_rows_ - 1);
    return num_rows_ - 1;
}

int32_t SupportSets::row(const uint32_t* words) {
    const auto width = static_cast<std::size_t>(words_per_row_);
    uint64_t hash = 0xCBF29CE484222325u;
    for (std::size_t w = 0; w < width; ++w) {
        hash = (hash ^ words[w]) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    std::lock_guard<std::mutex> lock(mutex_);
    const auto [first, last] = masks_by_hash_.equal_range(hash);
    for (auto entry = first; entry != last; ++entry) {
        const uint32_t* known = buffers_.back().get() + static_cast<std::size_t>(entry->second) * width;
        if (std::equal(words, words + width, known)) return entry->second;
    }
    std::copy_n(words, width, add_row());
    offsets_.push_back(tokens_.size());  // no tokens: it is not looked up by them
    masks_by_hash_.emplace(hash, num_rows_ - 1);
    return num_rows_ - 1;
}

SupportSets::View SupportSets::view() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return {buffers_.empty() ? nullptr : buffers_.back().get(), num_rows_};
}

}  // namespace paradigm
