// The linear layer on the CPU: checks, packing, blocks, threads; and the loops for machines without AVX2.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu_linear_table.h"
#include "cpu_threads.h"
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

constexpr double work_of_a_thread = 3e5;             // multiply-adds: some microseconds, as starting a thread costs
constexpr double speed_of_unit[] = {1.0, 2.0, 8.0};  // by Bfloat16Unit

Bfloat16Unit unit_for(Dtype dtype, Isa isa, Bfloat16Unit unit) { return isa >= Isa::avx512 && dtype == Dtype::bfloat16 ? unit : Bfloat16Unit::none; }

// How many inputs the loops take, each a float32, a pair of bfloat16, or for tiles a bfloat16.
int64_t inputs_as_read(int64_t num_inputs, Bfloat16Unit unit) { return unit == Bfloat16Unit::pairs ? (num_inputs + 1) / 2 : num_inputs; }

int64_t bytes_of_panel(int64_t num_inputs, Bfloat16Unit unit) {
    return unit == Bfloat16Unit::tiles ? (num_inputs + 31) / 32 * 2048 : inputs_as_read(num_inputs, unit) * panel_outputs * 4;
}

LinearKernels kernels_for(Isa isa, Bfloat16Unit unit) {
#if PARADIGM_HAS_X86_ISAS
    if (unit == Bfloat16Unit::pairs) return avx512bf16::linear_kernels();
#endif
    LinearKernels kernels = PARADIGM_DISPATCH(isa, linear_kernels)();
    if (unit == Bfloat16Unit::tiles) kernels.multiply = multiply_tiles;
    return kernels;
}

char* aligned(char* memory) { return memory + (64 - reinterpret_cast<std::uintptr_t>(memory) % 64) % 64; }

// Rows of bfloat16 with a zero after an odd number of them, so that they are whole pairs.
std::unique_ptr<uint16_t[]> whole_pairs(const void* rows, int64_t count, int64_t num_inputs) {
    std::unique_ptr<uint16_t[]> copy(new uint16_t[static_cast<std::size_t>(count * (num_inputs + 1))]());
    for (int64_t i = 0; i < count; ++i) {
        std::memcpy(copy.get() + i * (num_inputs + 1), static_cast<const uint16_t*>(rows) + i * num_inputs, static_cast<std::size_t>(num_inputs) * 2);
    }
    return copy;
}

// Products by operands that lie the other way.
void check_by_columns(Dtype dtype, Bfloat16Unit unit) {
    if (dtype != Dtype::float32 && unit != Bfloat16Unit::pairs) refuse("gradients in bfloat16 take its unit of pairs, 1", static_cast<int>(unit));
}

// A weight's gradient as tiles of a few outputs by a panel of 32 inputs, which threads share out. Some rows at a time are packed, for as many tiles as a
// core's second cache has room for beside them.
class GradientTiles {
  public:
    GradientTiles(const WeightGradient& call, const LinearKernels& kernels)
        : call_(call), kernels_(kernels), num_tiles_((call.num_outputs + kernels.tile_outputs - 1) / kernels.tile_outputs),
          num_panels_((call.num_inputs + panel_outputs - 1) / panel_outputs), rows_of_step_(call.dtype == Dtype::float32 ? 1 : 2),
          rows_at_once_(steps_at_once * rows_of_step_), bytes_(bytes_of(call.dtype)), rounds_(call.grad_weight_dtype == Dtype::bfloat16) {}

    int64_t count() const { return num_tiles_ * num_panels_; }

    // The tiles of one thread; what a tile becomes does not depend on whose it is.
    void sum(int64_t thread, int64_t threads) const {
        Memory memory;
        memory.x.reset(new float[static_cast<std::size_t>(std::min(panels_at_once, num_panels_) * panel_floats)]);
        memory.grads.reset(new float[static_cast<std::size_t>(std::min(tiles_at_once, num_tiles_) * tile_floats)]);
        for (int64_t tile = 0; tile < num_tiles_; tile += tiles_at_once) {
            for (int64_t panel = 0; panel < num_panels_; panel += panels_at_once) {
                const int64_t tiles = std::min(tiles_at_once, num_tiles_ - tile), panels = std::min(panels_at_once, num_panels_ - panel);
                const int64_t first = thread * panels * tiles / threads, last = (thread + 1) * panels * tiles / threads;  // tile by tile
                const Share share{tile, panel, panels, first, last, first / panels, (last + panels - 1) / panels};
                if (rounds_) memory.sums.resize(static_cast<std::size_t>((last - first) * tile_sums));
                for (int64_t row = 0; row < call_.num_rows && first < last; row += rows_at_once_) add_rows(share, row, memory);
            }
        }
    }

