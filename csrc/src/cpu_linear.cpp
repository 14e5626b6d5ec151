// The linear layer on the CPU: checks, packing, blocks, threads; and the loops for machines without AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu_linear_setup.h"
#if PARADIGM_HAS_X86_ISAS
#include <immintrin.h>
#endif
#define PARADIGM_SIMD baseline
#define PARADIGM_SIMD_BYTES 16
#include "paradigm/simd.h"
#include "cpu_vector.h"
#include "cpu_linear_rows.h"

namespace paradigm {
namespace {

// How many inputs the loops take, each a float32, a pair of bfloat16, or for tiles a bfloat16.
int64_t inputs_as_read(int64_t num_inputs, Bfloat16Unit unit) { return unit == Bfloat16Unit::pairs ? (num_inputs + 1) / 2 : num_inputs; }

int64_t bytes_of_panel(int64_t num_inputs, Bfloat16Unit unit) {
    return unit == Bfloat16Unit::tiles ? (num_inputs + 31) / 32 * 2048 : inputs_as_read(num_inputs, unit) * panel_outputs * 4;
}

// Rows of bfloat16 with a zero after an odd number of them, so that they are whole pairs.
std::unique_ptr<uint16_t[]> whole_pairs(const void* rows, int64_t count, int64_t num_inputs) {
    std::unique_ptr<uint16_t[]> copy(new uint16_t[static_cast<std::size_t>(count * (num_inputs + 1))]());
    for (int64_t i = 0; i < count; ++i) {
        std::memcpy(copy.get() + i * (num_inputs + 1), static_cast<const uint16_t*>(rows) + i * num_inputs, static_cast<std::size_t>(num_inputs) * 2);
    }
    return copy;
}

// x as the kernels read it: bfloat16 without a unit of its own is widened first.
class Rows {
  public:
    Rows(const void* x, Dtype dtype, Bfloat16Unit unit, int64_t num_rows, int64_t num_inputs) : data_(x) {
        if (unit == Bfloat16Unit::pairs && num_inputs % 2 != 0) {
            paired_ = whole_pairs(x, num_rows, num_inputs);
            data_ = paired_.get();
        }
        if (dtype == Dtype::float32 || unit != Bfloat16Unit::none) return;
        const int64_t size = num_rows * num_inputs;
        wide_.reset(new float[static_cast<std::size_t>(size)]);
        const auto* from = static_cast<const uint16_t*>(x);
        for (int64_t i = 0; i < size; ++i) wide_[static_cast<std::size_t>(i)] = baseline::widen(from[i]);
        data_ = wide_.get();
    }
    const void* data() const { return data_; }

  private:
    const void* data_;
    std::unique_ptr<float[]> wide_;
    std::unique_ptr<uint16_t[]> paired_;
};

void pack_weight(
    const void* weight, int64_t num_inputs, int64_t count, Dtype dtype, Bfloat16Unit unit, const LinearKernels& kernels, char* panel) {
    if (unit == Bfloat16Unit::tiles) return pack_tiles(static_cast<const uint16_t*>(weight), num_inputs, count, reinterpret_cast<uint32_t*>(panel));
    const bool pairs = unit == Bfloat16Unit::pairs;
    const auto paired = pairs && num_inputs % 2 != 0 ? whole_pairs(weight, count, num_inputs) : nullptr;
    const auto pack = kernels.pack[static_cast<int>(pairs ? Dtype::float32 : dtype)];
    pack(paired ? static_cast<const void*>(paired.get()) : weight, inputs_as_read(num_inputs, unit), count, reinterpret_cast<float*>(panel));
}

void widen_bias(const void* bias, int64_t count, Dtype dtype, float* to) {
    for (int64_t i = 0; i < count; ++i) {
        to[i] = dtype == Dtype::float32 ? static_cast<const float*>(bias)[i] : baseline::widen(static_cast<const uint16_t*>(bias)[i]);
    }
}

// Outputs [output, output + panel_outputs) of a call's weights, packed.
class WeightPanel {
  public:
    WeightPanel(const Linear& call, Bfloat16Unit unit, const LinearKernels& kernels, int64_t output)
        : memory_(new char[static_cast<std::size_t>(bytes_of_panel(call.num_inputs, unit) + 64)]), data_(aligned(memory_.get())) {
        const int64_t bytes = bytes_of(call.dtype), count = std::min(panel_outputs, call.num_outputs - output);
        if (call.by_columns) {
            auto* to = reinterpret_cast<float*>(data_);
            for (const WeightPart& part : call.weights) {
                const char* from = static_cast<const char*>(part.weight) + output * bytes;
                kernels.pack_rows(from, call.num_outputs, part.num_rows, count, to, panel_outputs);
                to += inputs_as_read(part.num_rows, unit) * panel_outputs;
            }
            return;
        }
        const WeightPart* part = call.weights.data();
        for (; output >= part->num_rows; ++part) output -= part->num_rows;
        pack_weight(static_cast<const char*>(part->weight) + output * call.num_inputs * bytes, call.num_inputs, count, call.dtype, unit, kernels, data_);
        if (!part->bias) return;
        has_bias_ = true;
        widen_bias(static_cast<const char*>(part->bias) + output * bytes, count, call.dtype, bias_);
    }
    const char* data() const { return data_; }
    const float* bias() const { return has_bias_ ? bias_ : nullptr; }

