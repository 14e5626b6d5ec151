// Scratch work: writing it, rightly or with noise, and reading it again.
#include <algorithm>
#include <stdexcept>

#include "paradigm/arithmetic.h"
#include "paradigm/split_mix.h"

namespace paradigm {
namespace {

using Digits = std::vector<int>;  // units first

Digits digits_of(uint64_t value) {
    Digits digits;
    do digits.push_back(static_cast<int>(value % 10));
    while (value /= 10);
    return digits;
}

// The number without leading zeros.
std::string text_of(Digits digits) {
    while (digits.size() > 1 && digits.back() == 0) digits.pop_back();
    std::string text;
    for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) text += static_cast<char>('0' + *digit);
    return text;
}

Digits trimmed(Digits digits) {
    while (digits.size() > 1 && digits.back() == 0) digits.pop_back();
    return digits;
}

struct Noise {
    double error_rate = 0.0;
    double notice_rate = 0.0;
    SplitMix64 random{0};
};

// Writes steps into `text` and goes on from the digits it wrote, wrong ones included.
class Writer {
  public:
    explicit Writer(Noise noise) : noise_(noise) {}

    std::string text;

    Digits sum(const Digits& left, const Digits& right, std::size_t shift) {
        const auto digit = [](const Digits& digits, std::size_t i) { return i < digits.size() ? digits[i] : 0; };
        Digits total;
        int carry = 0;
        for (std::size_t i = 0; i < std::max(left.size(), right.size() + shift); ++i) {
            const int a = digit(left, i), b = i < shift ? 0 : digit(right, i - shift);
            carry = column(a, '+', b, '+', carry, a + b + carry, 20, total);
        }
        total.push_back(carry);
        return trimmed(total);
    }

    Digits difference(const Digits& left, const Digits& right) {
        Digits total;
        int borrow = 0;
        for (std::size_t i = 0; i < left.size(); ++i) {
            const int a = left[i], b = i < right.size() ? right[i] : 0, value = a - b - borrow;
            borrow = column(a, '-', b, '-', borrow, value < 0 ? 20 + value : value, 20, total);
        }
        return trimmed(total);
    }

    Digits product(const Digits& left, int right) {
        Digits total;
        int carry = 0;
        for (const int a : left) carry = column(a, '*', right, '+', carry, a * right + carry, 90, total);
        total.push_back(carry);
        return trimmed(total);
    }

    Digits quotient(const Digits& left, int divisor) {
        Digits quotients;
        int remainder = 0;
        for (std::size_t i = left.size(); i-- > 0;) {
            const int dividend = 10 * remainder + left[i];
            std::string expression;
            if (i + 1 < left.size()) expression += digit(remainder);
            expression += {digit(left[i]), '/', digit(divisor), '='};
            const int right = 10 * (dividend / divisor) + dividend % divisor;
            const bool last = i == 0;
            const auto draw = [&](SplitMix64& random) {
                int wrong;
                do wrong = static_cast<int>(10 * random.below(10) + random.below(static_cast<uint32_t>(divisor)));
                while (wrong == right || (last && wrong / 10 == right / 10));
                return wrong;
            };
            const int result = write(expression, right, "r", draw);
            quotients.insert(quotients.begin(), result / 10);
            remainder = result % 10;
        }
        return trimmed(quotients);
    }

    // Partial products not given are worked by columns and stated.
    Digits long_product(const Digits& left, const Digits& right, const std::vector<Digits>& given) {
        std::vector<Digits> partials = given;
        while (partials.size() < right.size()) {
            partials.push_back(product(left, right[partials.size()]));
            text += text_of(partials.back()) + ";";
        }
        Digits total = partials[0];
        for (std::size_t i = 1; i < partials.size(); ++i) {
            total = sum(total, partials[i], i);
            if (i + 1 < partials.size()) text += text_of(total) + ";";
        }
        return total;
    }

  private:
    static char digit(int value) { return static_cast<char>('0' + value); }

