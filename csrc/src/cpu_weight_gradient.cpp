// The weight's gradient of a linear layer on the CPU: tiles, threads, packing.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu_linear_setup.h"

namespace paradigm {
namespace {

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
        const Memory memory(*this, threads);
        for (int64_t tile = 0; tile < num_tiles_; tile += tiles_at_once) {
            for (int64_t panel = 0; panel < num_panels_; panel += panels_at_once) {
                const Share share(*this, tile, panel, thread, threads);
                for (int64_t row = 0; row < call_.num_rows && share.first < share.last; row += rows_at_once_) add_rows(share, row, memory);
            }
        }
    }

  private:
    static constexpr int64_t steps_at_once = 64;  // a panel of their inputs stays in a core's first cache for all outputs
    static constexpr int64_t rows_of_strip = 16;  // stay there for all panels and tiles that they are packed into
    static constexpr int64_t tiles_at_once = 80, panels_at_once = 16;
    static constexpr int64_t panel_floats = steps_at_once * panel_outputs, tile_floats = steps_at_once * tile_pitch, tile_sums = tile_pitch * panel_outputs;

    // A thread's, each part of it from a cache line's start on: loops that read across lines take half as long again.
    class Memory {
      public:
        Memory(const GradientTiles& all, int64_t threads) {
            const int64_t tiles = std::min(tiles_at_once, all.num_tiles_), panels = std::min(panels_at_once, all.num_panels_);
            const int64_t held = all.rounds_ ? tiles * panels / threads + 1 : 0;
            memory_.reset(new char[static_cast<std::size_t>((panels * panel_floats + tiles * tile_floats + held * tile_sums) * 4 + 64)]);
            x = reinterpret_cast<float*>(aligned(memory_.get()));
            grads = x + panels * panel_floats;
            sums = grads + tiles * tile_floats;
        }
        float *x, *grads;  // packed
        float* sums;       // of tiles that are rounded in the end

      private:
        std::unique_ptr<char[]> memory_;
    };
    // A thread's part of neighbouring tiles and panels, which are numbered tile by tile or panel by panel, so that threads pack little twice.
    struct Share {
        Share(const GradientTiles& all, int64_t tile, int64_t panel, int64_t thread, int64_t threads)
            : tile(tile), panel(panel), tiles(std::min(tiles_at_once, all.num_tiles_ - tile)), panels(std::min(panels_at_once, all.num_panels_ - panel)),
              by_panels(tiles * tile_pitch < panels * panel_outputs), first(thread * panels * tiles / threads),
              last((thread + 1) * panels * tiles / threads), first_tile(by_panels ? 0 : first / panels),
              end_tile(by_panels ? tiles : (last + panels - 1) / panels), first_panel(by_panels ? first / tiles : 0),
              end_panel(by_panels ? (last + tiles - 1) / tiles : panels) {}
        int64_t number(int64_t i, int64_t j) const { return by_panels ? j * tiles + i : i * panels + j; }
        int64_t tile, panel, tiles, panels;
        bool by_panels;
        int64_t first, last;                                   // numbers
        int64_t first_tile, end_tile, first_panel, end_panel;  // what of those neighbours it needs
    };

    int64_t first_output(int64_t tile) const { return tile * call_.num_outputs / num_tiles_; }
    const char* grad_at(int64_t row, int64_t output) const { return static_cast<const char*>(call_.grad) + (row * call_.num_outputs + output) * bytes_; }
    const char* x_at(int64_t row, int64_t input) const { return static_cast<const char*>(call_.x) + (row * call_.num_inputs + input) * bytes_; }

