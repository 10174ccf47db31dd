#include "dcap/affine.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

std::int64_t transform_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets,
                              const Input<std::uint8_t>& kinds, const Matrix& matrix, bool keep_boxes,
                              const Output<double>& out_xy, const Output<std::int64_t>& out_offsets,
                              const Output<std::uint8_t>& out_kinds) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto points = out_xy.values;
    const auto ends = out_offsets.values;
    const auto types = out_kinds.values;
    const BoxPolicy policy = keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon;
    std::int64_t num_points = 0;
    run([&]() noexcept { return transform(shapes, matrix, policy, points, ends, types, num_points); });
    return num_points;
}

}  // namespace

void register_affine(py::module_& m) {
    m.def("transform", &transform_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("matrix"),
          py::arg("keep_boxes"), py::arg("out_xy"), py::arg("out_offsets"), py::arg("out_kinds"));
}

}  // namespace dcap::python
