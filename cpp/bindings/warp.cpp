#include "dcap/warp.hpp"

#include <utility>

#include "bindings.hpp"

namespace dcap::python {
namespace {

void warp_array(const Array<std::uint8_t>& image, const Numbers<6>& matrix,
                const std::pair<std::int64_t, std::int64_t>& samples, Array<std::uint8_t>& out) {
    if (image.ndim() != 3 || image.shape(2) != 3) raise_if_failed(Status::kBadSource);
    if (out.ndim() != 3 || out.shape(2) != 3) raise_if_failed(Status::kBadArgument);
    const Image source{view(image), image.shape(0), image.shape(1)};
    const Canvas canvas{fill(out), out.shape(0), out.shape(1)};
    run([&]() noexcept { return warp(source, matrix.values, {samples.first, samples.second}, canvas); });
}

}  // namespace

void register_warp(py::module_& m) {
    m.def("warp", &warp_array, py::arg("image").noconvert(), py::arg("matrix"), py::arg("samples"),
          py::arg("out").noconvert());
}

}  // namespace dcap::python