  private:
    static constexpr int64_t steps_at_once = 128;  // a panel of their inputs stays in a core's first cache for all outputs
    static constexpr int64_t rows_of_strip = 16;   // stay there for all panels and tiles that they are packed into
    static constexpr int64_t tiles_at_once = 32, panels_at_once = 16;
    static constexpr int64_t panel_floats = steps_at_once * panel_outputs, tile_floats = steps_at_once * tile_pitch, tile_sums = tile_pitch * panel_outputs;

    struct Memory {
        std::unique_ptr<float[]> x, grads;  // packed
        std::vector<float> sums;            // of tiles that are rounded in the end
    };
    // A thread's part of neighbouring tiles and panels: from the first to the last, tile by tile, its tiles from first_tile to end_tile.
    struct Share {
        int64_t tile, panel, panels, first, last, first_tile, end_tile;
    };

    int64_t first_output(int64_t tile) const { return tile * call_.num_outputs / num_tiles_; }
    const char* grad_at(int64_t row, int64_t output) const { return static_cast<const char*>(call_.grad) + (row * call_.num_outputs + output) * bytes_; }
    const char* x_at(int64_t row, int64_t input) const { return static_cast<const char*>(call_.x) + (row * call_.num_inputs + input) * bytes_; }

    void add_rows(const Share& share, int64_t row, Memory& memory) const {
        const int64_t rows = std::min(rows_at_once_, call_.num_rows - row);
        pack(share, row, rows, memory);
        for (int64_t panel = 0; panel < share.panels; ++panel) {
            for (int64_t tile = share.first_tile; tile < share.end_tile; ++tile) {
                const int64_t number = tile * share.panels + panel, output = first_output(share.tile + tile), input = (share.panel + panel) * panel_outputs;
                if (number < share.first || number >= share.last) continue;  // of a tile that threads share
                WeightGradientTile part;
                part.grad = memory.grads.get() + tile * tile_floats;
                part.x = memory.x.get() + panel * panel_floats;
                part.steps = (rows + rows_of_step_ - 1) / rows_of_step_;
                part.num_outputs = static_cast<int>(first_output(share.tile + tile + 1) - output);
                part.num_inputs = std::min(panel_outputs, call_.num_inputs - input);
                part.adds = call_.adds || row > 0;
                const int64_t place = output * call_.num_inputs + input;
                if (rounds_) {
                    part.sums = memory.sums.data() + (number - share.first) * tile_sums;
                    part.sums_stride = panel_outputs;
                    if (row + rows == call_.num_rows) part.rounded = static_cast<uint16_t*>(call_.grad_weight) + place;
                    part.rounded_stride = call_.num_inputs;
                } else {
                    part.sums = static_cast<float*>(call_.grad_weight) + place;
                    part.sums_stride = call_.num_inputs;
                }
                kernels_.weight_gradient(part);
            }
        }
    }

    void pack(const Share& share, int64_t first, int64_t rows, Memory& memory) const {
        bring(share, first, first + rows);
        for (int64_t strip = 0; strip < rows; strip += rows_of_strip) {
            const int64_t row = first + strip, count = std::min(rows_of_strip, rows - strip), step = strip / rows_of_step_;
            for (int64_t tile = share.first_tile; tile < share.end_tile; ++tile) {
                const int64_t output = first_output(share.tile + tile), outputs = first_output(share.tile + tile + 1) - output;
                kernels_.pack_rows(grad_at(row, output), call_.num_outputs, count, outputs, memory.grads.get() + tile * tile_floats + step * tile_pitch, tile_pitch);
            }
            for (int64_t panel = 0; panel < share.panels; ++panel) {
                const int64_t input = (share.panel + panel) * panel_outputs, inputs = std::min(panel_outputs, call_.num_inputs - input);
                kernels_.pack_rows(x_at(row, input), call_.num_inputs, count, inputs, memory.x.get() + panel * panel_floats + step * panel_outputs, panel_outputs);
            }
        }
    }

