// CPU kernels against double-precision definitions, on every instruction set this machine has, in buffers of exactly the size they need.
#include "paradigm/cpu_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernel_cases.h"

using namespace paradigm;

namespace {

double largest(const Floats& x) {
    double m = 0;
    for (float v : x) m = std::max(m, std::fabs(static_cast<double>(v)));
    return m;
}
bool near(const Floats& a, const std::vector<double>& b, double tolerance) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (!(std::fabs(a[i] - b[i]) <= tolerance * (1 + std::fabs(b[i])))) return false;
    }
    return a.size() == b.size();
}

struct Problem {
    int64_t query_heads, kv_heads, dim, window;
    bool causal;
    float softcap;
    std::vector<int32_t> cuts, parent;
    int64_t padding;
    Floats q{}, k{}, v{}, grad{};

    int64_t rows() const { return cuts.back() + padding; }
    void fill(Draw& draw) {
        q = draw.many(static_cast<std::size_t>(rows() * query_heads * dim), 2);
        k = draw.many(static_cast<std::size_t>(rows() * kv_heads * dim), 2);
        v = draw.many(static_cast<std::size_t>(rows() * kv_heads * dim));
        grad = draw.many(q.size());
    }
    Attention call(void* out, float* lse, const void* queries, const void* keys, const void* values, Dtype dtype) const {
        Attention c;
        c.dtype = dtype;
        c.options = {query_heads, kv_heads, dim, causal, window, 0.4f, softcap};
        c.q = {queries, query_heads * dim, dim};
        c.k = {keys, kv_heads * dim, dim};
        c.v = {values, kv_heads * dim, dim};
        c.num_rows = rows();
        c.cu_seqlens = cuts.data();
        c.parent = parent.empty() ? nullptr : parent.data();
        c.num_documents = static_cast<int64_t>(cuts.size()) - 1;
        c.out = out;
        c.lse = lse;
        return c;
    }
};

// The definition, in double; adds d(sum of out * grad) / d(q, k, v) by the chain rule.
struct Truth {
    std::vector<double> out, grad_q, grad_k, grad_v;
    explicit Truth(const Problem& p) : out(p.q.size()), grad_q(p.q.size()), grad_k(p.k.size()), grad_v(p.v.size()) {
        for (std::size_t b = 0; b + 1 < p.cuts.size(); ++b) {
            std::vector<int64_t> keys;
            const int32_t parent = p.parent.empty() ? -1 : p.parent[b];
            for (int64_t t = parent < 0 ? 0 : p.cuts[static_cast<std::size_t>(parent)];
                 t < (parent < 0 ? 0 : p.cuts[static_cast<std::size_t>(parent) + 1]); ++t) {
                keys.push_back(t);
            }
            const int64_t shared = static_cast<int64_t>(keys.size());
            for (int64_t t = p.cuts[b]; t < p.cuts[b + 1]; ++t) keys.push_back(t);
            for (int64_t t = p.cuts[b]; t < p.cuts[b + 1]; ++t) {
                for (int64_t h = 0; h < p.query_heads; ++h) row(p, keys, shared + t - p.cuts[b], t, h);
            }
        }
    }
    void row(const Problem& p, const std::vector<int64_t>& keys, int64_t here, int64_t t, int64_t h) {
        const int64_t g = h / (p.query_heads / p.kv_heads), base = (t * p.query_heads + h) * p.dim;
        auto kv = [&](int64_t j) { return (keys[static_cast<std::size_t>(j)] * p.kv_heads + g) * p.dim; };
        const int64_t last = p.causal ? here + 1 : static_cast<int64_t>(keys.size());
        const int64_t first = p.window ? std::max<int64_t>(0, here + 1 - p.window) : 0;
        std::vector<double> s, slope;
        double top = -1e300, total = 0, delta = 0;
        for (int64_t j = first; j < last; ++j) {
            double dot = 0;
            for (int64_t d = 0; d < p.dim; ++d) dot += double{at(p.q, base + d)} * at(p.k, kv(j) + d);
            dot *= 0.4f;
            const double bent = p.softcap > 0 ? p.softcap * std::tanh(dot / p.softcap) : dot;
            slope.push_back(p.softcap > 0 ? 1 - bent * bent / (p.softcap * p.softcap) : 1.0);
            s.push_back(bent);
            top = std::max(top, bent);
        }
        for (double& x : s) total += x = std::exp(x - top);
        for (int64_t j = first; j < last; ++j) {
            for (int64_t d = 0; d < p.dim; ++d) out[static_cast<std::size_t>(base + d)] += s[static_cast<std::size_t>(j - first)] / total * at(p.v, kv(j) + d);
        }
        for (int64_t d = 0; d < p.dim; ++d) delta += out[static_cast<std::size_t>(base + d)] * at(p.grad, base + d);
        for (int64_t j = first; j < last; ++j) {
            const double weight = s[static_cast<std::size_t>(j - first)] / total;
            double by_weight = 0;
            for (int64_t d = 0; d < p.dim; ++d) by_weight += double{at(p.grad, base + d)} * at(p.v, kv(j) + d);
            const double by_score = weight * (by_weight - delta) * slope[static_cast<std::size_t>(j - first)] * 0.4f;
            for (int64_t d = 0; d < p.dim; ++d) {
                grad_v[static_cast<std::size_t>(kv(j) + d)] += weight * at(p.grad, base + d);
                grad_q[static_cast<std::size_t>(base + d)] += by_score * at(p.k, kv(j) + d);
                grad_k[static_cast<std::size_t>(kv(j) + d)] += by_score * at(p.q, base + d);
            }
        }
    }
    static float at(const Floats& x, int64_t i) { return x[static_cast<std::size_t>(i)]; }
};

