// Gradients of the linear layer on the CPU: the same loops as its forward, on columns instead of rows.
#include <algorithm>
#include <cstdint>
#include <memory>

#include "cpu_linear_parts.h"
#include "cpu_threads.h"

namespace paradigm {
namespace {

constexpr int64_t rows_at_once = 448;    // a panel of the weight is packed for so many
constexpr int64_t rows_of_chain = 1024;  // a panel of so many stays in the second cache
constexpr int64_t tiles_at_once = 36;    // of grad_y's columns: bounds what is packed of it

// Not initialised; begins a cache line.
class Numbers {
  public:
    explicit Numbers(int64_t count) : memory_(new char[static_cast<std::size_t>(4 * count + 64)]) {}
    float* data() const { return reinterpret_cast<float*>(aligned(memory_.get())); }

  private:
    std::unique_ptr<char[]> memory_;
};

// One panel of columns of grad_x or grad_weight, from the column-th on.
PanelCall part_of(const LinearGradient& call, int64_t column, int64_t inputs, const Numbers& panel) {
    PanelCall part;
    part.inputs = inputs;
    part.panels = part.next = reinterpret_cast<const char*>(panel.data());
    part.num_outputs = std::min(panel_outputs, call.num_inputs - column);
    part.y_stride = call.num_inputs;
    return part;
}

void multiply_by_weight(const LinearGradient& call, const LinearKernels& kernels, int num_threads) {
    const int64_t width = call.num_inputs, inputs = call.num_outputs, num_panels = (width + panel_outputs - 1) / panel_outputs;
    const int64_t count = (call.num_rows + rows_at_once - 1) / rows_at_once * num_panels;
    for_each_block(count, threads_for(call.num_rows, inputs, width, Bfloat16Unit::none, count, num_threads), [&](int64_t i) {
        const int64_t column = i % num_panels * panel_outputs, left = width - column;
        const Numbers panel(inputs * panel_outputs + 16);
        kernels.pack_columns(call.weight + column, width, inputs, std::min(panel_outputs, left), left, panel_outputs, panel.data());
        PanelCall part = part_of(call, column, inputs, panel);
        part.x = call.grad_y;
        part.row_bytes = 4 * inputs;
        part.first_row = i / num_panels * rows_at_once;
        part.last_row = std::min(part.first_row + rows_at_once, call.num_rows);
        part.y = call.grad_x + column;
        kernels.multiply(part);
    });
}

// Rows [row, row + count) of grad_y^T x, for the outputs of tiles [first, last); `columns` holds one tile of grad_y after another.
void multiply_columns(
    const LinearGradient& call, const LinearKernels& kernels, int64_t row, int64_t count, int64_t first, int64_t last, const Numbers& columns,
    int64_t threads) {
    const int64_t tile_rows = kernels.tile_rows, width = call.num_inputs, tile_numbers = rows_of_chain * tile_rows + 16;
    for_each_block(last - first, threads, [&](int64_t i) {
        const int64_t output = (first + i) * tile_rows, left = call.num_outputs - output;
        const float* from = call.grad_y + row * call.num_outputs + output;
        kernels.pack_columns(from, call.num_outputs, count, std::min(tile_rows, left), left, tile_rows, columns.data() + i * tile_numbers);
    });
    for_each_block((width + panel_outputs - 1) / panel_outputs, threads, [&](int64_t i) {
        const int64_t column = i * panel_outputs, left = width - column;
        const Numbers panel(count * panel_outputs + 16), sums(tile_rows * panel_outputs);
        kernels.pack_columns(call.x + row * width + column, width, count, std::min(panel_outputs, left), left, panel_outputs, panel.data());
        for (int64_t tile = first; tile < last; ++tile) {
            PanelCall part = part_of(call, column, count, panel);
            part.x = columns.data() + (tile - first) * tile_numbers;
            part.row_bytes = 4;
            part.input_bytes = 4 * tile_rows;
            part.last_row = std::min(tile_rows, call.num_outputs - tile * tile_rows);
            float* to = call.grad_weight + tile * tile_rows * width + column;
            part.y = row == 0 ? to : sums.data();
            part.y_stride = row == 0 ? width : panel_outputs;
            kernels.multiply(part);
            for (int64_t j = 0; row > 0 && j < part.last_row; ++j, to += width) {
                for (int64_t c = 0; c < part.num_outputs; ++c) to[c] += sums.data()[j * panel_outputs + c];
            }
        }
    });
}

}  // namespace

void linear_backward(const LinearGradient& call, int num_threads, Isa isa) {
    if (call.num_rows < 0) refuse("num_rows must be >= 0", call.num_rows);
    if (call.num_inputs < 1) refuse("num_inputs must be >= 1", call.num_inputs);
    if (call.num_outputs < 1) refuse("num_outputs must be >= 1", call.num_outputs);
    if (num_threads < 1) refuse("num_threads must be >= 1", num_threads);
    const LinearKernels kernels = kernels_for(isa, Bfloat16Unit::none);
    if (call.grad_x) multiply_by_weight(call, kernels, num_threads);
    if (!call.grad_weight) return;
    if (call.num_rows == 0) std::fill(call.grad_weight, call.grad_weight + call.num_outputs * call.num_inputs, 0.0f);
    const int64_t tile_rows = kernels.tile_rows, num_tiles = (call.num_outputs + tile_rows - 1) / tile_rows;
    const int64_t num_panels = (call.num_inputs + panel_outputs - 1) / panel_outputs;
    const int64_t threads = threads_for(call.num_rows, call.num_outputs, call.num_inputs, Bfloat16Unit::none, num_panels, num_threads);
    const Numbers columns(std::min(num_tiles, tiles_at_once) * (rows_of_chain * tile_rows + 16));
    for (int64_t first = 0; first < num_tiles; first += tiles_at_once) {
        for (int64_t row = 0; row < call.num_rows; row += rows_of_chain) {
            const int64_t count = std::min(rows_of_chain, call.num_rows - row), last = std::min(first + tiles_at_once, num_tiles);
            multiply_columns(call, kernels, row, count, first, last, columns, threads);
        }
    }
}

}  // namespace paradigm
