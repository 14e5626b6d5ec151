// The Gumbel argmax over one row. Compiled once an instruction set (isa.h).
//
// Noise bits are drawn for every kept token, sixteen and more at a time, but logarithms are taken only for tokens that can still win:
// -log(-log1p(-u)) <= -log u, and the exponent and mantissa bits of an fp32 bound log2 from below (log2(1 + m) >= m).
#pragma once

namespace paradigm {
namespace PARADIGM_SIMD {

typedef uint64_t native_u64 __attribute__((vector_size(native_bytes)));
constexpr int lanes64 = native_bytes / 8;

// Products of the low halves of 64-bit lanes.
PARADIGM_INLINE native_u64 multiply_low(native_u64 a, native_u64 b) {
#if PARADIGM_SIMD_BYTES == 64
    return (native_u64)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif PARADIGM_SIMD_BYTES == 32
    return (native_u64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (native_u64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}
// Pairs (a[0], b[0]), (a[2], b[2]), ... and (a[1], b[1]), (a[3], b[3]), ...
PARADIGM_INLINE native_u64 pair_even(native_u64 a, native_u64 b) {
#if PARADIGM_SIMD_BYTES == 64
    return (native_u64)_mm512_maskz_unpacklo_epi64(0xFF, (__m512i)a, (__m512i)b);
#elif PARADIGM_SIMD_BYTES == 32
    return (native_u64)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
#else
    return native_u64{a[0], b[0]};
#endif
}
PARADIGM_INLINE native_u64 pair_odd(native_u64 a, native_u64 b) {
#if PARADIGM_SIMD_BYTES == 64
    return (native_u64)_mm512_maskz_unpackhi_epi64(0xFF, (__m512i)a, (__m512i)b);
#elif PARADIGM_SIMD_BYTES == 32
    return (native_u64)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
#else
    return native_u64{a[1], b[1]};
#endif
}
PARADIGM_INLINE native_u64 xor3(native_u64 a, native_u64 b, native_u64 c) {
#if PARADIGM_SIMD_BYTES == 64
    return (native_u64)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
#else
    return a ^ b ^ c;
#endif
}

// The noise of one draw; its words are the Philox key and the counter's last three.
class RowNoise {
  public:
    RowNoise(uint64_t key, uint64_t trajectory, uint32_t position)
        : position_(position), trajectory_(trajectory) {
        for (int round = 0; round < philox_rounds; ++round) {
            key_0_[round] = static_cast<uint32_t>(key) + static_cast<uint32_t>(round) * philox_weyl_0;
            key_1_[round] = static_cast<uint32_t>(key >> 32) + static_cast<uint32_t>(round) * philox_weyl_1;
        }
    }

    // Bits of tokens first..first + 31 in order; `first` is a multiple of 32. The high halves of 64-bit lanes hold rubbish, which
    // multiply_low ignores. Even lanes carry the first half of the counters, so that interleaving pairs puts tokens in order.
    PARADIGM_INLINE void draw(const RowNoise& noise, uint32_t first, u32x16 (&bits)[2]) {
        PARADIGM_EACH_PART {
            native_u64 counter = {};
            for (int i = 0; i < lanes64; ++i) counter[i] = first / 4 + p * lanes64 + i / 2 + (i % 2) * (lanes64 / 2);
            native_u64 x0 = counter, x1 = splat(noise.position_), x2 = splat(static_cast<uint32_t>(noise.trajectory_)),
                       x3 = splat(static_cast<uint32_t>(noise.trajectory_ >> 32));
            _Pragma("GCC unroll 10") for (int round = 0; round < philox_rounds; ++round) {
                const native_u64 a = multiply_low(x0, splat(philox_multiplier_0)), b = multiply_low(x2, splat(philox_multiplier_1));
                x0 = xor3(b >> 32, x1, splat(noise.key_0_[round]));
                x1 = b;
                x2 = xor3(a >> 32, x3, splat(noise.key_1_[round]));
                x3 = a;
            }
            const native_u64 low = (x0 & 0xFFFFFFFFu) | (x1 << 32), high = (x2 & 0xFFFFFFFFu) | (x3 << 32);
            bits[2 * p / num_parts].part[2 * p % num_parts] = (native_u32)pair_even(low, high);
            bits[(2 * p + 1) / num_parts].part[(2 * p + 1) % num_parts] = (native_u32)pair_odd(low, high);
        }
    }

  private:
    PARADIGM_INLINE native_u64 splat(uint64_t x) { return x - native_u64{}; }

    uint32_t position_;
    uint64_t trajectory_;
    uint64_t key_0_[philox_rounds], key_1_[philox_rounds];
};

struct Draw {
    uint64_t key;
    uint64_t trajectory;
    uint32_t position;
};

// `leader` is a legal token of largest logit; it is always kept, and its score prunes the rest.
template <bool masked, bool filtered>
int32_t gumbel_argmax(const LogitRow& row, const Draw& draw, float temperature, const Scale& scale, const Cut& cut, int32_t leader,
                      const RowScratch& scratch) {
    const auto score_of = [&](int64_t token, uint32_t bits) { return scaled_logit(row, token, scale.max, temperature) + gumbel_of_bits(bits); };
    int32_t best_id = leader;
    double best = score_of(leader, noise_bits(draw.key, draw.trajectory, draw.position, static_cast<uint32_t>(leader)));
    // score <= d + ln 2 (32 - log2(bits + 1/2)), with bits halved to fit int32; the slack covers fp32 rounding where it matters, d > -30
    constexpr float ln_2 = 0.69314718f, offset = 158.0f * ln_2, slope = -ln_2 / 8388608.0f, slack = 1e-3f, most_noise = 22.9f;
    float threshold = static_cast<float>(best) - slack;
    f32x16 thresholds = broadcast(threshold - offset);
    const f32x16 slopes = broadcast(slope);
    const RowNoise noise(draw.key, draw.trajectory, draw.position);
    for (int64_t tile = 0; tile < scratch.num_tiles; ++tile) {
        if ((scratch.tile_max[tile] - scale.max) * scale.inverse_temperature + most_noise < threshold) continue;
        if (filtered && scratch.tile_max[tile] < cut.logit) continue;
        const int64_t begin = tile * tile_size, end = begin + tile_size < row.size ? begin + tile_size : row.size;
        for (int64_t first = begin; first < end; first += 32) {
            const int num_halves = first + 16 < end ? 2 : 1;
            f32x16 x[2] = {legal_logits<masked>(row, first), num_halves == 2 ? legal_logits<masked>(row, first + 16) : broadcast(minus_infinity)};
            if (filtered) {
                const mask16 kept_0 = kept_mask(x[0], cut, first), kept_1 = kept_mask(x[1], cut, first + 16);
                if ((kept_0 | kept_1) == 0) continue;
                x[0] = select(kept_0, x[0], broadcast(minus_infinity));
                x[1] = select(kept_1, x[1], broadcast(minus_infinity));
            }
            u32x16 bits[2];
            RowNoise::draw(noise, static_cast<uint32_t>(first), bits);
            mask16 chosen[2];
            for (int h = 0; h < 2; ++h) {
                const f32x16 log_bits = to_float(bits_of(to_float(shift_right<1>(bits[h]))));
                chosen[h] = less_equal(thresholds, fma(log_bits, slopes, scale.distance(x[h])));
            }
            if (__builtin_expect((chosen[0] | chosen[1]) == 0, 1)) continue;
            for (int h = 0; h < 2; ++h) {
                uint32_t lane_bits[16];
                store(lane_bits, bits[h]);
                for (mask16 left = chosen[h]; left != 0; left &= left - 1) {
                    const int64_t token = first + 16 * h + __builtin_ctz(left);
                    const double score = score_of(token, lane_bits[__builtin_ctz(left)]);
                    if (score > best || (score == best && token < best_id)) {
                        best = score;
                        best_id = static_cast<int32_t>(token);
                    }
                }
            }
            threshold = static_cast<float>(best) - slack;
            thresholds = broadcast(threshold - offset);
        }
    }
    return best_id;
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
