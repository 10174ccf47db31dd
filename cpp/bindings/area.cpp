#include "dcap/area.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void area_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds,
                 Array<double>& out) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto sizes = fill(out);
    run([&]() noexcept { return area_or_length(shapes, sizes); });
}

}  // namespace

void register_area(py::module_& m) {
    m.def("area_or_length", &area_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("out").noconvert());
}

}  // namespace dcap::python
