#include "dcap/recolor.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void recolor_array(const Array<std::uint8_t>& image, const Array<std::uint8_t>& kinds,
                   const Array<std::uint8_t>& tables, const Array<float>& numbers, Array<std::uint8_t>& out) {
    const RecolorSteps steps{view(kinds), view(tables), view(numbers)};
    const auto rgb = view(image);
    const auto changed = fill(out);
    run([&]() noexcept { return recolor(rgb, steps, changed); });
}

}  // namespace

void register_recolor(py::module_& m) {
    m.def("recolor", &recolor_array, py::arg("image").noconvert(), py::arg("kinds").noconvert(),
          py::arg("tables").noconvert(), py::arg("numbers").noconvert(), py::arg("out").noconvert());
}

}  // namespace dcap::python
