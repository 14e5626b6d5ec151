#include "paradigm/cpu_kernels.h"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace paradigm {

void prefer_huge_pages(void* memory, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), address = reinterpret_cast<uintptr_t>(memory);
    const uintptr_t first = (address + page - 1) / page * page, end = (address + static_cast<uintptr_t>(bytes)) / page * page;
    if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);  // advice: where it is refused nothing is lost
#else
    (void)memory;
    (void)bytes;
#endif
}

}  // namespace paradigm
