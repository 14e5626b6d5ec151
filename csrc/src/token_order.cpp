// The order in which filters keep tokens (logit descending, id ascending), on short lists of candidates.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "token_rows.h"

namespace paradigm {

namespace {

bool comes_before(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

// Floats as integers of the same order, so that a bisection visits every float once.
int64_t rank_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits >= 0 ? bits : -static_cast<int64_t>(bits & 0x7FFFFFFF);
}
float float_of_rank(int64_t rank) {
    const uint32_t bits = rank >= 0 ? static_cast<uint32_t>(rank) : 0x80000000u | static_cast<uint32_t>(-rank);
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

}  // namespace

float kth_largest(float* values, int64_t count, int64_t k) {
    std::nth_element(values, values + (k - 1), values + count, std::greater<float>());
    return values[k - 1];
}

Cut kth_candidate(Candidate* candidates, int64_t count, int64_t k) {
    std::nth_element(candidates, candidates + (k - 1), candidates + count, comes_before);
    return {candidates[k - 1].logit, candidates[k - 1].id};
}

Cut cut_at_mass(Candidate* candidates, int64_t count, uint64_t before, double target) {
    while (count > 32) {
        const int64_t half = count / 2;
        std::nth_element(candidates, candidates + half, candidates + count, comes_before);
        uint64_t mass = before;
        for (int64_t i = 0; i < half; ++i) mass += candidates[i].mass;
        if (static_cast<double>(mass) >= target) {
            count = half;
        } else {
            before = mass;
            candidates += half;
            count -= half;
        }
    }
    std::sort(candidates, candidates + count, comes_before);
    int64_t last = 0;
    while (last + 1 < count && static_cast<double>(before + candidates[last].mass) < target) before += candidates[last++].mass;
    return {candidates[last].logit, candidates[last].id};
}

float min_p_logit(float min_p, float max, float inverse_temperature) {
    const float lowest = static_cast<float>(std::log(static_cast<double>(min_p)));
    int64_t low = rank_of(-std::numeric_limits<float>::infinity()), high = rank_of(max);  // low is out, high is in
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        ((float_of_rank(middle) - max) * inverse_temperature >= lowest ? high : low) = middle;
    }
    return float_of_rank(high);
}

}  // namespace paradigm
