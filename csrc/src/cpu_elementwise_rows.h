// Row loops of RMSNorm, rotary, SwiGLU and the logits' gradient. Included once an instruction set, after cpu_vector.h.
namespace paradigm {
namespace PARADIGM_SIMD {

// Four running sums over vectors of channels, then one tree: the order depends on the width alone.
struct RowSum {
    f32x16 part[4];
};
PARADIGM_INLINE RowSum zero_sum() {
    const f32x16 zero = broadcast(0.0f);
    return {{zero, zero, zero, zero}};
}
PARADIGM_INLINE float total_of(const RowSum& s) { return sum_lanes((s.part[0] + s.part[1]) + (s.part[2] + s.part[3])); }

template <class T>
void rms_norm_rows(const RmsNorm& call, int64_t first, int64_t last) {
    const int64_t width = call.width;
    const T* weight = static_cast<const T*>(call.weight);
    for (int64_t row = first; row < last; ++row) {
        const T* x = static_cast<const T*>(call.x) + row * width;
        T* y = static_cast<T*>(call.y) + row * width;
        RowSum squares = zero_sum();
        if (call.residual) {
            const T* residual = static_cast<const T*>(call.residual) + row * width;
            T* total = static_cast<T*>(call.total) + row * width;
            for_vectors(width, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
                store_first(total + c, lanes, load_first(x + c, lanes) + load_first(residual + c, lanes));
            });
            x = total;  // rounded: what later layers add to is what is normed
        }
        for_vectors(width, [&](int64_t c, auto lanes, int k) PARADIGM_BODY {
            const f32x16 r = load_first(x + c, lanes);
            squares.part[k] = fma(r, r, squares.part[k]);
        });
        const float scale = 1.0f / __builtin_sqrtf(total_of(squares) / static_cast<float>(width) + call.eps);
        const f32x16 factor = broadcast(scale);
        for_vectors(width, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
            store_first(y + c, lanes, load_first(x + c, lanes) * factor * load_first(weight + c, lanes));
        });
        if (call.scale) call.scale[row] = scale;
    }
}

// With n = r scale and g = grad_y weight: grad_x = scale (g - n mean(g n)) + grad_total. Adds grad_y n to weight_sums [width].
template <class T>
void rms_norm_backward_rows(const RmsNormGradient& call, int64_t first, int64_t last, float* weight_sums) {
    const int64_t width = call.width;
    const T* weight = static_cast<const T*>(call.weight);
    for (int64_t row = first; row < last; ++row) {
        const T* total = static_cast<const T*>(call.total) + row * width;
        const T* grad = call.grad_y ? static_cast<const T*>(call.grad_y) + row * width : nullptr;
        const T* add = call.grad_total ? static_cast<const T*>(call.grad_total) + row * width : nullptr;
        T* out = static_cast<T*>(call.grad_x) + row * width;
        const f32x16 scale = broadcast(call.scale[row]), zero = broadcast(0.0f);
        RowSum products = zero_sum();
        if (grad) {
            for_vectors(width, [&](int64_t c, auto lanes, int k) PARADIGM_BODY {
                const f32x16 n = load_first(total + c, lanes) * scale, g = load_first(grad + c, lanes);
                store_first(weight_sums + c, lanes, fma(g, n, load_first(weight_sums + c, lanes)));
                products.part[k] = fma(g * load_first(weight + c, lanes), n, products.part[k]);
            });
        }
        const f32x16 mean = broadcast(total_of(products) / static_cast<float>(width));
        for_vectors(width, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
            const f32x16 n = load_first(total + c, lanes) * scale;
            const f32x16 g = grad ? load_first(grad + c, lanes) * load_first(weight + c, lanes) : zero;
            store_first(out + c, lanes, fma(scale, g - n * mean, add ? load_first(add + c, lanes) : zero));
        });
    }
}

constexpr int64_t max_head = 1024;

