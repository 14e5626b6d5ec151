#include "paradigm/connect_four.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "paradigm/split_mix.h"

namespace paradigm {
namespace {

constexpr int kCentreFirst[ConnectFourBoard::kColumns] = {3, 2, 4, 1, 5, 0, 6};
constexpr int kWin = 1000000;  // far above any sum of windows

constexpr uint64_t board_mask() {
    uint64_t mask = 0;
    for (int column = 0; column < ConnectFourBoard::kColumns; ++column) mask |= uint64_t{0x3f} << (7 * column);
    return mask;
}

int count(uint64_t bits) { return __builtin_popcountll(bits); }

// Windows of four without a stone of `theirs`, weighted by how many stones of `mine` they hold. All windows of a direction are
// counted at once: bit i of `ones` and `twos` is the binary count of the window that starts at cell i.
int open_windows(uint64_t mine, uint64_t theirs) {
    const uint64_t open = board_mask() & ~theirs;
    int value = 0;
    for (const int shift : {1, 7, 6, 8}) {
        const uint64_t windows = open & (open >> shift) & (open >> 2 * shift) & (open >> 3 * shift);
        const uint64_t a = mine, b = mine >> shift, c = mine >> 2 * shift, d = mine >> 3 * shift;
        const uint64_t ones = a ^ b ^ c ^ d;
        const uint64_t twos = (a & b) ^ (c & d) ^ ((a ^ b) & (c ^ d));
        value += count(windows & ones & ~twos) + 4 * count(windows & twos & ~ones) + 16 * count(windows & ones & twos);
    }
    return value;
}

// The value of a game that goes on, for the player to move.
int search(const ConnectFourBoard& board, int depth, int alpha, int beta) {
    if (board.full()) return 0;
    if (depth == 0) {
        const uint64_t mine = board.stones[board.mover()], theirs = board.stones[1 - board.mover()];
        return open_windows(mine, theirs) - open_windows(theirs, mine);
    }
    int best = std::numeric_limits<int>::min() + 1;
    for (const int column : kCentreFirst) {
        if (!board.can_play(column)) continue;
        ConnectFourBoard next = board;
        next.play(column);
        const int value = next.won() ? kWin - next.plies : -search(next, depth - 1, -beta, -alpha);
        best = std::max(best, value);
        alpha = std::max(alpha, value);
        if (alpha >= beta) break;
    }
    return best;
}

std::vector<int> legal_columns(const ConnectFourBoard& board) {
    std::vector<int> columns;
    for (int column = 0; column < ConnectFourBoard::kColumns; ++column) {
        if (board.can_play(column)) columns.push_back(column);
    }
    return columns;
}

}  // namespace

bool ConnectFourBoard::has_four(uint64_t stones) {
    for (const int shift : {1, 7, 6, 8}) {
        const uint64_t pairs = stones & (stones >> shift);
        if (pairs & (pairs >> 2 * shift)) return true;
    }
    return false;
}

ConnectFourTokens::ConnectFourTokens(const EncodingTable& encoding) : encoding_(encoding, kConnectFourAlphabet) {
    for (int column = 0; column < ConnectFourBoard::kColumns; ++column) columns_[column] = encoding_.id(static_cast<char>('1' + column));
    for (unsigned mask = 1; mask < std::size(legal_); ++mask) {
        std::vector<std::vector<int32_t>> moves;
        for (int column = 0; column < ConnectFourBoard::kColumns; ++column) {
            if (mask >> column & 1) moves.push_back({columns_[column]});
        }
        legal_[mask] = std::make_shared<const LegalSet>(moves);
    }
}

const std::shared_ptr<const LegalSet>& ConnectFourTokens::legal(const ConnectFourBoard& board) const {
    unsigned mask = 0;
    for (int column = 0; column < ConnectFourBoard::kColumns; ++column) mask |= static_cast<unsigned>(board.can_play(column)) << column;
    return legal_[mask];
}

ConnectFour::ConnectFour(std::shared_ptr<const ConnectFourTokens> tokens) : tokens_(std::move(tokens)) {}

void ConnectFour::ask(Observation& observation) const {
    observation.max_action_tokens = 1;
    const auto& legal = tokens_->legal(board_);
    if (observation.legal != legal) observation.legal = legal;  // turn after turn it is often the same set, and counting references is slow
}

Step ConnectFour::reset(const std::string& task, uint64_t) {
    ConnectFourBoard board;
    for (const char byte : task) {
        const bool legal = byte >= '1' && byte <= '7' && board.can_play(byte - '1');
        if (legal) board.play(byte - '1');
        if (!legal || board.won() || board.full()) {
            throw std::invalid_argument("task must be an opening of legal columns 1..7 that does not end the game, got \"" + task.substr(0, 50) + "\"");
        }
    }
    board_ = board;
    Step step;
    step.rewards = {0.0f, 0.0f};
    step.observations.resize(2);
    for (int seat = 0; seat < 2; ++seat) {
        step.observations[seat].seat = seat;
        step.observations[seat].tokens = tokens_->encode((seat == 0 ? "X" : "O") + task);
    }
    ask(step.observations[board_.mover()]);
    return step;
}

Step ConnectFour::step(const int32_t* action, std::size_t length) {
    Step answer;
    step_into(action, length, answer);
    return answer;
}

void ConnectFour::step_into(const int32_t* action, std::size_t length, Step& step) {
    const int column = length == 1 ? tokens_->column(action[0]) : -1;
    const int mover = board_.mover();
    if (board_.won() || board_.full()) throw std::invalid_argument("action must not follow the end of the game");
    if (column < 0 || !board_.can_play(column)) {
        throw std::invalid_argument("action must be one token of the legal columns 1..7, got " + std::to_string(length) + " tokens" +
                                    (length > 0 ? ", the first " + std::to_string(action[0]) : std::string()));
    }
    board_.play(column);
    step.rewards.assign(2, 0.0f);
    if (board_.won()) {
        step.rewards[mover] = 1.0f;
        step.rewards[1 - mover] = -1.0f;
    }
    step.terminated = board_.won() || board_.full();
    step.truncated = false;
    step.observations.resize(1);
    Observation& heard = step.observations[0];
    heard.seat = 1 - mover;
    heard.tokens.assign(1, action[0]);
    heard.max_action_tokens = 0;
    if (!step.terminated) ask(heard);
}

std::vector<std::string> connect_four_openings(uint64_t seed, std::size_t n, int plies) {
    if (plies < 0 || plies > 20) throw std::invalid_argument("plies must be in 0..20, got " + std::to_string(plies));
    SplitMix64 random(mix64(seed ^ 0x636f6e6e656374ull));
    std::vector<std::string> openings;
    openings.reserve(n);
    while (openings.size() < n) {
        ConnectFourBoard board;
        std::string opening;
        while (board.plies < plies && !board.won()) {
            const std::vector<int> columns = legal_columns(board);
            const int column = columns[random.below(static_cast<uint32_t>(columns.size()))];
            board.play(column);
            opening += static_cast<char>('1' + column);
        }
        if (!board.won()) openings.push_back(std::move(opening));
    }
    return openings;
}

AlphaBetaPlayer::AlphaBetaPlayer(int depth, double random_move_rate) : depth_(depth), random_move_rate_(random_move_rate) {
    if (depth < 1 || depth > 42) throw std::invalid_argument("depth must be in 1..42, got " + std::to_string(depth));
    if (!(random_move_rate >= 0.0 && random_move_rate <= 1.0)) {
        throw std::invalid_argument("random_move_rate must be in [0, 1], got " + std::to_string(random_move_rate));
    }
}

int AlphaBetaPlayer::best_column(const ConnectFourBoard& board) const {
    int best_column = -1, best = std::numeric_limits<int>::min() + 1;
    for (const int column : kCentreFirst) {
        if (!board.can_play(column)) continue;
        ConnectFourBoard next = board;
        next.play(column);
        const int value = next.won() ? kWin - next.plies : -search(next, depth_ - 1, -2 * kWin, best_column < 0 ? 2 * kWin : -best);
        if (value > best) {
            best = value;
            best_column = column;
        }
    }
    return best_column;
}

std::vector<int32_t> AlphaBetaPlayer::act(const Environment& environment, const Observation&, uint64_t seed) const {
    const auto* world = dynamic_cast<const ConnectFour*>(&environment);
    if (world == nullptr) throw std::invalid_argument("the alpha-beta player plays only Connect-Four");
    const ConnectFourBoard& board = world->board();
    if (board.won() || board.full()) throw std::invalid_argument("environment must hold a game that goes on");
    // The position enters the seed, so that one seed may serve every move of a game.
    SplitMix64 random(mix64(seed ^ mix64(board.stones[0] + mix64(board.stones[1]))));
    int column;
    if (random_move_rate_ > 0.0 && random.uniform() < random_move_rate_) {
        const std::vector<int> columns = legal_columns(board);
        column = columns[random.below(static_cast<uint32_t>(columns.size()))];
    } else {
        column = best_column(board);
    }
    return {world->tokens().token(column)};
}

}  // namespace paradigm
