// Worked arithmetic: `347+586\n` -> `7+6+0=13;4+8+1=13;3+5+1=09;#933\n`.
//
// A problem is left operation right: canonical decimals of at most nine digits; `-` has left >= right, `/` an exact one-digit divisor.
// The scratch work is a row of steps, each one digit operation whose operands stand in the problem or in the step before:
//   sum         a+b+carry=carry,digit;         columns from the right, a missing digit is 0
//   difference  a-b-borrow=borrow,digit;       columns from the right
//   product     a*b+carry=carry,digit;         multi-digit by one digit, columns from the right
//   quotient    dividend/b=digit r remainder;  long division from the left: 8/4=2r0;05/4=1r1;12/4=3r0;
//   products of two multi-digit numbers: the partial products, units of the multiplier first, each asked of the calculator (`47*6?`, answered
//   `282;`) or worked by columns and then stated (`282;`); then sums of the shifted partial products, a sum that is not the last stated too.
// A step ended by `!` instead of `;` is withdrawn and done again. The answer is `#`, the number without leading zeros, a newline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "paradigm/byte_encoding.h"
#include "paradigm/environment.h"

namespace paradigm {

inline constexpr char kArithmeticAlphabet[] = "0123456789+-*/=;!?#\nrE";

struct ArithmeticProblem {
    uint64_t left = 0;
    char operation = '+';
    uint64_t right = 0;

    uint64_t answer() const;
    std::string text() const;
};

// Nothing where the text is not a problem as defined above.
std::optional<ArithmeticProblem> parse_arithmetic(std::string_view text);

// True where `written`, all that the policy wrote, holds one `#` and ends with `#answer\n`. Longer than 16,384 bytes: false.
bool verify_arithmetic(const ArithmeticProblem& problem, std::string_view written);

// The calculator's reply to `query`: the product of a number of at most six digits and one digit; nothing for any other query.
std::optional<uint64_t> calculate(std::string_view query);

enum class ArithmeticSplit : uint8_t { train, validation, test };

// 80 / 5 / 15 in a hundred by a hash of the problem with the larger operand of a sum or product first: a problem and its mirror fall together.
ArithmeticSplit arithmetic_split(const ArithmeticProblem& problem);

struct ArithmeticTaskOptions {
    std::string operations = "+-*/";           // one of these after the other
    int digits = 3;                            // `+`, `-`: operands uniform below 10^digits, the larger first in `-`
    std::vector<std::pair<int, int>> products;  // `*`: digits of the operands, drawn evenly; one-digit multipliers are 2..9. Empty: {digits, 1}, {2, 2}
    int dividend_digits = 0;                   // `/`: divisors 2..9, quotients from 1 while the dividend has at most so many digits; 0: digits
};

// n problems of one split, distinct as far as there are enough. A longer list starts with the shorter one of the same seed.
// Throws std::invalid_argument for options out of range or a split without such problems.
std::vector<std::string> arithmetic_tasks(uint64_t seed, std::size_t n, ArithmeticSplit split, const ArithmeticTaskOptions& options);

// The problem and its faultless solution, the calculator's replies included: one document.
std::string arithmetic_document(const ArithmeticProblem& problem, bool calculator);

// One seat. The prompt is the problem and a newline; an action ends at a newline (the answer), or at `?` where there is a calculator.
// Reward: 1 for a verified answer, else 0. An episode is truncated when actions and replies exceed twice the faultless solution plus 16 tokens.
class Arithmetic final : public Environment {
  public:
    Arithmetic(std::shared_ptr<const ByteEncoding> encoding, bool calculator);

    int num_seats() const override { return 1; }
    Step reset(const std::string& task, uint64_t seed) override;
    Step step(const int32_t* action, std::size_t length) override;
    std::unique_ptr<Environment> clone() const override { return std::make_unique<Arithmetic>(*this); }

    const ArithmeticProblem& problem() const { return problem_; }
    bool calculator() const { return calculator_; }
    const ByteEncoding& encoding() const { return *encoding_; }
    // Queries that were answered, in order, with their replies.
    const std::vector<std::pair<std::string, uint64_t>>& calls() const { return calls_; }

  private:
    Observation ask(std::string_view heard) const;

    std::shared_ptr<const ByteEncoding> encoding_;
    bool calculator_;
    ArithmeticProblem problem_;
    std::string written_;
    std::vector<std::pair<std::string, uint64_t>> calls_;
    int budget_ = 0;  // tokens that may still enter the stream
};

// Writes worked solutions with noise. A step's result is wrong with probability error_rate; a wrong step is noticed with probability
// notice_rate, withdrawn by `!` and done again rightly; unnoticed, its wrong digits are carried on into later steps and the answer.
// A wrong result is uniform over the other results of its kind, save that the last quotient digit of a division is always wrong in it
// (its remainder reaches no answer). So an answer of n steps is right with probability (1 - error_rate (1 - notice_rate))^n, and a
// little more by errors that cancel.
class ArithmeticDemonstrator final : public Player {
  public:
    ArithmeticDemonstrator(double error_rate, double notice_rate);
    std::vector<int32_t> act(const Environment& environment, const Observation& observation, uint64_t seed) const override;

  private:
    double error_rate_;
    double notice_rate_;
};

struct ScratchStep {
    std::size_t begin = 0, end = 0;            // of its text; the terminator is at end - 1
    std::size_t first_digit = 0, second_digit = 0;  // of its result; both 0 where the step is malformed
    bool right = false;
    bool withdrawn = false;  // ended by `!`
};

// The steps of a stream that may start with a prompt. What is cut off before its terminator is no step.
std::vector<ScratchStep> scratch_steps(std::string_view text);

enum class ArithmeticLabel : uint8_t { prompt, right, wrong, corrected, injected };

// A label a token: `wrong` for a step whose own arithmetic is wrong, an answer that is, or a query refused; `corrected` for a step withdrawn;
// `injected` for a token of the stream that the policy did not write, after its first one that it did.
std::vector<ArithmeticLabel> arithmetic_labels(std::string_view text, const bool* action_mask);

}  // namespace paradigm
