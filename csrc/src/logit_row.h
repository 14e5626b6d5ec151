// One row of logits over its legal tokens: its maximum, its log-sum-exp, its entropy. Compiled once an instruction set (isa.h).
#pragma once

namespace paradigm {
namespace PARADIGM_SIMD {

constexpr float minus_infinity = -__builtin_inff();

struct LogitRow {
    const float* logits;
    int64_t size;
    const uint32_t* support;  // null: every token is legal
    const float* next;        // the row that the same thread most likely takes next; null at the end
};

template <typename Rows>
PARADIGM_INLINE LogitRow logit_row(const Rows& rows, int64_t i) {
    const int32_t r = rows.support.row == nullptr ? -1 : rows.support.row[i];
    return {rows.logits + i * rows.stride, rows.vocab_size, r < 0 ? nullptr : rows.support.words + r * rows.support.num_words,
            i + 1 < rows.n ? rows.logits + (i + 1) * rows.stride : nullptr};
}

// Logits of tokens first..first + 15, -inf where a token is illegal or past the end. `first` is a multiple of 16.
template <bool masked>
PARADIGM_INLINE f32x16 legal_logits(const LogitRow& row, int64_t first) {
    const int64_t left = row.size - first;
    const f32x16 x = left >= 16 ? load(row.logits + first) : load_partial(row.logits + first, static_cast<int>(left), minus_infinity);
    if (!masked) return x;
    return select((row.support[first / 32] >> (first % 32)) & 0xFFFFu, x, broadcast(minus_infinity));
}

template <bool masked>
PARADIGM_INLINE bool tile_is_illegal(const LogitRow& row, int64_t tile) {
    if (!masked) return false;
    const int64_t end = (row.size + 31) / 32;
    uint32_t any = 0;
    for (int64_t word = tile * (tile_size / 32); word < (tile + 1) * (tile_size / 32) && word < end; ++word) any |= row.support[word];
    return any == 0;
}

// Bit i: token first + i is kept by the filters.
PARADIGM_INLINE mask16 kept_mask(const f32x16& x, const Cut& cut, int64_t first) {
    const f32x16 edge = broadcast(cut.logit);
    const mask16 ties = equal(x, edge);
    mask16 kept = less(edge, x);
    if (__builtin_expect(ties != 0, 0)) {
        const int64_t count = cut.id - first + 1;
        kept |= ties & (count >= 16 ? 0xFFFFu : count <= 0 ? 0u : (1u << count) - 1u);
    }
    return kept;
}

struct Peak {
    float max;  // -inf: no legal token
    bool is_number;  // false: a legal logit is NaN or +inf
};

// Also fills scratch.lane_max and tile_max where scratch is not null.
template <bool masked>
Peak row_peak(const LogitRow& row, RowScratch* scratch) {
    const int64_t num_tiles = (row.size + tile_size - 1) / tile_size;
    const f32x16 infinity = broadcast(__builtin_inff());
    mask16 numbers = 0xFFFFu;
    float max = minus_infinity;
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
        f32x16 lanes[2] = {broadcast(minus_infinity), broadcast(minus_infinity)};
        if (!tile_is_illegal<masked>(row, tile)) {
            const int64_t begin = tile * tile_size, end = begin + tile_size < row.size ? begin + tile_size : row.size;
            int64_t first = begin;
            for (; first + 32 <= end; first += 32) {
                for (int j = 0; j < 2; ++j) {
                    const f32x16 x = legal_logits<masked>(row, first + 16 * j);
                    numbers &= less(x, infinity);
                    lanes[j] = paradigm::PARADIGM_SIMD::max(x, lanes[j]);
                }
            }
            for (; first < end; first += 16) {
                const f32x16 x = legal_logits<masked>(row, first);
                numbers &= less(x, infinity);
                lanes[0] = paradigm::PARADIGM_SIMD::max(x, lanes[0]);
            }
        }
        lanes[0] = paradigm::PARADIGM_SIMD::max(lanes[0], lanes[1]);
        const float top = max_lanes(lanes[0]);
        if (scratch != nullptr) {
            store(scratch->lane_max.get() + 16 * tile, lanes[0]);
            scratch->tile_max[tile] = top;
        }
        max = top > max ? top : max;
    }
    return {max, numbers == 0xFFFFu};
}

struct Mass {
    double sum = 0.0;       // sum exp(d)
    double weighted = 0.0;  // sum exp(d) d
};

// The one log-sum-exp: sampler, learner and filters all come here. With `cut`, over the tokens it keeps; tile_max may be null.
template <bool masked, bool filtered, bool with_entropy>
__attribute__((noinline)) Mass row_mass(const LogitRow& row, float max, float inverse_temperature, const Cut& cut, const float* tile_max) {
    const int64_t num_tiles = (row.size + tile_size - 1) / tile_size;
    const f32x16 top = broadcast(max), scale = broadcast(inverse_temperature), floor = broadcast(-100.0f), zero = broadcast(0.0f);
    double sums[16] = {}, weighted[16] = {};
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
        // exp is exactly 0 below -100, and adding 0 changes no bit, so such tiles are skipped
        if (tile_max != nullptr) {
            if ((tile_max[tile] - max) * inverse_temperature < -100.0f || (filtered && tile_max[tile] < cut.logit)) continue;
        } else if (tile_is_illegal<masked>(row, tile)) {
            continue;
        }
        const int64_t begin = tile * tile_size;
        const int64_t num_vectors = ((begin + tile_size < row.size ? begin + tile_size : row.size) - begin + 15) / 16;
        f32x16 e[4] = {zero, zero, zero, zero}, ed[4] = {zero, zero, zero, zero};
        const auto add = [&](int64_t first, int j) __attribute__((always_inline)) {
            f32x16 x = legal_logits<masked>(row, first);
            if (filtered) x = select(kept_mask(x, cut, first), x, broadcast(minus_infinity));
            const f32x16 d = paradigm::PARADIGM_SIMD::max(floor, (x - top) * scale);
            const f32x16 mass = exp(d);
            e[j] = e[j] + mass;
            if (with_entropy) ed[j] = ed[j] + mass * d;
        };
        if (num_vectors == tile_size / 16) {
            if (!filtered && row.next != nullptr) {  // while exp keeps the core busy, memory brings what row_peak will read
                for (int64_t line = 0; line < tile_size; line += 16) __builtin_prefetch(row.next + begin + line, 0, 2);
            }
            for (int64_t v = 0; v < tile_size / 16; v += 4) {
                add(begin + 16 * v, 0);
                add(begin + 16 * v + 16, 1);
                add(begin + 16 * v + 32, 2);
                add(begin + 16 * v + 48, 3);
            }
        } else {
            for (int64_t v = 0; v < num_vectors; ++v) add(begin + 16 * v, static_cast<int>(v % 4));
        }
        float lanes[16];
        store(lanes, (e[0] + e[1]) + (e[2] + e[3]));
        for (int i = 0; i < 16; ++i) sums[i] += lanes[i];
        if (with_entropy) {
            store(lanes, (ed[0] + ed[1]) + (ed[2] + ed[3]));
            for (int i = 0; i < 16; ++i) weighted[i] += lanes[i];
        }
    }
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; ++i) {
            sums[i] += sums[i + width];
            weighted[i] += weighted[i + width];
        }
    }
    return {sums[0], weighted[0]};
}

// d of one token in fp64, exact but for the division.
PARADIGM_INLINE double scaled_logit(const LogitRow& row, int64_t token, float max, float temperature) {
    return (static_cast<double>(row.logits[token]) - static_cast<double>(max)) / static_cast<double>(temperature);
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
