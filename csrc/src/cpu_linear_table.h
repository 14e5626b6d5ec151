// The loops behind cpu_linear.cpp: one table an instruction set, and the tile unit's functions.
#pragma once

#include <cstdint>

#include "paradigm/cpu_linear.h"

namespace paradigm {

// Rows [first_row, last_row) times neighbouring panels.
struct PanelCall {
    const void* x = nullptr;  // float32, pairs of bfloat16, or for tiles bfloat16; rows are `inputs` of them apart
    int64_t inputs = 0;
    int64_t first_row = 0, last_row = 0;
    const char* panels = nullptr;
    const char* next = nullptr;   // the panel that will be wanted after these: fetched meanwhile
    const float* bias = nullptr;  // by output of these panels, or null
    int64_t num_outputs = 0;      // that the panels hold
    void* y = nullptr;            // the first of these outputs in row 0
    int64_t y_stride = 0;
    Dtype y_dtype = Dtype::float32;
};

constexpr int64_t tile_pitch = 16;

// What some rows add to a tile of a weight's gradient.
struct WeightGradientTile {
    const float* grad = nullptr;  // [steps][tile_pitch], a step being a row, or where pairs of bfloat16 are multiplied two
    const float* x = nullptr;     // [steps][32]
    int64_t steps = 0;
    int num_outputs = 0;          // at most LinearKernels::tile_outputs, and that at most tile_pitch
    int64_t num_inputs = 0;       // at most 32
    float* sums = nullptr;        // rows sums_stride apart
    int64_t sums_stride = 0;
    bool adds = false;            // to the sums that are there
    uint16_t* rounded = nullptr;  // if not null, where the sums go instead, in bfloat16
    int64_t rounded_stride = 0;
    const char* ahead = nullptr;  // a column of lines, ahead_stride bytes apart, one of which is asked for in every step
    int64_t ahead_stride = 0;
};

// panel[k * 32 + j] = weight[j][k] in float32 for j < count (<= 32), else 0. Where pairs of bfloat16 are multiplied, a pair stands for a float32.
struct LinearKernels {
    void (*pack[2])(const void* weight, int64_t inputs, int64_t count, float* panel);  // by Dtype
    // The same from rows that lie the other way, two of them a pair: to[step][c] = from[row][c] for c < count, else 0 up to width, 16 or 32.
    void (*pack_rows)(const void* from, int64_t row_stride, int64_t rows, int64_t count, float* to, int64_t width);
    void (*multiply)(const PanelCall&);
    void (*weight_gradient)(const WeightGradientTile&);
    int tile_outputs;
};

namespace baseline {
LinearKernels linear_kernels();
}
#if PARADIGM_HAS_X86_ISAS
namespace avx2 {
LinearKernels linear_kernels();
}
namespace avx512 {
LinearKernels linear_kernels();
}
namespace avx512bf16 {
LinearKernels linear_kernels();  // of pairs, packed as float32
}
#endif

bool has_amx();

// A panel for the tile unit: two halves of 16 outputs, each of ceil(inputs / 32) tiles of 16 pairs of inputs by 16 outputs.
void pack_tiles(const uint16_t* weight, int64_t inputs, int64_t count, uint32_t* panel);
void multiply_tiles(const PanelCall& call);

}  // namespace paradigm
