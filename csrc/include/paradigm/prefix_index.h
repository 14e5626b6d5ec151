// Which blocks of a paged cache hold which prefixes: what lets a sequence take over the keys and values that another has computed.
//
// A prefix of whole blocks has a number of its own, never given twice; a block is found by (number of the prefix before it, its tokens), both
// compared in full, so that what is found is the prefix asked for and not merely one of the same hash (cf. Kwon et al., arXiv:2309.06180;
// Zheng et al., arXiv:2312.07104). The empty prefix has a number too, which a change of weights replaces: whatever began under earlier weights
// neither finds nor is found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace paradigm {

// A hash of tokens behind a prefix, fit to be cut to its low bits.
inline uint64_t hash_behind(uint64_t prefix, const int32_t* tokens, std::size_t count) {
    uint64_t hash = prefix;
    for (std::size_t i = 0; i < count; ++i) hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;  // the product's low bits have seen only the low bits of the tokens
}

class PrefixIndex {
  public:
    static constexpr uint64_t kNone = 0;  // the number of a prefix that is not indexed

    PrefixIndex(int32_t num_blocks, int32_t block_size);

    // The number of the empty prefix.
    uint64_t root() const { return root_; }

    struct Match {
        int32_t block = 0;  // 0: none
        bool is_pending = false;
        uint64_t prefix = kNone;  // the one that ends with this block
    };

    // Whether the prefix began under the weights of now. Numbers only grow.
    bool is_current(uint64_t prefix) const { return prefix >= root_; }

    // `tokens`: of one block. Nothing is found behind a prefix that is not current.
    Match find(uint64_t prefix, const int32_t* tokens) const;

    // Says that `block` holds these tokens' keys and values behind `prefix`, or will once the step that is being planned has run: pending until
    // confirm(). The prefix is current and nothing is found there yet. Returns the number of the prefix that it ends.
    uint64_t add(uint64_t prefix, const int32_t* tokens, int32_t block, bool is_pending = true);

    // The step has run: what was pending can be found.
    void confirm();

    bool contains(int32_t block) const { return entry(block).prefix != kNone; }

    // The block's contents are about to change.
    void remove(int32_t block);

    // The weights have changed: forgets everything.
    void clear();

  private:
    struct Entry {
        uint64_t parent = kNone, prefix = kNone;
        std::size_t bucket = 0;
        int32_t next = 0;  // in the bucket
        bool is_pending = false;
    };

    const Entry& entry(int32_t block) const { return entries_[static_cast<std::size_t>(block)]; }
    Entry& entry(int32_t block) { return entries_[static_cast<std::size_t>(block)]; }
    std::size_t bucket_of(uint64_t prefix, const int32_t* tokens) const;

    std::size_t block_size_;
    uint64_t last_ = 1, root_ = 1;
    std::vector<Entry> entries_;    // by block
    std::vector<int32_t> tokens_;   // [blocks, block_size]
    std::vector<int32_t> buckets_;  // first block of each; a power of two of them
    std::vector<int32_t> pending_;
};

}  // namespace paradigm