// A head in float32 into x (zeros up to a whole vector), normed if there is a weight.
template <class T>
PARADIGM_INLINE void load_head(const T* from, const T* weight, int64_t dim, float eps, float* x) {
    RowSum squares = zero_sum();
    for_vectors(dim, [&](int64_t c, auto lanes, int k) PARADIGM_BODY {
        const f32x16 v = load_first(from + c, lanes);
        squares.part[k] = fma(v, v, squares.part[k]);
        store(x + c, v);
    });
    if (!weight) return;
    const f32x16 scale = broadcast(1.0f / __builtin_sqrtf(total_of(squares) / static_cast<float>(dim) + eps));
    for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store(x + c, load(x + c) * scale * load_first(weight + c, lanes)); });
}

// In place, by the angles' cos and sin, or by their opposites if `inverse`.
PARADIGM_INLINE void rotate(float* x, const float* cos, const float* sin, int64_t pairs, bool inverse) {
    const f32x16 zero = broadcast(0.0f);
    for_vectors(pairs, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
        const f32x16 a = load_first(x + c, lanes), b = load_first(x + pairs + c, lanes);
        const f32x16 cosine = load_first(cos + c, lanes), sine = inverse ? zero - load_first(sin + c, lanes) : load_first(sin + c, lanes);
        store_first(x + c, lanes, a * cosine - b * sine);
        store_first(x + pairs + c, lanes, b * cosine + a * sine);
    });
}

template <class T>
PARADIGM_INLINE void store_head(const float* x, int64_t dim, T* to) {
    for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY { store_first(to + c, lanes, load(x + c)); });
}

// The same for heads of twice `vectors` vectors of channels, all of which are rotated: what lies in x above stays in registers.
template <int vectors, class T>
PARADIGM_INLINE void rotate_whole_head(
    const T* from, const T* weight, const f32x16 (&cosine)[vectors], const f32x16 (&sine)[vectors], float eps, T* to) {
    f32x16 x[2 * vectors];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * vectors; ++i) x[i] = load(from + 16 * i);
    if (weight) {
        RowSum squares = zero_sum();
#pragma GCC unroll 8
        for (int i = 0; i < 2 * vectors; ++i) squares.part[i % 4] = fma(x[i], x[i], squares.part[i % 4]);
        const f32x16 scale = broadcast(1.0f / __builtin_sqrtf(total_of(squares) / (32.0f * vectors) + eps));
#pragma GCC unroll 8
        for (int i = 0; i < 2 * vectors; ++i) x[i] = x[i] * scale * load(weight + 16 * i);
    }
#pragma GCC unroll 4
    for (int i = 0; i < vectors; ++i) {
        store(to + 16 * i, x[i] * cosine[i] - x[vectors + i] * sine[i]);
        store(to + 16 * (vectors + i), x[vectors + i] * cosine[i] + x[i] * sine[i]);
    }
}

template <int vectors, class T>
void rotate_whole_heads(const Rotary& call, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
        f32x16 cosine[vectors], sine[vectors];
#pragma GCC unroll 4
        for (int i = 0; i < vectors; ++i) {
            cosine[i] = load(call.cos + row * call.pairs + 16 * i);
            sine[i] = load(call.sin + row * call.pairs + 16 * i);
        }
        const T* from = static_cast<const T*>(call.x.data) + row * call.x.row_stride;
        T* to = static_cast<T*>(call.y) + row * call.num_heads * call.head_dim;
        for (int64_t head = 0; head < call.num_heads; ++head, from += call.x.head_stride, to += call.head_dim) {
            rotate_whole_head<vectors>(from, static_cast<const T*>(call.weight), cosine, sine, call.eps, to);
        }
    }
}

template <class T>
void rotary_rows(const Rotary& call, int64_t first, int64_t last) {
    alignas(64) float x[max_head + 16];
    const int64_t dim = call.head_dim;
    if (2 * call.pairs == dim && dim == 32) return rotate_whole_heads<1, T>(call, first, last);
    if (2 * call.pairs == dim && dim == 64) return rotate_whole_heads<2, T>(call, first, last);
    if (2 * call.pairs == dim && dim == 128) return rotate_whole_heads<4, T>(call, first, last);
    for (int64_t row = first; row < last; ++row) {
        for (int64_t head = 0; head < call.num_heads; ++head) {
            const T* from = static_cast<const T*>(call.x.data) + row * call.x.row_stride + head * call.x.head_stride;
            load_head(from, static_cast<const T*>(call.weight), dim, call.eps, x);
            rotate(x, call.cos + row * call.pairs, call.sin + row * call.pairs, call.pairs, false);
            store_head(x, dim, static_cast<T*>(call.y) + (row * call.num_heads + head) * dim);
        }
    }
}

