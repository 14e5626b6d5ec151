// Stop strings against a plain search of everything that was said.
#include <cstdio>
#include <random>
#include <stdexcept>

#include "check.h"
#include "paradigm/stop_strings.h"

using namespace paradigm;

namespace {

void finds_what_a_plain_search_finds() {
    std::mt19937 random(3);
    const auto word = [&random](std::size_t least, std::size_t most) {
        std::string text(least + random() % (most - least + 1), 'a');
        for (char& c : text) c = static_cast<char>("ab\xFF"[random() % 3]);
        return text;
    };
    int64_t num_found = 0, num_inside = 0;
    for (int round = 0; round < 3000; ++round) {
        auto vocabulary = std::make_shared<TokenBytes>();
        std::vector<std::string> said(8);
        for (std::size_t token = 1; token < said.size(); ++token) said[token] = word(1, 4);  // token 0 says nothing
        for (const std::string& bytes : said) vocabulary->add(bytes);
        std::vector<std::string> strings;
        for (std::size_t i = 0; i < 1 + random() % 4; ++i) strings.push_back(word(1, 7));
        const StopStrings stop(vocabulary, strings, {9});
        std::string text;
        int32_t state = 0;
        for (int step = 0; step < 12; ++step) {
            const auto token = static_cast<std::size_t>(random() % 8);
            text = said[token].empty() ? "" : text + said[token];
            bool expected = false;
            for (const std::string& string : strings) {
                const std::size_t at = text.find(string);
                expected = expected || at != std::string::npos;
                num_inside += at != std::string::npos && at + string.size() < text.size() ? 1 : 0;
            }
            CHECK(stop.reads_end(static_cast<int32_t>(token), state) == expected);
            num_found += expected ? 1 : 0;
            if (expected) break;
        }
        state = 0;
        CHECK(stop.reads_end(9, state) && !stop.reads_end(100, state) && !stop.reads_end(-1, state));
    }
    CHECK(num_found > 1000 && num_inside > 200);
}

void bad_input_is_named() {
    const auto refuses = [](const std::string& expected, const std::shared_ptr<const TokenBytes>& vocabulary, std::vector<std::string> strings) {
        try {
            const StopStrings stop(vocabulary, std::move(strings), {});
        } catch (const std::invalid_argument& error) {
            CHECK(std::string(error.what()).find(expected) != std::string::npos);
            return;
        }
        CHECK(false);
    };
    refuses("must not be empty", std::make_shared<TokenBytes>(), {"a", ""});
    refuses("needs to know what tokens say", nullptr, {"a"});
    int32_t state = 0;
    CHECK(StopStrings(nullptr, {}, {4}).reads_end(4, state) && !StopStrings(nullptr, {}, {4}).reads_end(5, state));
}

}  // namespace

int main() {
    finds_what_a_plain_search_finds();
    bad_input_is_named();
    std::puts("stop_strings_test: ok");
}