    // Reads rows [first, last) of the share line by line as they lie in memory: packing jumps from row to row, which takes longer where none of them is
    // in a cache. Prefetches, tried instead, gained nothing.
    void bring(const Share& share, int64_t first, int64_t last) const {
        const int64_t output = first_output(share.tile + share.first_tile), outputs = first_output(share.tile + share.end_tile) - output;
        const int64_t input = share.panel * panel_outputs, inputs = std::min(share.panels * panel_outputs, call_.num_inputs - input);
        for (int64_t row = first; row < last; ++row) {
            for (int64_t at = 0; at < outputs * bytes_; at += 64) *static_cast<const volatile char*>(grad_at(row, output) + at);
            for (int64_t at = 0; at < inputs * bytes_; at += 64) *static_cast<const volatile char*>(x_at(row, input) + at);
        }
    }

    const WeightGradient& call_;
    LinearKernels kernels_;
    int64_t num_tiles_, num_panels_, rows_of_step_, rows_at_once_, bytes_;
    bool rounds_;
};

void check(int64_t num_rows, int64_t num_inputs, int64_t num_outputs, Dtype dtype, Dtype y_dtype, int num_threads) {
    if (num_rows < 0) refuse("num_rows must be >= 0", num_rows);
    if (num_inputs < 1) refuse("num_inputs must be >= 1", num_inputs);
    if (num_outputs < 1) refuse("num_outputs must be >= 1", num_outputs);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
    if (y_dtype != dtype && y_dtype != Dtype::float32) refuse("y_dtype must be dtype or float32", static_cast<int>(y_dtype));
}

int64_t threads_for(int64_t num_rows, int64_t num_inputs, int64_t num_outputs, Bfloat16Unit unit, int64_t num_blocks, int num_threads) {
    const double work = static_cast<double>(num_rows) * static_cast<double>(num_inputs) * static_cast<double>(num_outputs);
    return std::min<int64_t>({num_threads, num_blocks, static_cast<int64_t>(work / (speed_of_unit[static_cast<int>(unit)] * work_of_a_thread))});
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

}  // namespace

Bfloat16Unit best_bfloat16_unit() {
    if (has_amx()) return Bfloat16Unit::tiles;
#if PARADIGM_HAS_X86_ISAS
    if (best_isa() == Isa::avx512bf16) return Bfloat16Unit::pairs;
#endif
    return Bfloat16Unit::none;
}