// Gradients of rotate_whole_head's, in the order of sums of the loop over any head below; adds those of the weight to weight_sums.
template <int vectors, class T>
PARADIGM_INLINE void rotate_whole_head_backward(
    const T* grad, const T* from, const T* weight, const f32x16 (&cosine)[vectors], const f32x16 (&sine)[vectors], float eps,
    f32x16 (&weight_sums)[2 * vectors], T* to) {
    constexpr int count = 2 * vectors;
    f32x16 g[count];
#pragma GCC unroll 4
    for (int i = 0; i < vectors; ++i) {
        const f32x16 a = load(grad + 16 * i), b = load(grad + 16 * (vectors + i));
        g[i] = a * cosine[i] + b * sine[i];
        g[vectors + i] = b * cosine[i] - a * sine[i];
    }
    if (weight) {
        f32x16 x[count];
        RowSum squares = zero_sum(), products = zero_sum();
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) {
            x[i] = load(from + 16 * i);
            squares.part[i % 4] = fma(x[i], x[i], squares.part[i % 4]);
        }
        const f32x16 scale = broadcast(1.0f / __builtin_sqrtf(total_of(squares) / (32.0f * vectors) + eps));
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) {
            x[i] = x[i] * scale;
            weight_sums[i] = fma(g[i], x[i], weight_sums[i]);
            g[i] = g[i] * load(weight + 16 * i);
            products.part[i % 4] = fma(g[i], x[i], products.part[i % 4]);
        }
        const f32x16 mean = broadcast(total_of(products) / (32.0f * vectors));
#pragma GCC unroll 8
        for (int i = 0; i < count; ++i) g[i] = scale * (g[i] - x[i] * mean);
    }
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) store(to + 16 * i, g[i]);
}

template <int vectors, class T>
void rotate_whole_heads_backward(const RotaryGradient& call, int64_t first, int64_t last, float* weight_sums) {
    const Rotary& f = call.forward;
    f32x16 sums[2 * vectors];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * vectors; ++i) sums[i] = f.weight ? load(weight_sums + 16 * i) : broadcast(0.0f);
    for (int64_t row = first; row < last; ++row) {
        f32x16 cosine[vectors], sine[vectors];
#pragma GCC unroll 4
        for (int i = 0; i < vectors; ++i) {
            cosine[i] = load(f.cos + row * f.pairs + 16 * i);
            sine[i] = load(f.sin + row * f.pairs + 16 * i);
        }
        const T* grad = static_cast<const T*>(call.grad_y.data) + row * call.grad_y.row_stride;
        const T* from = static_cast<const T*>(f.x.data) + row * f.x.row_stride;
        T* to = static_cast<T*>(call.grad_x) + row * call.grad_x_stride;
        for (int64_t head = 0; head < f.num_heads; ++head) {
            rotate_whole_head_backward<vectors>(grad, from, static_cast<const T*>(f.weight), cosine, sine, f.eps, sums, to);
            grad += call.grad_y.head_stride;
            from += f.x.head_stride;
            to += f.head_dim;
        }
    }
    if (!f.weight) return;
#pragma GCC unroll 8
    for (int i = 0; i < 2 * vectors; ++i) store(weight_sums + 16 * i, sums[i]);
}

