// The allowed actions of one decision: token sequences, none of which begins another. It never changes, so observations and seats share
// it, and a world with few of them builds each once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace paradigm {

class LegalSet {
  public:
    // Throws std::invalid_argument if there is no sequence, or one is empty or begins another. Duplicates do no harm.
    explicit LegalSet(const std::vector<std::vector<int32_t>>& sequences);

    // The sequences in the order in which they were given.
    std::size_t size() const { return offsets_.size() - 1; }
    std::vector<int32_t> operator[](std::size_t i) const {
        return {tokens_.begin() + static_cast<std::ptrdiff_t>(offsets_[i]), tokens_.begin() + static_cast<std::ptrdiff_t>(offsets_[i + 1])};
    }

    // The distinct sequences sorted: a node of their trie is a range of neighbours that begin alike.
    std::size_t num_distinct() const { return sorted_.size(); }
    int32_t token(std::size_t rank, std::size_t depth) const { return tokens_[offsets_[sorted_[rank]] + depth]; }
    std::size_t length(std::size_t rank) const { return offsets_[sorted_[rank] + 1] - offsets_[sorted_[rank]]; }

    int32_t min_token() const { return min_token_; }
    int32_t max_token() const { return max_token_; }

  private:
    std::vector<int32_t> tokens_;       // the sequences, back to back
    std::vector<std::size_t> offsets_;   // [size + 1] cuts of tokens_
    std::vector<std::size_t> sorted_;   // which sequence has which rank
    int32_t min_token_ = 0, max_token_ = 0;
};

}  // namespace paradigm