    void add_rows(const Share& share, int64_t row, const Memory& memory) const {
        const int64_t rows = std::min(rows_at_once_, call_.num_rows - row);
        pack(share, row, rows, memory);
        Ahead ahead(*this, share, row + rows);
        for (int64_t panel = share.first_panel; panel < share.end_panel; ++panel) {
            for (int64_t tile = share.first_tile; tile < share.end_tile; ++tile) {
                const int64_t number = share.number(tile, panel), output = first_output(share.tile + tile), input = (share.panel + panel) * panel_outputs;
                if (number < share.first || number >= share.last) continue;  // of a tile or panel that threads share
                WeightGradientTile part;
                part.grad = memory.grads + tile * tile_floats;
                part.x = memory.x + panel * panel_floats;
                part.steps = (rows + rows_of_step_ - 1) / rows_of_step_;
                part.num_outputs = static_cast<int>(first_output(share.tile + tile + 1) - output);
                part.num_inputs = std::min(panel_outputs, call_.num_inputs - input);
                part.adds = call_.adds || row > 0;
                ahead.take(part);
                const int64_t place = output * call_.num_inputs + input;
                if (rounds_) {
                    part.sums = memory.sums + (number - share.first) * tile_sums;
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

    void pack(const Share& share, int64_t first, int64_t rows, const Memory& memory) const {
        if (first == 0) bring(share, first, first + rows);  // later ones were asked for
        for (int64_t strip = 0; strip < rows; strip += rows_of_strip) {
            const int64_t row = first + strip, count = std::min(rows_of_strip, rows - strip), step = strip / rows_of_step_;
            for (int64_t tile = share.first_tile; tile < share.end_tile; ++tile) {
                const int64_t output = first_output(share.tile + tile), outputs = first_output(share.tile + tile + 1) - output;
                kernels_.pack_rows(grad_at(row, output), call_.num_outputs, count, outputs, memory.grads + tile * tile_floats + step * tile_pitch, tile_pitch);
            }
            for (int64_t panel = share.first_panel; panel < share.end_panel; ++panel) {
                const int64_t input = (share.panel + panel) * panel_outputs, inputs = std::min(panel_outputs, call_.num_inputs - input);
                kernels_.pack_rows(x_at(row, input), call_.num_inputs, count, inputs, memory.x + panel * panel_floats + step * panel_outputs, panel_outputs);
            }
        }
    }

    // A share's part of rows of the gradient or of x: so many lines of each, from `start` on, `stride` bytes apart.
    struct Strip {
        const char* start;
        int64_t stride, lines;
    };
    Strip strip_of_grad(const Share& share, int64_t row) const {
        const int64_t output = first_output(share.tile + share.first_tile), outputs = first_output(share.tile + share.end_tile) - output;
        return {grad_at(row, output), call_.num_outputs * bytes_, (outputs * bytes_ + 63) / 64};
    }
    Strip strip_of_x(const Share& share, int64_t row) const {
        const int64_t input = (share.panel + share.first_panel) * panel_outputs;
        const int64_t inputs = std::min((share.end_panel - share.first_panel) * panel_outputs, call_.num_inputs - input);
        return {x_at(row, input), call_.num_inputs * bytes_, (inputs * bytes_ + 63) / 64};
    }

    // What the products of some rows ask for meanwhile: the rows that are packed next, a column of lines for one in `every` tiles.
    class Ahead {
      public:
        Ahead(const GradientTiles& all, const Share& share, int64_t row)
            : strips_{all.strip_of_grad(share, row), all.strip_of_x(share, row)}, lines_(strips_[0].lines + strips_[1].lines),
              rows_(std::min(all.rows_at_once_, all.call_.num_rows - row)),
              every_(std::max<int64_t>(1, (share.last - share.first) / (lines_ * all.rows_of_step_))) {}
        void take(WeightGradientTile& part) {
            part.ahead = reinterpret_cast<const char*>(part.grad);  // a line that is at hand
            part.ahead_stride = 0;
            if (row_ >= rows_ || count_++ % every_ != 0) return;
            const bool in_grad = line_ < strips_[0].lines;
            const Strip& strip = strips_[in_grad ? 0 : 1];
            part.ahead = strip.start + row_ * strip.stride + (in_grad ? line_ : line_ - strips_[0].lines) * 64;
            part.ahead_stride = strip.stride;
            if (++line_ < lines_) return;
            line_ = 0;
            row_ += part.steps;
        }

      private:
        Strip strips_[2];
        int64_t lines_, rows_, every_, row_ = 0, line_ = 0, count_ = 0;
    };

    // Reads rows [first, last) of the share line by line as they lie in memory: packing jumps from row to row, which takes longer where none of them is
    // in a cache.
    void bring(const Share& share, int64_t first, int64_t last) const {
        Strip strips[] = {strip_of_grad(share, first), strip_of_x(share, first)};
        for (int64_t row = first; row < last; ++row) {
            for (Strip& strip : strips) {
                for (int64_t line = 0; line < strip.lines; ++line) *static_cast<const volatile char*>(strip.start + 64 * line);
                strip.start += strip.stride;
            }
        }
    }

    const WeightGradient& call_;
    LinearKernels kernels_;
    int64_t num_tiles_, num_panels_, rows_of_step_, rows_at_once_, bytes_;
    bool rounds_;
};

}  // namespace

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
