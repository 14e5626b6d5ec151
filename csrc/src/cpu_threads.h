// How the CPU kernels refuse arguments and spread blocks of work over threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace paradigm {

[[noreturn]] inline void refuse(const std::string& rule, int64_t value) { throw std::invalid_argument(rule + ", got " + std::to_string(value)); }

// Calls body(i) for i < count, on `threads` threads with a run of neighbours each; body must not throw.
template <class Body>
void for_each_block(int64_t count, int64_t threads, const Body& body) {
    if (threads <= 1) {
        for (int64_t i = 0; i < count; ++i) body(i);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
#endif
    for (int64_t i = 0; i < count; ++i) body(i);
}

// Calls body(first, last) over blocks of `block` of `count` things of `cost` elements each, on as many threads as the work is worth.
template <class Body>
void for_blocks(int64_t count, int64_t block, int64_t cost, int num_threads, const Body& body) {
    const int64_t num_blocks = (count + block - 1) / block;
    const int64_t threads = std::min<int64_t>({num_threads, num_blocks, count * cost / 32768});
    for_each_block(num_blocks, threads, [&](int64_t i) { body(i * block, std::min(i * block + block, count)); });
}

}  // namespace paradigm
