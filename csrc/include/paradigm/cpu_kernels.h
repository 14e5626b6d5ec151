// What a transformer computes besides matrix products, on CPU tensors: float32 and bfloat16 storage, float32 arithmetic.
//
// Each forward is exact by rows: what is stored for a row (a token, or a token's head) is a pure function of that row's inputs, bitwise,
// whatever the other rows, their order, the number of threads, and packed or paged form. Gradients are deterministic: they do not
// depend on the number of threads either. Sums over lanes follow paradigm/simd.h, so results agree across instruction sets.
//
// Strides are in elements; the last dimension is contiguous. Functions throw std::invalid_argument on bad arguments.
// `isa` is for tests: every choice gives the same bits, but in bfloat16 of attention, see there.
#pragma once

#include <cstdint>

#include "paradigm/isa.h"

namespace paradigm {

enum class Dtype { float32 = 0, bfloat16 = 1 };

constexpr int64_t bytes_of(Dtype dtype) { return dtype == Dtype::float32 ? 4 : 2; }

// A [rows, heads, head_dim] tensor whose heads are contiguous.
struct HeadRows {
    const void* data = nullptr;
    int64_t row_stride = 0;
    int64_t head_stride = 0;
};

struct AttentionOptions {
    int64_t num_query_heads = 0;
    int64_t num_kv_heads = 0;  // divides num_query_heads: head h reads key-value head h / (num_query_heads / num_kv_heads)
    int64_t head_dim = 0;      // a multiple of 8, at most 256
    bool causal = true;
    int64_t window = 0;   // a token sees itself and the window - 1 before it; 0: no limit
    float scale = 1.0f;   // of the scores
    float softcap = 0.0f; // scores become softcap tanh(score / softcap); 0: off
};

// softmax(scale Q K^T) V within each document, a parent's tokens standing before the document's own.
struct Attention {
    Dtype dtype = Dtype::float32;
    AttentionOptions options;
    HeadRows q, k, v;
    int64_t num_rows = 0;                 // of q and out; those past the documents are padding, and out is zero there
    const int32_t* cu_seqlens = nullptr;  // [num_documents + 1]
    const int32_t* parent = nullptr;      // [num_documents], -1: none; or null
    int64_t num_documents = 0;

    void* out = nullptr;   // [num_rows, num_query_heads, head_dim], contiguous
    float* lse = nullptr;  // [num_rows, num_query_heads] or null: base-2 logarithm of each softmax's denominator, for the backward
};

struct AttentionGradient {
    Attention forward;  // out and lse hold what the forward stored
    HeadRows grad_out;
    void* grad_q = nullptr;  // of q's, k's and v's shape and dtype, the first two contiguous
    void* grad_k = nullptr;
    void* grad_v = nullptr;     // heads are contiguous
    int64_t grad_v_stride = 0;  // elements from a row to the next
};

// Keys lie [blocks, kv_heads, head_dim, block_size], values [blocks, kv_heads, block_size, head_dim]: kernels/layout.py's PagedCache.
struct PagedAttention {
    Dtype dtype = Dtype::float32;
    AttentionOptions options;
    HeadRows q, k, v;      // k and v of the tokens fed now are written into the cache first
    int64_t num_rows = 0;  // of q, k, v and out; those past the sequences are padding
    void* keys = nullptr;
    void* values = nullptr;
    int64_t num_blocks = 0;
    int64_t block_size = 0;                    // a multiple of 16
    const int32_t* cu_seqlens = nullptr;       // [num_sequences + 1], cuts of the tokens fed now
    const int32_t* context_lengths = nullptr;  // [num_sequences], these tokens included
    const int32_t* slots = nullptr;            // [num_sequences], rows of the block table
    const int32_t* block_table = nullptr;      // [num_slots, max_blocks]
    int64_t num_sequences = 0;
    const int32_t* wanted = nullptr;           // [num_wanted], ascending: the rows whose out is asked for
    int64_t num_wanted = -1;                   // -1: all rows
    int64_t num_slots = 0;
    int64_t max_blocks = 0;

    void* out = nullptr;  // as Attention's
};

// The same on every instruction set, but for bfloat16 on processors with AVX-512's BF16: there P and dS are rounded to it before they are multiplied,
// forward and back, packed and paged.
void attention(const Attention& call, int num_threads, Isa isa = best_isa());
void attention_backward(const AttentionGradient& call, int num_threads, Isa isa = best_isa());
void paged_attention(const PagedAttention& call, int num_threads, Isa isa = best_isa());
void check_paged_attention(const PagedAttention& call, int num_threads);  // throws what paged_attention throws, the order of wanted rows apart

// r = x + residual, y = r scale weight, scale = (mean r^2 + eps)^-1/2 (Zhang and Sennrich, arXiv:1910.07467).
struct RmsNorm {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t width = 0;
    const void* x = nullptr;         // [num_rows, width], contiguous, as is all that follows
    const void* residual = nullptr;  // or null
    const void* weight = nullptr;    // [width]
    float eps = 0.0f;

