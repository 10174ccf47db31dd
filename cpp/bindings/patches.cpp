#include "dcap/patches.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

template <class T>
void patchify_array(const Input<std::uint8_t>& image, const Output<T>& out) {
    if (!is_rgb(image.array)) raise_if_failed(Status::kBadImage);
    const Image pixels{image.values, side_of(image.array, 0), side_of(image.array, 1)};
    const auto patches = out.values;
    run([&]() noexcept { return patchify(pixels, patches); });
}

template <class T>
void define(py::module_& m) {
    m.def("patchify", &patchify_array<T>, py::arg("image"), py::arg("out"));
}

}  // namespace

void register_patches(py::module_& m) {
    define<float>(m);
    define<std::uint16_t>(m);
    define<std::uint8_t>(m);
}

}  // namespace dcap::python
