// Blocks of a paged key-value cache, and the table that says which block holds which tokens of which sequence.
//
// Kwon et al., arXiv:2309.06180. Block 0 is the null block: it is never given out, and rows of padding write to it. Counts of
// references let sequences share the blocks of a common prefix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace paradigm {

class BlockPool {
  public:
    explicit BlockPool(int32_t num_blocks) : references_(static_cast<std::size_t>(num_blocks), 0) {
        free_.reserve(references_.size());
        for (int32_t block = num_blocks - 1; block > 0; --block) free_.push_back(block);
    }

    int32_t num_free() const { return static_cast<int32_t>(free_.size()); }

    // One block with one reference; the caller has checked num_free().
    int32_t allocate() {
        if (free_.empty()) throw std::logic_error("BlockPool: no free block");
        const int32_t block = free_.back();
        free_.pop_back();
        references_[static_cast<std::size_t>(block)] = 1;
        return block;
    }

    void share(int32_t block) { ++count(block); }

    void release(int32_t block) {
        if (--count(block) == 0) free_.push_back(block);
    }

  private:
    int32_t& count(int32_t block) {
        if (block <= 0 || static_cast<std::size_t>(block) >= references_.size() || references_[static_cast<std::size_t>(block)] == 0) {
            throw std::logic_error("BlockPool: block " + std::to_string(block) + " is not in use");
        }
        return references_[static_cast<std::size_t>(block)];
    }

    std::vector<int32_t> references_, free_;
};

// int32 [num_slots, max_blocks]: cache block of tokens [i * block_size, (i + 1) * block_size) of the sequence in a slot; 0 where unused.
// Without a cache (num_blocks 0) every sequence fits and every entry stays 0.
class BlockTable {
  public:
    BlockTable(int32_t num_slots, int32_t max_tokens, int32_t num_blocks, int32_t block_size)
        : has_cache_(num_blocks > 0), pool_(num_blocks) {
        if (!has_cache_) {
            rows_.assign(static_cast<std::size_t>(num_slots), 0);
            return;
        }
        if (block_size < 1) throw std::invalid_argument("block_size must be >= 1, got " + std::to_string(block_size));
        max_blocks_ = static_cast<int32_t>((static_cast<int64_t>(max_tokens) + block_size - 1) / block_size);
        if (max_blocks_ > num_blocks - 1) {
            throw std::invalid_argument("a sequence of max_tokens=" + std::to_string(max_tokens) + " can never fit the cache: it needs " +
                                        std::to_string(max_blocks_) + " blocks of " + std::to_string(block_size) + " tokens, the cache has " +
                                        std::to_string(num_blocks - 1));
        }
        rows_.assign(static_cast<std::size_t>(num_slots) * static_cast<std::size_t>(max_blocks_), 0);
    }

    int32_t max_blocks() const { return max_blocks_; }
    int32_t* rows() { return rows_.data(); }

    // How many more sequences of the greatest length fit.
    int32_t num_fitting() const { return has_cache_ ? pool_.num_free() / max_blocks_ : INT32_MAX; }

    // Reserves the worst case of a sequence, so that none is ever evicted.
    void admit(int32_t slot) {
        if (!has_cache_) return;
        int32_t* row = this->row(slot);
        for (int32_t i = 0; i < max_blocks_; ++i) row[i] = pool_.allocate();
    }

    void release(int32_t slot) {
        if (!has_cache_) return;
        int32_t* row = this->row(slot);
        for (int32_t i = 0; i < max_blocks_; ++i) {
            pool_.release(row[i]);
            row[i] = 0;
        }
    }

  private:
    int32_t* row(int32_t slot) { return rows_.data() + static_cast<std::size_t>(slot) * static_cast<std::size_t>(max_blocks_); }

    bool has_cache_;
    int32_t max_blocks_ = 1;
    BlockPool pool_;
    std::vector<int32_t> rows_;
};

}  // namespace paradigm
