// How the kernels are called from Python: positional numbers, and addresses for what the caller holds, read into the fields of a call.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "paradigm/cpu_kernels.h"

namespace paradigm {

template <class T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

class Arguments {
  public:
    explicit Arguments(const pybind11::args& arguments) : arguments_(arguments) {}

    // The next arguments, in this order. Throws TypeError if there are too few or one has another type.
    template <class... Fields>
    void read(Fields&... fields) {
        (get(fields), ...);
    }

    // Throws TypeError if some were not read.
    void end() const {
        if (next_ != arguments_.size()) refuse("takes " + std::to_string(next_) + " arguments, got " + std::to_string(arguments_.size()));
    }

  private:
    [[noreturn]] static void refuse(const std::string& why) { throw pybind11::type_error("the kernel " + why); }

    template <class T>
    T next() {
        if (next_ == arguments_.size()) refuse("takes more than the " + std::to_string(next_) + " arguments given");
        try {
            return arguments_[next_++].cast<T>();
        } catch (const pybind11::cast_error&) {
            refuse("does not take what is given as argument " + std::to_string(next_));
        }
    }
    template <class T>
    void get(T& number) {
        number = next<T>();
    }
    template <class T>
    void get(T*& address) {
        address = pointer<T>(next<uintptr_t>());
    }
    void get(Dtype& dtype) { dtype = static_cast<Dtype>(next<int>()); }
    void get(HeadRows& rows) { read(rows.data, rows.row_stride, rows.head_stride); }

    const pybind11::args& arguments_;
    std::size_t next_ = 0;
};

// Binds kernel(call, num_threads): `read` reads the fields of the call, after which num_threads is the last argument.
template <class Call, class Kernel, class Read>
void bind_kernel(pybind11::module_& m, const char* name, Kernel kernel, Read read, const char* doc = "") {
    const auto bound = [kernel, read](const pybind11::args& given) {
        Arguments arguments(given);
        Call call;
        int num_threads = 0;
        read(arguments, call);
        arguments.read(num_threads);
        arguments.end();
        const pybind11::gil_scoped_release release;
        kernel(call, num_threads, best_isa());
    };
    m.def(name, bound, doc);
}

}  // namespace paradigm
