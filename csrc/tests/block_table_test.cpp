// Block table, pool and prefix index under random operations, against a model that knows what every block was last written with.
#include "paradigm/block_table.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "check.h"

using namespace paradigm;

namespace {

using Tokens = std::vector<int32_t>;

constexpr int32_t kSlots = 6, kMaxTokens = 14, kBlocks = 16, kBlockSize = 2;

// What a block holds: the keys and values of its last tokens, which are a function of all of them and of the weights.
struct Contents {
    int version = -1;
    Tokens prefix;
    bool operator==(const Contents& other) const { return version == other.version && prefix == other.prefix; }
};

struct Sequence {
    bool is_live = false;
    int32_t fed = 0, prompt_length = 0;
    int version = 0;  // of the weights that its tokens were fed to; -1: of several
    uint64_t prefix = 0;
    Tokens tokens, blocks;
};

class Model {
  public:
    explicit Model(uint32_t seed) : random_(seed), table_(kSlots, kMaxTokens, kBlocks, kBlockSize), contents_(kBlocks), sequences_(kSlots) {}

    void operate() {
        Sequence& sequence = sequences_[draw(kSlots)];
        const auto slot = static_cast<int32_t>(&sequence - sequences_.data());
        const std::size_t kind = draw(40);
        if (kind == 0) {
            table_.forget_prefixes();
            findable_.clear();
            published_.clear();
            ++version_;
        } else if (kind < 8) {
            end_step();
        } else if (!sequence.is_live) {
            start(sequence);
        } else if (is_in_step_[slot]) {
            return;  // its blocks are being written
        } else if (kind < 14) {
            table_.release(slot);
            sequence = {};
        } else {
            feed(sequence, slot);
        }
        check();
    }

    void finish() {
        end_step();
        for (int32_t slot = 0; slot < kSlots; ++slot) table_.release(slot);
        CHECK(table_.num_free() == kBlocks - 1 && table_.num_holding() == 0);
    }

    int64_t num_shared = 0, num_refused = 0, num_alike = 0, num_told = 0;

  private:
    std::size_t draw(std::size_t n) { return random_() % n; }

    void start(Sequence& sequence) {
        sequence = {};
        sequence.is_live = true;
        sequence.version = version_;
        for (std::size_t i = 0, n = 1 + draw(kMaxTokens); i < n; ++i) sequence.tokens.push_back(static_cast<int32_t>(draw(5) == 0));
        sequence.prompt_length = static_cast<int32_t>(1 + draw(sequence.tokens.size()));
        sequence.prefix = table_.prefixes().root();
    }

    Tokens first(const Sequence& sequence, int32_t count) const { return {sequence.tokens.begin(), sequence.tokens.begin() + count}; }

    // Takes over what it can, then feeds some tokens and publishes the blocks that they fill.
    void feed(Sequence& sequence, int32_t slot) {
        const auto length = static_cast<int32_t>(sequence.tokens.size());
        if (sequence.fed == length) return;
        if (sequence.fed == 0) {
            sequence.prefix = table_.prefixes().root();
            sequence.version = version_;
        }
        const bool is_from_root = sequence.fed == 0;
        const int32_t limit = std::min(sequence.prompt_length, length - 1);
        while (sequence.fed % kBlockSize == 0 && table_.num_held(slot) * kBlockSize == sequence.fed && sequence.fed + kBlockSize <= limit) {
            const PrefixIndex::Match match = table_.prefixes().find(sequence.prefix, sequence.tokens.data() + sequence.fed);
            const Tokens prefix = first(sequence, sequence.fed + kBlockSize);
            const bool is_current = sequence.version == version_;
            if (is_from_root) CHECK((match.block != 0) == (findable_.count(prefix) + published_.count(prefix) > 0));
            if (match.block == 0) break;
            if (is_from_root) CHECK(match.is_pending == (published_.count(prefix) > 0));
            if (match.is_pending) return;
            CHECK(is_current && (contents_[static_cast<std::size_t>(match.block)] == Contents{version_, prefix}));
            table_.share(slot, match.block);
            ++num_shared;
            sequence.blocks.push_back(match.block);
            sequence.fed += kBlockSize;
            sequence.prefix = match.prefix;
        }
        const int32_t end = sequence.fed + 1 + static_cast<int32_t>(draw(static_cast<std::size_t>(length - sequence.fed)));
        const int32_t needed = table_.num_blocks_for(end) - table_.num_held(slot);
        const int32_t num_free = table_.num_free();
        const std::vector<char> was_free = free_blocks();
        CHECK(table_.extend(slot, end) == (needed <= num_free));
        if (needed > num_free) {
            CHECK(table_.num_free() == num_free);
            ++num_refused;
            return;
        }
        for (int32_t number = static_cast<int32_t>(sequence.blocks.size()); number < table_.num_held(slot); ++number) {
            const int32_t block = row(slot)[number];
            CHECK(was_free[static_cast<std::size_t>(block)]);
            overwrite(block);
            sequence.blocks.push_back(block);
        }
        if (sequence.version != version_) sequence.version = -1;
        for (int32_t number = sequence.fed / kBlockSize; number * kBlockSize < end; ++number) {
            const int32_t block = sequence.blocks[static_cast<std::size_t>(number)], last = std::min(end, (number + 1) * kBlockSize);
            CHECK(table_.references(block) == 1);  // nobody else holds what it writes
            contents_[static_cast<std::size_t>(block)] = {sequence.version, first(sequence, last)};
            if ((number + 1) * kBlockSize > std::min(end, sequence.prompt_length)) continue;
            const Tokens prefix = first(sequence, last);
            const bool can_be_found = sequence.version == version_ && sequence.prefix == walk(prefix, number);
            sequence.prefix = table_.publish(slot, number, sequence.prefix, sequence.tokens.data() + number * kBlockSize);
            if (can_be_found && findable_.count(prefix) == 0) published_.insert({prefix, block});
        }
        sequence.fed = end;
        is_in_step_[slot] = true;
    }

