#include "dcap/patches.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

template <class T>
void patchify_array(const Array<std::uint8_t>& image, Array<T>& out) {
    if (image.ndim() != 3 || image.shape(2) != 3) raise_if_failed(Status::kBadImage);
    const Image pixels{view(image), image.shape(0), image.shape(1)};
    const auto patches = fill(out);
    run([&]() noexcept { return patchify(pixels, patches); });
}

template <class T>
void define(py::module_& m) {
    m.def("patchify", &patchify_array<T>, py::arg("image").noconvert(), py::arg("out").noconvert());
}

}  // namespace

void register_patches(py::module_& m) {
    define<float>(m);
    define<std::uint16_t>(m);
    define<std::uint8_t>(m);
}

}  // namespace dcap::python
