#include "dcap/overlap.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void iou_arrays(const Array<double>& xy_a, const Array<std::int64_t>& offsets_a, const Array<std::uint8_t>& kinds_a,
                const Array<double>& xy_b, const Array<std::int64_t>& offsets_b, const Array<std::uint8_t>& kinds_b,
                Array<double>& out) {
    const Shapes a = shapes_of(xy_a, offsets_a, kinds_a), b = shapes_of(xy_b, offsets_b, kinds_b);
    const auto iou = fill(out);
    run([&]() noexcept { return pairwise_iou(a, b, iou); });
}

}  // namespace

void register_overlap(py::module_& m) {
    m.def("pairwise_iou", &iou_arrays, py::arg("xy_a").noconvert(), py::arg("offsets_a").noconvert(),
          py::arg("kinds_a").noconvert(), py::arg("xy_b").noconvert(), py::arg("offsets_b").noconvert(),
          py::arg("kinds_b").noconvert(), py::arg("out").noconvert());
}

}  // namespace dcap::python
