// Token sampling against a plain double-precision evaluation of its definition, on every instruction set this machine has.
#include "paradigm/sample_token.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.h"

#include "paradigm/philox.h"

using namespace paradigm;

namespace {

const float infinity = std::numeric_limits<float>::infinity();

struct Problem {
    int64_t n, vocab_size, stride, num_words;
    std::vector<float> logits, temperature, top_p, min_p;
    std::vector<int32_t> top_k, support;
    std::vector<uint64_t> key, trajectory;
    std::vector<uint32_t> position, table;

    Problem(int64_t n_, int64_t vocab_size_, float spread, uint64_t seed)
        : n(n_), vocab_size(vocab_size_), stride(vocab_size_ + 3), num_words((vocab_size_ + 31) / 32) {
        logits.assign(n * stride - 3, std::nanf(""));  // the gap between rows must never be read
        for (int64_t i = 0; i < n; ++i) {
            for (int64_t v = 0; v < vocab_size; ++v) {
                logits[i * stride + v] = spread * static_cast<float>(gumbel_of_bits(noise_bits(seed, i, 0, static_cast<uint32_t>(v))));
            }
        }
        temperature.assign(n, 1.0f);
        top_p.assign(n, 1.0f);
        min_p.assign(n, 0.0f);
        top_k.assign(n, 0);
        support.assign(n, -1);
        key.assign(n, noise_key(seed, 1));
        for (int64_t i = 0; i < n; ++i) {
            trajectory.push_back((uint64_t{1} << 40) + 7 * i);
            position.push_back(static_cast<uint32_t>(3 * i));
        }
        for (int64_t w = 0; w < 2 * num_words; ++w) table.push_back(w < num_words ? 0x88112244u : w == num_words ? 0x8u : 0u);
    }
    SupportTable support_table(int64_t first_row = 0) const { return {support.data() + first_row, table.data(), 2, num_words}; }
    bool legal(int64_t i, int64_t v) const {
        return logits[i * stride + v] > -infinity && (support[i] < 0 || ((table[support[i] * num_words + v / 32] >> (v % 32)) & 1u));
    }
};

struct Result {
    std::vector<int32_t> id, cut_id;
    std::vector<float> logprob, kept_logmass, cut_logit;
    bool operator==(const Result& other) const {
        return id == other.id && cut_id == other.cut_id && logprob == other.logprob && kept_logmass == other.kept_logmass && cut_logit == other.cut_logit;
    }
};

Result sample(const Problem& p, int num_threads = 1, Isa isa = best_isa()) {
    Result r;
    r.id.resize(p.n);
    r.cut_id.resize(p.n);
    r.logprob.resize(p.n);
    r.kept_logmass.resize(p.n);
    r.cut_logit.resize(p.n);
    SampleTokens rows;
    rows.logits = p.logits.data();
    rows.n = p.n;
    rows.vocab_size = p.vocab_size;
    rows.stride = p.stride;
    rows.temperature = p.temperature.data();
    rows.top_k = p.top_k.data();
    rows.top_p = p.top_p.data();
    rows.min_p = p.min_p.data();
    rows.key = p.key.data();
    rows.trajectory = p.trajectory.data();
    rows.position = p.position.data();
    rows.support = p.support_table();
    rows.id = r.id.data();
    rows.logprob = r.logprob.data();
    rows.kept_logmass = r.kept_logmass.data();
    rows.cut_logit = r.cut_logit.data();
    rows.cut_id = r.cut_id.data();
    sample_token(rows, num_threads, isa);
    return r;
}

void check_learner_agrees(const Problem& p, int64_t i, float temperature, int32_t id, float logprob, double entropy) {
    const int64_t target = id;
    float learner_logprob = 0, learner_entropy = 0;
    RowLogprobs rows;
    rows.logits = p.logits.data() + i * p.stride;
    rows.n = 1;
    rows.vocab_size = p.vocab_size;
    rows.stride = p.stride;
    rows.target = &target;
    rows.temperature = temperature;
    rows.support = p.support_table(i);
    rows.logprob = &learner_logprob;
    for (float* out : {static_cast<float*>(nullptr), &learner_entropy}) {
        rows.entropy = out;
        row_logprob(rows, 1);
        CHECK(std::memcmp(&learner_logprob, &logprob, sizeof logprob) == 0);
    }
    CHECK(std::fabs(learner_entropy - entropy) < 3e-6 * std::max(1.0, entropy));
}

void check_against_definition(const Problem& p, const Result& r) {
    for (int64_t i = 0; i < p.n; ++i) {
        const float* x = p.logits.data() + i * p.stride;
        const float temperature = p.temperature[i] == 0.0f ? 1.0f : p.temperature[i];
        std::vector<int32_t> order;
        for (int64_t v = 0; v < p.vocab_size; ++v) {
            if (p.legal(i, v)) order.push_back(static_cast<int32_t>(v));
        }
        std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); });
        const auto distance = [&](int32_t v) { return (static_cast<double>(x[v]) - x[order[0]]) / temperature; };
        std::vector<double> mass;
        for (const int32_t v : order) mass.push_back(std::exp(distance(v)));
        const double sum = std::accumulate(mass.begin(), mass.end(), 0.0);

        std::size_t kept = p.top_k[i] > 0 ? std::min<std::size_t>(p.top_k[i], order.size()) : order.size();
        if (p.top_p[i] < 1.0f) {
            const double target = p.top_p[i] * std::accumulate(mass.begin(), mass.begin() + kept, 0.0);
            double before = mass[0];
            std::size_t count = 1;
            while (count < kept && before < target) before += mass[count++];
            kept = count;
        }
        while (kept > 1 && mass[kept - 1] < p.min_p[i]) --kept;
        if (p.temperature[i] == 0.0f) kept = 1;
        const double kept_logmass = std::log(std::accumulate(mass.begin(), mass.begin() + kept, 0.0) / sum);

        int32_t best = -1;
        double best_score = -1e300;
        for (std::size_t rank = 0; rank < kept; ++rank) {
            const int32_t v = order[rank];
            const double score = distance(v) + gumbel_of_bits(noise_bits(p.key[i], p.trajectory[i], p.position[i], v));
            if (score > best_score || (score == best_score && v < best)) {
                best_score = score;
                best = v;
            }
        }
        CHECK(r.id[i] == best);
        CHECK(std::fabs(r.logprob[i] - (distance(best) - std::log(sum))) < 2e-6);
        CHECK(std::fabs(r.kept_logmass[i] - kept_logmass) < 1e-6 * std::max(1.0, std::fabs(kept_logmass)));
        std::size_t cut_kept = 0;
        for (const int32_t v : order) cut_kept += x[v] > r.cut_logit[i] || (x[v] == r.cut_logit[i] && v <= r.cut_id[i]);
        CHECK(cut_kept == kept);
        double entropy = 0;
        for (const double m : mass) entropy -= m > 0 ? m / sum * std::log(m / sum) : 0.0;
        check_learner_agrees(p, i, temperature, best, r.logprob[i], entropy);
    }
}

