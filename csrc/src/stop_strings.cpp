#include "paradigm/stop_strings.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace paradigm {

StopStrings::StopStrings(std::shared_ptr<const TokenBytes> vocabulary, std::vector<std::string> strings, std::vector<int32_t> tokens)
    : vocabulary_(std::move(vocabulary)), strings_(std::move(strings)), tokens_(std::move(tokens)), next_(kBytes, 0), is_final_(1, 0) {
    if (!strings_.empty() && vocabulary_ == nullptr) {
        throw std::invalid_argument("a stop string needs to know what tokens say: give the sampler its tokenizer");
    }
    constexpr int32_t kRoot = 0;
    const auto target = [this](int32_t state, unsigned char byte) -> int32_t& { return next_[static_cast<std::size_t>(state) * kBytes + byte]; };
    for (const std::string& text : strings_) {
        if (text.empty()) throw std::invalid_argument("a stop string must not be empty");
        int32_t state = kRoot;
        for (const char c : text) {
            const auto byte = static_cast<unsigned char>(c);
            if (target(state, byte) == kRoot) {
                const auto made = static_cast<int32_t>(is_final_.size());
                is_final_.push_back(0);
                next_.resize(next_.size() + kBytes, kRoot);
                target(state, byte) = made;
            }
            state = target(state, byte);
        }
        is_final_[static_cast<std::size_t>(state)] = 1;
    }
    // Breadth first, each state takes the missing transitions of its longest proper suffix that is a state too.
    std::vector<int32_t> suffix(is_final_.size(), kRoot), queue{kRoot};
    for (std::size_t i = 0; i < queue.size(); ++i) {
        const int32_t state = queue[i];
        for (int byte = 0; byte < kBytes; ++byte) {
            int32_t& child = target(state, static_cast<unsigned char>(byte));
            const int32_t shorter = state == kRoot ? kRoot : target(suffix[static_cast<std::size_t>(state)], static_cast<unsigned char>(byte));
            if (child == kRoot) {
                child = shorter;
                continue;
            }
            suffix[static_cast<std::size_t>(child)] = shorter;
            if (is_final_[static_cast<std::size_t>(shorter)] != 0) is_final_[static_cast<std::size_t>(child)] = 1;
            queue.push_back(child);
        }
    }
}

bool StopStrings::reads_end(int32_t token, int32_t& state) const {
    if (std::find(tokens_.begin(), tokens_.end(), token) != tokens_.end()) return true;
    if (strings_.empty()) return false;
    const bool is_known = token >= 0 && token < vocabulary_->num_tokens();
    const std::size_t start = is_known ? vocabulary_->offsets[static_cast<std::size_t>(token)] : 0;
    const std::size_t end = is_known ? vocabulary_->offsets[static_cast<std::size_t>(token) + 1] : 0;
    if (start == end) {
        state = 0;
        return false;
    }
    for (std::size_t i = start; i < end; ++i) {
        state = next_[static_cast<std::size_t>(state) * kBytes + static_cast<unsigned char>(vocabulary_->bytes[i])];
        if (is_final_[static_cast<std::size_t>(state)] != 0) return true;
    }
    return false;
}

}  // namespace paradigm
