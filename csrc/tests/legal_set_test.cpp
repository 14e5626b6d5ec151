// Legal sets: the order given and the order sorted, duplicates, and what is refused; one set for all positions with the same open columns.
#include "paradigm/legal_set.h"

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "check.h"

#include "paradigm/connect_four.h"

using namespace paradigm;

namespace {

using Sequences = std::vector<std::vector<int32_t>>;

void orders() {
    const Sequences given = {{9, 8, 7}, {3}, {9, 8, 6}, {3}, {-2, 40}};
    const LegalSet legal(given);
    CHECK(legal.size() == given.size());
    for (std::size_t i = 0; i < given.size(); ++i) CHECK(legal[i] == given[i]);
    const Sequences sorted = {{-2, 40}, {3}, {9, 8, 6}, {9, 8, 7}};
    CHECK(legal.num_distinct() == sorted.size());
    for (std::size_t rank = 0; rank < sorted.size(); ++rank) {
        CHECK(legal.length(rank) == sorted[rank].size());
        for (std::size_t depth = 0; depth < sorted[rank].size(); ++depth) CHECK(legal.token(rank, depth) == sorted[rank][depth]);
    }
    CHECK(legal.min_token() == -2 && legal.max_token() == 40);
}

void refusals() {
    for (const auto& [sequences, why] : {std::pair<Sequences, const char*>{{}, "at least one"}, {{{1}, {}}, "empty"}, {{{1, 2}, {3}, {1}}, "prefix-free"}}) {
        std::string message;
        try {
            const LegalSet legal(sequences);
        } catch (const std::invalid_argument& error) {
            message = error.what();
        }
        CHECK(message.find(why) != std::string::npos);
    }
}

void connect_four_shares_its_sets() {
    EncodingTable table = identity_encoding();
    for (const char byte : {'1', '2', '3', '4', '5', '6', '7'}) table[static_cast<std::size_t>(byte)] = 1000 - byte;  // descending ids
    const ConnectFourTokens tokens(table);
    ConnectFourBoard full_third, other;
    for (int ply = 0; ply < 6; ++ply) full_third.play(2);
    for (int ply = 0; ply < 6; ++ply) other.play(ply % 2 == 0 ? 2 : 5);
    for (int ply = 0; ply < 3; ++ply) other.play(2);
    const LegalSet& legal = *tokens.legal(full_third);
    CHECK(tokens.legal(other).get() == &legal && tokens.legal(ConnectFourBoard{}).get() != &legal);
    CHECK(legal.size() == 6 && tokens.legal(ConnectFourBoard{})->size() == 7);
    for (std::size_t i = 0, column = 0; column < 7; ++column) {
        CHECK(tokens.column(tokens.token(static_cast<int>(column))) == static_cast<int>(column));
        if (column != 2) CHECK(legal[i++] == std::vector<int32_t>{tokens.token(static_cast<int>(column))});
    }
    CHECK(tokens.column('1') == -1);
}

}  // namespace

int main() {
    orders();
    refusals();
    connect_four_shares_its_sets();
    std::puts("legal_set_test: ok");
}