    // The number of the prefix of `count` blocks as found from the root; none if it cannot be.
    uint64_t walk(const Tokens& tokens, int32_t count) const {
        uint64_t prefix = table_.prefixes().root();
        for (int32_t number = 0; number < count && prefix != PrefixIndex::kNone; ++number) {
            prefix = table_.prefixes().find(prefix, tokens.data() + number * kBlockSize).prefix;
        }
        return prefix;
    }

    // Neither what the block held can be found any more nor what came behind it.
    void overwrite(int32_t block) {
        for (const auto& [prefix, held] : std::map<Tokens, int32_t>(findable_)) {
            if (held != block) continue;
            for (auto entry = findable_.begin(); entry != findable_.end();) {
                const Tokens& other = entry->first;
                const bool is_behind = other.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), other.begin());
                entry = is_behind ? findable_.erase(entry) : std::next(entry);
            }
        }
    }

    void end_step() {
        table_.confirm();
        for (const auto& entry : published_) findable_.insert(entry);
        published_.clear();
        std::fill(is_in_step_, is_in_step_ + kSlots, false);
    }

    std::vector<char> free_blocks() const {
        std::vector<char> is_free(kBlocks, 1);
        for (int32_t block = 0; block < kBlocks; ++block) is_free[static_cast<std::size_t>(block)] = block > 0 && table_.references(block) == 0;
        return is_free;
    }

    const int32_t* row(int32_t slot) { return table_.rows() + slot * table_.max_blocks(); }

    void check() {
        copy_.resize(static_cast<std::size_t>(kSlots * table_.max_blocks()));
        if (random_() % 3 > 0) {  // who is told what changed has all that is held
            for (const int32_t place : table_.take_changes()) copy_[static_cast<std::size_t>(place)] = table_.rows()[place];
            for (int32_t slot = 0; slot < kSlots; ++slot) {
                for (int32_t i = 0; i < table_.num_held(slot); ++i) CHECK(copy_[static_cast<std::size_t>(slot * table_.max_blocks() + i)] == row(slot)[i]);
            }
        }
        std::vector<int32_t> holders(kBlocks, 0);
        int32_t num_holding = 0, num_used = 0;
        for (int32_t slot = 0; slot < kSlots; ++slot) {
            const Sequence& sequence = sequences_[static_cast<std::size_t>(slot)];
            CHECK(table_.num_held(slot) == static_cast<int32_t>(sequence.blocks.size()));
            num_holding += sequence.blocks.empty() ? 0 : 1;
            for (int32_t i = 0; i < table_.max_blocks(); ++i) {
                const bool is_held = i < table_.num_held(slot);
                CHECK(row(slot)[i] == (is_held ? sequence.blocks[static_cast<std::size_t>(i)] : 0));
                if (is_held) ++holders[static_cast<std::size_t>(row(slot)[i])];
            }
            for (int32_t i = 0; i * kBlockSize < sequence.fed; ++i) {  // nobody has overwritten what it reads
                const Contents& held = contents_[static_cast<std::size_t>(sequence.blocks[static_cast<std::size_t>(i)])];
                CHECK(held.prefix == first(sequence, std::min(sequence.fed, (i + 1) * kBlockSize)));
            }
        }
        for (int32_t block = 1; block < kBlocks; ++block) {
            CHECK(table_.references(block) == holders[static_cast<std::size_t>(block)]);
            num_used += holders[static_cast<std::size_t>(block)] > 0 ? 1 : 0;
        }
        for (int32_t a = 0; a < kSlots; ++a) {  // a chain's number tells all of its blocks
            for (int32_t b = 0; b < a; ++b) {
                for (int32_t i = std::min(table_.num_held(a), table_.num_held(b)) - 1; i >= 0; --i) {
                    const bool are_same = std::equal(row(a), row(a) + i + 1, row(b));
                    num_alike += are_same ? 1 : 0;
                    num_told += table_.chain(a, i) == table_.chain(b, i) ? 1 : 0;
                    CHECK(are_same || table_.chain(a, i) != table_.chain(b, i));
                }
            }
        }
        CHECK(holders[0] == 0 && num_used + table_.num_free() == kBlocks - 1 && num_holding == table_.num_holding());
    }

    std::mt19937 random_;
    BlockTable table_;
    std::vector<int32_t> copy_;
    int version_ = 0;
    std::vector<Contents> contents_;
    std::vector<Sequence> sequences_;
    std::map<Tokens, int32_t> findable_, published_;  // by prefix, under the current weights: blocks of past steps, of this one
    bool is_in_step_[kSlots] = {};
};

