#include "dcap/simplify.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void simplify_arrays(const Input<double>& xy, const Input<std::int64_t>& offsets, const Input<std::uint8_t>& kinds,
                     std::int64_t max_points, const Output<std::uint8_t>& out_keep, const Output<double>& out_score) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto keep = out_keep.values;
    const auto score = out_score.values;
    run([&]() noexcept { return simplify(shapes, max_points, keep, score); });
}

}  // namespace

void register_simplify(py::module_& m) {
    m.def("simplify", &simplify_arrays, py::arg("xy"), py::arg("offsets"), py::arg("kinds"), py::arg("max_points"),
          py::arg("out_keep"), py::arg("out_score"));
}

}  // namespace dcap::python