template <class T>
void rotary_backward_rows(const RotaryGradient& call, int64_t first, int64_t last, float* weight_sums) {
    alignas(64) float x[max_head + 16], g[max_head + 16];
    const Rotary& f = call.forward;
    const int64_t dim = f.head_dim;
    if (2 * f.pairs == dim && dim == 32) return rotate_whole_heads_backward<1, T>(call, first, last, weight_sums);
    if (2 * f.pairs == dim && dim == 64) return rotate_whole_heads_backward<2, T>(call, first, last, weight_sums);
    if (2 * f.pairs == dim && dim == 128) return rotate_whole_heads_backward<4, T>(call, first, last, weight_sums);
    const T* weight = static_cast<const T*>(f.weight);
    for (int64_t row = first; row < last; ++row) {
        for (int64_t head = 0; head < f.num_heads; ++head) {
            const T* grad = static_cast<const T*>(call.grad_y.data) + row * call.grad_y.row_stride + head * call.grad_y.head_stride;
            load_head(grad, static_cast<const T*>(nullptr), dim, 0.0f, g);
            rotate(g, f.cos + row * f.pairs, f.sin + row * f.pairs, f.pairs, true);
            T* to = static_cast<T*>(call.grad_x) + row * call.grad_x_stride + head * dim;
            if (!weight) {
                store_head(g, dim, to);
                continue;
            }
            const T* from = static_cast<const T*>(f.x.data) + row * f.x.row_stride + head * f.x.head_stride;
            load_head(from, static_cast<const T*>(nullptr), dim, 0.0f, x);
            RowSum squares = zero_sum(), products = zero_sum();
            for_vectors(dim, [&](int64_t c, auto, int k) PARADIGM_BODY { squares.part[k] = fma(load(x + c), load(x + c), squares.part[k]); });
            const f32x16 scale = broadcast(1.0f / __builtin_sqrtf(total_of(squares) / static_cast<float>(dim) + f.eps));
            for_vectors(dim, [&](int64_t c, auto lanes, int k) PARADIGM_BODY {
                const f32x16 n = load(x + c) * scale, from_y = load(g + c), weighted = from_y * load_first(weight + c, lanes);
                store_first(weight_sums + c, lanes, fma(from_y, n, load_first(weight_sums + c, lanes)));
                products.part[k] = fma(weighted, n, products.part[k]);
                store(x + c, n);
                store(g + c, weighted);
            });
            const f32x16 mean = broadcast(total_of(products) / static_cast<float>(dim));
            for_vectors(dim, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
                store_first(to + c, lanes, scale * (load(g + c) - load(x + c) * mean));
            });
        }
    }
}

// 1 + exp(-x). For what is rounded to bfloat16 by fewer steps, with a relative error below 1e-5, and of x <= -88 as of -88.
template <class T>
PARADIGM_INLINE f32x16 one_plus_exp_of_minus(const f32x16& x) {
    if constexpr (sizeof(T) == 2) return broadcast(1.0f) + exp2(min(broadcast(127.0f), x * broadcast(-1.44269504f)));
    return broadcast(1.0f) + exp(broadcast(0.0f) - x);
}

template <class T>
void swiglu_range(const Swiglu& call, int64_t contiguous, int64_t strided, int64_t count) {
    const T *gate = static_cast<const T*>(call.gate) + strided, *up = static_cast<const T*>(call.up) + strided;
    T* y = static_cast<T*>(call.y) + contiguous;
    for_vectors(count, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
        const f32x16 g = load_first(gate + c, lanes);
        store_first(y + c, lanes, g / one_plus_exp_of_minus<T>(g) * load_first(up + c, lanes));
    });
}

template <class T>
void swiglu_backward_range(const SwigluGradient& call, int64_t contiguous, int64_t strided, int64_t count) {
    const f32x16 one = broadcast(1.0f);
    const T *gate = static_cast<const T*>(call.forward.gate) + strided, *up = static_cast<const T*>(call.forward.up) + strided;
    const T* grad_y = static_cast<const T*>(call.grad_y) + contiguous;
    T *grad_gate = static_cast<T*>(call.grad_gate) + strided, *grad_up = static_cast<T*>(call.grad_up) + strided;
    for_vectors(count, [&](int64_t c, auto lanes, int) PARADIGM_BODY {
        const f32x16 g = load_first(gate + c, lanes), u = load_first(up + c, lanes);
        const f32x16 dy = load_first(grad_y + c, lanes), sigmoid = one / one_plus_exp_of_minus<T>(g);
        store_first(grad_gate + c, lanes, dy * u * sigmoid * (one + g * (one - sigmoid)));
        store_first(grad_up + c, lanes, dy * g * sigmoid);
    });
}

