#include "dcap/warp.hpp"

#include <utility>

#include "bindings.hpp"

namespace dcap::python {
namespace {

void warp_array(const Input<std::uint8_t>& image, const Numbers<6>& matrix,
                const std::pair<std::int64_t, std::int64_t>& samples, const Output<std::uint8_t>& out) {
    if (!is_rgb(image.array)) raise_if_failed(Status::kBadSource);
    if (!is_rgb(out.array)) raise_if_failed(Status::kBadArgument);
    const Image source{image.values, side_of(image.array, 0), side_of(image.array, 1)};
    const Canvas canvas{out.values, side_of(out.array, 0), side_of(out.array, 1)};
    run([&]() noexcept { return warp(source, matrix.values, {samples.first, samples.second}, canvas); });
}

}  // namespace

void register_warp(py::module_& m) {
    m.def("warp", &warp_array, py::arg("image"), py::arg("matrix"), py::arg("samples"), py::arg("out"));
}

}  // namespace dcap::python
