// The distinct sets of allowed tokens met so far, as rows of bit masks: uint32 [S, ceil(V / 32)], bit v % 32 of word v / 32 for token v.
//
// Sets given as sorted token ids are looked up by these, so that a wide vocabulary costs its width only when a set is new; those given as
// masks, by their words. A set met in both ways has two rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace paradigm {

// Safe to use from several threads. Memory that a view points to stays readable as long as the table lives, also when the table grows.
class SupportSets {
  public:
    struct View {
        const uint32_t* words;
        int32_t num_rows;
    };

    explicit SupportSets(int32_t vocab_size) : vocab_size_(vocab_size), words_per_row_((vocab_size + 31) / 32) {}

    int32_t vocab_size() const { return vocab_size_; }
    int32_t words_per_row() const { return words_per_row_; }

    // The row of a set of tokens, given sorted and without duplicates, each in [0, vocab_size).
    int32_t row(const int32_t* tokens, std::size_t count);

    // The row of a set given as its mask, uint32 [words_per_row].
    int32_t row(const uint32_t* words);

    View view() const;

  private:
    uint32_t* add_row();
    int32_t find(uint64_t hash, const int32_t* tokens, std::size_t count) const;

    int32_t vocab_size_, words_per_row_;
    mutable std::mutex mutex_;
    std::unordered_multimap<uint64_t, int32_t> rows_by_hash_, masks_by_hash_;
    std::vector<int32_t> tokens_;          // the sets given as tokens, back to back
    std::vector<std::size_t> offsets_{0};  // [S + 1] cuts of tokens_
    std::vector<std::unique_ptr<uint32_t[]>> buffers_;  // the last one is current; the others are kept for views on them
    int32_t num_rows_ = 0, capacity_ = 0;
};

}  // namespace paradigm
