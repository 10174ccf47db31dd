#include "dcap/hull.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void hull_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds,
                 Array<double>& out) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto corners = fill(out);
    run([&]() noexcept { return min_area_rect(shapes, corners); });
}

}  // namespace

void register_hull(py::module_& m) {
    m.def("min_area_rect", &hull_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("out").noconvert());
}

}  // namespace dcap::python
