#include "dcap/overlap.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void iou_arrays(const Input<double>& xy_a, const Input<std::int64_t>& offsets_a, const Input<std::uint8_t>& kinds_a,
                const Input<double>& xy_b, const Input<std::int64_t>& offsets_b, const Input<std::uint8_t>& kinds_b,
                const Output<double>& out) {
    const Shapes a = shapes_of(xy_a, offsets_a, kinds_a), b = shapes_of(xy_b, offsets_b, kinds_b);
    const auto iou = out.values;
    run([&]() noexcept { return pairwise_iou(a, b, iou); });
}

}  // namespace

void register_overlap(py::module_& m) {
    m.def("pairwise_iou", &iou_arrays, py::arg("xy_a"), py::arg("offsets_a"), py::arg("kinds_a"), py::arg("xy_b"),
          py::arg("offsets_b"), py::arg("kinds_b"), py::arg("out"));
}

}  // namespace dcap::python
