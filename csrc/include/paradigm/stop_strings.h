// Text that ends an action, matched on the bytes that its tokens say.
//
// An automaton over bytes (Aho and Corasick, Communications of the ACM 18(6), 1975) reads each token in turn, so a string is found however
// tokens cut it. What is found ends with the token that completes the string; that token may say more. Tokens that say nothing, special ones
// among them, break a match.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace paradigm {

// What each token of a vocabulary of V says.
struct TokenBytes {
    std::vector<std::size_t> offsets{0};  // [V + 1] cuts of bytes
    std::string bytes;

    void add(const std::string& said) {
        bytes += said;
        offsets.push_back(bytes.size());
    }
    int32_t num_tokens() const { return static_cast<int32_t>(offsets.size()) - 1; }
};

class StopStrings {
  public:
    // strings: any of which ends an action. tokens: ids that do so by themselves. Throws std::invalid_argument if a string is empty, or there
    // are strings and no vocabulary.
    StopStrings(std::shared_ptr<const TokenBytes> vocabulary, std::vector<std::string> strings, std::vector<int32_t> tokens);

    const std::vector<std::string>& strings() const { return strings_; }

    // Reads an action's next token; returns whether the action ends with it. `state` is where the automaton stands, 0 before the first.
    bool reads_end(int32_t token, int32_t& state) const;

  private:
    static constexpr int kBytes = 256;

    std::shared_ptr<const TokenBytes> vocabulary_;
    std::vector<std::string> strings_;
    std::vector<int32_t> tokens_;
    std::vector<int32_t> next_;     // [states, 256]
    std::vector<uint8_t> is_final_;  // [states] a string ends here
};

}  // namespace paradigm
