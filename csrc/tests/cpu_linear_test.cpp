// The linear layer against its definition: one chain of fused multiply-adds an output, on every instruction set; rows that depend on
// nothing else; and bfloat16's units of their own against it.
#include "paradigm/cpu_linear.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "kernel_cases.h"

using namespace paradigm;

namespace {

struct Shape {
    int64_t rows, inputs, outputs;
};

struct Case {
    Shape shape;
    Dtype dtype, y_dtype;
    Floats x, weight, bias;
    Halves x16, weight16, bias16;

    Case(const Shape& s, Dtype dtype, Dtype y_dtype, Draw& draw) : shape(s), dtype(dtype), y_dtype(y_dtype) {
        x = draw.many(static_cast<std::size_t>(s.rows * s.inputs), 2);
        weight = draw.many(static_cast<std::size_t>(s.outputs * s.inputs));
        bias = draw.many(static_cast<std::size_t>(s.outputs));
        if (dtype == Dtype::float32) return;
        x = widened(x16 = rounded(x));
        weight = widened(weight16 = rounded(weight));
        bias = widened(bias16 = rounded(bias));
    }
    const void* data(const Floats& wide, const Halves& half) const { return dtype == Dtype::float32 ? static_cast<const void*>(wide.data()) : half.data(); }
    const void* x_at(int64_t row) const { return static_cast<const char*>(data(x, x16)) + row * shape.inputs * (dtype == Dtype::float32 ? 4 : 2); }
    // A weight and bias in two parts, if there is more than a panel.
    std::vector<WeightPart> parts(const void* whole, const void* whole_bias, int64_t rows, int64_t width) const {
        if (rows <= panel_outputs) return {{whole, whole_bias, rows}};
        const int64_t bytes = dtype == Dtype::float32 ? 4 : 2, first = panel_outputs;
        auto behind = [&](const void* from, int64_t count) { return from ? static_cast<const char*>(from) + count * bytes : nullptr; };
        return {{whole, whole_bias, first}, {behind(whole, first * width), behind(whole_bias, first), rows - first}};
    }

