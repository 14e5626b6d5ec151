// What the tests of CPU kernels share: instruction sets, numbers, bfloat16, comparisons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "paradigm/isa.h"

namespace paradigm {

using Floats = std::vector<float>;
using Halves = std::vector<uint16_t>;

// Those that this machine has.
inline std::vector<Isa> isas() {
    std::vector<Isa> all{Isa::baseline};
    if (best_isa() >= Isa::avx2) all.push_back(Isa::avx2);
    if (best_isa() >= Isa::avx512) all.push_back(Isa::avx512);
    if (best_isa() >= Isa::avx512bf16) all.push_back(Isa::avx512bf16);
    return all;
}

// A linear congruential generator's uniform floats in [-1, 1).
struct Draw {
    uint64_t state = 12345;
    float operator()() {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<float>(static_cast<double>(state >> 33) / (1ull << 30) - 1.0);
    }
    Floats many(std::size_t n, float scale = 1.0f) {
        Floats x(n);
        for (float& v : x) v = scale * (*this)();
        return x;
    }
};

inline Halves rounded(const Floats& x) {
    Halves h(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        uint32_t bits;
        std::memcpy(&bits, &x[i], 4);
        h[i] = static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
    }
    return h;
}
inline Floats widened(const Halves& h) {
    Floats x(h.size());
    for (std::size_t i = 0; i < h.size(); ++i) {
        const uint32_t bits = static_cast<uint32_t>(h[i]) << 16;
        std::memcpy(&x[i], &bits, 4);
    }
    return x;
}

inline double largest(const Floats& x) {
    double m = 0;
    for (float v : x) m = std::max(m, std::fabs(static_cast<double>(v)));
    return m;
}
inline bool near(const Floats& a, const std::vector<double>& b, double tolerance) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(std::fabs(a[i] - b[i]) <= tolerance * (1 + std::fabs(b[i])))) return false;
    }
    return a.size() == b.size();
}

inline bool refused(const std::function<void()>& call) {
    try {
        call();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

}  // namespace paradigm