  private:
    std::unique_ptr<char[]> memory_;
    char* data_;
    bool has_bias_ = false;
    float bias_[panel_outputs] = {};
};

}  // namespace

Bfloat16Unit best_bfloat16_unit() {
    if (has_amx()) return Bfloat16Unit::tiles;
#if PARADIGM_HAS_X86_ISAS
    if (best_isa() == Isa::avx512bf16) return Bfloat16Unit::pairs;
#endif
    return Bfloat16Unit::none;
}

PackedLinear::PackedLinear(
    Dtype dtype, const void* weight, const void* bias, int64_t num_inputs, int64_t num_outputs, Isa isa, Bfloat16Unit unit)
    : dtype(dtype), num_inputs(num_inputs), num_outputs(num_outputs), num_panels((num_outputs + panel_outputs - 1) / panel_outputs), isa(isa),
      unit(unit_for(dtype, isa, unit)), panel_bytes_(bytes_of_panel(num_inputs, this->unit)) {
    check(0, num_inputs, num_outputs, dtype, dtype, 1);
    memory_.reset(new char[static_cast<std::size_t>(num_panels * panel_bytes_ + 64)]);
    panels_ = aligned(memory_.get());
    const LinearKernels kernels = kernels_for(isa, this->unit);
    for (int64_t i = 0; i < num_panels; ++i) {
        const char* from = static_cast<const char*>(weight) + i * panel_outputs * num_inputs * bytes_of(dtype);
        pack_weight(from, num_inputs, std::min(panel_outputs, num_outputs - i * panel_outputs), dtype, this->unit, kernels, panels_ + i * panel_bytes_);
    }
    if (!bias) return;
    bias_.assign(static_cast<std::size_t>(num_panels * panel_outputs), 0.0f);
    widen_bias(bias, num_outputs, dtype, bias_.data());
}

void linear(const PackedCall& call, int num_threads) {
    if (call.num_products < 1 || call.num_products > 3) refuse("num_products must be 1, 2 or 3", call.num_products);
    const PackedLinear& first = *call.products[0].weight;
    const int64_t rows_at_once = first.unit == Bfloat16Unit::tiles ? 512 : 266, panels_at_once = call.num_rows < 4 ? 4 : 1;
    int64_t blocks_of_row = 0, num_outputs = 0;
    auto blocks_of = [&](const PackedProduct& product) { return (product.weight->num_panels + panels_at_once - 1) / panels_at_once; };
    for (int i = 0; i < call.num_products; ++i) {
        const PackedLinear& weight = *call.products[i].weight;
        check(call.num_rows, weight.num_inputs, weight.num_outputs, weight.dtype, call.y_dtype, num_threads);
        if (weight.num_inputs != first.num_inputs) refuse("num_inputs must be the first weight's", weight.num_inputs);
        if (weight.unit != first.unit || weight.dtype != first.dtype) refuse("weights must be packed alike, the odd one is number", i);
        blocks_of_row += blocks_of(call.products[i]);
        num_outputs += weight.num_outputs;
    }
    const Rows x(call.x, first.dtype, first.unit, call.num_rows, first.num_inputs);
    const auto multiply = kernels_for(first.isa, first.unit).multiply;
    const int64_t count = (call.num_rows + rows_at_once - 1) / rows_at_once * blocks_of_row;
    for_each_block(count, threads_for(call.num_rows, first.num_inputs, num_outputs, first.unit, count, num_threads), [&](int64_t i) {
        int64_t block = i % blocks_of_row;
        const PackedProduct* product = call.products;
        for (; block >= blocks_of(*product); ++product) block -= blocks_of(*product);
        const PackedLinear& weight = *product->weight;
        const int64_t panel = block * panels_at_once, output = panel * panel_outputs, y_bytes = bytes_of(call.y_dtype);
        PanelCall part;
        part.x = x.data();
        part.inputs = inputs_as_read(weight.num_inputs, weight.unit);
        part.first_row = i / blocks_of_row * rows_at_once;
        part.last_row = std::min(part.first_row + rows_at_once, call.num_rows);
        part.panels = weight.panel(panel);
        part.next = weight.panel(std::min(panel + panels_at_once, weight.num_panels - 1));
        part.bias = weight.bias(panel);
        part.num_outputs = std::min(panels_at_once * panel_outputs, weight.num_outputs - output);
        part.y = static_cast<char*>(product->y) + output * y_bytes;
        part.y_stride = weight.num_outputs;
        part.y_dtype = call.y_dtype;
        multiply(part);
    });
}

void linear(const Linear& call, int num_threads, Isa isa, Bfloat16Unit best_unit) {
    check(call.num_rows, call.num_inputs, call.num_outputs, call.dtype, call.y_dtype, num_threads);
    const Bfloat16Unit unit = unit_for(call.dtype, isa, best_unit);
    if (call.by_columns) check_by_columns(call.dtype, unit);
    int64_t num_weight_rows = 0;
    for (const WeightPart& part : call.weights) {
        if (num_weight_rows % panel_outputs != 0) refuse("rows of all weights but the last must be multiples of 32, together", num_weight_rows);
        num_weight_rows += part.num_rows;
    }
    if (num_weight_rows != (call.by_columns ? call.num_inputs : call.num_outputs)) refuse("rows of weights must be outputs, or by columns inputs", num_weight_rows);
    const Rows x(call.x, call.dtype, unit, call.num_rows, call.num_inputs);
    const LinearKernels kernels = kernels_for(isa, unit);
    const int64_t num_panels = (call.num_outputs + panel_outputs - 1) / panel_outputs;
    // a panel is packed for so many rows: what lies in a core's second cache, in shares as even as the threads'
    const int64_t most = std::max<int64_t>(448, (int64_t{512} << 10) / (call.num_inputs * bytes_of(call.dtype)));
    const int64_t shares = std::max((call.num_rows + most - 1) / most, std::min<int64_t>(num_threads, (call.num_rows + 447) / 448));
    const int64_t rows_at_once = std::max<int64_t>(1, ((call.num_rows + shares - 1) / std::max<int64_t>(1, shares) + 15) / 16 * 16);
    const int64_t count = (call.num_rows + rows_at_once - 1) / rows_at_once * num_panels;
    for_each_block(count, threads_for(call.num_rows, call.num_inputs, call.num_outputs, unit, count, num_threads), [&](int64_t i) {
        const int64_t output = i % num_panels * panel_outputs;
        const WeightPanel panel(call, unit, kernels, output);
        PanelCall part;
        part.x = x.data();
        part.inputs = inputs_as_read(call.num_inputs, unit);
        part.panels = part.next = panel.data();
        part.bias = panel.bias();
        part.num_outputs = std::min(panel_outputs, call.num_outputs - output);
        part.y = static_cast<char*>(call.y) + output * bytes_of(call.y_dtype);
        part.y_stride = call.num_outputs;
        part.y_dtype = call.y_dtype;
        part.first_row = i / num_panels * rows_at_once;
        part.last_row = std::min(part.first_row + rows_at_once, call.num_rows);
        kernels.multiply(part);
    });
}

}  // namespace paradigm