PackedLinear::PackedLinear(
    Dtype dtype, const void* weight, const void* bias, int64_t num_inputs, int64_t num_outputs, Isa isa, Bfloat16Unit unit, int64_t row_stride)
    : dtype(dtype), num_inputs(num_inputs), num_outputs(num_outputs), num_panels((num_outputs + panel_outputs - 1) / panel_outputs), isa(isa),
      unit(unit_for(dtype, isa, unit)), panel_bytes_(bytes_of_panel(num_inputs, this->unit)) {
    check(0, num_inputs, num_outputs, dtype, dtype, 1);
    memory_.reset(new char[static_cast<std::size_t>(num_panels * panel_bytes_ + 64)]);
    panels_ = aligned(memory_.get());
    const bool pairs = this->unit == Bfloat16Unit::pairs;
    const LinearKernels kernels = kernels_for(isa, this->unit);
    const auto pack = kernels.pack[static_cast<int>(pairs ? Dtype::float32 : dtype)];
    const int64_t row_bytes = num_inputs * bytes_of(dtype);
    if (row_stride != 0) check_by_columns(dtype, this->unit);
    for (int64_t i = 0; i < num_panels && row_stride != 0; ++i) {
        const int64_t first = i * panel_outputs, count = std::min(panel_outputs, num_outputs - first);
        auto* panel = reinterpret_cast<float*>(panels_ + i * panel_bytes_);
        kernels.pack_rows(static_cast<const char*>(weight) + first * bytes_of(dtype), row_stride, num_inputs, count, panel, panel_outputs);
    }
    for (int64_t i = 0; i < num_panels && row_stride == 0; ++i) {
        const char* from = static_cast<const char*>(weight) + i * panel_outputs * row_bytes;
        char* to = panels_ + i * panel_bytes_;
        const int64_t count = std::min(panel_outputs, num_outputs - i * panel_outputs);
        if (this->unit == Bfloat16Unit::tiles) {
            pack_tiles(reinterpret_cast<const uint16_t*>(from), num_inputs, count, reinterpret_cast<uint32_t*>(to));
        } else {
            const auto paired = pairs && num_inputs % 2 != 0 ? whole_pairs(from, count, num_inputs) : nullptr;
            pack(paired ? static_cast<const void*>(paired.get()) : from, inputs_as_read(num_inputs, this->unit), count, reinterpret_cast<float*>(to));
        }
    }
    if (!bias) return;
    bias_.assign(static_cast<std::size_t>(num_panels * panel_outputs), 0.0f);
    for (int64_t i = 0; i < num_outputs; ++i) {
        const bool is_wide = dtype == Dtype::float32;
        bias_[static_cast<std::size_t>(i)] = is_wide ? static_cast<const float*>(bias)[i] : baseline::widen(static_cast<const uint16_t*>(bias)[i]);
    }
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
    const Rows x(call.x, call.dtype, unit, call.num_rows, call.num_inputs);
    const auto multiply = kernels_for(isa, unit).multiply;
    const int64_t num_panels = (call.num_outputs + panel_outputs - 1) / panel_outputs;
    // a panel is packed for so many rows: what lies in a core's second cache, in shares as even as the threads'
    const int64_t most = std::max<int64_t>(448, (int64_t{512} << 10) / (call.num_inputs * bytes_of(call.dtype)));
    const int64_t shares = std::max((call.num_rows + most - 1) / most, std::min<int64_t>(num_threads, (call.num_rows + 447) / 448));
    const int64_t rows_at_once = std::max<int64_t>(1, ((call.num_rows + shares - 1) / std::max<int64_t>(1, shares) + 15) / 16 * 16);
    const int64_t count = (call.num_rows + rows_at_once - 1) / rows_at_once * num_panels;
    for_each_block(count, threads_for(call.num_rows, call.num_inputs, call.num_outputs, unit, count, num_threads), [&](int64_t i) {
        const int64_t output = i % num_panels * panel_outputs, bytes = bytes_of(call.dtype);
        const int64_t outputs = std::min(panel_outputs, call.num_outputs - output);
        const char* bias = call.bias ? static_cast<const char*>(call.bias) + output * bytes : nullptr;
        const char* weight = static_cast<const char*>(call.weight) + output * bytes * (call.by_columns ? 1 : call.num_inputs);
        const PackedLinear packed(call.dtype, weight, bias, call.num_inputs, outputs, isa, unit, call.by_columns ? call.num_outputs : 0);
        PanelCall part;
        part.x = x.data();
        part.inputs = inputs_as_read(call.num_inputs, unit);
        part.panels = part.next = packed.panel(0);
        part.bias = packed.bias(0);
        part.num_outputs = outputs;
        part.y = static_cast<char*>(call.y) + output * bytes_of(call.y_dtype);
        part.y_stride = call.num_outputs;
        part.y_dtype = call.y_dtype;
        part.first_row = i / num_panels * rows_at_once;
        part.last_row = std::min(part.first_row + rows_at_once, call.num_rows);
        multiply(part);
    });
}

void weight_gradient(const WeightGradient& call, int num_threads, Isa isa, Bfloat16Unit best_unit) {
    check(call.num_rows, call.num_inputs, call.num_outputs, call.dtype, call.grad_weight_dtype, num_threads);
    const Bfloat16Unit unit = unit_for(call.dtype, isa, best_unit);
    check_by_columns(call.dtype, unit);
    if (call.adds && call.grad_weight_dtype != Dtype::float32) refuse("what is added to must be float32, dtype 0", static_cast<int>(call.grad_weight_dtype));
    const GradientTiles tiles(call, kernels_for(isa, unit));
    const auto size = static_cast<std::size_t>(call.num_outputs * call.num_inputs * bytes_of(call.grad_weight_dtype));
    if (call.num_rows == 0 && !call.adds) std::memset(call.grad_weight, 0, size);
    const int64_t threads = std::max<int64_t>(
        1, threads_for(call.num_rows, call.num_inputs, call.num_outputs, unit, tiles.count(), num_threads));
    for_each_block(threads, threads, [&](int64_t thread) { tiles.sum(thread, threads); });
}

}  // namespace paradigm
