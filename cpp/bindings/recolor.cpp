#include "dcap/recolor.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void recolor_array(const Input<std::uint8_t>& image, const Input<std::uint8_t>& kinds,
                   const Input<std::uint8_t>& tables, const Input<float>& numbers, const Output<std::uint8_t>& out) {
    const RecolorSteps steps{kinds.values, tables.values, numbers.values};
    const auto rgb = image.values;
    const auto changed = out.values;
    run([&]() noexcept { return recolor(rgb, steps, changed); });
}

}  // namespace

void register_recolor(py::module_& m) {
    m.def("recolor", &recolor_array, py::arg("image"), py::arg("kinds"), py::arg("tables"), py::arg("numbers"),
          py::arg("out"));
}

}  // namespace dcap::python
