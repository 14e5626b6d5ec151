// Which block of a paged key-value cache holds which tokens of which sequence (Kwon et al., arXiv:2309.06180).
//
// A sequence holds as many blocks as its tokens need, from a pool of fixed size; sequences that begin with the same tokens hold the
// same blocks. Of what the prefix index finds, only whole blocks are shared, and a sequence writes none of them. A fork, and who has the
// prompt of another that is alive, also share the last block, filled or not: whoever writes there first replaces it by a copy. Without a
// cache (num_blocks 0) everything fits and every entry stays 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "paradigm/block_pool.h"
#include "paradigm/prefix_index.h"
#include "paradigm/prompt_index.h"

namespace paradigm {

class BlockTable {
  public:
    // Throws std::invalid_argument if a sequence of max_tokens could never fit.
    BlockTable(int32_t num_slots, int32_t max_tokens, int32_t num_blocks, int32_t block_size);

    bool has_cache() const { return has_cache_; }
    int32_t block_size() const { return block_size_; }
    int32_t max_blocks() const { return max_blocks_; }
    int32_t num_free() const { return pool_.num_free(); }
    int32_t num_blocks_for(int32_t num_tokens) const { return (num_tokens + block_size_ - 1) / block_size_; }
    int32_t num_held(int32_t slot) const { return has_cache_ ? room_[static_cast<std::size_t>(slot)] / block_size_ : 0; }
    int32_t num_holding() const { return num_holding_; }  // sequences that hold blocks

    // A number for the sequence's blocks up to number `number`, which it holds: two sequences with the same number hold the same blocks so far.
    // Those that took over the same blocks one after the other have the same.
    uint64_t chain(int32_t slot, int32_t number) const { return chains_[place(slot, number)]; }

    // Whether sequences may have to wait for blocks; not if there are as many as all slots can need.
    bool can_run_out() const { return can_run_out_; }

    // How many more blocks the sequences that hold any can come to need, if they share none.
    int64_t most_growth() const { return int64_t{num_holding_} * max_blocks_ - (pool_.num_blocks() - pool_.num_free()); }

    int32_t references(int32_t block) const { return pool_.references(block); }

    // int32 [num_slots, max_blocks]: block of tokens [i * block_size, (i + 1) * block_size) of the sequence in a slot; 0 where unused.
    int32_t* rows() { return rows_.data(); }
    const int32_t* blocks_of(int32_t slot) const { return rows_.data() + static_cast<std::size_t>(slot) * static_cast<std::size_t>(max_blocks_); }

    // Places in rows(), counted from its beginning, where a block came in since the last call, some of them more than once; the first time, all
    // that hold one, and from then on they are kept.
    std::vector<int32_t> take_changes();

    // Gives the sequence blocks until its first num_tokens have room. Returns false, with nothing changed, if too few are free.
    bool extend(int32_t slot, int32_t num_tokens) { return num_tokens <= room_[static_cast<std::size_t>(slot)] || grow(slot, num_tokens); }

    // Lets the sequence hold a block that the prefix index found, behind those that it holds.
    void share(int32_t slot, int32_t block);

    // Lets the sequence in slot `to`, which holds none, hold the blocks of the first num_tokens tokens of that in `from`.
    void fork(int32_t from, int32_t to, int32_t num_tokens);

    // Whether the sequence's block number `number` is held, and by others too.
    bool is_shared(int32_t slot, int32_t number) const { return number < num_held(slot) && references(blocks_of(slot)[number]) > 1; }

    // Gives the sequence a block of its own in place of a shared one, to which the caller copies what that holds. One must be free.
    int32_t replace(int32_t slot, int32_t number);

    // The sequence is about to write anew into its block number `number`, if it holds one, which nobody must find any more.
    void forget(int32_t slot, int32_t number);

    // Takes all of the sequence's blocks back.
    void release(int32_t slot);

    const PrefixIndex& prefixes() const { return prefixes_; }
    PromptIndex& prompts() { return prompts_; }

    // Indexes block number `number` of the sequence, pending, unless its tokens are indexed there already or the prefix is not current;
    // returns the number of the prefix that the block ends.
    uint64_t publish(int32_t slot, int32_t number, uint64_t prefix, const int32_t* tokens);

    // The same of a block that is filled already.
    uint64_t publish_filled(int32_t slot, int32_t number, uint64_t prefix, const int32_t* tokens);

    // The step that fills the published blocks has run.
    void confirm() { prefixes_.confirm(); }

    // The weights have changed.
    void forget_prefixes() { prefixes_.clear(); }

  private:
    int32_t* row(int32_t slot) { return rows_.data() + static_cast<std::size_t>(slot) * static_cast<std::size_t>(max_blocks_); }
    bool grow(int32_t slot, int32_t num_tokens);
    int32_t allocate();
    void hold(int32_t slot, int32_t block);
    void note(int32_t slot, int32_t number);
    std::size_t place(int32_t slot, int32_t number) const {
        return static_cast<std::size_t>(slot) * static_cast<std::size_t>(max_blocks_) + static_cast<std::size_t>(number);
    }

    bool has_cache_;
    bool can_run_out_ = false;
    int32_t block_size_;
    int32_t max_blocks_ = 1;
    int32_t num_holding_ = 0;
    BlockPool pool_;
    PrefixIndex prefixes_;
    PromptIndex prompts_;
    std::vector<int32_t> rows_;
    bool keeps_changes_ = false;
    std::vector<int32_t> changes_;
    std::vector<int32_t> room_;  // by slot: tokens that its blocks have room for
    // Each number stands for one block behind what one other number stands for, so it tells all of them.
    struct Chain {
        uint64_t before = 0, number = 0;
    };
    std::vector<uint64_t> chains_;    // as rows_
    std::vector<Chain> last_chains_;  // by block: the last that it ended
    uint64_t num_chains_ = 0;
};

}  // namespace paradigm
