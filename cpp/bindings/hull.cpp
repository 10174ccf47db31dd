#include "dcap/hull.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void hull_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets, const Input<std::uint8_t>& kinds,
                 const Output<double>& out) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto corners = out.values;
    run([&]() noexcept { return min_area_rect(shapes, corners); });
}

}  // namespace

void register_hull(py::module_& m) {
    m.def("min_area_rect", &hull_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("out"));
}

}  // namespace dcap::python
