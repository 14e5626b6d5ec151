// The blocks of a paged key-value cache, counted by reference. Block 0 is the null block: it is never given out, and rows of padding write
// to it.
//
// Free blocks stand in one queue. Those that nothing remembers go to its front, where the next allocation takes them while they are
// still in the processor's cache; those whose contents may serve again go to its back, so that the longest unused is overwritten first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace paradigm {

class BlockPool {
  public:
    explicit BlockPool(int32_t num_blocks)
        : references_(static_cast<std::size_t>(std::max(1, num_blocks)), 0), next_(references_.size(), 0), previous_(references_.size(), 0) {
        for (int32_t block = 1; block < num_blocks; ++block) insert(previous_[0], block);
    }

    int32_t num_blocks() const { return static_cast<int32_t>(references_.size()) - 1; }  // that can be given out
    int32_t num_free() const { return num_free_; }
    int32_t references(int32_t block) const { return references_[static_cast<std::size_t>(block)]; }

    // One block with one reference; the caller has checked num_free().
    int32_t allocate() {
        const int32_t block = next_[0];
        if (block == 0) throw std::logic_error("BlockPool: no free block");
        share(block);
        return block;
    }

    // One more reference; a free block is taken out of the queue.
    void share(int32_t block) {
        if (references_[static_cast<std::size_t>(block)]++ == 0) remove(block);
    }

    // One reference less. The last one frees the block: to the back of the queue if its contents may serve again.
    void release(int32_t block, bool may_serve_again) {
        int32_t& count = references_[static_cast<std::size_t>(block)];
        if (block <= 0 || count == 0) throw std::logic_error("BlockPool: block " + std::to_string(block) + " is not in use");
        if (--count == 0) insert(may_serve_again ? previous_[0] : 0, block);
    }

  private:
    void insert(int32_t after, int32_t block) {
        const int32_t before = next_[static_cast<std::size_t>(after)];
        next_[static_cast<std::size_t>(block)] = before;
        previous_[static_cast<std::size_t>(block)] = after;
        next_[static_cast<std::size_t>(after)] = previous_[static_cast<std::size_t>(before)] = block;
        ++num_free_;
    }

    void remove(int32_t block) {
        const int32_t after = previous_[static_cast<std::size_t>(block)], before = next_[static_cast<std::size_t>(block)];
        next_[static_cast<std::size_t>(after)] = before;
        previous_[static_cast<std::size_t>(before)] = after;
        --num_free_;
    }

    std::vector<int32_t> references_, next_, previous_;  // the queue is a ring through the null block
    int32_t num_free_ = 0;
};

}  // namespace paradigm
