#include "dcap/affine.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

std::int64_t transform_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets,
                              const Array<std::uint8_t>& kinds, const Matrix& matrix, bool keep_boxes,
                              Array<double>& out_xy, Array<std::int64_t>& out_offsets, Array<std::uint8_t>& out_kinds) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto points = fill(out_xy);
    const auto ends = fill(out_offsets);
    const auto types = fill(out_kinds);
    const BoxPolicy policy = keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon;
    std::int64_t num_points = 0;
    run([&]() noexcept { return transform(shapes, matrix, policy, points, ends, types, num_points); });
    return num_points;
}

}  // namespace

void register_affine(py::module_& m) {
    m.def("transform", &transform_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("matrix"), py::arg("keep_boxes"), py::arg("out_xy").noconvert(),
          py::arg("out_offsets").noconvert(), py::arg("out_kinds").noconvert());
}

}  // namespace dcap::python
