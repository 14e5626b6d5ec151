// Recursions backwards in time within packed episodes: kernels/gae.py and kernels/vtrace.py.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

void gae(
    const float* rewards, const float* values, const float* bootstrap, const int32_t* cu_seqlens, int64_t num_episodes, float gamma,
    float lam, float* advantages) {
    for (int64_t b = 0; b < num_episodes; ++b) {
        float next_value = bootstrap[b], advantage = 0.0f;
        for (int64_t t = int64_t{cu_seqlens[b + 1]} - 1; t >= cu_seqlens[b]; --t) {
            const float delta = rewards[t] + gamma * next_value - values[t];
            advantages[t] = advantage = delta + gamma * lam * advantage;
            next_value = values[t];
        }
    }
}

void vtrace(const Vtrace& call) {
    for (int64_t b = 0; b < call.num_episodes; ++b) {
        float next_value = call.bootstrap[b], next_target = next_value;
        for (int64_t t = int64_t{call.cu_seqlens[b + 1]} - 1; t >= call.cu_seqlens[b]; --t) {
            const float ratio = std::exp(call.logprob[t] - call.behaviour_logprob[t]), value = call.values[t], reward = call.rewards[t];
            const float delta = std::min(call.rho_clip, ratio) * (reward + call.gamma * next_value - value);
            const float correction = call.gamma * call.lam * std::min(call.c_clip, ratio) * (next_target - next_value);
            call.advantages[t] = std::min(call.pg_rho_clip, ratio) * (reward + call.gamma * next_target - value);
            call.targets[t] = next_target = value + delta + correction;
            next_value = value;
        }
    }
}

}  // namespace paradigm
