// top-k, top-p and min-p as a cut in the order (logit descending, id ascending). Compiled once an instruction set (isa.h).
//
// Nothing is sorted but a short list: a bound from tile maxima leaves about k candidates for top-k; a histogram of masses over
// logit buckets leaves one bucket's tokens for top-p.
#pragma once

namespace paradigm {
namespace PARADIGM_SIMD {

struct Scale {
    float max;
    float inverse_temperature;
    f32x16 distance(const f32x16& x) const { return (x - broadcast(max)) * broadcast(inverse_temperature); }
};

// Appends tokens first + i with bit i set.
PARADIGM_INLINE int64_t append(Candidate* candidates, int64_t count, mask16 chosen, const f32x16& x, const Scale& scale, int64_t first) {
    float logits[16], masses[16];
    store(logits, x);
    store(masses, exp(scale.distance(x)) * broadcast(static_cast<float>(mass_unit)));
    for (; chosen != 0; chosen &= chosen - 1) {
        const int i = __builtin_ctz(chosen);
        candidates[count++] = {logits[i], static_cast<int32_t>(first + i), static_cast<uint64_t>(masses[i])};
    }
    return count;
}

// The legal tokens with logit >= bound, in ascending id; -inf is never one.
template <bool masked>
int64_t collect_from(const LogitRow& row, float bound, const Scale& scale, RowScratch& scratch) {
    const f32x16 edge = broadcast(bound == minus_infinity ? -__FLT_MAX__ : bound);
    int64_t count = 0;
    for (int64_t tile = 0; tile < scratch.num_tiles; ++tile) {
        if (scratch.tile_max[tile] < bound || scratch.tile_max[tile] == minus_infinity) continue;
        const int64_t begin = tile * tile_size, end = begin + tile_size < row.size ? begin + tile_size : row.size;
        for (int64_t first = begin; first < end; first += 16) {
            const f32x16 x = legal_logits<masked>(row, first);
            const mask16 chosen = less_equal(edge, x);
            if (chosen != 0) count = append(scratch.candidates.get(), count, chosen, x, scale, first);
        }
    }
    return count;
}

// Leaves the kept tokens, in any order, at the front of scratch.candidates and their number in *count.
template <bool masked>
Cut top_k_cut(const LogitRow& row, int64_t k, const Scale& scale, RowScratch& scratch, int64_t* count) {
    // each maximum of a group is one of its elements, so the k-th largest maximum is at most the k-th largest element
    const int64_t num_lanes = 16 * scratch.num_tiles;
    float bound = minus_infinity;
    if (k <= num_lanes) {
        const bool by_tile = k <= scratch.num_tiles;
        const int64_t num_bounds = by_tile ? scratch.num_tiles : num_lanes;
        std::memcpy(scratch.bounds.get(), by_tile ? scratch.tile_max.get() : scratch.lane_max.get(), num_bounds * sizeof(float));
        bound = kth_largest(scratch.bounds.get(), num_bounds, k);
    }
    const int64_t found = collect_from<masked>(row, bound, scale, scratch);
    *count = found < k ? found : k;
    return found < k ? Cut{} : kth_candidate(scratch.candidates.get(), found, k);
}

// The smallest prefix of all legal tokens whose mass is at least top_p * sum.
template <bool masked>
Cut top_p_cut(const LogitRow& row, float top_p, double sum, const Scale& scale, RowScratch& scratch) {
    uint64_t* const histogram = scratch.histogram.get();  // even lanes, then odd lanes: equal neighbours do not wait for each other
    std::memset(histogram, 0, 2 * num_buckets * sizeof(uint64_t));
    // the tokens below this distance weigh less than (1 - top_p) * sum together, so the prefix ends above it; halved to cover rounding
    const double lowest = std::log(0.5 * (1.0 - static_cast<double>(top_p)) * sum / static_cast<double>(row.size));
    const float edge = lowest < -31.9 ? -31.9f : static_cast<float>(lowest);
    const f32x16 edges = broadcast(edge), per_nat = broadcast(-static_cast<float>(buckets_per_nat));
    for (int64_t tile = 0; tile < scratch.num_tiles; ++tile) {
        if ((scratch.tile_max[tile] - scale.max) * scale.inverse_temperature < edge) continue;
        const int64_t begin = tile * tile_size, end = begin + tile_size < row.size ? begin + tile_size : row.size;
        for (int64_t first = begin; first < end; first += 16) {
            const f32x16 d = scale.distance(legal_logits<masked>(row, first));
            mask16 chosen = less_equal(edges, d);
            if (chosen == 0) continue;
            uint32_t bucket[16];
            float mass[16];
            store(bucket, truncate(paradigm::PARADIGM_SIMD::max(d, broadcast(-31.95f)) * per_nat));
            store(mass, exp(d) * broadcast(static_cast<float>(mass_unit)));
            if (chosen == 0xFFFFu) {
                for (int i = 0; i < 16; ++i) histogram[(i % 2) * num_buckets + bucket[i]] += static_cast<uint64_t>(static_cast<int64_t>(mass[i]));
            } else {
                for (; chosen != 0; chosen &= chosen - 1) {
                    const int i = __builtin_ctz(chosen);
                    histogram[(i % 2) * num_buckets + bucket[i]] += static_cast<uint64_t>(static_cast<int64_t>(mass[i]));
                }
            }
        }
    }
    const double target = static_cast<double>(top_p) * sum * mass_unit;
    uint64_t before = 0;
    int boundary = 0;
    for (; boundary < num_buckets; ++boundary) {
        const uint64_t mass = histogram[boundary] + histogram[num_buckets + boundary];
        if (static_cast<double>(before + mass) >= target) break;
        before += mass;
    }
    if (boundary == num_buckets) return {};
    // bucket b holds b <= -32 d < b + 1; the products are exact, so this is the same partition as truncation's
    const f32x16 low = broadcast(static_cast<float>(boundary)), high = broadcast(static_cast<float>(boundary + 1));
    int64_t count = 0;
    for (int64_t tile = 0; tile < scratch.num_tiles; ++tile) {
        const float nearest = (scratch.tile_max[tile] - scale.max) * scale.inverse_temperature;
        if (nearest < edge || nearest * -static_cast<float>(buckets_per_nat) >= static_cast<float>(boundary + 1)) continue;
        const int64_t begin = tile * tile_size, end = begin + tile_size < row.size ? begin + tile_size : row.size;
        for (int64_t first = begin; first < end; first += 16) {
            const f32x16 x = legal_logits<masked>(row, first);
            const f32x16 d = scale.distance(x), place = d * per_nat;
            const mask16 chosen = less_equal(low, place) & less(place, high) & less_equal(edges, d);
            if (chosen != 0) count = append(scratch.candidates.get(), count, chosen, x, scale, first);
        }
    }
    return cut_at_mass(scratch.candidates.get(), count, before, target);
}

struct Filters {
    int32_t top_k;
    float top_p;
    float min_p;
};

// `sum` is the mass of all legal tokens.
template <bool masked>
Cut filter_cut(const LogitRow& row, const Filters& filters, double sum, const Scale& scale, RowScratch& scratch) {
    Cut cut;
    if (filters.top_k > 0 && filters.top_k < row.size) {
        int64_t count = 0;
        cut = top_k_cut<masked>(row, filters.top_k, scale, scratch, &count);
        if (filters.top_p < 1.0f) {
            uint64_t mass = 0;
            for (int64_t i = 0; i < count; ++i) mass += scratch.candidates[i].mass;
            cut = cut_at_mass(scratch.candidates.get(), count, 0, static_cast<double>(filters.top_p) * static_cast<double>(mass));
        }
    } else if (filters.top_p < 1.0f) {
        cut = top_p_cut<masked>(row, filters.top_p, sum, scale, scratch);
    }
    if (filters.min_p > 0.0f) {
        const float lowest = min_p_logit(filters.min_p, scale.max, scale.inverse_temperature);
        if (lowest > cut.logit) cut = {lowest, std::numeric_limits<int32_t>::max()};
    }
    return cut;
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
