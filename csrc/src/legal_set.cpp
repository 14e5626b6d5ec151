#include "paradigm/legal_set.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace paradigm {

LegalSet::LegalSet(const std::vector<std::vector<int32_t>>& sequences) : offsets_{0}, sorted_(sequences.size()) {
    if (sequences.empty()) throw std::invalid_argument("legal must hold at least one sequence");
    for (const std::vector<int32_t>& sequence : sequences) {
        if (sequence.empty()) throw std::invalid_argument("legal must hold no empty sequence");
        tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
        offsets_.push_back(tokens_.size());
    }
    std::iota(sorted_.begin(), sorted_.end(), std::size_t{0});
    const auto equal = [&sequences](std::size_t a, std::size_t b) { return sequences[a] == sequences[b]; };
    std::sort(sorted_.begin(), sorted_.end(), [&sequences](std::size_t a, std::size_t b) { return sequences[a] < sequences[b]; });
    sorted_.erase(std::unique(sorted_.begin(), sorted_.end(), equal), sorted_.end());
    for (std::size_t rank = 1; rank < sorted_.size(); ++rank) {  // in sorted order, a prefix stands right before a sequence that it begins
        const std::vector<int32_t>&before = sequences[sorted_[rank - 1]], &here = sequences[sorted_[rank]];
        if (before.size() < here.size() && std::equal(before.begin(), before.end(), here.begin())) {
            throw std::invalid_argument("legal must be prefix-free, but one of its sequences begins another");
        }
    }
    const auto [least, greatest] = std::minmax_element(tokens_.begin(), tokens_.end());
    min_token_ = *least;
    max_token_ = *greatest;
}

}  // namespace paradigm
