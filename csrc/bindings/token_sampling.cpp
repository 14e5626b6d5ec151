// Token sampling for Python: a checked form over numpy arrays, and raw forms over addresses for callers that hold torch tensors.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "arguments.h"
#include "paradigm/philox.h"
#include "paradigm/sample_token.h"

namespace py = pybind11;

namespace paradigm {

namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

Isa isa_of(const std::string& name) {
    if (name == "best") return best_isa();
    if (name == "baseline") return Isa::baseline;
    if (name == "avx2" && best_isa() >= Isa::avx2) return Isa::avx2;
    if (name == "avx512" && best_isa() >= Isa::avx512) return Isa::avx512;
    throw std::invalid_argument("isa must be best, baseline, or avx2 or avx512 where the processor has it, got " + name);
}

// A parameter given once for all rows or once a row, as n values.
template <typename T>
Array<T> per_row(const char* name, const py::object& given, py::ssize_t n) {
    Array<T> values = Array<T>::ensure(given);
    if (!values) {
        PyErr_Clear();
        throw py::type_error(std::string(name) + " must be a number or an array of numbers, got " + std::string(py::str(py::type::of(given))));
    }
    if (values.ndim() == 1 && values.shape(0) == n) return values;
    if (values.ndim() != 0) {
        throw std::invalid_argument(std::string(name) + " must be a number or an array [n = " + std::to_string(n) + "], got " +
                                    std::to_string(values.ndim()) + " dimensions with " + std::to_string(values.size()) + " values");
    }
    Array<T> repeated(n);
    std::fill_n(repeated.mutable_data(), n, values.data()[0]);
    return repeated;
}

// Rows whose elements lie side by side are used where they are, whatever the stride between rows.
class Logits {
  public:
    explicit Logits(const py::array& given) : array_(given) {
        if (!py::isinstance<py::array_t<float>>(given) || given.ndim() != 2) {
            throw std::invalid_argument("logits must be float32 [n, V], got " + std::string(py::str(given.dtype())) + " with " +
                                        std::to_string(given.ndim()) + " dimensions");
        }
        const bool rows_are_whole = given.strides(1) == sizeof(float) && given.strides(0) >= given.shape(1) * py::ssize_t{sizeof(float)} &&
                                    given.strides(0) % sizeof(float) == 0;
        if (!rows_are_whole) array_ = Array<float>(given);
    }
    template <typename Rows>
    void put(Rows& rows) const {
        rows.logits = static_cast<const float*>(array_.data());
        rows.n = array_.shape(0);
        rows.vocab_size = array_.shape(1);
        rows.stride = array_.strides(0) / py::ssize_t{sizeof(float)};
    }

  private:
    py::array array_;
};

class Support {
  public:
    Support(const py::object& row, const std::optional<Array<uint32_t>>& table, py::ssize_t n) {
        if (row.is_none()) return;
        row_ = per_row<int32_t>("support", row, n);
        if (table) table_ = *table;
        if (table && table_.ndim() != 2) throw std::invalid_argument("support_table must be uint32 [S, W], got " + std::to_string(table_.ndim()) + " dimensions");
        given_ = true;
    }
    SupportTable table() const {
        if (!given_) return {};
        const bool has_rows = table_.ndim() == 2;
        return {row_.data(), table_.data(), has_rows ? table_.shape(0) : 0, has_rows ? table_.shape(1) : 0};
    }

  private:
    Array<int32_t> row_;
    Array<uint32_t> table_;
    bool given_ = false;
};

py::tuple sample_token_checked(const py::array& logits, const py::object& temperature, const py::object& top_k, const py::object& top_p,
                               const py::object& min_p, const py::object& key, const py::object& trajectory, const py::object& position,
                               const py::object& support, const std::optional<Array<uint32_t>>& support_table, int num_threads,
                               bool with_cut, const std::string& isa) {
    SampleTokens rows;
    const Logits view(logits);
    view.put(rows);
    const auto temperatures = per_row<float>("temperature", temperature, rows.n);
    const auto top_ks = per_row<int32_t>("top_k", top_k, rows.n);
    const auto top_ps = per_row<float>("top_p", top_p, rows.n);
    const auto min_ps = per_row<float>("min_p", min_p, rows.n);
    const auto keys = per_row<uint64_t>("key", key, rows.n);
    const auto trajectories = per_row<uint64_t>("trajectory", trajectory, rows.n);
    const auto positions = per_row<uint32_t>("position", position, rows.n);
    const Support supports(support, support_table, rows.n);
    rows.temperature = temperatures.data();
    rows.top_k = top_ks.data();
    rows.top_p = top_ps.data();
    rows.min_p = min_ps.data();
    rows.key = keys.data();
    rows.trajectory = trajectories.data();
    rows.position = positions.data();
    rows.support = supports.table();
    Array<int32_t> id(rows.n), cut_id(rows.n);
    Array<float> logprob(rows.n), kept_logmass(rows.n), cut_logit(rows.n);
    rows.id = id.mutable_data();
    rows.logprob = logprob.mutable_data();
    rows.kept_logmass = kept_logmass.mutable_data();
    rows.cut_logit = cut_logit.mutable_data();
    rows.cut_id = cut_id.mutable_data();
    const Isa chosen = isa_of(isa);
    {
        py::gil_scoped_release release;
        sample_token(rows, num_threads, chosen);
    }
    if (with_cut) return py::make_tuple(id, logprob, kept_logmass, cut_logit, cut_id);
    return py::make_tuple(id, logprob, kept_logmass);
}

py::tuple row_logprob_checked(const py::array& logits, const Array<int64_t>& targets, float temperature, const py::object& support,
                              const std::optional<Array<uint32_t>>& support_table, int num_threads, const std::string& isa) {
    RowLogprobs rows;
    const Logits view(logits);
    view.put(rows);
    if (targets.ndim() != 1 || targets.shape(0) != rows.n) {
        throw std::invalid_argument("targets must be int64 [n = " + std::to_string(rows.n) + "], got " + std::to_string(targets.size()) + " values");
    }
    const Support supports(support, support_table, rows.n);
    rows.target = targets.data();
    rows.temperature = temperature;
    rows.support = supports.table();
    Array<float> logprob(rows.n), entropy(rows.n);
    rows.logprob = logprob.mutable_data();
    rows.entropy = entropy.mutable_data();
    const Isa chosen = isa_of(isa);
    {
        py::gil_scoped_release release;
        row_logprob(rows, num_threads, chosen);
    }
    return py::make_tuple(logprob, entropy);
}

void read_support(Arguments& in, SupportTable& support) { in.read(support.row, support.words, support.num_rows, support.num_words); }

}  // namespace

