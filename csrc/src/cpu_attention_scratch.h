// What cpu_attention.cpp hands to the loops that are compiled once an instruction set: work items, memory, and their table.
#pragma once

#include <cstdint>
#include <type_traits>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

struct AttentionItem {
    int64_t document;     // or sequence
    int64_t kv_head;
    int64_t first, last;  // its queries, counted from the first token fed
    int64_t num_kv_heads = 1;  // or 2 neighbours of a cache, where a token is fed alone: as many rows as a block has, at most
};

// Documents with a parent, as lists.
struct DocumentLinks {
    const int32_t* first_child;   // [documents], -1: none
    const int32_t* next_sibling;  // [documents], -1: none
};

// One thread's memory; what is copied in bfloat16 takes half of a place. Rows have padded_dim channels (head_dim rounded up to 16); padded_keys is the longest document rounded up to 16.
struct AttentionScratch {
    int64_t padded_dim, padded_keys;
    float* keys;      // [padded_keys / 16][head_dim][16]
    float* values;    // [padded_keys][padded_dim]
    float* scores;    // [rows][padded_keys]
    float* q;         // [rows][padded_dim], as are the next
    float* out;
    float* raw_q;
    float* grad_out;
    float* transposed_values;  // as keys; from here on for the backward
    float* key_rows;           // as values, as are the next
    float* grad_keys;
    float* grad_values;
    float* grad_scores;        // as scores
    const void** key_tiles;    // [padded_keys / 16], as are the next
    const void** value_tiles;
    const void** copied_keys;
    const void** copied_values;
    const void** ahead_key_tiles;
    const void** ahead_value_tiles;
};

struct AttentionKernels {  // by Dtype
    int rows_of_block;
    void (*item[2])(const Attention&, const AttentionItem&, const AttentionScratch&);
    void (*paged_item[2])(const PagedAttention&, const AttentionItem&, const AttentionItem* next, const AttentionScratch&);
    void (*backward_item[2])(const AttentionGradient&, const AttentionItem&, const DocumentLinks&, const AttentionScratch&);
};

namespace baseline {
AttentionKernels attention_kernels();
}
#if PARADIGM_HAS_X86_ISAS
namespace avx2 {
AttentionKernels attention_kernels();
}
namespace avx512 {
AttentionKernels attention_kernels();
}
namespace avx512bf16 {
AttentionKernels attention_kernels();  // of bfloat16 only
}
#endif

}  // namespace paradigm
