#include "dcap/clip.hpp"

#include "parts.hpp"

namespace dcap::python {
namespace {

ClipOptions options_of(const Matrix& matrix, bool keep_boxes, bool keep_largest) {
    return {matrix, keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon, keep_largest};
}

py::tuple clip_rect_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets,
                           const Input<std::uint8_t>& kinds, const Numbers<6>& matrix, bool keep_boxes,
                           bool keep_largest, const Numbers<4>& rect) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix.values, keep_boxes, keep_largest);
    return fill_parts(shapes, [&](ClipOutput& out) noexcept { return clip_rect(shapes, options, rect.values, out); });
}

py::tuple clip_convex_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets,
                             const Input<std::uint8_t>& kinds, const Numbers<6>& matrix, bool keep_boxes,
                             bool keep_largest, const Input<double>& region) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix.values, keep_boxes, keep_largest);
    const auto corners = region.values;
    return fill_parts(shapes, [&](ClipOutput& out) noexcept { return clip_convex(shapes, options, corners, out); });
}

}  // namespace

void register_clip(py::module_& m) {
    m.def("clip_rect", &clip_rect_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("matrix"),
          py::arg("keep_boxes"), py::arg("keep_largest"), py::arg("rect"));
    m.def("clip_convex", &clip_convex_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("matrix"),
          py::arg("keep_boxes"), py::arg("keep_largest"), py::arg("region"));
}

}  // namespace dcap::python
