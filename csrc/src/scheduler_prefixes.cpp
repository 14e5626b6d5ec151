// Which sequences of a plan begin with the same blocks.
#include <algorithm>
#include <cstddef>
#include <string>

#include "paradigm/scheduler.h"
#include "require.h"

namespace paradigm {

SharedPrefixes Scheduler::share_prefixes(int32_t policy_number, int32_t split) {
    PolicyState& policy = state(policy_number);
    Plan& plan = policy.made().plan;
    const BlockTable& blocks = policy.blocks;
    SharedPrefixes found;
    if (!blocks.has_cache()) return found;
    require(split > 0 && split % blocks.block_size() == 0,
            "split must be a multiple of the block size of " + std::to_string(blocks.block_size()) + ", got " + std::to_string(split));
    const int32_t size = split / blocks.block_size();
    const auto num_sequences = static_cast<std::size_t>(plan.num_sequences);
    std::size_t num_buckets = 4;
    while (num_buckets < 2 * num_sequences) num_buckets *= 2;
    policy.group_of_chain.assign(num_buckets, {0, 0});
    policy.groups.assign(1, {});  // number 0: who shares nothing
    for (std::size_t b = 0; b < num_sequences; ++b) {
        const int32_t num_fed = plan.cu_seqlens[b + 1] - plan.cu_seqlens[b], slot = plan.slots[b];
        const int32_t whole = (plan.context_lengths[b] - num_fed) / split;
        plan.shared_splits[b] = 0;  // the number of its group, until the groups are known
        if (whole == 0) continue;
        const uint64_t chain = blocks.chain(slot, size - 1);
        std::size_t bucket = chain & (num_buckets - 1);  // numbers that count up spread by themselves
        while (policy.group_of_chain[bucket].second != 0 && policy.group_of_chain[bucket].first != chain) bucket = (bucket + 1) & (num_buckets - 1);
        if (policy.group_of_chain[bucket].second == 0) {
            policy.group_of_chain[bucket] = {chain, policy.groups.size()};
            policy.groups.push_back({slot, whole});
        }
        const std::size_t number = policy.group_of_chain[bucket].second;
        PrefixGroup& group = policy.groups[number];
        plan.shared_splits[b] = static_cast<int32_t>(number);
        ++group.num_sequences;
        group.num_tokens += num_fed;
        group.splits = std::min(group.splits, whole);
        while (blocks.chain(slot, group.splits * size - 1) != blocks.chain(group.slot, group.splits * size - 1)) --group.splits;
    }
    for (std::size_t g = 1; g < policy.groups.size(); ++g) {
        PrefixGroup& group = policy.groups[g];
        if (group.num_sequences == 1) group.splits = 0;
        if (group.splits == 0) continue;
        group.end = found.num_tokens;
        plan.shared_cuts[static_cast<std::size_t>(found.num_groups++)] = found.num_tokens;
        found.num_tokens += group.num_tokens;
        found.most = std::max(found.most, group.splits);
    }
    plan.shared_cuts[static_cast<std::size_t>(found.num_groups)] = found.num_tokens;
    for (std::size_t b = 0; b < num_sequences; ++b) {
        PrefixGroup& group = policy.groups[static_cast<std::size_t>(plan.shared_splits[b])];
        plan.shared_splits[b] = group.splits;
        if (group.splits == 0) continue;
        for (int32_t t = plan.cu_seqlens[b]; t < plan.cu_seqlens[b + 1]; ++t) plan.shared_tokens[static_cast<std::size_t>(group.end++)] = t;
    }
    return found;
}

}  // namespace paradigm
