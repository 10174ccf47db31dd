#include "dcap/simplify.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void simplify_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds,
                     std::int64_t max_points, Array<std::uint8_t>& out_keep, Array<double>& out_score) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const auto keep = fill(out_keep);
    const auto score = fill(out_score);
    run([&]() noexcept { return simplify(shapes, max_points, keep, score); });
}

}  // namespace

void register_simplify(py::module_& m) {
    m.def("simplify", &simplify_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("max_points"), py::arg("out_keep").noconvert(),
          py::arg("out_score").noconvert());
}

}  // namespace dcap::python
