// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the small stream behind
// task generators and scripted players. Sampling noise is Philox (philox.h), never this.
#pragma once

#include <cstdint>
#include <string_view>

namespace paradigm {

inline uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// FNV-1a, finished by mix64 so that the low digits of the hash are fit for splits.
inline uint64_t hash_bytes(std::string_view bytes) {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3ull;
    return mix64(hash);
}

class SplitMix64 {
  public:
    explicit SplitMix64(uint64_t seed) : state_(seed) {}

    uint64_t next() { return mix64(state_ += 0x9e3779b97f4a7c15ull); }

    // Uniform in [0, 1).
    double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

    // Uniform in [0, bound) up to a bias of bound / 2^32; bound > 0.
    uint32_t below(uint32_t bound) { return static_cast<uint32_t>(((next() >> 32) * bound) >> 32); }

  private:
    uint64_t state_;
};

}  // namespace paradigm
