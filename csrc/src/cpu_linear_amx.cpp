// The linear layer in bfloat16 on Intel's tile unit (AMX): 32 rows by 32 outputs at a time, four tiles of running sums in float32.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>

#include "cpu_linear_table.h"
#if PARADIGM_HAS_X86_ISAS && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace paradigm {

bool has_amx() {
    static const bool granted = [] {
        if (best_isa() < Isa::avx512) return false;
        unsigned a = 0, b = 0, c = 0, d = 0;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
        constexpr unsigned bfloat16_tiles = 1u << 22, tiles = 1u << 24;
        if (!(d & bfloat16_tiles) || !(d & tiles)) return false;
        constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA: Linux 5.16
        return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
    }();
    return granted;
}

}  // namespace paradigm

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,lzcnt,popcnt,avx512bf16,amx-tile,amx-bf16")
#define PARADIGM_SIMD amx
#define PARADIGM_SIMD_BYTES 64
#include "paradigm/simd.h"
#include "cpu_vector.h"

namespace paradigm {
namespace amx {

struct alignas(64) TileConfig {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_of_row[16] = {};
    uint8_t rows[16] = {};
};

// Tiles 0 to 3: sums of (row tile 0 or 1, output tile 0 or 1); 4, 5: rows of x; 6, 7: weights. The second row tile may be absent.
PARADIGM_INLINE void configure(int rows0, int rows1) {
    TileConfig config;
    const int rows[8] = {rows0, rows0, std::max(rows1, 1), std::max(rows1, 1), rows0, std::max(rows1, 1), 16, 16};
    for (int i = 0; i < 8; ++i) {
        config.bytes_of_row[i] = 64;
        config.rows[i] = static_cast<uint8_t>(rows[i]);
    }
    _tile_loadconfig(&config);
}

// 16 outputs: pairs of inputs (32 bits) transposed, 16 pairs a tile; zeros past the weight's inputs and outputs.
void pack_half(const bfloat16* weight, int64_t inputs, int64_t count, uint32_t* out) {
    for (int64_t k = 0; k < inputs; k += 32, out += 256) {
        if (k + 32 <= inputs && inputs % 2 == 0 && count >= 16) {
            transpose16(reinterpret_cast<const float*>(weight + k), inputs / 2, 16, 16, reinterpret_cast<float*>(out));
            continue;
        }
        alignas(64) bfloat16 rows[16][32] = {};
        for (int64_t j = 0; j < std::min<int64_t>(count, 16); ++j) {
            std::memcpy(rows[j], weight + j * inputs + k, static_cast<std::size_t>(std::min<int64_t>(32, inputs - k)) * sizeof(bfloat16));
        }
        transpose16(reinterpret_cast<const float*>(rows), 16, 16, 16, reinterpret_cast<float*>(out));
    }
}

PARADIGM_INLINE void store_sixteen(float* to, const f32x16& x) { store(to, x); }
PARADIGM_INLINE void store_sixteen(bfloat16* to, const f32x16& x) {
    const __m256bh half = _mm512_cvtneps_pbh((__m512)x.part[0]);
    std::memcpy(to, &half, sizeof(half));
}

template <class Y>
PARADIGM_INLINE void store_sums(const float* sums, int rows, const f32x16& bias, bool has_bias, Y* y, int64_t stride, int64_t count) {
    for (int m = 0; m < rows && count > 0; ++m) {
        const f32x16 sum = has_bias ? load(sums + 16 * m) + bias : load(sums + 16 * m);
        Y* to = y + m * stride;
        if (count >= 16) {
            store_sixteen(to, sum);
        } else {
            Y lanes[16];
            store_sixteen(lanes, sum);
            for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
        }
    }
}

// 32 rows (fewer at the end) times one panel, whose sums are stored to y.
template <class Y>
void multiply_panel(const PanelCall& call, const bfloat16* x, int64_t x_stride, const uint32_t* panel, const float* bias, int64_t outputs, Y* y) {
    const int64_t steps = (call.inputs + 31) / 32, num_rows = call.last_row - call.first_row;
    const f32x16 added[2] = {
        bias ? load_first(bias, outputs) : broadcast(0.0f), bias && outputs > 16 ? load_first(bias + 16, outputs - 16) : broadcast(0.0f)};
    alignas(64) float sums[4][256];
    int configured0 = 0, configured1 = 0;
    for (int64_t row = 0; row < num_rows; row += 32) {
        const int rows0 = static_cast<int>(std::min<int64_t>(16, num_rows - row));
        const int rows1 = static_cast<int>(std::max<int64_t>(0, std::min<int64_t>(16, num_rows - row - 16)));
        if (rows0 != configured0 || rows1 != configured1) {
            configure(rows0, rows1);
            configured0 = rows0;
            configured1 = rows1;
        }
        const bfloat16 *x0 = x + row * x_stride, *x1 = x0 + 16 * x_stride;
        const auto bytes = static_cast<std::size_t>(x_stride) * 2;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t k = 0; k < steps; ++k) {
            _tile_loadd(4, x0 + k * 32, bytes);
            _tile_loadd(6, panel + k * 256, 64);
            _tile_loadd(7, panel + (steps + k) * 256, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (rows1 > 0) {
                _tile_loadd(5, x1 + k * 32, bytes);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        _tile_stored(0, sums[0], 64);
        _tile_stored(1, sums[1], 64);
        if (rows1 > 0) {
            _tile_stored(2, sums[2], 64);
            _tile_stored(3, sums[3], 64);
        }
        for (int half = 0; half < 2; ++half) {
            Y* to = y + row * call.y_stride + 16 * half;
            store_sums(sums[half], rows0, added[half], bias != nullptr, to, call.y_stride, outputs - 16 * half);
            store_sums(sums[2 + half], rows1, added[half], bias != nullptr, to + 16 * call.y_stride, call.y_stride, outputs - 16 * half);
        }
    }
}

template <class Y>
void multiply(const PanelCall& call) {
    const int64_t inputs = call.inputs, steps = (inputs + 31) / 32, num_rows = call.last_row - call.first_row;
    const auto* x = static_cast<const bfloat16*>(call.x) + call.first_row * inputs;
    int64_t x_stride = inputs;
    std::unique_ptr<bfloat16[]> copy;
    if (inputs % 32 != 0) {  // a tile must not read past a row
        x_stride = steps * 32;
        copy.reset(new bfloat16[static_cast<std::size_t>(num_rows * x_stride)]());
        for (int64_t row = 0; row < num_rows; ++row) std::memcpy(copy.get() + row * x_stride, x + row * inputs, static_cast<std::size_t>(inputs) * 2);
        x = copy.get();
    }
    const auto* panel = reinterpret_cast<const uint32_t*>(call.panels);
    for (int64_t output = 0; output < call.num_outputs; output += panel_outputs, panel += 2 * steps * 256) {
        const int64_t outputs = std::min(panel_outputs, call.num_outputs - output);
        const float* bias = call.bias ? call.bias + output : nullptr;
        multiply_panel(call, x, x_stride, panel, bias, outputs, static_cast<Y*>(call.y) + call.first_row * call.y_stride + output);
    }
    _tile_release();
}

}  // namespace amx

void pack_tiles(const uint16_t* weight, int64_t inputs, int64_t count, uint32_t* panel) {
    amx::pack_half(weight, inputs, count, panel);
    amx::pack_half(count > 16 ? weight + 16 * inputs : weight, inputs, count - 16, panel + (inputs + 31) / 32 * 256);
}

void multiply_tiles(const PanelCall& call) {
    if (call.y_dtype == Dtype::float32) {
        amx::multiply<float>(call);
    } else {
        amx::multiply<uint16_t>(call);
    }
}

}  // namespace paradigm
#pragma GCC pop_options
#else
namespace paradigm {

bool has_amx() { return false; }
void pack_tiles(const uint16_t*, int64_t, int64_t, uint32_t*) {}
void multiply_tiles(const PanelCall&) {}

}  // namespace paradigm
#endif
