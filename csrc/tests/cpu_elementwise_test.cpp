// Elementwise loops and scans on the CPU against definitions in double precision, on every instruction set this machine has, in buffers of
// exactly the size they need.
#include "paradigm/cpu_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <utility>
#include <vector>

#include "kernel_cases.h"

using namespace paradigm;

namespace {

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
            gradient.grad_x_stride = heads * dim;
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
        swiglu({Dtype::float32, 1, 1037, 1037, gate.data(), up.data(), y.data()}, 2, isa);
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
        const auto size = static_cast<int64_t>(up.size());
        swiglu({Dtype::bfloat16, 1, size, size, gate.data(), up.data(), y.data()}, 1, isa);
        CHECK(y == expected);
        Halves nan{0x7FC1, 0xFFA0, 0x7F81};
        swiglu({Dtype::bfloat16, 1, 3, 3, gate.data(), nan.data(), nan.data()}, 1, isa);
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
            rotary_backward({turn, back, y[4].data(), heads * width, sums.data() + width}, 1, isa);
            const Swiglu gated{bf16, rows * heads, width, width, x.data(), other.data(), y[5].data()};
            swiglu(gated, 1, isa);
            swiglu_backward({gated, grad.data(), y[6].data(), y[7].data()}, 1, isa);
            if (first.empty()) first = y, first_sums = sums;
            CHECK(y == first && sums == first_sums);
            // rows that lie apart: gate and up side by side, and their gradients; a rotation's gradient beside others
            const int64_t both = 2 * width;
            Halves side(2 * size), grads(2 * size), apart(size), turned(2 * size, 7);
            for (std::size_t i = 0; i < size; ++i) {
                const std::size_t at = i / channels * 2 * channels + i % channels;
                side[at] = x[i];
                side[at + channels] = other[i];
            }
            const Swiglu beside{bf16, rows * heads, width, both, side.data(), side.data() + width, apart.data()};
            swiglu(beside, 2, isa);
            swiglu_backward({beside, grad.data(), grads.data(), grads.data() + width}, 2, isa);
            CHECK(apart == y[5]);
            rotary_backward({turn, back, turned.data(), 2 * heads * width, sums.data() + width}, 2, isa);
            for (std::size_t i = 0; i < size; ++i) {
                const std::size_t at = i / channels * 2 * channels + i % channels, heads_of_row = 3 * channels;
                CHECK(grads[at] == y[6][i] && grads[at + channels] == y[7][i]);
                CHECK(turned[i / heads_of_row * 2 * heads_of_row + i % heads_of_row] == y[4][i]);
            }
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

}  // namespace

int main() {
    test_rms_norm();
    test_rotary();
    test_swiglu();
    test_rounding_to_bfloat16();
    test_elementwise_in_bfloat16();
    test_logits_gradient();
    test_scans();
    std::printf("cpu_elementwise: ok\n");
}