std::vector<Problem> problems() {
    return {
        {4, 2, 32, 0, true, 0.0f, {0, 50, 50, 51, 120}, {}, 3},
        {3, 1, 8, 5, true, 3.0f, {0, 17, 40}, {}, 0},
        {5, 5, 24, 0, false, 0.0f, {0, 1, 20}, {}, 1},
        {8, 1, 40, 7, false, 0.0f, {0, 33}, {}, 0},
        {4, 2, 16, 0, true, 2.0f, {0, 21, 26, 60, 61}, {-1, 0, 0, -1}, 0},
        {2, 2, 256, 20, true, 0.0f, {0, 40}, {}, 0},
        {2, 1, 64, 0, true, 0.0f, {0}, {}, 2},
    };
}

void test_attention() {
    Draw draw;
    for (Problem p : problems()) {
        p.fill(draw);
        const Truth truth(p);
        Floats first_out, first_grads;
        for (Isa isa : isas()) {
            for (int threads : {1, 3}) {
                Floats out(p.q.size(), NAN), lse(static_cast<std::size_t>(p.rows() * p.query_heads), NAN);
                const Attention call = p.call(out.data(), lse.data(), p.q.data(), p.k.data(), p.v.data(), Dtype::float32);
                attention(call, threads, isa);
                CHECK(near(out, truth.out, 1e-5));
                AttentionGradient gradient;
                gradient.forward = call;
                gradient.grad_out = {p.grad.data(), p.query_heads * p.dim, p.dim};
                Floats grad_q(p.q.size(), NAN), grad_k(p.k.size(), NAN), grad_v(p.v.size(), NAN);
                gradient.grad_q = grad_q.data();
                gradient.grad_k = grad_k.data();
                gradient.grad_v = grad_v.data();
                attention_backward(gradient, threads, isa);
                CHECK(near(grad_q, truth.grad_q, 3e-5) && near(grad_k, truth.grad_k, 3e-5) && near(grad_v, truth.grad_v, 3e-5));
                grad_q.insert(grad_q.end(), grad_k.begin(), grad_k.end());
                grad_q.insert(grad_q.end(), grad_v.begin(), grad_v.end());
                if (first_out.empty() && first_grads.empty()) {
                    first_out = out;
                    first_grads = grad_q;
                }
                CHECK(out == first_out && grad_q == first_grads);  // whatever the instruction set and the threads
            }
        }
    }
}

void test_attention_in_bfloat16() {
    Draw draw;
    for (Problem p : problems()) {
        p.fill(draw);
        const Halves q = rounded(p.q), k = rounded(p.k), v = rounded(p.v);
        p.q = widened(q);
        p.k = widened(k);
        p.v = widened(v);
        const Truth truth(p);
        Halves first;
        for (Isa isa : isas()) {
            Halves out(q.size(), 0x7FC0);
            attention(p.call(out.data(), nullptr, q.data(), k.data(), v.data(), Dtype::bfloat16), 1, isa);
            CHECK(near(widened(out), truth.out, 1.0 / 128));
            if (first.empty()) first = out;
            CHECK(out == first);
        }
    }
}

