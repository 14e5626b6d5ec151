#include "paradigm/prefix_index.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace paradigm {

PrefixIndex::PrefixIndex(int32_t num_blocks, int32_t block_size)
    : block_size_(static_cast<std::size_t>(block_size)), entries_(static_cast<std::size_t>(num_blocks)), tokens_(entries_.size() * block_size_) {
    std::size_t num_buckets = 1;
    while (num_buckets < entries_.size()) num_buckets *= 2;
    buckets_.assign(num_buckets, 0);
    pending_.reserve(entries_.size());
}

std::size_t PrefixIndex::bucket_of(uint64_t prefix, const int32_t* tokens) const {
    return hash_behind(prefix, tokens, block_size_) & (buckets_.size() - 1);
}

PrefixIndex::Match PrefixIndex::find(uint64_t prefix, const int32_t* tokens) const {
    if (!is_current(prefix)) return {};
    for (int32_t block = buckets_[bucket_of(prefix, tokens)]; block != 0; block = entry(block).next) {
        const Entry& held = entry(block);
        if (held.parent == prefix && std::equal(tokens, tokens + block_size_, tokens_.data() + static_cast<std::size_t>(block) * block_size_)) {
            return {block, held.is_pending, held.prefix};
        }
    }
    return {};
}

uint64_t PrefixIndex::add(uint64_t prefix, const int32_t* tokens, int32_t block, bool is_pending) {
    if (contains(block)) throw std::logic_error("PrefixIndex: block " + std::to_string(block) + " is indexed already");
    const std::size_t bucket = bucket_of(prefix, tokens);
    entry(block) = {prefix, ++last_, bucket, buckets_[bucket], is_pending};
    buckets_[bucket] = block;
    std::copy_n(tokens, block_size_, tokens_.data() + static_cast<std::size_t>(block) * block_size_);
    if (is_pending) pending_.push_back(block);
    return last_;
}

void PrefixIndex::confirm() {
    for (const int32_t block : pending_) entry(block).is_pending = false;
    pending_.clear();
}

void PrefixIndex::remove(int32_t block) {
    int32_t* link = &buckets_[entry(block).bucket];
    while (*link != block) link = &entry(*link).next;
    *link = entry(block).next;
    entry(block) = {};
}

void PrefixIndex::clear() {
    root_ = ++last_;
    std::fill(entries_.begin(), entries_.end(), Entry{});
    std::fill(buckets_.begin(), buckets_.end(), 0);
    pending_.clear();
}

}  // namespace paradigm