void bind_token_sampling(py::module_& m) {
    m.def("philox4x32", &philox4x32, py::arg("counter"), py::arg("key"), "Philox4x32-10: four 32-bit words of counter [4] under key [2].");
    m.def("noise_key", &noise_key, py::arg("seed"), py::arg("step"), py::arg("attempt") = 0,
          "The 64-bit Philox key of one collection of rollouts, a hash of three 64-bit words.");
    m.def("sample_token", &sample_token_checked, py::arg("logits"), py::kw_only(), py::arg("temperature") = 1.0f, py::arg("top_k") = 0,
          py::arg("top_p") = 1.0f, py::arg("min_p") = 0.0f, py::arg("key") = 0, py::arg("trajectory") = 0, py::arg("position") = 0,
          py::arg("support") = py::none(), py::arg("support_table") = py::none(), py::arg("num_threads") = 1, py::arg("with_cut") = false,
          py::arg("isa") = "best",
          R"(Draws one token a row; csrc/include/paradigm/sample_token.h has the definitions.

Args:
    logits: float32 [n, V]; rows may be strided.
    temperature, top_k, top_p, min_p: a number, or [n]; 0 is greedy; 0, 1 and 0 turn the filters off.
    key, trajectory, position: uint64, uint64, uint32, a number or [n]: what the noise is a function of.
    support: int32, a number or [n], rows of support_table; -1 or None: every token is legal.
    support_table: uint32 [S, W], bit v % 32 of word v // 32 set where token v is legal.
    with_cut: also return the last kept token of each row, for tests.
    isa: "best", or one of "baseline", "avx2", "avx512", for tests: every choice gives the same bits.

Returns: ids int32 [n], logprobs float32 [n] over the legal tokens before the filters, kept_logmass float32 [n]; with_cut adds
    cut_logit float32 [n] and cut_id int32 [n]: kept are larger logits, and this logit up to this id.
Raises: ValueError naming the argument, its rule and the value.)");
    m.def("row_logprob", &row_logprob_checked, py::arg("logits"), py::arg("targets"), py::kw_only(), py::arg("temperature") = 1.0f,
          py::arg("support") = py::none(), py::arg("support_table") = py::none(), py::arg("num_threads") = 1, py::arg("isa") = "best",
          R"(Log-probabilities and entropies of rows, bitwise those of sample_token.

Args: as sample_token; targets int64 [n]; one temperature, > 0.
Returns: logprob float32 [n] (-inf for an illegal target), entropy float32 [n] in nats. Raises: ValueError as sample_token.)");
    bind_kernel<SampleTokens>(
        m, "sample_token_raw", sample_token,
        [](Arguments& in, SampleTokens& rows) {
            in.read(rows.logits, rows.n, rows.vocab_size, rows.stride, rows.temperature, rows.top_k, rows.top_p, rows.min_p, rows.key,
                    rows.trajectory, rows.position);
            read_support(in, rows.support);
            in.read(rows.id, rows.logprob, rows.kept_logmass);
        },
        "(logits, n, vocab_size, stride, temperature, top_k, top_p, min_p, key, trajectory, position, support, support_table, num_support_rows, "
        "num_support_words, ids, logprobs, kept_logmass, num_threads)\n\n"
        "sample_token over addresses of contiguous arrays [n] (float32, int32, float32, float32, uint64, uint64, uint32; support int32 or 0); "
        "logits float32 with `stride` elements between rows. The caller answers for types and lengths.");
    bind_kernel<RowLogprobs>(
        m, "row_logprob_raw", row_logprob,
        [](Arguments& in, RowLogprobs& rows) {
            in.read(rows.logits, rows.n, rows.vocab_size, rows.stride, rows.target, rows.temperature);
            read_support(in, rows.support);
            in.read(rows.logprob, rows.entropy);
        },
        "(logits, n, vocab_size, stride, targets, temperature, support, support_table, num_support_rows, num_support_words, logprobs, entropies, "
        "num_threads)\n\n"
        "row_logprob over addresses; targets int64 [n], entropies float32 [n] or 0. The caller answers for types and lengths.");
}

}  // namespace paradigm
