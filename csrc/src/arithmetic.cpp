// Problems, their verification, their generation, and the environment that poses them.
#include "paradigm/arithmetic.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

#include "paradigm/split_mix.h"

namespace paradigm {
namespace {

constexpr std::size_t kMaxWritten = 16384;
constexpr int kMaxDigits = 9;  // nine digits by nine fit in 64 bits

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

std::optional<uint64_t> parse_number(std::string_view text, int max_digits) {
    if (text.empty() || static_cast<int>(text.size()) > max_digits) return std::nullopt;
    if (text.size() > 1 && text[0] == '0') return std::nullopt;
    uint64_t value = 0;
    for (const char byte : text) {
        if (!is_digit(byte)) return std::nullopt;
        value = 10 * value + static_cast<uint64_t>(byte - '0');
    }
    return value;
}

uint32_t power_of_ten(int digits) {
    uint32_t power = 1;
    for (int i = 0; i < digits; ++i) power *= 10;
    return power;
}

void require_digits(const std::string& name, int digits) {
    if (digits < 1 || digits > kMaxDigits) throw std::invalid_argument(name + " must be in 1..9, got " + std::to_string(digits));
}

ArithmeticProblem draw_problem(char operation, const ArithmeticTaskOptions& options, SplitMix64& random) {
    if (operation == '+' || operation == '-') {
        const uint32_t bound = power_of_ten(options.digits);
        const uint64_t left = random.below(bound), right = random.below(bound);
        return operation == '+' ? ArithmeticProblem{left, '+', right} : ArithmeticProblem{std::max(left, right), '-', std::min(left, right)};
    }
    if (operation == '*') {
        const auto [left_digits, right_digits] = options.products[random.below(static_cast<uint32_t>(options.products.size()))];
        const auto draw = [&random](int digits, uint32_t low) { return low + random.below(power_of_ten(digits) - low); };
        const uint64_t left = draw(left_digits, left_digits == 1 ? 2 : power_of_ten(left_digits - 1));
        return {left, '*', draw(right_digits, right_digits == 1 ? 2 : power_of_ten(right_digits - 1))};
    }
    const uint32_t divisor = 2 + random.below(8);
    const uint32_t largest = (power_of_ten(options.dividend_digits) - 1) / divisor;
    return {static_cast<uint64_t>(divisor) * (1 + random.below(largest)), '/', divisor};
}

}  // namespace

uint64_t ArithmeticProblem::answer() const {
    switch (operation) {
        case '+': return left + right;
        case '-': return left - right;
        case '*': return left * right;
        default: return left / right;
    }
}

std::string ArithmeticProblem::text() const { return std::to_string(left) + operation + std::to_string(right); }

std::optional<ArithmeticProblem> parse_arithmetic(std::string_view text) {
    const std::size_t at = text.find_first_of("+-*/");
    if (at == std::string_view::npos) return std::nullopt;
    const auto left = parse_number(text.substr(0, at), kMaxDigits), right = parse_number(text.substr(at + 1), kMaxDigits);
    if (!left || !right) return std::nullopt;
    if (text[at] == '-' && *left < *right) return std::nullopt;
    if (text[at] == '/' && (*right == 0 || *right > 9 || *left % *right != 0)) return std::nullopt;
    return ArithmeticProblem{*left, text[at], *right};
}

bool verify_arithmetic(const ArithmeticProblem& problem, std::string_view written) {
    if (written.size() > kMaxWritten) return false;
    const std::size_t at = written.find('#');
    return at != std::string_view::npos && written.substr(at + 1) == std::to_string(problem.answer()) + "\n";
}

std::optional<uint64_t> calculate(std::string_view query) {
    const std::size_t at = query.find('*');
    if (at == std::string_view::npos) return std::nullopt;
    const auto left = parse_number(query.substr(0, at), 6), right = parse_number(query.substr(at + 1), 1);
    if (!left || !right) return std::nullopt;
    return *left * *right;
}

ArithmeticSplit arithmetic_split(const ArithmeticProblem& problem) {
    ArithmeticProblem canonical = problem;
    if ((problem.operation == '+' || problem.operation == '*') && problem.left < problem.right) std::swap(canonical.left, canonical.right);
    const uint64_t percentile = hash_bytes(canonical.text()) % 100;
    return percentile < 80 ? ArithmeticSplit::train : percentile < 85 ? ArithmeticSplit::validation : ArithmeticSplit::test;
}

std::vector<std::string> arithmetic_tasks(uint64_t seed, std::size_t n, ArithmeticSplit split, const ArithmeticTaskOptions& given) {
    ArithmeticTaskOptions options = given;
    require_digits("digits", options.digits);
    if (options.products.empty()) options.products = options.digits == 1 ? std::vector<std::pair<int, int>>{{1, 1}} : std::vector<std::pair<int, int>>{{options.digits, 1}, {2, 2}};
    if (options.dividend_digits == 0) options.dividend_digits = options.digits;
    require_digits("dividend_digits", options.dividend_digits);
    for (const auto& [left, right] : options.products) {
        require_digits("products", left);
        require_digits("products", right);
    }
    if (options.operations.empty() || options.operations.find_first_not_of("+-*/") != std::string::npos) {
        throw std::invalid_argument("operations must be made of + - * /, got \"" + options.operations + "\"");
    }

    constexpr int kDistinctDraws = 64, kDraws = 10000;
    SplitMix64 random(mix64(seed ^ 0x61726974686d6574ull));
    std::vector<std::string> tasks;
    tasks.reserve(n);
    std::unordered_set<std::string> seen;
    for (std::size_t i = 0; i < n; ++i) {
        const char operation = options.operations[i % options.operations.size()];
        std::string task;
        for (int draw = 0; draw < kDraws && (task.empty() || draw < kDistinctDraws); ++draw) {
            const ArithmeticProblem problem = draw_problem(operation, options, random);
            if (arithmetic_split(problem) != split) continue;
            task = problem.text();
            if (seen.insert(task).second) break;
        }
        if (task.empty()) throw std::invalid_argument(std::string("split must hold a problem of each operation, got none of ") + operation + " with these digits");
        tasks.push_back(std::move(task));
    }
    return tasks;
}

Arithmetic::Arithmetic(std::shared_ptr<const ByteEncoding> encoding, bool calculator) : encoding_(std::move(encoding)), calculator_(calculator) {}

Observation Arithmetic::ask(std::string_view heard) const {
    Observation observation;
    observation.tokens = encoding_->encode(heard);
    observation.stop = {encoding_->id('\n')};
    if (calculator_) observation.stop.push_back(encoding_->id('?'));
    observation.max_action_tokens = budget_;
    observation.thought_until = encoding_->id('#');
    return observation;
}

Step Arithmetic::reset(const std::string& task, uint64_t) {
    const auto problem = parse_arithmetic(task);
    if (!problem) {
        throw std::invalid_argument("task must be a problem like 347+586, 586-347, 47*36 or 852/4 of at most nine digits each, got \"" + task.substr(0, 40) + "\"");
    }
    problem_ = *problem;
    written_.clear();
    calls_.clear();
    const std::string prompt = task + "\n";
    budget_ = 16 + 2 * static_cast<int>(arithmetic_document(problem_, calculator_).size() - prompt.size());
    Step step;
    step.observations.push_back(ask(prompt));
    step.rewards = {0.0f};
    return step;
}

Step Arithmetic::step(const int32_t* action, std::size_t length) {
    const std::string text = encoding_->decode(action, length);
    written_ += text;
    budget_ -= static_cast<int>(length);
    Step step;
    step.rewards = {0.0f};
    if (!text.empty() && text.back() == '\n') {
        step.rewards[0] = verify_arithmetic(problem_, written_) ? 1.0f : 0.0f;
        step.terminated = true;
        return step;
    }
    if (calculator_ && !text.empty() && text.back() == '?') {
        const std::string_view asked(text.data(), text.size() - 1);
        const std::size_t before = asked.find_last_of(";!");
        const std::string query(before == std::string_view::npos ? asked : asked.substr(before + 1));
        const auto product = calculate(query);
        if (product) calls_.emplace_back(query, *product);
        const std::string reply = (product ? std::to_string(*product) : "E") + ";";
        budget_ -= static_cast<int>(reply.size());
        if (budget_ > 0) {
            step.observations.push_back(ask(reply));
            return step;
        }
    }
    step.truncated = true;
    return step;
}

}  // namespace paradigm
