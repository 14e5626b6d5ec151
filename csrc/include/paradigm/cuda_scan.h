// Generalized advantage estimates over packed episodes, kernels/gae.py's equation, on a CUDA device (Schulman et al., arXiv:1506.02438).
#pragma once
#include <cstdint>

namespace paradigm {

struct Gae {
    const float* rewards;     // [num_decisions], and so the others, on the device
    const float* values;
    const float* bootstrap;   // [num_episodes]
    const int32_t* cu_seqlens;  // [num_episodes + 1]
    float* advantages;        // [num_decisions]
    long long* flag;          // as kernels/flags_triton.py raises it, where cu_seqlens does not cut the decisions
    int64_t num_decisions;
    int64_t num_episodes;
    float gamma, lam;
};

// Enqueues the scan on `stream`, a cudaStream_t of the current device, and waits for nothing. Throws std::runtime_error if it cannot be launched.
void cuda_gae(const Gae& call, void* stream);

}  // namespace paradigm