    // As float32 whatever y's dtype is.
    template <class Run>
    Floats result(int64_t rows, const Run& run) const {
        const auto size = static_cast<std::size_t>(rows * shape.outputs);
        if (y_dtype == Dtype::float32) {
            Floats y(size);
            run(y.data());
            return y;
        }
        Halves y(size);
        run(y.data());
        return widened(y);
    }
    Floats run(int64_t first, int64_t rows, bool biased, int threads, Isa isa, Bfloat16Unit unit) const {
        return result(rows, [&](void* y) {
            Linear call;
            call.dtype = dtype;
            call.y_dtype = y_dtype;
            call.num_rows = rows;
            call.num_inputs = shape.inputs;
            call.num_outputs = shape.outputs;
            call.x = x_at(first);
            call.weights = parts(data(weight, weight16), biased ? data(bias, bias16) : nullptr, shape.outputs, shape.inputs);
            call.y = y;
            linear(call, threads, isa, unit);
        });
    }
    Floats run_packed(int64_t first, int64_t rows, bool biased, int threads, Isa isa, Bfloat16Unit unit) const {
        const PackedLinear packed(dtype, data(weight, weight16), biased ? data(bias, bias16) : nullptr, shape.inputs, shape.outputs, isa, unit);
        return result(rows, [&](void* y) {
            PackedCall call;
            call.y_dtype = y_dtype;
            call.num_rows = rows;
            call.x = x_at(first);
            call.products[0] = {&packed, y};
            linear(call, threads);
        });
    }
    Floats chain(bool biased) const {
        Floats y(static_cast<std::size_t>(shape.rows * shape.outputs));
        for (int64_t r = 0; r < shape.rows; ++r) {
            for (int64_t n = 0; n < shape.outputs; ++n) {
                float sum = 0.0f;
                for (int64_t k = 0; k < shape.inputs; ++k) {
                    sum = std::fmaf(x[static_cast<std::size_t>(r * shape.inputs + k)], weight[static_cast<std::size_t>(n * shape.inputs + k)], sum);
                }
                y[static_cast<std::size_t>(r * shape.outputs + n)] = biased ? sum + bias[static_cast<std::size_t>(n)] : sum;
            }
        }
        return y_dtype == Dtype::float32 ? y : widened(rounded(y));
    }
};

const Shape shapes[] = {{1, 1, 1}, {1, 40, 33}, {2, 16, 130}, {3, 17, 64}, {5, 64, 31}, {14, 33, 48}, {15, 96, 32}, {29, 31, 7}, {130, 48, 96}, {460, 20, 40}};
const Dtype dtypes[][2] = {{Dtype::float32, Dtype::float32}, {Dtype::bfloat16, Dtype::bfloat16}, {Dtype::bfloat16, Dtype::float32}};

void test_chain() {
    Draw draw;
    for (const auto& [dtype, y_dtype] : dtypes) {
        for (const Shape& shape : shapes) {
            const Case c(shape, dtype, y_dtype, draw);
            for (bool biased : {false, true}) {
                const Floats truth = c.chain(biased);
                for (Isa isa : isas()) {
                    CHECK(c.run(0, shape.rows, biased, 2, isa, Bfloat16Unit::none) == truth);
                    CHECK(c.run_packed(0, shape.rows, biased, 2, isa, Bfloat16Unit::none) == truth);
                }
            }
        }
    }
}

void test_bfloat16_unit() {
    const Bfloat16Unit unit = best_bfloat16_unit();
    if (unit == Bfloat16Unit::none) return;
    Draw draw;
    for (Dtype y_dtype : {Dtype::bfloat16, Dtype::float32}) {
        for (const Shape& shape : shapes) {
            const Case c(shape, Dtype::bfloat16, y_dtype, draw);
            const Floats whole = c.run(0, shape.rows, true, 1, Isa::avx512, unit), near = c.chain(true);
            CHECK(c.run_packed(0, shape.rows, true, 2, Isa::avx512, unit) == whole);
            const double slack = y_dtype == Dtype::float32 ? 1e-5 : 1.0 / 128;
            for (std::size_t i = 0; i < whole.size(); ++i) CHECK(std::fabs(whole[i] - near[i]) <= slack * (1 + std::fabs(near[i])));
            for (int64_t row : {int64_t{0}, shape.rows / 2, shape.rows - 1}) {
                const Floats alone = c.run_packed(row, 1, true, 1, Isa::avx512, unit);
                for (int64_t n = 0; n < shape.outputs; ++n) CHECK(alone[static_cast<std::size_t>(n)] == whole[static_cast<std::size_t>(row * shape.outputs + n)]);
            }
        }
    }
}

void test_shared_x() {
    Draw draw;
    const Case a({37, 24, 70}, Dtype::float32, Dtype::float32, draw);
    Case b({37, 24, 5}, Dtype::float32, Dtype::float32, draw);
    b.x = a.x;
    const PackedLinear first(Dtype::float32, a.weight.data(), nullptr, 24, 70), second(Dtype::float32, b.weight.data(), b.bias.data(), 24, 5);
    Floats y(37 * 70), z(37 * 5);
    PackedCall call;
    call.num_rows = 37;
    call.x = a.x.data();
    call.products[0] = {&first, y.data()};
    call.products[1] = {&second, z.data()};
    call.num_products = 2;
    linear(call, 2);
    CHECK(y == a.chain(false) && z == b.chain(true));
}

template <class T>
std::vector<T> transposed(const std::vector<T>& x, int64_t rows, int64_t columns) {
    std::vector<T> y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i % static_cast<std::size_t>(columns) * static_cast<std::size_t>(rows) + i / static_cast<std::size_t>(columns)] = x[i];
    return y;
}

