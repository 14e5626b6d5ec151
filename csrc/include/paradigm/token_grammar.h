// What an action may say, asked token by token: the rule's own state goes from token to token with the action.
//
// An action's tokens are the legal ones of each place; the tokens that stop it are legal where it may end, and there alone. It is over where
// nothing else is legal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace paradigm {

class TokenMatcher {
  public:
    virtual ~TokenMatcher() = default;

    // Sets bit v % 32 of word v / 32 for each token v that may come next; all are 0 before. Returns whether the action may end here.
    virtual bool fill(uint32_t* words, std::size_t num_words) = 0;

    // The next token, one that may come here.
    virtual void read(int32_t token) = 0;
};

// Safe to use from several threads.
class TokenGrammar {
  public:
    virtual ~TokenGrammar() = default;
    virtual std::unique_ptr<TokenMatcher> begin() const = 0;
};

}  // namespace paradigm