// Token by token through a cache full of NaN, in blocks handed out backwards: the bits of the packed call.
void test_paged_attention() {
    Draw draw;
    for (Problem p : problems()) {
        if (!p.parent.empty() || !p.causal || p.cuts.size() < 2) continue;
        p.padding = 0;
        p.fill(draw);
        Floats packed(p.q.size());
        attention(p.call(packed.data(), nullptr, p.q.data(), p.k.data(), p.v.data(), Dtype::float32), 1);
        const int64_t size = 32, sequences = static_cast<int64_t>(p.cuts.size()) - 1, max_blocks = 4, num_blocks = sequences * max_blocks + 1;
        for (int64_t step : {1, 19}) {
            Floats keys(static_cast<std::size_t>(num_blocks * p.kv_heads * p.dim * size), NAN), values = keys, out(p.q.size(), NAN);
            std::vector<int32_t> table;
            for (int64_t i = num_blocks - 1; i > 0; --i) table.push_back(static_cast<int32_t>(i));
            for (int64_t b = 0; b < sequences; ++b) {
                for (int64_t begin = p.cuts[static_cast<std::size_t>(b)]; begin < p.cuts[static_cast<std::size_t>(b) + 1]; begin += step) {
                    const int32_t fed = static_cast<int32_t>(std::min<int64_t>(step, p.cuts[static_cast<std::size_t>(b) + 1] - begin));
                    const int32_t cuts[2] = {0, fed}, slot = static_cast<int32_t>(b);
                    const int32_t context = static_cast<int32_t>(begin) + fed - p.cuts[static_cast<std::size_t>(b)];
                    PagedAttention call;
                    call.options = p.call(nullptr, nullptr, nullptr, nullptr, nullptr, Dtype::float32).options;
                    call.q = {p.q.data() + begin * p.query_heads * p.dim, p.query_heads * p.dim, p.dim};
                    call.k = {p.k.data() + begin * p.kv_heads * p.dim, p.kv_heads * p.dim, p.dim};
                    call.v = {p.v.data() + begin * p.kv_heads * p.dim, p.kv_heads * p.dim, p.dim};
                    call.num_rows = fed;
                    call.keys = keys.data();
                    call.values = values.data();
                    call.num_blocks = num_blocks;
                    call.block_size = size;
                    call.cu_seqlens = cuts;
                    call.context_lengths = &context;
                    call.slots = &slot;
                    call.block_table = table.data();
                    call.num_sequences = 1;
                    call.num_slots = sequences;
                    call.max_blocks = max_blocks;
                    call.out = out.data() + begin * p.query_heads * p.dim;
                    paged_attention(call, 2);
                    call.slots = &context;  // out of range, or another sequence's row: never written through
                    if (context >= sequences) CHECK(refused([&] { paged_attention(call, 1); }));
                }
            }
            CHECK(out == packed);
        }
    }
}