    void* y = nullptr;
    void* total = nullptr;   // r; null without a residual
    float* scale = nullptr;  // [num_rows] or null
};

struct RmsNormGradient {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t width = 0;
    const void* grad_y = nullptr;      // or null: zero
    const void* grad_total = nullptr;  // or null: zero
    const void* total = nullptr;
    const void* weight = nullptr;
    const float* scale = nullptr;

    void* grad_x = nullptr;  // also the residual's
    float* grad_weight = nullptr;  // [width]
};

void rms_norm(const RmsNorm& call, int num_threads, Isa isa = best_isa());
void rms_norm_backward(const RmsNormGradient& call, int num_threads, Isa isa = best_isa());

// One of q and k: an optional RMSNorm of each head, then y_i = x_i cos_i - x_{i+C} sin_i, y_{i+C} = x_{i+C} cos_i + x_i sin_i for i < C.
struct Rotary {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t num_heads = 0;
    int64_t head_dim = 0;  // at most 1024
    int64_t pairs = 0;     // C, at most head_dim / 2; channels from 2 C on pass
    HeadRows x;
    const float* cos = nullptr;    // [num_rows, pairs], contiguous
    const float* sin = nullptr;
    const void* weight = nullptr;  // [head_dim] or null: no norm
    float eps = 0.0f;

    void* y = nullptr;  // [num_rows, num_heads, head_dim], contiguous
};

struct RotaryGradient {
    Rotary forward;  // y is not read
    HeadRows grad_y;
    void* grad_x = nullptr;        // heads are contiguous
    int64_t grad_x_stride = 0;     // elements from a row to the next
    float* grad_weight = nullptr;  // [head_dim]; null without a norm
};

void rotary(const Rotary& call, int num_threads, Isa isa = best_isa());
void rotary_backward(const RotaryGradient& call, int num_threads, Isa isa = best_isa());

// y = gate / (1 + exp(-gate)) up. The backward writes both gradients.
struct Swiglu {
    Dtype dtype = Dtype::float32;
    int64_t num_rows = 0;
    int64_t width = 0;
    int64_t row_stride = 0;  // elements from a row of gate, up and their gradients to the next; y is contiguous
    const void* gate = nullptr;
    const void* up = nullptr;
    void* y = nullptr;
};

struct SwigluGradient {
    Swiglu forward;  // y is not read
    const void* grad_y = nullptr;
    void* grad_gate = nullptr;
    void* grad_up = nullptr;
};

void swiglu(const Swiglu& call, int num_threads, Isa isa = best_isa());
void swiglu_backward(const SwigluGradient& call, int num_threads, Isa isa = best_isa());

// Turns logits into the gradient by them, in place: with p the softmax over the row's legal tokens of logits / temperature, H its entropy,
//     (grad_logprob (1[v = target] - p_v) - grad_entropy p_v (log p_v + H)) / temperature.
struct LogitsGradient {
    float* logits = nullptr;  // [num_rows, vocab_size], contiguous
    int64_t num_rows = 0;
    int64_t vocab_size = 0;
    const int64_t* target = nullptr;         // [num_rows]
    const float* grad_logprob = nullptr;     // [num_rows]
    const float* grad_entropy = nullptr;     // [num_rows] or null: zero
    float temperature = 1.0f;
    const int32_t* support = nullptr;        // [num_rows], rows of the table, -1: every token; or null
    const uint32_t* support_table = nullptr; // [support_rows, support_words]
    int64_t support_rows = 0;
    int64_t support_words = 0;
};

void logits_gradient(const LogitsGradient& call, int num_threads, Isa isa = best_isa());

// Recursions backwards in time within episodes, kernels/gae.py and kernels/vtrace.py: all arrays [T] but bootstrap [B], cu_seqlens [B + 1].
void gae(
    const float* rewards, const float* values, const float* bootstrap, const int32_t* cu_seqlens, int64_t num_episodes, float gamma,
    float lam, float* advantages);
struct Vtrace {
    const float* logprob = nullptr;
    const float* behaviour_logprob = nullptr;
    const float* rewards = nullptr;
    const float* values = nullptr;
    const float* bootstrap = nullptr;
    const int32_t* cu_seqlens = nullptr;
    int64_t num_episodes = 0;
    float gamma = 1.0f, lam = 1.0f, rho_clip = 1.0f, c_clip = 1.0f, pg_rho_clip = 1.0f;
    float* targets = nullptr;
    float* advantages = nullptr;
};
void vtrace(const Vtrace& call);

}  // namespace paradigm