void agrees_with_its_definition() {
    std::vector<Isa> isas{Isa::baseline};
    if (best_isa() >= Isa::avx2) isas.push_back(Isa::avx2);
    if (best_isa() >= Isa::avx512) isas.push_back(Isa::avx512);
    for (const int64_t vocab_size : {1, 3, 16, 33, 272, 1003, 5000}) {
        for (const float spread : {0.5f, 3.0f, 40.0f}) {
            Problem p(12, vocab_size, spread, 100 + vocab_size);
            for (int64_t i = 0; i < p.n; ++i) {
                p.temperature[i] = i == 11 ? 0.0f : i % 2 ? 0.7f : 1.0f;
                p.top_k[i] = i % 4 == 1 ? 5 : i == 6 ? static_cast<int32_t>(vocab_size / 2 + 1) : 0;
                p.top_p[i] = i % 3 == 1 ? 0.9f : i == 6 ? 0.99f : 1.0f;
                p.min_p[i] = i >= 8 && i < 10 ? 0.03f : 0.0f;
                p.support[i] = i % 5 == 2 && vocab_size > 2 ? 0 : i == 3 && vocab_size > 3 ? 1 : -1;
            }
            const Result r = sample(p);
            check_against_definition(p, r);
            for (const Isa isa : isas) {
                CHECK(sample(p, 1, isa) == r);
                CHECK(sample(p, 3, isa) == r);
            }
        }
    }
}

void ties_are_kept_by_id() {
    Problem p(4, 700, 0.0f, 1);
    for (int64_t i = 0; i < p.n; ++i) std::fill_n(p.logits.begin() + i * p.stride, p.vocab_size, 0.0f);
    p.top_k[1] = 123;
    p.top_p[2] = 0.5f;
    p.temperature[3] = 0.0f;
    const Result r = sample(p);
    check_against_definition(p, r);
    CHECK(r.cut_id[1] == 122 && r.cut_id[2] == 349 && r.id[3] == 0);
}

void refuses(const std::string& expected, const std::function<void(Problem&)>& change) {
    Problem p(3, 100, 1.0f, 1);
    change(p);
    std::string message;
    try {
        sample(p, 2);
    } catch (const std::invalid_argument& error) {
        message = error.what();
    }
    const bool found = message.find(expected) != std::string::npos;
    if (!found) std::fprintf(stderr, "no '%s' in '%s'\n", expected.c_str(), message.c_str());
    CHECK(found);
}

void bad_input_is_named() {
    refuses("temperature[1] must be 0 or a positive normal float, got -1", [](Problem& p) { p.temperature[1] = -1.0f; });
    refuses("temperature[1]", [](Problem& p) { p.temperature[1] = std::nanf(""); });
    refuses("top_k[2] must be >= 0, got -4", [](Problem& p) { p.top_k[2] = -4; });
    refuses("top_p[0] must be in (0, 1], got 0", [](Problem& p) { p.top_p[0] = 0.0f; });
    refuses("min_p[0] must be in [0, 1), got 1", [](Problem& p) { p.min_p[0] = 1.0f; });
    refuses("support[1] must be -1 or a row of the table of 2, got 2", [](Problem& p) { p.support[1] = 2; });
    refuses("logits[2] must be below +inf and not NaN for every legal token, got nan for token 99",
            [](Problem& p) { p.logits[2 * p.stride + 99] = std::nanf(""); });
    refuses("got inf for token 0", [](Problem& p) { p.logits[p.stride] = infinity; });
    refuses("row 1 must have a legal token with a logit above -inf, got none", [](Problem& p) {
        p.support[1] = 1;
        p.logits[p.stride + 3] = -infinity;
    });
    Problem p(2, 100, 1.0f, 1);
    p.support[1] = 1;
    p.logits[p.stride + 4] = std::nanf("");  // not legal, so not looked at
    CHECK(sample(p).id[1] == 3);
}

void callers_on_several_threads() {
    const Problem p(16, 3000, 2.0f, 9);
    const Result r = sample(p);
    std::vector<std::thread> threads;
    std::vector<int> same(4, 0);
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] { same[t] = sample(p, 2) == r; });
    }
    for (auto& thread : threads) thread.join();
    CHECK(same == std::vector<int>(4, 1));
}

}  // namespace

int main() {
    agrees_with_its_definition();
    ties_are_kept_by_id();
    bad_input_is_named();
    callers_on_several_threads();
    std::puts("sample_token_test passed");
}