void test_rms_norm() {
    Draw draw;
    for (int64_t width : {1, 5, 16, 72, 100}) {
        const int64_t rows = 300;
        const std::size_t n = static_cast<std::size_t>(rows * width);
        const Floats x = draw.many(n, 3), residual = draw.many(n), weight = draw.many(static_cast<std::size_t>(width)), grad = draw.many(n);
        Floats first;
        for (Isa isa : isas()) {
            for (int threads : {1, 4}) {
                Floats y(n, NAN), total(n, NAN), scale(static_cast<std::size_t>(rows), NAN), grad_x(n, NAN), grad_weight(weight.size(), NAN);
                RmsNorm call;
                call.num_rows = rows;
                call.width = width;
                call.x = x.data();
                call.residual = residual.data();
                call.weight = weight.data();
                call.eps = 1e-3f;
                call.y = y.data();
                call.total = total.data();
                call.scale = scale.data();
                rms_norm(call, threads, isa);
                RmsNormGradient gradient;
                gradient.num_rows = rows;
                gradient.width = width;
                gradient.grad_y = grad.data();
                gradient.total = total.data();
                gradient.weight = weight.data();
                gradient.scale = scale.data();
                gradient.grad_x = grad_x.data();
                gradient.grad_weight = grad_weight.data();
                rms_norm_backward(gradient, threads, isa);
                std::vector<double> truth_y(n), truth_x(n), truth_weight(weight.size());
                for (int64_t r = 0; r < rows; ++r) {
                    double squares = 0, mean = 0;
                    auto at = [&](int64_t c) { return static_cast<std::size_t>(r * width + c); };
                    for (int64_t c = 0; c < width; ++c) squares += std::pow(double{x[at(c)]} + residual[at(c)], 2);
                    const double factor = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-3f);
                    for (int64_t c = 0; c < width; ++c) {
                        const double normed = (double{x[at(c)]} + residual[at(c)]) * factor;
                        truth_y[at(c)] = normed * weight[static_cast<std::size_t>(c)];
                        truth_weight[static_cast<std::size_t>(c)] += normed * grad[at(c)];
                        mean += normed * grad[at(c)] * weight[static_cast<std::size_t>(c)] / static_cast<double>(width);
                    }
                    for (int64_t c = 0; c < width; ++c) {
                        const double normed = (double{x[at(c)]} + residual[at(c)]) * factor;
                        truth_x[at(c)] = factor * (double{grad[at(c)]} * weight[static_cast<std::size_t>(c)] - normed * mean);
                    }
                }
                CHECK(near(y, truth_y, 1e-5) && near(grad_x, truth_x, 3e-5) && near(grad_weight, truth_weight, 3e-5));
                y.insert(y.end(), grad_x.begin(), grad_x.end());
                y.insert(y.end(), grad_weight.begin(), grad_weight.end());
                if (first.empty()) first = y;
                CHECK(y == first);
            }
        }
    }
}

// Rotating back by the backward undoes the rotation; norms of pairs are kept; channels past 2 C pass.
void test_rotary() {
    Draw draw;
    for (int64_t dim : {8, 24, 64}) {
        const int64_t rows = 9, heads = 3, pairs = dim == 64 ? 20 : dim / 2;
        const std::size_t n = static_cast<std::size_t>(rows * heads * dim);
        const Floats x = draw.many(n);
        Floats cos, sin, first;
        for (int64_t i = 0; i < rows * pairs; ++i) {
            const float angle = 9 * draw();
            cos.push_back(std::cos(angle));
            sin.push_back(std::sin(angle));
        }
        for (Isa isa : isas()) {
            Floats y(n, NAN), back(n, NAN);
            Rotary call;
            call.num_rows = rows;
            call.num_heads = heads;
            call.head_dim = dim;
            call.pairs = pairs;
            call.x = {x.data(), heads * dim, dim};
            call.cos = cos.data();
            call.sin = sin.data();
            call.y = y.data();
            rotary(call, 2, isa);
            RotaryGradient gradient;
            gradient.forward = call;
            gradient.grad_y = {y.data(), heads * dim, dim};
            gradient.grad_x = back.data();
            rotary_backward(gradient, 2, isa);
            CHECK(near(back, std::vector<double>(x.begin(), x.end()), 1e-5));
            for (int64_t r = 0; r < rows * heads; ++r) {
                for (int64_t c = 0; c < dim; ++c) {
                    const std::size_t at = static_cast<std::size_t>(r * dim + c), low = static_cast<std::size_t>(r * dim + c % pairs), high = low + static_cast<std::size_t>(pairs);
                    if (c >= 2 * pairs) CHECK(y[at] == x[at]);
                    else CHECK(std::fabs(std::hypot(y[low], y[high]) - std::hypot(x[low], x[high])) < 1e-5);
                }
            }
            if (first.empty()) first = y;
            CHECK(y == first);
        }
    }
}

