// Connect-Four on 7 columns of 6 rows: drop a stone into a column; four in a row wins, a full board is a draw.
//
// Bitboards as in Fhourstones (J. Tromp): bit 7 * column + row, the seventh bit of each column always empty, so that shifts by
// 1, 7, 6 and 8 run along the four directions without wrapping.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "paradigm/byte_encoding.h"
#include "paradigm/environment.h"

namespace paradigm {

struct ConnectFourBoard {
    static constexpr int kColumns = 7, kRows = 6;

    uint64_t stones[2] = {0, 0};  // by player; player 0 moves first
    int plies = 0;

    int mover() const { return plies & 1; }
    uint64_t occupied() const { return stones[0] | stones[1]; }
    bool full() const { return plies == kColumns * kRows; }
    bool can_play(int column) const { return (occupied() & (uint64_t{1} << (7 * column + kRows - 1))) == 0; }

    // Drops the mover's stone; the column must not be full.
    void play(int column) {
        const uint64_t landing = (occupied() + (uint64_t{1} << (7 * column))) & (uint64_t{0x3f} << (7 * column)) & ~occupied();
        stones[mover()] |= landing;
        ++plies;
    }

    static bool has_four(uint64_t stones);
    bool won() const { return plies > 0 && has_four(stones[1 - mover()]); }  // by the last stone
};

inline constexpr char kConnectFourAlphabet[] = "XO1234567";

// The game in the tokens of one encoding, with the legal set of each set of columns that can be played; worlds share it.
class ConnectFourTokens {
  public:
    // Throws std::invalid_argument unless the encoding has distinct ids for the alphabet's bytes.
    explicit ConnectFourTokens(const EncodingTable& encoding);

    std::vector<int32_t> encode(std::string_view bytes) const { return encoding_.encode(bytes); }
    int32_t token(int column) const { return columns_[column]; }
    // -1 for a token that is no column.
    int column(int32_t token) const {
        for (int column = 0; column < ConnectFourBoard::kColumns; ++column) {
            if (columns_[column] == token) return column;
        }
        return -1;
    }
    // Of a game that goes on.
    const std::shared_ptr<const LegalSet>& legal(const ConnectFourBoard& board) const;

  private:
    ByteEncoding encoding_;
    int32_t columns_[ConnectFourBoard::kColumns];
    std::shared_ptr<const LegalSet> legal_[1 << ConnectFourBoard::kColumns];  // by a mask of columns
};

// Two seats; seat 0 moves first. The prompt is `X` for seat 0, `O` for seat 1, then the opening of the task; an action is one of the
// tokens `1`..`7`, the legal ones listed; each seat hears the other's moves, the last one included. Reward at the end: 1, 0 or -1.
class ConnectFour final : public Environment {
  public:
    explicit ConnectFour(std::shared_ptr<const ConnectFourTokens> tokens);

    int num_seats() const override { return 2; }
    // `task`: the opening, columns `1`..`7` played by turns; it must not end the game.
    Step reset(const std::string& task, uint64_t seed) override;
    // Throws std::invalid_argument for anything but one legal token.
    Step step(const int32_t* action, std::size_t length) override;
    void step_into(const int32_t* action, std::size_t length, Step& answer) override;
    std::unique_ptr<Environment> clone() const override { return std::make_unique<ConnectFour>(*this); }

    const ConnectFourBoard& board() const { return board_; }
    const ConnectFourTokens& tokens() const { return *tokens_; }

  private:
    void ask(Observation& observation) const;

    std::shared_ptr<const ConnectFourTokens> tokens_;
    ConnectFourBoard board_;
};

// Openings of `plies` random legal moves after which the game goes on, one a task.
std::vector<std::string> connect_four_openings(uint64_t seed, std::size_t n, int plies);

// Alpha-beta search of fixed depth; with probability random_move_rate a uniform legal move instead. Deterministic in (position, seed): columns
// are tried from the centre outwards and the first of the best is played. A leaf is worth the windows of four that hold one side's
// stones only: 1, 4 or 16 for one, two or three of them. Sooner wins and later losses are preferred.
class AlphaBetaPlayer final : public Player {
  public:
    AlphaBetaPlayer(int depth, double random_move_rate);
    std::vector<int32_t> act(const Environment& environment, const Observation& observation, uint64_t seed) const override;

    // The column that the search prefers, 0..6, in a game that is not over.
    int best_column(const ConnectFourBoard& board) const;

  private:
    int depth_;
    double random_move_rate_;
};

}  // namespace paradigm