Floats by_columns_of(const Case& c, const void* weight, int threads, Isa isa) {
    return c.result(c.shape.rows, [&](void* to) {
        Linear call;
        call.dtype = c.dtype;
        call.y_dtype = c.y_dtype;
        call.num_rows = c.shape.rows;
        call.num_inputs = c.shape.inputs;
        call.num_outputs = c.shape.outputs;
        call.x = c.x_at(0);
        call.weights = c.parts(weight, nullptr, c.shape.inputs, c.shape.outputs);
        call.by_columns = true;
        call.y = to;
        linear(call, threads, isa);
    });
}

const Shape gradient_shapes[] = {{1, 1, 1}, {3, 5, 2}, {127, 31, 13}, {128, 32, 14}, {129, 33, 15}, {300, 70, 29}, {260, 40, 461}, {700, 96, 64}, {513, 17, 33}, {70, 530, 1130}};

// The gradient of inputs is `linear` by a weight that lies the other way, the same chains; that of a weight, sums of chains of 64 rows.
void test_gradients() {
    Draw draw;
    for (const Shape& s : gradient_shapes) {
        const Case c(s, Dtype::float32, Dtype::float32, draw);
        Floats by_columns(c.weight.size()), grad = draw.many(static_cast<std::size_t>(s.rows * s.outputs)), truth(c.weight.size(), 0.0f);
        for (int64_t n = 0; n < s.outputs; ++n) {
            for (int64_t k = 0; k < s.inputs; ++k) {
                by_columns[static_cast<std::size_t>(k * s.outputs + n)] = c.weight[static_cast<std::size_t>(n * s.inputs + k)];
                for (int64_t first = 0; first < s.rows; first += 64) {
                    float sum = 0.0f;
                    for (int64_t r = first; r < s.rows && r < first + 64; ++r) {
                        sum = std::fmaf(grad[static_cast<std::size_t>(r * s.outputs + n)], c.x[static_cast<std::size_t>(r * s.inputs + k)], sum);
                    }
                    truth[static_cast<std::size_t>(n * s.inputs + k)] += sum;
                }
            }
        }
        auto call = [&](int64_t rows, Floats& to, bool adds) {
            return WeightGradient{Dtype::float32, Dtype::float32, rows, s.inputs, s.outputs, grad.data(), c.x.data(), to.data(), adds};
        };
        for (Isa isa : isas()) {
            for (int threads : {1, 2, 5}) {
                CHECK(by_columns_of(c, by_columns.data(), threads, isa) == c.chain(false));
                Floats once(truth.size(), 7.0f), added(truth.size(), 0.0f);
                weight_gradient(call(s.rows, once, false), threads, isa);
                weight_gradient(call(s.rows, added, true), threads, isa);
                CHECK(once == truth && added == truth);
                weight_gradient(call(0, once, true), threads, isa);
                CHECK(once == truth);
                weight_gradient(call(0, once, false), threads, isa);
                CHECK(once == Floats(truth.size(), 0.0f));
            }
        }
    }
}

