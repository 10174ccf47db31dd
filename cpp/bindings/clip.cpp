#include "dcap/clip.hpp"

#include <utility>

#include "bindings.hpp"

namespace dcap::python {
namespace {

using Sizes = std::pair<std::int64_t, std::int64_t>;

ClipOptions options_of(const Matrix& matrix, bool keep_boxes, bool keep_largest) {
    return {matrix, keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon, keep_largest};
}

Sizes clip_rect_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds,
                       const Matrix& matrix, bool keep_boxes, bool keep_largest, const std::array<double, 4>& rect,
                       Array<double>& out_xy, Array<std::int64_t>& out_offsets, Array<std::uint8_t>& out_kinds,
                       Array<std::int64_t>& out_source, Array<double>& out_fraction) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix, keep_boxes, keep_largest);
    ClipOutput out{fill(out_xy), fill(out_offsets), fill(out_kinds), fill(out_source), fill(out_fraction)};
    Status status;
    {
        const py::gil_scoped_release release;
        status = clip_rect(shapes, options, rect, out);
    }
    raise_if_failed(status);
    return {out.num_shapes, out.num_points};
}

Sizes clip_convex_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds,
                         const Matrix& matrix, bool keep_boxes, bool keep_largest, const Array<double>& region,
                         Array<double>& out_xy, Array<std::int64_t>& out_offsets, Array<std::uint8_t>& out_kinds,
                         Array<std::int64_t>& out_source, Array<double>& out_fraction) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix, keep_boxes, keep_largest);
    const auto corners = view(region);
    ClipOutput out{fill(out_xy), fill(out_offsets), fill(out_kinds), fill(out_source), fill(out_fraction)};
    Status status;
    {
        const py::gil_scoped_release release;
        status = clip_convex(shapes, options, corners, out);
    }
    raise_if_failed(status);
    return {out.num_shapes, out.num_points};
}

}  // namespace

void register_clip(py::module_& m) {
    m.def("clip_rect", &clip_rect_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("matrix"), py::arg("keep_boxes"), py::arg("keep_largest"),
          py::arg("rect"), py::arg("out_xy").noconvert(), py::arg("out_offsets").noconvert(),
          py::arg("out_kinds").noconvert(), py::arg("out_source").noconvert(), py::arg("out_fraction").noconvert());
    m.def("clip_convex", &clip_convex_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("matrix"), py::arg("keep_boxes"), py::arg("keep_largest"),
          py::arg("region").noconvert(), py::arg("out_xy").noconvert(), py::arg("out_offsets").noconvert(),
          py::arg("out_kinds").noconvert(), py::arg("out_source").noconvert(), py::arg("out_fraction").noconvert());
}

}  // namespace dcap::python
