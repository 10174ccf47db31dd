#include "dcap/outside.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void fill_outside_array(const Input<double>& region, std::uint8_t grey, const Output<std::uint8_t>& out) {
    if (!is_rgb(out.array)) raise_if_failed(Status::kBadArgument);
    const auto points = region.values;
    const Canvas canvas{out.values, side_of(out.array, 0), side_of(out.array, 1)};
    run([&]() noexcept { return fill_outside(points, grey, canvas); });
}

}  // namespace

void register_outside(py::module_& m) {
    m.def("fill_outside", &fill_outside_array, py::arg("region"), py::arg("grey"), py::arg("out"));
}

}  // namespace dcap::python
