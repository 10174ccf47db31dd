#include "dcap/outside.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

void fill_outside_array(const Array<double>& region, std::uint8_t grey, Array<std::uint8_t>& out) {
    if (out.ndim() != 3 || out.shape(2) != 3) raise_if_failed(Status::kBadArgument);
    const auto points = view(region);
    const Canvas canvas{fill(out), out.shape(0), out.shape(1)};
    run([&]() noexcept { return fill_outside(points, grey, canvas); });
}

}  // namespace

void register_outside(py::module_& m) {
    m.def("fill_outside", &fill_outside_array, py::arg("region").noconvert(), py::arg("grey"),
          py::arg("out").noconvert());
}

}  // namespace dcap::python
