#include "dcap/difference.hpp"

#include "parts.hpp"

namespace dcap::python {
namespace {

py::tuple difference_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets,
                            const Input<std::uint8_t>& kinds, const Input<double>& cover_xy,
                            const Input<std::int64_t>& cover_offsets, const Input<std::uint8_t>& cover_kinds,
                            bool keep_boxes, bool keep_largest) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const Shapes covers = shapes_of(cover_xy, cover_offsets, cover_kinds);
    const DifferenceOptions options{keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon, keep_largest};
    return fill_parts(shapes, [&](ClipOutput& out) noexcept { return difference(shapes, covers, options, out); });
}

}  // namespace

void register_difference(py::module_& m) {
    m.def("difference", &difference_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("cover_xy"),
          py::arg("cover_offsets"), py::arg("cover_kinds"), py::arg("keep_boxes"), py::arg("keep_largest"));
}

}  // namespace dcap::python
