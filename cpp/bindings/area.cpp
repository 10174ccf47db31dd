#include "dcap/area.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void area_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets, const Input<std::uint8_t>& kinds,
                 const Output<double>& out) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto sizes = out.values;
    run([&]() noexcept { return area_or_length(shapes, sizes); });
}

}  // namespace

void register_area(py::module_& m) {
    m.def("area_or_length", &area_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("out"));
}

}  // namespace dcap::python
