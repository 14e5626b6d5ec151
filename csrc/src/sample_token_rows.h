// One row of sample_token and of row_logprob. Compiled once an instruction set (isa.h).
#pragma once

#include "logit_row.h"
#include "token_filters.h"
#include "token_noise.h"

namespace paradigm {
namespace PARADIGM_SIMD {

// The lowest id among the legal tokens of logit `max`.
template <bool masked>
int32_t first_of_largest(const LogitRow& row, float max, const RowScratch& scratch) {
    const f32x16 top = broadcast(max);
    int64_t tile = 0;
    while (scratch.tile_max[tile] != max) ++tile;
    for (int64_t first = tile * tile_size;; first += 16) {
        const mask16 here = equal(legal_logits<masked>(row, first), top);
        if (here != 0) return static_cast<int32_t>(first + __builtin_ctz(here));
    }
}

template <bool masked>
RowStatus sample_row(const SampleTokens& rows, int64_t i, RowScratch& scratch) {
    const LogitRow row = logit_row(rows, i);
    const Peak peak = row_peak<masked>(row, &scratch);
    if (!peak.is_number) return RowStatus::not_a_number;
    if (peak.max == minus_infinity) return RowStatus::no_legal_token;

    const bool greedy = rows.temperature[i] == 0.0f;
    const float temperature = greedy ? 1.0f : rows.temperature[i];
    const Scale scale{peak.max, 1.0f / temperature};
    const double sum = row_mass<masked, false, false>(row, scale.max, scale.inverse_temperature, {}, scratch.tile_max.get()).sum;
    const double log_sum = std::log(sum);
    const int32_t leader = first_of_largest<masked>(row, peak.max, scratch);

    int32_t id = leader;
    Cut cut{peak.max, leader};
    double kept_logmass = -log_sum;
    if (!greedy) {
        const Draw draw{rows.key[i], rows.trajectory[i], rows.position[i]};
        cut = filter_cut<masked>(row, {rows.top_k[i], rows.top_p[i], rows.min_p[i]}, sum, scale, scratch);
        if (cut.keeps_all()) {
            id = gumbel_argmax<masked, false>(row, draw, temperature, scale, cut, leader, scratch);
            kept_logmass = 0.0;
        } else {
            id = gumbel_argmax<masked, true>(row, draw, temperature, scale, cut, leader, scratch);
            kept_logmass = std::log(row_mass<masked, true, false>(row, scale.max, scale.inverse_temperature, cut, scratch.tile_max.get()).sum / sum);
        }
    }
    rows.id[i] = id;
    rows.logprob[i] = static_cast<float>(scaled_logit(row, id, scale.max, temperature) - log_sum);
    rows.kept_logmass[i] = static_cast<float>(kept_logmass);
    if (rows.cut_logit != nullptr) rows.cut_logit[i] = cut.logit;
    if (rows.cut_id != nullptr) rows.cut_id[i] = cut.id;
    return RowStatus::ok;
}

template <bool masked>
RowStatus logprob_row(const RowLogprobs& rows, int64_t i) {
    const LogitRow row = logit_row(rows, i);
    const Peak peak = row_peak<masked>(row, nullptr);
    if (!peak.is_number) return RowStatus::not_a_number;
    if (peak.max == minus_infinity) return RowStatus::no_legal_token;
    const float inverse_temperature = 1.0f / rows.temperature;
    const Mass mass = rows.entropy == nullptr ? row_mass<masked, false, false>(row, peak.max, inverse_temperature, {}, nullptr)
                                              : row_mass<masked, false, true>(row, peak.max, inverse_temperature, {}, nullptr);
    const double log_sum = std::log(mass.sum);
    const int64_t target = rows.target[i];
    const bool legal = !masked || ((row.support[target / 32] >> (target % 32)) & 1u) != 0;
    rows.logprob[i] = legal ? static_cast<float>(scaled_logit(row, target, peak.max, rows.temperature) - log_sum) : minus_infinity;
    if (rows.entropy != nullptr) rows.entropy[i] = static_cast<float>(log_sum - mass.weighted / mass.sum);
    return RowStatus::ok;
}

const TokenRowFunctions token_row_functions{
    [](const SampleTokens& rows, int64_t i, RowScratch& scratch) {
        return logit_row(rows, i).support == nullptr ? sample_row<false>(rows, i, scratch) : sample_row<true>(rows, i, scratch);
    },
    [](const RowLogprobs& rows, int64_t i) {
        return logit_row(rows, i).support == nullptr ? logprob_row<false>(rows, i) : logprob_row<true>(rows, i);
    },
};

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
