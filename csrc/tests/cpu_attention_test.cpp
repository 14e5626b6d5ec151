// Attention on the CPU against its definition in double precision, on every instruction set this machine has, in buffers of exactly the size it needs.
#include "paradigm/cpu_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "kernel_cases.h"

using namespace paradigm;

namespace {

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
                gradient.grad_v_stride = p.kv_heads * p.dim;
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

// Rows an odd number of elements apart, from an odd address of two bytes on.
struct Apart {
    Apart(const Halves& rows, int64_t width) : stride(width + 1), halves(1) {
        for (std::size_t i = 0; i < rows.size(); i += static_cast<std::size_t>(width)) {
            halves.insert(halves.end(), rows.begin() + static_cast<std::ptrdiff_t>(i), rows.begin() + static_cast<std::ptrdiff_t>(i) + width);
            halves.push_back(0x7FC0);
        }
    }
    HeadRows rows(int64_t dim) const { return {halves.data() + 1, stride, dim}; }
    int64_t stride;
    Halves halves;
};

void test_attention_in_bfloat16() {
    Draw draw;
    for (Problem p : problems()) {
        p.fill(draw);
        const Halves q = rounded(p.q), k = rounded(p.k), v = rounded(p.v), grad = rounded(p.grad);
        p.q = widened(q);
        p.k = widened(k);
        p.v = widened(v);
        p.grad = widened(grad);
        const Truth truth(p);
        Halves first, first_grads;
        for (Isa isa : isas()) {
            for (int threads : {1, 3}) {
                Halves out(q.size(), 0x7FC0), grad_q = out, grad_k(k.size(), 0x7FC0), grad_v = grad_k;
                Floats lse(static_cast<std::size_t>(p.rows() * p.query_heads), NAN);
                AttentionGradient gradient;
                gradient.forward = p.call(out.data(), lse.data(), q.data(), k.data(), v.data(), Dtype::bfloat16);
                attention(gradient.forward, threads, isa);
                CHECK(near(widened(out), truth.out, 1.0 / 128));
                gradient.grad_out = {grad.data(), p.query_heads * p.dim, p.dim};
                gradient.grad_q = grad_q.data();
                gradient.grad_k = grad_k.data();
                gradient.grad_v = grad_v.data();
                gradient.grad_v_stride = p.kv_heads * p.dim;
                attention_backward(gradient, threads, isa);
                CHECK(near(widened(grad_q), truth.grad_q, 1.0 / 32) && near(widened(grad_k), truth.grad_k, 1.0 / 32));
                CHECK(near(widened(grad_v), truth.grad_v, 1.0 / 64));
                grad_q.insert(grad_q.end(), grad_k.begin(), grad_k.end());
                grad_q.insert(grad_q.end(), grad_v.begin(), grad_v.end());
                if (threads == 1 && (isa == Isa::baseline || isa == Isa::avx512bf16)) {  // the last rounds what it multiplies
                    first = out;
                    first_grads = grad_q;
                }
                CHECK(out == first && grad_q == first_grads);  // whatever the instruction set, but for that, and the threads
                const Apart apart_k(k, p.kv_heads * p.dim), apart_v(v, p.kv_heads * p.dim);
                Halves out_apart(q.size(), 0x7FC0), grad_q_apart(q.size(), 0x7FC0);
                gradient.forward.k = apart_k.rows(p.dim);
                gradient.forward.v = apart_v.rows(p.dim);
                gradient.forward.out = out_apart.data();
                gradient.grad_q = grad_q_apart.data();
                attention(gradient.forward, threads, isa);
                attention_backward(gradient, threads, isa);
                CHECK(out_apart == out && std::equal(grad_q_apart.begin(), grad_q_apart.end(), grad_q.begin()));
            }
        }
    }
}

Floats stored(const Floats& x, float) { return x; }
Halves stored(const Floats& x, uint16_t) { return rounded(x); }

// Token by token through a cache full of NaN, in blocks handed out backwards: the bits of the packed call.
template <class T>
void test_paged_attention(Dtype dtype, T not_a_number) {
    Draw draw;
    for (Problem p : problems()) {
        if (!p.parent.empty() || !p.causal || p.cuts.size() < 2) continue;
        p.padding = 0;
        p.fill(draw);
        const std::vector<T> q = stored(p.q, T()), k = stored(p.k, T()), v = stored(p.v, T());
        for (Isa isa : isas()) {
            std::vector<T> packed(q.size());
            attention(p.call(packed.data(), nullptr, q.data(), k.data(), v.data(), dtype), 1, isa);
            const int64_t sequences = static_cast<int64_t>(p.cuts.size()) - 1;
            for (int64_t size : {16, 32}) {
                const int64_t max_blocks = 128 / size, num_blocks = sequences * max_blocks + 1;
                for (int64_t step : {1, 19}) {
                    std::vector<T> keys(static_cast<std::size_t>(num_blocks * p.kv_heads * p.dim * size), not_a_number), values = keys, out(q.size(), not_a_number);
                    std::vector<int32_t> table;
                    for (int64_t i = num_blocks - 1; i > 0; --i) table.push_back(static_cast<int32_t>(i));
                    for (int64_t b = 0; b < sequences; ++b) {
                        for (int64_t begin = p.cuts[static_cast<std::size_t>(b)]; begin < p.cuts[static_cast<std::size_t>(b) + 1]; begin += step) {
                            const int32_t fed = static_cast<int32_t>(std::min<int64_t>(step, p.cuts[static_cast<std::size_t>(b) + 1] - begin));
                            const int32_t cuts[2] = {0, fed}, slot = static_cast<int32_t>(b);
                            const int32_t context = static_cast<int32_t>(begin) + fed - p.cuts[static_cast<std::size_t>(b)];
                            PagedAttention call;
                            call.dtype = dtype;
                            call.options = p.call(nullptr, nullptr, nullptr, nullptr, nullptr, dtype).options;
                            call.q = {q.data() + begin * p.query_heads * p.dim, p.query_heads * p.dim, p.dim};
                            call.k = {k.data() + begin * p.kv_heads * p.dim, p.kv_heads * p.dim, p.dim};
                            call.v = {v.data() + begin * p.kv_heads * p.dim, p.kv_heads * p.dim, p.dim};
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
                            paged_attention(call, static_cast<int>(std::min<int64_t>(step, 2)), isa);  // one token in one thread: two heads at once
                            call.slots = &context;  // out of range, or another sequence's row: never written through
                            if (context >= sequences) CHECK(refused([&] { paged_attention(call, 1, isa); }));
                        }
                    }
                    CHECK(out == packed);
                }
            }
        }
    }
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
    test_paged_attention<float>(Dtype::float32, NAN);
    test_paged_attention<uint16_t>(Dtype::bfloat16, 0x7FC0);
    test_bad_arguments();
    std::printf("cpu_attention: ok\n");
}