    // Writes one column, appends the digit it leaves to `total`, and returns what it carries.
    int column(int a, char first, int b, char second, int carry, int right, int num_results, Digits& total) {
        const auto draw = [&](SplitMix64& random) {
            const int wrong = static_cast<int>(random.below(static_cast<uint32_t>(num_results - 1)));
            return wrong + (wrong >= right ? 1 : 0);
        };
        const int result = write({digit(a), first, digit(b), second, digit(carry), '='}, right, "", draw);
        total.push_back(result % 10);
        return result / 10;
    }

    template <typename Draw>
    int write(const std::string& expression, int right, const char* between, const Draw& draw) {
        const auto state = [&](int result) { text += expression + digit(result / 10) + between + digit(result % 10); };
        if (noise_.error_rate > 0.0 && noise_.random.uniform() < noise_.error_rate) {
            const int wrong = draw(noise_.random);
            state(wrong);
            if (noise_.random.uniform() >= noise_.notice_rate) {
                text += ';';
                return wrong;
            }
            text += '!';
        }
        state(right);
        text += ';';
        return right;
    }

    Noise noise_;
};

bool asks_calculator(const ArithmeticProblem& problem, bool calculator) {
    return calculator && problem.operation == '*' && problem.left > 9 && problem.right > 9 && problem.left < 1000000;
}

// The steps and the answer, given the calculator's replies so far.
std::string work_out(const ArithmeticProblem& problem, const std::vector<Digits>& replies, Noise noise) {
    Writer writer(noise);
    const Digits left = digits_of(problem.left), right = digits_of(problem.right);
    Digits answer;
    switch (problem.operation) {
        case '+': answer = writer.sum(left, right, 0); break;
        case '-': answer = writer.difference(left, right); break;
        case '/': answer = writer.quotient(left, right[0]); break;
        default:
            if (right.size() == 1) answer = writer.product(left, right[0]);
            else if (left.size() == 1) answer = writer.product(right, left[0]);
            else answer = writer.long_product(left, right, replies);
    }
    return writer.text + "#" + text_of(answer) + "\n";
}

bool matches(std::string_view text, std::string_view pattern) {  // `d` stands for any digit
    if (text.size() != pattern.size()) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool is_digit = text[i] >= '0' && text[i] <= '9';
        if (pattern[i] == 'd' ? !is_digit : text[i] != pattern[i]) return false;
    }
    return true;
}

// `text` lacks its terminator and has `=`.
ScratchStep read_step(std::string_view text) {
    const auto value = [&](std::size_t at) { return text[at] - '0'; };
    ScratchStep step;
    if (matches(text, "d/d=drd") || matches(text, "dd/d=drd")) {
        const std::size_t at = text.size() - 6;  // of the division sign
        const int dividend = at == 1 ? value(0) : 10 * value(0) + value(1), divisor = value(at + 1);
        step.first_digit = at + 3;
        step.second_digit = at + 5;
        step.right = divisor > 0 && value(at + 5) < divisor && dividend == divisor * value(at + 3) + value(at + 5);
        return step;
    }
    int right;
    if (matches(text, "d+d+d=dd")) right = value(0) + value(2) + value(4);
    else if (matches(text, "d*d+d=dd")) right = value(0) * value(2) + value(4);
    else if (matches(text, "d-d-d=dd")) {
        right = value(0) - value(2) - value(4);
        if (right < 0) right += 20;  // a borrow of 1, and the digit ten higher
    } else {
        return step;
    }
    step.first_digit = 6;
    step.second_digit = 7;
    step.right = right == 10 * value(6) + value(7);
    return step;
}

}  // namespace

std::string arithmetic_document(const ArithmeticProblem& problem, bool calculator) {
    std::string text = problem.text() + "\n";
    std::vector<Digits> replies;
    if (asks_calculator(problem, calculator)) {
        for (const int digit : digits_of(problem.right)) {
            const uint64_t product = problem.left * static_cast<uint64_t>(digit);
            text += std::to_string(problem.left) + "*" + std::to_string(digit) + "?" + std::to_string(product) + ";";
            replies.push_back(digits_of(product));
        }
    }
    return text + work_out(problem, replies, Noise{});
}

