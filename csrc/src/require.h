// How the scheduler refuses arguments.
#pragma once

#include <stdexcept>
#include <string>

namespace paradigm {

inline void require(bool holds, const std::string& message) {
    if (!holds) throw std::invalid_argument(message);
}

}  // namespace paradigm
