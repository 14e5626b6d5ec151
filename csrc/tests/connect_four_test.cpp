// Connect-Four: counts of games of n plies with wins terminal, the rules against an array, tactics, and episodes by seats.
#include "paradigm/connect_four.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "check.h"

#include "paradigm/split_mix.h"
#include "paradigm/uniform_player.h"

using namespace paradigm;

namespace {

std::shared_ptr<const ConnectFourTokens> bytes() { return std::make_shared<const ConnectFourTokens>(identity_encoding()); }

// Games of exactly `plies` moves; none goes on after a win.
uint64_t perft(const ConnectFourBoard& board, int plies) {
    uint64_t games = 0;
    for (int column = 0; column < 7; ++column) {
        if (!board.can_play(column)) continue;
        ConnectFourBoard next = board;
        next.play(column);
        games += plies == 1 ? 1 : next.won() || next.full() ? 0 : perft(next, plies - 1);
    }
    return games;
}

void leaf_counts() {
    const uint64_t expected[] = {7, 49, 343, 2401, 16807, 117649, 823536, 5673234};
    for (int plies = 1; plies <= 8; ++plies) CHECK(perft(ConnectFourBoard{}, plies) == expected[plies - 1]);
}

// The rules once more, on an array of cells: four in a row, looked for in each direction from each cell.
bool has_four_reference(uint64_t stones) {
    const auto holds = [&](int column, int row) { return column >= 0 && column < 7 && row >= 0 && row < 6 && (stones >> (7 * column + row) & 1); };
    for (int column = 0; column < 7; ++column) {
        for (int row = 0; row < 6; ++row) {
            for (const auto& [dx, dy] : {std::pair{1, 0}, {0, 1}, {1, 1}, {1, -1}}) {
                bool all = true;
                for (int i = 0; i < 4; ++i) all = all && holds(column + i * dx, row + i * dy);
                if (all) return true;
            }
        }
    }
    return false;
}

Step play(Environment& world, char move) {
    const int32_t token = move;
    return world.step(&token, 1);
}

bool refuses(Environment& world, const std::vector<int32_t>& action) {
    try {
        world.step(action.data(), action.size());
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

void episodes() {
    ConnectFour world(bytes());
    Step step = world.reset("4435", 0);
    CHECK(step.observations.size() == 2 && step.observations[0].max_action_tokens == 1 && step.observations[1].max_action_tokens == 0);
    CHECK(std::string(step.observations[0].tokens.begin(), step.observations[0].tokens.end()) == "X4435" && step.observations[1].tokens[0] == 'O');
    step = world.reset("444", 0);
    CHECK(step.observations[1].max_action_tokens == 1 && step.observations[0].legal == nullptr);
    step = world.reset("111111", 0);
    CHECK(step.observations[0].legal->size() == 6 && (*step.observations[0].legal)[0] == std::vector<int32_t>{'2'});
    for (const std::vector<int32_t>& bad : {std::vector<int32_t>{'1'}, {'8'}, {'X'}, {}, {'2', '3'}, {-1}, {1 << 30}}) CHECK(refuses(world, bad));
    world.reset("121212", 0);
    step = play(world, '1');
    CHECK(step.terminated && step.rewards[0] == 1.0f && step.rewards[1] == -1.0f);
    CHECK(step.observations.size() == 1 && step.observations[0].seat == 1 && step.observations[0].max_action_tokens == 0);
    CHECK(refuses(world, {'3'}));
    for (const char* bad : {"8", "1111111", "1212121", "12121213", "4 4"}) {
        bool thrown = false;
        try {
            world.reset(bad, 0);
        } catch (const std::invalid_argument&) {
            thrown = true;
        }
        CHECK(thrown);
    }
    CHECK(connect_four_openings(3, 50, 8).size() == 50 && connect_four_openings(3, 50, 8)[0] == connect_four_openings(3, 5, 8)[0]);
    for (const std::string& opening : connect_four_openings(3, 50, 12)) CHECK(opening.size() == 12 && !world.reset(opening, 0).terminated);
}

int best_after(const char* moves) {
    ConnectFourBoard board;
    for (const char* move = moves; *move; ++move) board.play(*move - '1');
    return AlphaBetaPlayer(2, 0.0).best_column(board) + 1;
}

void tactics() {
    CHECK(best_after("112233") == 4);   // three in a row on the floor: complete it
    CHECK(best_after("121212") == 1);   // three in a column
    CHECK(best_after("12121") == 1);    // block the column
    CHECK(best_after("1122337") == 4);  // block the row
    ConnectFourBoard board;
    for (const char move : {'4', '4', '4', '4', '4', '4', '1', '1', '1', '1', '1', '1'}) board.play(move - '1');
    CHECK(AlphaBetaPlayer(7, 0.0).best_column(board) >= 0);
}

// Games against a uniform player, checked against the array rules; returns the score of the search.
void tournament() {
    const AlphaBetaPlayer search(4, 0.0), noisy(2, 1.0);
    const UniformPlayer uniform;
    ConnectFour world(bytes());
    int won = 0;
    for (int game = 0; game < 200; ++game) {
        const int seat = game & 1;
        Step step = world.reset("", 0);
        SplitMix64 random(static_cast<uint64_t>(game));
        while (!step.terminated) {
            const Observation* asked = nullptr;
            for (const Observation& observation : step.observations) {
                if (observation.max_action_tokens > 0) asked = &observation;
            }
            CHECK(asked != nullptr && asked->seat == world.board().mover());
            const uint64_t seed = random.next();
            const Player& player = asked->seat == seat ? static_cast<const Player&>(search) : game % 4 < 2 ? static_cast<const Player&>(uniform) : noisy;
            const std::vector<int32_t> action = player.act(world, *asked, seed);
            CHECK(action == player.act(world, *asked, seed));
            bool is_legal = false;
            for (std::size_t i = 0; i < asked->legal->size(); ++i) is_legal |= (*asked->legal)[i] == action;
            CHECK(is_legal);
            step = world.step(action.data(), action.size());
            for (const uint64_t stones : world.board().stones) CHECK(ConnectFourBoard::has_four(stones) == has_four_reference(stones));
        }
        won += step.rewards[seat] > 0.0f;
    }
    CHECK(won > 190);
}

}  // namespace

int main() {
    leaf_counts();
    episodes();
    tactics();
    tournament();
    return 0;
}