void test_swiglu() {
    Draw draw;
    const Floats gate = draw.many(1037, 100), up = draw.many(1037);
    std::vector<double> truth;
    for (std::size_t i = 0; i < gate.size(); ++i) truth.push_back(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
    Floats first;
    for (Isa isa : isas()) {
        Floats y(gate.size(), NAN);
        swiglu(Dtype::float32, gate.data(), up.data(), y.data(), static_cast<int64_t>(y.size()), 2, isa);
        CHECK(near(y, truth, 1e-6));
        if (first.empty()) first = y;
        CHECK(y == first);
    }
}

// Products with 17, whose sigmoid is 1, are exact in float32, so that what is stored of them is the rounding alone.
void test_rounding_to_bfloat16() {
    Draw draw;
    Halves up = rounded(draw.many(500, 1e3f)), gate(up.size() + 8, 0x4188), expected;
    for (float x : widened(up)) expected.push_back(rounded({17.0f * x})[0]);
    for (const auto& [x, y] : std::initializer_list<std::pair<uint16_t, uint16_t>>{
             {0x0000, 0x0000}, {0x8000, 0x8000}, {0x7F80, 0x7F80}, {0xFF80, 0xFF80}, {0x7F00, 0x7F80}, {0x0007, 0x0000}, {0x8001, 0x8000}, {0x0008, 0x0088}}) {
        up.push_back(x);  // zeros, infinities, one that overflows, subnormal results, the least exponent that stays
        expected.push_back(y);
    }
    for (Isa isa : isas()) {
        Halves y(up.size());
        swiglu(Dtype::bfloat16, gate.data(), up.data(), y.data(), static_cast<int64_t>(up.size()), 1, isa);
        CHECK(y == expected);
        Halves nan{0x7FC1, 0xFFA0, 0x7F81};
        swiglu(Dtype::bfloat16, gate.data(), nan.data(), nan.data(), 3, 1, isa);
        for (uint16_t v : nan) CHECK(std::isnan(widened({v})[0]));
    }
}

// In bfloat16 the loops for whole vectors and for the last few channels give one result on every instruction set.
void test_elementwise_in_bfloat16() {
    Draw draw;
    for (int64_t width : {2, 15, 16, 32, 50, 64, 128, 200}) {
        const int64_t rows = 5, heads = 3;
        const auto size = static_cast<std::size_t>(rows * heads * width), channels = static_cast<std::size_t>(width);
        const Halves x = rounded(draw.many(size, 3)), other = rounded(draw.many(size)), grad = rounded(draw.many(size)), weight = rounded(draw.many(channels));
        const Floats angles = draw.many(static_cast<std::size_t>(rows * width));
        std::vector<Halves> first;
        Floats first_sums;
        for (Isa isa : isas()) {
            std::vector<Halves> y(8, Halves(size));
            Floats scale(static_cast<std::size_t>(rows * heads)), sums(2 * channels);
            const auto bf16 = Dtype::bfloat16;
            rms_norm({bf16, rows * heads, width, x.data(), other.data(), weight.data(), 1e-6f, y[0].data(), y[1].data(), scale.data()}, 1, isa);
            rms_norm_backward(
                {bf16, rows * heads, width, grad.data(), other.data(), y[1].data(), weight.data(), scale.data(), y[2].data(), sums.data()}, 1, isa);
            const HeadRows in{x.data(), heads * width, width}, back{grad.data(), heads * width, width};
            const Rotary turn{bf16, rows, heads, width, width / 2, in, angles.data(), angles.data() + rows, weight.data(), 1e-6f, y[3].data()};
            rotary(turn, 1, isa);
            rotary_backward({turn, back, y[4].data(), sums.data() + width}, 1, isa);
            swiglu(bf16, x.data(), other.data(), y[5].data(), static_cast<int64_t>(size), 1, isa);
            swiglu_backward(bf16, grad.data(), x.data(), other.data(), y[6].data(), y[7].data(), static_cast<int64_t>(size), 1, isa);
            if (first.empty()) first = y, first_sums = sums;
            CHECK(y == first && sums == first_sums);
        }
    }
}

void test_logits_gradient() {
    Draw draw;
    for (int64_t vocab : {3, 40, 272, 1000}) {
        const int64_t rows = 20, words = (vocab + 31) / 32;
        const Floats logits = draw.many(static_cast<std::size_t>(rows * vocab), 8), by_logprob = draw.many(20);
        Floats by_entropy = draw.many(20);
        std::vector<uint32_t> table(static_cast<std::size_t>(words), 0x5D5D5D5Du);
        std::vector<int32_t> support;
        std::vector<int64_t> target;
        for (int64_t r = 0; r < rows; ++r) {
            support.push_back(r % 3 == 0 ? 0 : -1);
            target.push_back(r % 3 == 0 ? r * 32 % (words * 32) : r % vocab);
        }
        by_entropy[4] = by_entropy[6] = 0;
        std::vector<double> truth;
        for (int64_t r = 0; r < rows; ++r) {
            auto legal = [&](int64_t v) { return support[static_cast<std::size_t>(r)] < 0 || (table[static_cast<std::size_t>(v / 32)] >> (v % 32) & 1); };
            auto z = [&](int64_t v) { return logits[static_cast<std::size_t>(r * vocab + v)] / 0.7; };
            double total = 0, entropy = 0;
            for (int64_t v = 0; v < vocab; ++v) total += legal(v) ? std::exp(z(v)) : 0;
            for (int64_t v = 0; v < vocab; ++v) entropy -= legal(v) ? std::exp(z(v)) / total * (z(v) - std::log(total)) : 0;
            for (int64_t v = 0; v < vocab; ++v) {
                const double p = legal(v) ? std::exp(z(v)) / total : 0, own = v == target[static_cast<std::size_t>(r)];
                truth.push_back((by_logprob[static_cast<std::size_t>(r)] * (own - p) - by_entropy[static_cast<std::size_t>(r)] * p * (z(v) - std::log(total) + entropy)) / 0.7f);
            }
        }
        Floats first;
        for (Isa isa : isas()) {
            Floats z = logits;
            LogitsGradient call;
            call.logits = z.data();
            call.num_rows = rows;
            call.vocab_size = vocab;
            call.target = target.data();
            call.grad_logprob = by_logprob.data();
            call.grad_entropy = by_entropy.data();
            call.temperature = 0.7f;
            call.support = support.data();
            call.support_table = table.data();
            call.support_rows = 1;
            call.support_words = words;
            logits_gradient(call, 2, isa);
            CHECK(near(z, truth, 2e-5));
            if (first.empty()) first = z;
            CHECK(z == first);
            target[0] = vocab;
            CHECK(refused([&] { logits_gradient(call, 1, isa); }));
            target[0] = 0;
        }
    }
}

void test_scans() {
    const Floats rewards{1, 2, 8}, values{3, 1, 2}, bootstrap{4, 0};
    const std::vector<int32_t> cuts{0, 2, 3};
    Floats advantages(3, NAN), targets(3, NAN);
    gae(rewards.data(), values.data(), bootstrap.data(), cuts.data(), 2, 0.5f, 0.5f, advantages.data());
    CHECK((advantages == Floats{-0.75f, 3.0f, 6.0f}));
    const Floats logprob{std::log(2.0f), std::log(0.5f), 0}, behaviour{0, 0, 0};
    Vtrace call{logprob.data(), behaviour.data(), rewards.data(), values.data(), bootstrap.data(), cuts.data(), 2, 0.5f, 1, 1, 1, 1, targets.data(), advantages.data()};
    vtrace(call);
    CHECK(near(targets, {2.25, 2.5, 8}, 1e-6) && near(advantages, {-0.75, 1.5, 6}, 1e-6));
}

void test_bad_arguments() {
    Draw draw;
    Problem p = problems()[0];
    p.fill(draw);
    Floats out(p.q.size());
    auto with = [&](const std::function<void(Attention&)>& change) {
        Attention call = p.call(out.data(), nullptr, p.q.data(), p.k.data(), p.v.data(), Dtype::float32);
        change(call);
        return refused([&] { attention(call, 1); });
    };
    CHECK(!with([](Attention&) {}));
    CHECK(with([](Attention& c) { c.options.head_dim = 12; }));
    CHECK(with([](Attention& c) { c.options.head_dim = 264; }));
    CHECK(with([](Attention& c) { c.options.num_kv_heads = 3; }));
    CHECK(with([](Attention& c) { c.num_rows = 100; }));
    const std::vector<int32_t> falling{0, 50, 40, 51, 120}, cyclic{1, 0, -1, -1};
    CHECK(with([&](Attention& c) { c.cu_seqlens = falling.data(); }));
    CHECK(with([&](Attention& c) { c.parent = cyclic.data(); }));
    CHECK(largest(out) > 0);
}

}  // namespace

int main() {
    test_attention();
    test_attention_in_bfloat16();
    test_paged_attention();
    test_rms_norm();
    test_rotary();
    test_swiglu();
    test_rounding_to_bfloat16();
    test_elementwise_in_bfloat16();
    test_logits_gradient();
    test_scans();
    test_bad_arguments();
    std::printf("cpu_kernels: ok\n");
}