// Which of tokens v to v + 15 are legal, v a multiple of 16.
PARADIGM_INLINE mask16 legal_lanes(const uint32_t* words, int64_t v, int64_t vocab_size) {
    const mask16 bits = words ? (words[v / 32] >> (v % 32)) & 0xFFFFu : 0xFFFFu;
    return vocab_size - v >= 16 ? bits : bits & ((1u << (vocab_size - v)) - 1u);
}

inline void logits_gradient_rows(const LogitsGradient& call, int64_t first, int64_t last) {
    const int64_t vocab = call.vocab_size;
    const float inverse = 1.0f / call.temperature;
    const f32x16 lowest = broadcast(-__builtin_inff()), zero = broadcast(0.0f), sharpness = broadcast(inverse);
    for (int64_t row = first; row < last; ++row) {
        float* z = call.logits + row * vocab;
        const float by_logprob = call.grad_logprob[row], by_entropy = call.grad_entropy ? call.grad_entropy[row] : 0.0f;
        if (by_logprob == 0.0f && by_entropy == 0.0f) {
            std::memset(z, 0, static_cast<std::size_t>(vocab) * 4);
            continue;
        }
        const bool masked = call.support && call.support[row] >= 0;
        const uint32_t* words = masked ? call.support_table + call.support[row] * call.support_words : nullptr;
        f32x16 top = lowest;
        for (int64_t v = 0; v < vocab; v += 16) {
            top = max(top, select(legal_lanes(words, v, vocab), load_first(z + v, vocab - v), lowest));
        }
        const f32x16 m = broadcast(max_lanes(top));
        f32x16 sum = zero, moment = zero;
        for (int64_t v = 0; v < vocab; v += 16) {
            const mask16 legal = legal_lanes(words, v, vocab);
            const f32x16 d = select(legal, (load_first(z + v, vocab - v) - m) * sharpness, lowest), e = exp(d);
            sum = sum + e;
            if (by_entropy != 0.0f) {
                moment = fma(e, max(d, broadcast(-1e4f)), moment);  // 0 where e is 0, -inf included
            } else {
                store_first(z + v, vocab - v, e);
            }
        }
        const float total = sum_lanes(sum), log_total = __builtin_logf(total);
        if (by_entropy == 0.0f) {
            const f32x16 factor = broadcast(-by_logprob * inverse / total);
            for (int64_t v = 0; v < vocab; v += 16) store_first(z + v, vocab - v, load_first(z + v, vocab - v) * factor);
        } else {
            const float entropy = log_total - sum_lanes(moment) / total;
            const f32x16 shift = broadcast(entropy - log_total), share = broadcast(inverse / total);
            for (int64_t v = 0; v < vocab; v += 16) {
                const mask16 legal = legal_lanes(words, v, vocab);
                const f32x16 d = select(legal, (load_first(z + v, vocab - v) - m) * sharpness, lowest), p = exp(d) * share;
                const f32x16 slope = fma(broadcast(by_entropy), max(d, broadcast(-1e4f)) + shift, broadcast(by_logprob));
                store_first(z + v, vocab - v, zero - p * slope);
            }
        }
        const int64_t target = call.target[row];
        if (!words || (words[target / 32] >> (target % 32) & 1u)) z[target] += by_logprob * inverse;
    }
}

ElementwiseKernels elementwise_kernels() {
    return {
        {&rms_norm_rows<float>, &rms_norm_rows<bfloat16>},
        {&rms_norm_backward_rows<float>, &rms_norm_backward_rows<bfloat16>},
        {&rotary_rows<float>, &rotary_rows<bfloat16>},
        {&rotary_backward_rows<float>, &rotary_backward_rows<bfloat16>},
        {&swiglu_range<float>, &swiglu_range<bfloat16>},
        {&swiglu_backward_range<float>, &swiglu_backward_range<bfloat16>},
        &logits_gradient_rows};
}

}  // namespace PARADIGM_SIMD
}  // namespace paradigm
