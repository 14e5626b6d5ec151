#include "paradigm/block_table.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace paradigm {

BlockTable::BlockTable(int32_t num_slots, int32_t max_tokens, int32_t num_blocks, int32_t block_size)
    : has_cache_(num_blocks > 0), block_size_(has_cache_ ? block_size : 1), pool_(has_cache_ ? num_blocks : 0),
      prefixes_(has_cache_ ? num_blocks : 0, block_size_ < 1 ? 0 : block_size_), prompts_(num_slots), room_(static_cast<std::size_t>(num_slots), 0) {
    if (!has_cache_) {
        rows_.assign(static_cast<std::size_t>(num_slots), 0);
        room_.assign(static_cast<std::size_t>(num_slots), INT32_MAX);
        return;
    }
    if (block_size < 1) throw std::invalid_argument("block_size must be >= 1, got " + std::to_string(block_size));
    max_blocks_ = static_cast<int32_t>((static_cast<int64_t>(max_tokens) + block_size - 1) / block_size);
    if (max_blocks_ > num_blocks - 1) {
        throw std::invalid_argument("a trajectory of max_tokens=" + std::to_string(max_tokens) + " can never fit the cache: it needs " +
                                    std::to_string(max_blocks_) + " blocks of " + std::to_string(block_size) + " tokens, the cache has " +
                                    std::to_string(num_blocks - 1));
    }
    can_run_out_ = int64_t{num_slots} * max_blocks_ > num_blocks - 1;
    rows_.assign(static_cast<std::size_t>(num_slots) * static_cast<std::size_t>(max_blocks_), 0);
    chains_.assign(rows_.size(), 0);
    last_chains_.resize(static_cast<std::size_t>(num_blocks));
}

void BlockTable::hold(int32_t slot, int32_t block) {
    int32_t& room = room_[static_cast<std::size_t>(slot)];
    const int32_t number = room / block_size_;
    if (number == max_blocks_) throw std::logic_error("BlockTable: a sequence outgrew its row");
    num_holding_ += number == 0 ? 1 : 0;
    row(slot)[number] = block;
    room += block_size_;
    note(slot, number);
}

int32_t BlockTable::allocate() {
    const int32_t block = pool_.allocate();
    if (prefixes_.contains(block)) prefixes_.remove(block);
    return block;
}

// Block number `number` of the sequence is another than before.
void BlockTable::note(int32_t slot, int32_t number) {
    if (keeps_changes_) changes_.push_back(slot * max_blocks_ + number);
    for (; number < num_held(slot); ++number) {
        const uint64_t before = number == 0 ? 0 : chain(slot, number - 1);
        Chain& last = last_chains_[static_cast<std::size_t>(row(slot)[number])];
        if (last.number == 0 || last.before != before) last = {before, ++num_chains_};
        chains_[place(slot, number)] = last.number;
    }
}

std::vector<int32_t> BlockTable::take_changes() {
    if (!keeps_changes_) {
        keeps_changes_ = true;
        for (std::size_t i = 0; i < rows_.size(); ++i) {
            if (rows_[i] != 0) changes_.push_back(static_cast<int32_t>(i));
        }
    }
    return std::exchange(changes_, {});
}

bool BlockTable::grow(int32_t slot, int32_t num_tokens) {
    const int32_t missing = num_blocks_for(num_tokens) - num_held(slot);
    if (missing > pool_.num_free()) return false;
    for (int32_t i = 0; i < missing; ++i) hold(slot, allocate());
    return true;
}

void BlockTable::share(int32_t slot, int32_t block) {
    pool_.share(block);
    hold(slot, block);
}

void BlockTable::fork(int32_t from, int32_t to, int32_t num_tokens) {
    if (!has_cache_) return;
    for (int32_t number = 0; number < num_blocks_for(num_tokens); ++number) share(to, row(from)[number]);
}

int32_t BlockTable::replace(int32_t slot, int32_t number) {
    int32_t& block = row(slot)[number];
    pool_.release(block, false);  // others hold it
    block = allocate();
    note(slot, number);
    return block;
}

void BlockTable::forget(int32_t slot, int32_t number) {
    if (number < num_held(slot) && prefixes_.contains(row(slot)[number])) prefixes_.remove(row(slot)[number]);
}

void BlockTable::release(int32_t slot) {
    if (!has_cache_) return;
    prompts_.forget(slot);
    int32_t* row = this->row(slot);
    // the last block first: of a prefix, the end is overwritten before the beginning, without which it could not be found
    for (int32_t i = num_held(slot) - 1; i >= 0; --i) {
        pool_.release(row[i], prefixes_.contains(row[i]));
        row[i] = 0;
    }
    num_holding_ -= num_held(slot) > 0 ? 1 : 0;
    room_[static_cast<std::size_t>(slot)] = 0;
}

uint64_t BlockTable::publish(int32_t slot, int32_t number, uint64_t prefix, const int32_t* tokens) {
    if (!prefixes_.is_current(prefix)) return prefix;
    const PrefixIndex::Match match = prefixes_.find(prefix, tokens);
    return match.block != 0 ? match.prefix : prefixes_.add(prefix, tokens, row(slot)[number]);
}

uint64_t BlockTable::publish_filled(int32_t slot, int32_t number, uint64_t prefix, const int32_t* tokens) {
    if (!prefixes_.is_current(prefix)) return prefix;
    const PrefixIndex::Match match = prefixes_.find(prefix, tokens);
    if (match.block != 0) return match.prefix;
    forget(slot, number);  // it was found behind a prefix that has lost a block
    return prefixes_.add(prefix, tokens, row(slot)[number], false);
}

}  // namespace paradigm
