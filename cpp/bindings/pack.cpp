#include "dcap/pack.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

std::int64_t pack_array(const Input<std::int64_t>& lengths, std::int64_t capacity, std::int64_t window,
                        const Output<std::int64_t>& out) {
    const auto sizes = lengths.values;
    const auto row_of = out.values;
    std::int64_t num_rows = 0;
    run([&]() noexcept { return pack(sizes, capacity, window, row_of, num_rows); });
    return num_rows;
}

}  // namespace

void register_pack(py::module_& m) {
    m.def("pack", &pack_array, py::arg("lengths"), py::arg("capacity"), py::arg("window"), py::arg("out"));
}

}  // namespace dcap::python