void random_operations() {
    for (uint32_t seed = 0; seed < 40; ++seed) {
        Model model(seed);
        for (int i = 0; i < 2500; ++i) model.operate();
        model.finish();
        CHECK(model.num_shared > 50 && model.num_refused > 5 && model.num_told > 500 && 100 * model.num_told > 99 * model.num_alike);
    }
}

// Blocks that nothing remembers are overwritten first; then a prefix's end before its beginning, the longest unused before others.
void what_is_overwritten_first() {
    BlockTable table(3, 8, 7, 2);
    const Tokens one = {1, 1, 1, 1}, two = {2, 2, 2, 2};
    const auto play = [&table](int32_t slot, const Tokens& tokens) {
        CHECK(table.extend(slot, 4));
        const uint64_t middle = table.publish(slot, 0, table.prefixes().root(), tokens.data());
        table.publish(slot, 1, middle, tokens.data() + 2);
        table.confirm();
    };
    const auto num_found = [&table](const Tokens& tokens) {
        const PrefixIndex::Match begin = table.prefixes().find(table.prefixes().root(), tokens.data());
        return begin.block == 0 ? 0 : table.prefixes().find(begin.prefix, tokens.data() + 2).block == 0 ? 1 : 2;
    };
    play(0, one);
    play(1, two);
    table.release(0);
    table.release(1);
    CHECK(table.num_free() == 6 && num_found(one) == 2 && num_found(two) == 2);
    CHECK(table.extend(2, 4) && num_found(one) == 2 && num_found(two) == 2);  // the two that nothing remembers
    CHECK(table.extend(2, 6) && num_found(one) == 1 && num_found(two) == 2);
    CHECK(table.extend(2, 8) && num_found(one) == 0 && num_found(two) == 2);
    CHECK(!table.extend(1, 6) && table.num_free() == 2);
    table.forget_prefixes();
    CHECK(num_found(two) == 0 && table.num_free() == 2);
}

// Who has replaced a block has another chain from there on, also where it still holds what others do.
void a_replaced_block_ends_what_is_common() {
    BlockTable table(2, 6, 8, 2);
    CHECK(table.extend(0, 6));
    table.fork(0, 1, 6);
    for (int32_t i = 0; i < 3; ++i) CHECK(table.chain(0, i) == table.chain(1, i));
    table.replace(0, 1);
    CHECK(table.blocks_of(0)[2] == table.blocks_of(1)[2]);
    CHECK(table.chain(0, 0) == table.chain(1, 0) && table.chain(0, 1) != table.chain(1, 1) && table.chain(0, 2) != table.chain(1, 2));
}

void misuse_is_refused() {
    const auto refused = [](int32_t max_tokens, int32_t num_blocks, int32_t block_size) {
        try {
            BlockTable(1, max_tokens, num_blocks, block_size);
        } catch (const std::invalid_argument&) {
            return true;
        }
        return false;
    };
    CHECK(refused(8, 4, 2) && !refused(6, 4, 2) && refused(6, 4, 0) && !refused(1 << 30, 0, 0));
    BlockPool pool(2);
    CHECK(pool.num_free() == 1 && pool.allocate() == 1);
    int num_thrown = 0;
    for (const auto& misuse : {+[](BlockPool& p) { p.allocate(); }, +[](BlockPool& p) { p.release(0, false); },
                               +[](BlockPool& p) { p.release(1, false), p.release(1, false); }}) {
        try {
            misuse(pool);
        } catch (const std::logic_error&) {
            ++num_thrown;
        }
    }
    CHECK(num_thrown == 3);
}

}  // namespace

int main() {
    random_operations();
    what_is_overwritten_first();
    a_replaced_block_ends_what_is_common();
    misuse_is_refused();
    std::puts("block_table_test: ok");
}
