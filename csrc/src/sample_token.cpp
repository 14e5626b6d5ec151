// Token sampling: argument checks, threads, and the baseline's rows.
#include "paradigm/sample_token.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "paradigm/philox.h"
#include "token_rows.h"

#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#endif
#define PARADIGM_SIMD baseline
#define PARADIGM_SIMD_BYTES 16
#include "paradigm/simd.h"
#include "sample_token_rows.h"

namespace paradigm {

namespace {

template <typename Value>
[[noreturn]] void refuse(const std::string& argument, const std::string& rule, const Value& value) {
    std::ostringstream message;
    message << argument << " must be " << rule << ", got " << value;
    throw std::invalid_argument(message.str());
}

std::string at(const char* argument, int64_t i) { return std::string(argument) + "[" + std::to_string(i) + "]"; }

// Normal, so that 1 / temperature is finite; NaN and infinities fail.
bool is_positive(float temperature) { return std::isnormal(temperature) && temperature > 0.0f; }

void check_support(const SupportTable& support, int64_t n, int64_t vocab_size) {
    if (support.row == nullptr) return;
    if (support.num_rows > 0 && support.num_words < (vocab_size + 31) / 32) {
        refuse("support_table's row length", "at least ceil(vocab_size / 32) = " + std::to_string((vocab_size + 31) / 32) + " words", support.num_words);
    }
    for (int64_t i = 0; i < n; ++i) {
        if (support.row[i] < -1 || support.row[i] >= support.num_rows) {
            refuse(at("support", i), "-1 or a row of the table of " + std::to_string(support.num_rows), support.row[i]);
        }
    }
}

void check_shape(int64_t n, int64_t vocab_size, int64_t stride, int num_threads) {
    if (n < 0) refuse("n", ">= 0", n);
    if (vocab_size < 1 || vocab_size > std::numeric_limits<int32_t>::max()) refuse("vocab_size", "in [1, 2^31)", vocab_size);
    if (stride < vocab_size && n > 1) refuse("stride", "at least vocab_size = " + std::to_string(vocab_size), stride);
    if (num_threads < 1) refuse("num_threads", ">= 1", num_threads);
}

bool is_legal(const SupportTable& support, int64_t i, int64_t token) {
    if (support.row == nullptr || support.row[i] < 0) return true;
    return ((support.words[support.row[i] * support.num_words + token / 32] >> (token % 32)) & 1u) != 0;
}

template <typename Rows>
void raise_first_failure(const std::vector<RowStatus>& status, const Rows& rows) {
    for (int64_t i = 0; i < rows.n; ++i) {
        if (status[i] == RowStatus::no_legal_token) {
            throw std::invalid_argument("row " + std::to_string(i) + " must have a legal token with a logit above -inf, got none");
        }
        if (status[i] != RowStatus::not_a_number) continue;
        const float* logits = rows.logits + i * rows.stride;
        int64_t token = 0;
        while (token + 1 < rows.vocab_size && (logits[token] < std::numeric_limits<float>::infinity() || !is_legal(rows.support, i, token))) ++token;
        refuse(at("logits", i), "below +inf and not NaN for every legal token", std::to_string(logits[token]) + " for token " + std::to_string(token));
    }
}

constexpr int64_t tokens_per_thread = 65536;  // tens of microseconds of work, which pay for waking a thread

template <typename Rows, typename Body>
void for_each_row(const Rows& rows, int num_threads, const Body& body) {
    std::vector<RowStatus> status(rows.n, RowStatus::ok);
#ifdef _OPENMP
    const int64_t useful = std::min<int64_t>(rows.n, rows.n * rows.vocab_size / tokens_per_thread + 1);
    const int num_workers = static_cast<int>(std::min<int64_t>(num_threads, useful));
    // neighbouring rows stay on one thread, which has begun to fetch the next; small shares keep the threads level
    const int64_t share = std::max<int64_t>(1, std::min<int64_t>(8, rows.n / (4 * num_workers)));
#pragma omp parallel num_threads(num_workers) if (num_workers > 1)
    {
        RowScratch scratch(rows.vocab_size);
#pragma omp for schedule(dynamic, share)
        for (int64_t i = 0; i < rows.n; ++i) status[i] = body(i, scratch);
    }
#else
    (void)num_threads;
    RowScratch scratch(rows.vocab_size);
    for (int64_t i = 0; i < rows.n; ++i) status[i] = body(i, scratch);
#endif
    raise_first_failure(status, rows);
}

}  // namespace

void sample_token(const SampleTokens& rows, int num_threads, Isa isa) {
    check_shape(rows.n, rows.vocab_size, rows.stride, num_threads);
    check_support(rows.support, rows.n, rows.vocab_size);
    for (int64_t i = 0; i < rows.n; ++i) {
        if (rows.temperature[i] != 0.0f && !is_positive(rows.temperature[i])) refuse(at("temperature", i), "0 or a positive normal float", rows.temperature[i]);
        if (rows.top_k[i] < 0) refuse(at("top_k", i), ">= 0", rows.top_k[i]);
        if (!(rows.top_p[i] > 0.0f && rows.top_p[i] <= 1.0f)) refuse(at("top_p", i), "in (0, 1]", rows.top_p[i]);
        if (!(rows.min_p[i] >= 0.0f && rows.min_p[i] < 1.0f)) refuse(at("min_p", i), "in [0, 1)", rows.min_p[i]);
    }
    const auto sample = PARADIGM_DISPATCH(isa, token_row_functions).sample;
    for_each_row(rows, num_threads, [&](int64_t i, RowScratch& scratch) { return sample(rows, i, scratch); });
}

void row_logprob(const RowLogprobs& rows, int num_threads, Isa isa) {
    check_shape(rows.n, rows.vocab_size, rows.stride, num_threads);
    check_support(rows.support, rows.n, rows.vocab_size);
    if (!is_positive(rows.temperature)) refuse("temperature", "a positive normal float", rows.temperature);
    for (int64_t i = 0; i < rows.n; ++i) {
        if (rows.target[i] < 0 || rows.target[i] >= rows.vocab_size) {
            refuse(at("targets", i), "in [0, vocab_size = " + std::to_string(rows.vocab_size) + ")", rows.target[i]);
        }
    }
    const auto logprob = PARADIGM_DISPATCH(isa, token_row_functions).logprob;
    for_each_row(rows, num_threads, [&](int64_t i, RowScratch&) { return logprob(rows, i); });
}

}  // namespace paradigm
