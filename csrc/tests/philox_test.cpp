// Philox against Random123's published answers (kat_vectors, philox4x32 10), and the noise derived from it.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "check.h"

#include "paradigm/philox.h"

using namespace paradigm;

namespace {

void known_answers() {
    const uint32_t f = 0xffffffffu;
    CHECK((philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
    CHECK((philox4x32({f, f, f, f}, {f, f}) == std::array<uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
    CHECK((philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) ==
           std::array<uint32_t, 4>{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

void keys_differ() {
    std::set<uint64_t> keys;
    int count = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
        for (uint64_t step = 0; step < 20; ++step) {
            for (uint64_t attempt = 0; attempt < 20; ++attempt, ++count) keys.insert(noise_key(seed, step, attempt));
        }
    }
    CHECK(static_cast<int>(keys.size()) == count);
    CHECK(noise_key(1, 2) == noise_key(1, 2, 0));
    // one flipped input bit flips 32 of 64 output bits, give or take
    for (int word = 0; word < 3; ++word) {
        double flipped = 0;
        for (int bit = 0; bit < 64; ++bit) {
            uint64_t words[3] = {7, 11, 13};
            const uint64_t before = noise_key(words[0], words[1], words[2]);
            words[word] ^= uint64_t{1} << bit;
            flipped += __builtin_popcountll(before ^ noise_key(words[0], words[1], words[2])) / 64.0;
        }
        CHECK(flipped > 29.5 && flipped < 34.5);  // the mean's standard deviation is 0.5
    }
}

void noise_is_in_range() {
    CHECK(uniform_of_bits(0) > 0.0 && uniform_of_bits(0xffffffffu) < 1.0);
    CHECK(gumbel_of_bits(0) < 22.88 && gumbel_of_bits(0) > 22.87);
    CHECK(gumbel_of_bits(0xffffffffu) > -3.14 && gumbel_of_bits(0xffffffffu) < -3.12);
    CHECK(noise_bits(5, 6, 7, 9) == philox4x32({2, 7, 6, 0}, {5, 0})[1]);
    CHECK(noise_bits(uint64_t{5} << 32, uint64_t{6} << 32, 7, 8) == philox4x32({2, 7, 0, 6}, {0, 5})[0]);
    double sum = 0, squares = 0;
    const int count = 200000;
    for (int i = 0; i < count; ++i) {
        const double g = gumbel_of_bits(noise_bits(noise_key(1, 2), 3, 4, i));
        sum += g;
        squares += g * g;
    }
    const double mean = sum / count, variance = squares / count - mean * mean;
    CHECK(std::fabs(mean - 0.5772156649) < 4 * 1.2825 / std::sqrt(count));
    CHECK(std::fabs(variance - 1.6449340668) < 0.03);
}

}  // namespace

int main() {
    known_answers();
    keys_differ();
    noise_is_in_range();
    std::puts("philox_test passed");
}
