// Which live sequences have been fed which prompts: what lets a sequence share the last block of another's prompt, which need not be full.
//
// A prompt is known by the number of the prefix of its whole blocks (PrefixIndex) and the tokens behind them, both compared in full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "paradigm/prefix_index.h"

namespace paradigm {

class PromptIndex {
  public:
    explicit PromptIndex(int32_t num_slots) : entries_(static_cast<std::size_t>(num_slots)) {
        std::size_t num_buckets = 1;
        while (num_buckets < entries_.size()) num_buckets *= 2;
        buckets_.assign(num_buckets, kNobody);
    }

    // The sequence in `slot` has this prompt, in the cache or about to be.
    void note(int32_t slot, uint64_t prefix, std::vector<int32_t> rest) {
        forget(slot);
        Entry& entry = entries_[static_cast<std::size_t>(slot)];
        int32_t& first = buckets_[bucket_of(prefix, rest)];
        entry = {true, prefix, std::move(rest), first};
        first = slot;
    }

    // Slot of a sequence with this prompt; -1: there is none.
    int32_t find(uint64_t prefix, const std::vector<int32_t>& rest) const {
        int32_t slot = buckets_[bucket_of(prefix, rest)];
        while (slot != kNobody && !is_of(slot, prefix, rest)) slot = entries_[static_cast<std::size_t>(slot)].next;
        return slot;
    }

    // The sequence in `slot` is another, or lost its blocks.
    void forget(int32_t slot) {
        Entry& entry = entries_[static_cast<std::size_t>(slot)];
        if (!entry.is_known) return;
        int32_t* place = &buckets_[bucket_of(entry.prefix, entry.rest)];
        while (*place != slot) place = &entries_[static_cast<std::size_t>(*place)].next;
        *place = entry.next;
        entry.is_known = false;
    }

  private:
    static constexpr int32_t kNobody = -1;

    struct Entry {
        bool is_known = false;
        uint64_t prefix = 0;
        std::vector<int32_t> rest;
        int32_t next = kNobody;  // in the bucket
    };

    bool is_of(int32_t slot, uint64_t prefix, const std::vector<int32_t>& rest) const {
        const Entry& entry = entries_[static_cast<std::size_t>(slot)];
        return entry.prefix == prefix && entry.rest == rest;
    }

    std::size_t bucket_of(uint64_t prefix, const std::vector<int32_t>& rest) const {
        return hash_behind(prefix, rest.data(), rest.size()) & (buckets_.size() - 1);
    }

    std::vector<Entry> entries_;    // by slot
    std::vector<int32_t> buckets_;  // first slot of each
};

}  // namespace paradigm
