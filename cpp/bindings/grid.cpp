#include "dcap/grid.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

std::int64_t canonicalize_arrays(const Input<std::int64_t>& xy, const Input<std::int64_t>& offsets,
                                 const Input<std::uint8_t>& kinds, const Input<std::int64_t>& order,
                                 std::array<std::int64_t, 2> span, const Output<std::int64_t>& out_xy,
                                 const Output<std::int64_t>& out_offsets) {
    const auto points = out_xy.values, ends = out_offsets.values;
    std::int64_t num_points = 0;
    run([&]() noexcept {
        return canonicalize({xy.values, offsets.values, kinds.values}, order.values, span, points, ends, num_points);
    });
    return num_points;
}

}  // namespace

void register_grid(py::module_& m) {
    m.def("canonicalize", &canonicalize_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("order"),
          py::arg("span"), py::arg("out_xy"), py::arg("out_offsets"));
}

}  // namespace dcap::python