ArithmeticDemonstrator::ArithmeticDemonstrator(double error_rate, double notice_rate) : error_rate_(error_rate), notice_rate_(notice_rate) {
    const auto require_share = [](const char* name, double value) {
        if (!(value >= 0.0 && value <= 1.0)) throw std::invalid_argument(std::string(name) + " must be in [0, 1], got " + std::to_string(value));
    };
    require_share("error_rate", error_rate);
    require_share("notice_rate", notice_rate);
}

std::vector<int32_t> ArithmeticDemonstrator::act(const Environment& environment, const Observation&, uint64_t seed) const {
    const auto* world = dynamic_cast<const Arithmetic*>(&environment);
    if (world == nullptr) throw std::invalid_argument("the arithmetic demonstrator plays only in the arithmetic environment");
    const ArithmeticProblem& problem = world->problem();
    std::vector<Digits> replies;
    if (asks_calculator(problem, world->calculator())) {
        const Digits multiplier = digits_of(problem.right);
        const auto query = [&](std::size_t i) { return std::to_string(problem.left) + "*" + std::to_string(multiplier[i]); };
        for (const auto& [asked, reply] : world->calls()) {
            if (replies.size() < multiplier.size() && asked == query(replies.size())) replies.push_back(digits_of(reply));
        }
        if (replies.size() < multiplier.size()) return world->encoding().encode(query(replies.size()) + "?");
    }
    // The problem enters the seed: one seed for many episodes must not put the same errors into all of them.
    const Noise noise{error_rate_, notice_rate_, SplitMix64(mix64(seed ^ hash_bytes(problem.text())))};
    return world->encoding().encode(work_out(problem, replies, noise));
}

std::vector<ScratchStep> scratch_steps(std::string_view text) {
    std::vector<ScratchStep> steps;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char byte = text[i];
        const std::string_view segment = text.substr(begin, i - begin);
        if ((byte == ';' || byte == '!') && segment.find('=') != std::string_view::npos) {
            ScratchStep step = read_step(segment);
            step.withdrawn = byte == '!';
            step.begin = begin;
            step.end = i + 1;
            if (step.second_digit > 0) {
                step.first_digit += begin;
                step.second_digit += begin;
            }
            steps.push_back(step);
        }
        if (byte == ';' || byte == '!' || byte == '?' || byte == '#' || byte == '\n') begin = i + 1;
    }
    return steps;
}

std::vector<ArithmeticLabel> arithmetic_labels(std::string_view text, const bool* action_mask) {
    std::vector<ArithmeticLabel> labels(text.size(), ArithmeticLabel::prompt);
    std::size_t start = 0;
    while (start < text.size() && !action_mask[start]) ++start;
    if (start == text.size()) return labels;
    const auto mark = [&labels](std::size_t begin, std::size_t end, ArithmeticLabel label) { std::fill(labels.begin() + begin, labels.begin() + end, label); };
    mark(start, text.size(), ArithmeticLabel::right);
    for (const ScratchStep& step : scratch_steps(text.substr(start))) {
        const ArithmeticLabel label = step.withdrawn ? ArithmeticLabel::corrected : step.right ? ArithmeticLabel::right : ArithmeticLabel::wrong;
        mark(start + step.begin, start + step.end, label);
    }
    for (std::size_t asked = text.find('?', start), from = start; asked != std::string_view::npos; from = asked + 1, asked = text.find('?', from)) {
        if (text.substr(asked + 1, 2) != "E;") continue;
        const std::size_t before = text.substr(0, asked).find_last_of(";!?\n");
        mark(std::max(start, before + 1), asked + 1, ArithmeticLabel::wrong);
    }
    const std::size_t answer = text.find('#', start);
    if (answer != std::string_view::npos) {
        std::string_view prompt = text.substr(0, start);
        if (!prompt.empty() && prompt.back() == '\n') prompt.remove_suffix(1);
        const std::size_t line = prompt.find_last_of('\n');
        const auto problem = parse_arithmetic(line == std::string_view::npos ? prompt : prompt.substr(line + 1));
        if (!problem || !verify_arithmetic(*problem, text.substr(start))) mark(answer, text.size(), ArithmeticLabel::wrong);
    }
    for (std::size_t i = start; i < text.size(); ++i) {
        if (!action_mask[i]) labels[i] = ArithmeticLabel::injected;
    }
    return labels;
}

}  // namespace paradigm
