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
        if (best_isa() != Isa::avx512) return false;
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
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi,bmi2,lzcnt,popcnt,amx-tile,amx-bf16")
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

// Weights of 16 outputs as tiles: pairs of inputs (32 bits) transposed, 16 pairs a tile; zeros past the weight's inputs and outputs.
void pack(const bfloat16* weight, int64_t inputs, int64_t count, uint32_t* out) {
    for (int64_t k = 0; k < inputs; k += 32, out += 256) {
        if (k + 32 <= inputs && count >= 16) {
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

template <class Y>
PARADIGM_INLINE void store_sums(const float* sums, int rows, const f32x16& bias, bool has_bias, Y* y, int64_t stride, int64_t count) {
    for (int m = 0; m < rows && count > 0; ++m) {
        const f32x16 sum = load(sums + 16 * m);
        store_first(y + m * stride, count, has_bias ? sum + bias : sum);
    }
}

template <class Y>
void block(const Linear& call, const LinearOutput& output, const LinearBlock& where) {
    const int64_t inputs = call.num_inputs, steps = (inputs + 31) / 32, stride = output.num_outputs;
    const int64_t outputs = where.last_output - where.first_output, num_rows = where.last_row - where.first_row;
    const auto* weight = static_cast<const bfloat16*>(output.weight) + where.first_output * inputs;
    const auto* x = static_cast<const bfloat16*>(call.x) + where.first_row * inputs;

    const bool copied = inputs % 32 != 0;  // a tile must not read past a row
    const int64_t panel_size = 2 * steps * 256 * 4, copy_size = copied ? num_rows * steps * 64 : 0;
    const std::unique_ptr<char[]> memory(new char[static_cast<std::size_t>(panel_size + copy_size + 64)]);
    char* aligned = memory.get() + (64 - reinterpret_cast<std::uintptr_t>(memory.get()) % 64) % 64;
    auto* panel = reinterpret_cast<uint32_t*>(aligned);
    pack(weight, inputs, outputs, panel);
    pack(weight + std::min<int64_t>(16, outputs - 1) * inputs, inputs, outputs - 16, panel + steps * 256);
    int64_t row_stride = inputs;
    if (copied) {
        row_stride = steps * 32;
        auto* copy = reinterpret_cast<bfloat16*>(aligned + panel_size);
        std::memset(copy, 0, static_cast<std::size_t>(copy_size));
        for (int64_t row = 0; row < num_rows; ++row) std::memcpy(copy + row * row_stride, x + row * inputs, static_cast<std::size_t>(inputs) * 2);
        x = copy;
    }
    f32x16 bias[2] = {broadcast(0.0f), broadcast(0.0f)};
    if (output.bias) {
        const auto* from = static_cast<const bfloat16*>(output.bias) + where.first_output;
        bias[0] = load_first(from, outputs);
        if (outputs > 16) bias[1] = load_first(from + 16, outputs - 16);
    }
    Y* y = static_cast<Y*>(output.y) + where.first_row * stride + where.first_output;
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
        const bfloat16 *x0 = x + row * row_stride, *x1 = x0 + 16 * row_stride;
        const auto bytes = static_cast<std::size_t>(row_stride) * 2;
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
        _tile_stored(2, sums[2], 64);
        _tile_stored(3, sums[3], 64);
        for (int half = 0; half < 2; ++half) {
            Y* to = y + row * stride + 16 * half;
            store_sums(sums[half], rows0, bias[half], output.bias != nullptr, to, stride, outputs - 16 * half);
            store_sums(sums[2 + half], rows1, bias[half], output.bias != nullptr, to + 16 * stride, stride, outputs - 16 * half);
        }
    }
    _tile_release();
}

}  // namespace amx

void linear_block_amx(const Linear& call, const LinearOutput& output, const LinearBlock& where) {
    if (call.y_dtype == Dtype::float32) {
        amx::block<float>(call, output, where);
    } else {
        amx::block<uint16_t>(call, output, where);
    }
}

}  // namespace paradigm
#pragma GCC pop_options
#else
namespace paradigm {

bool has_amx() { return false; }
void linear_block_amx(const Linear&, const LinearOutput&, const LinearBlock&) {}

}  // namespace paradigm
#endif
