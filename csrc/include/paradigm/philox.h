// Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011),
// and the sampling noise made of it: a pure function of (key, trajectory, position, token).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace paradigm {

constexpr uint32_t philox_multiplier_0 = 0xD2511F53u, philox_multiplier_1 = 0xCD9E8D57u;
constexpr uint32_t philox_weyl_0 = 0x9E3779B9u, philox_weyl_1 = 0xBB67AE85u;
constexpr int philox_rounds = 10;

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    for (int round = 0; round < philox_rounds; ++round) {
        const uint64_t a = static_cast<uint64_t>(philox_multiplier_0) * counter[0];
        const uint64_t b = static_cast<uint64_t>(philox_multiplier_1) * counter[2];
        counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
                   static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
        key[0] += philox_weyl_0;
        key[1] += philox_weyl_1;
    }
    return counter;
}

// A bijection of 64 bits in which every input bit flips every output bit with probability near 1/2: the finaliser of SplitMix64
// (Steele, Lea, Flood 2014, with Stafford's constants, variant 13).
inline uint64_t mix_bits(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

// The Philox key of one collection of rollouts. The words are absorbed in turn, each through a bijection, so two triples that
// differ in one word only never share a key, and any two others do so with probability 2^-64.
inline uint64_t noise_key(uint64_t seed, uint64_t step, uint64_t attempt = 0) {
    uint64_t key = 0;
    for (const uint64_t word : {seed, step, attempt}) key = mix_bits((key ^ word) + 0x9E3779B97F4A7C15u);
    return key;
}

// The 32 random bits of one token; key's low word is Philox's first key word.
inline uint32_t noise_bits(uint64_t key, uint64_t trajectory, uint32_t position, uint32_t token) {
    return philox4x32({token / 4, position, static_cast<uint32_t>(trajectory), static_cast<uint32_t>(trajectory >> 32)},
                      {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)})[token % 4];
}

// u in (0, 1), never 0 or 1.
inline double uniform_of_bits(uint32_t bits) { return (bits + 0.5) * 0x1p-32; }

// A standard Gumbel variate: argmax over tokens of z + gumbel draws from softmax(z). Between -3.14 and 22.88.
inline double gumbel_of_bits(uint32_t bits) { return -std::log(-std::log1p(-uniform_of_bits(bits))); }

}  // namespace paradigm
