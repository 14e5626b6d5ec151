// A block of threads an episode, backwards in tiles of steps: A_t = delta_t + decay A_{t+1} is x -> term + decay x composed over the steps after t.
// A thread composes kSteps neighbouring steps, a warp its threads by shuffles, the block its warps; tiles count from the episode's end, so that a
// step's bits depend on the later steps of its episode alone.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "paradigm/cuda_scan.h"

namespace paradigm {
namespace {

constexpr int kThreads = 256, kSteps = 4, kWarps = kThreads / 32, kTile = kThreads * kSteps;

struct Affine {
    float decay, term;  // x -> term + decay x
};

// first `inner`, of the later steps, then `outer`
__device__ Affine after(Affine outer, Affine inner) { return {outer.decay * inner.decay, outer.term + outer.decay * inner.term}; }

// the composition over this lane and those before it in the warp, which hold later steps
__device__ Affine scan_warp(Affine own, int lane) {
    for (int distance = 1; distance < 32; distance *= 2) {
        const Affine later = {__shfl_up_sync(~0u, own.decay, distance), __shfl_up_sync(~0u, own.term, distance)};
        if (lane >= distance) own = after(own, later);
    }
    return own;
}

__global__ void __launch_bounds__(kThreads) gae_kernel(Gae call, float decay) {
    const int64_t episode = blockIdx.x;
    const int64_t begin = call.cu_seqlens[episode], stop = call.cu_seqlens[episode + 1];
    const bool is_bad = begin < 0 || stop < begin || stop > call.num_decisions || (episode == 0 && begin != 0) ||
                        (episode == call.num_episodes - 1 && stop != call.num_decisions);
    if (is_bad && threadIdx.x == 0) atomicMax(call.flag, ((2147483647LL - episode) << 32) + stop);
    const int64_t first = max(begin, int64_t{0}), end = min(stop, call.num_decisions);
    const float bootstrap = is_bad ? nanf("") : call.bootstrap[episode];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __shared__ Affine of_warp[kWarps];
    __shared__ float carried;
    if (threadIdx.x == 0) carried = 0.0f;
    __syncthreads();
    for (int64_t last = end - 1; last >= first; last -= kTile) {
        const int64_t latest = last - threadIdx.x * kSteps;  // this thread's steps are latest, latest - 1, ...
        Affine step[kSteps];
        float next_value = latest + 1 >= end ? bootstrap : latest >= first ? call.values[latest + 1] : 0.0f;
        for (int i = 0; i < kSteps; ++i) {
            const int64_t t = latest - i;
            step[i] = {1.0f, 0.0f};
            if (t < first) continue;
            const float value = call.values[t];
            step[i] = {decay, call.rewards[t] + call.gamma * next_value - value};
            next_value = value;
        }
        for (int i = 1; i < kSteps; ++i) step[i] = after(step[i], step[i - 1]);
        const Affine through = scan_warp(step[kSteps - 1], lane);
        if (lane == 31) of_warp[warp] = through;
        __syncthreads();
        float x = carried;  // A at the step after the tile's last, then after this warp's, then after this thread's
        for (int i = 0; i < warp; ++i) x = of_warp[i].term + of_warp[i].decay * x;
        const float entering = through.term + through.decay * x;  // A at this thread's earliest step
        const float before = __shfl_up_sync(~0u, entering, 1);
        if (lane > 0) x = before;
        for (int i = 0; i < kSteps; ++i)
            if (latest - i >= first) call.advantages[latest - i] = step[i].term + step[i].decay * x;
        __syncthreads();  // everybody has read what the tile before carried
        if (threadIdx.x == kThreads - 1) carried = entering;
        __syncthreads();
    }
}

}  // namespace

void cuda_gae(const Gae& call, void* stream) {
    if (call.num_episodes == 0) return;
    gae_kernel<<<static_cast<unsigned>(call.num_episodes), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(call, call.gamma * call.lam);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) throw std::runtime_error(std::string("gae could not be launched: ") + cudaGetErrorString(error));
}

}  // namespace paradigm