// By the unit of pairs as well: the same chains as `linear` by operands transposed, 128 rows at a time.
void test_gradients_of_pairs() {
    if (best_bfloat16_unit() != Bfloat16Unit::pairs) return;
    Draw draw;
    for (const Shape& s : gradient_shapes) {
        const Case c(s, Dtype::bfloat16, Dtype::bfloat16, draw);
        const Halves grad = rounded(draw.many(static_cast<std::size_t>(s.rows * s.outputs)));
        const auto size = static_cast<std::size_t>(s.outputs * s.inputs);
        Floats truth(size, 0.0f);
        for (int64_t first = 0; first < s.rows; first += 128) {
            const int64_t rows = std::min<int64_t>(128, s.rows - first);
            auto part = [&](const Halves& from, int64_t width) {
                return transposed(Halves(from.begin() + first * width, from.begin() + (first + rows) * width), rows, width);
            };
            const Halves grads = part(grad, s.outputs), inputs = part(c.x16, s.inputs);
            Floats product(size);
            Linear call;
            call.dtype = Dtype::bfloat16;
            call.num_rows = s.outputs;
            call.num_inputs = rows;
            call.num_outputs = s.inputs;
            call.x = grads.data();
            call.weights = {{inputs.data(), nullptr, s.inputs}};
            call.y = product.data();
            linear(call, 1);
            for (std::size_t i = 0; i < size; ++i) truth[i] += product[i];
        }
        for (int threads : {1, 2, 5}) {
            CHECK(by_columns_of(c, transposed(c.weight16, s.outputs, s.inputs).data(), threads, best_isa()) == c.run(0, s.rows, false, 1, best_isa(), Bfloat16Unit::pairs));
            Floats wide(size, 7.0f), added(size, 0.0f);
            Halves narrow(size, 7);
            WeightGradient call{Dtype::bfloat16, Dtype::float32, s.rows, s.inputs, s.outputs, grad.data(), c.x16.data(), wide.data(), false};
            weight_gradient(call, threads);
            call.grad_weight = added.data();
            call.adds = true;
            weight_gradient(call, threads);
            call.grad_weight = narrow.data();
            call.grad_weight_dtype = Dtype::bfloat16;
            CHECK(refused([&] { weight_gradient(call, threads); }));
            call.adds = false;
            weight_gradient(call, threads);
            CHECK(wide == truth && added == truth && narrow == rounded(truth));
            call.num_rows = 0;
            weight_gradient(call, threads);
            CHECK(narrow == Halves(size, 0));
        }
    }
}

void test_bad_arguments() {
    const Floats x(8), weight(8);
    Floats y(8);
    Linear call;
    call.num_rows = 2;
    call.num_inputs = 4;
    call.num_outputs = 2;
    call.x = x.data();
    call.weights = {{weight.data(), nullptr, 2}};
    call.y = y.data();
    linear(call, 1);
    auto refuses = [&](auto change) {
        Linear bad = call;
        change(bad);
        return refused([&] { linear(bad, 1); });
    };
    CHECK(refuses([](Linear& c) { c.num_rows = -1; }));
    CHECK(refuses([](Linear& c) { c.num_inputs = 0; }));
    CHECK(refuses([](Linear& c) { c.num_outputs = 0; }));
    CHECK(refuses([](Linear& c) { c.y_dtype = Dtype::bfloat16; }));
    CHECK(refuses([](Linear& c) { c.weights[0].num_rows = 1; }));
    CHECK(refuses([](Linear& c) { c.weights = {{c.weights[0].weight, nullptr, 1}, {c.weights[0].weight, nullptr, 1}}; }));
    CHECK(refused([&] { linear(call, 0); }));
    call.dtype = Dtype::bfloat16;
    call.by_columns = true;
    CHECK(refused([&] { linear(call, 1, best_isa(), Bfloat16Unit::none); }));
    WeightGradient gradient{Dtype::float32, Dtype::float32, -1, 1, 1, x.data(), x.data(), y.data(), false};
    CHECK(refused([&] { weight_gradient(gradient, 1); }));
    gradient.num_rows = 1;
    gradient.dtype = Dtype::bfloat16;
    CHECK(refused([&] { weight_gradient(gradient, 1, best_isa(), Bfloat16Unit::none); }));
    const PackedLinear narrow(Dtype::float32, weight.data(), nullptr, 4, 2), wide(Dtype::float32, weight.data(), nullptr, 8, 1);
    PackedCall packed;
    packed.num_rows = 1;
    packed.x = x.data();
    packed.products[0] = {&narrow, y.data()};
    packed.products[1] = {&wide, y.data()};
    packed.num_products = 2;
    CHECK(refused([&] { linear(packed, 1); }));
}

}  // namespace

int main() {
    test_chain();
    test_bfloat16_unit();
    test_shared_x();
    test_gradients();
    test_gradients_of_pairs();
    test_bad_arguments();
    std::printf("cpu_linear: ok\n");
}
