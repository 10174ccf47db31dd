// dcap._core: a table of contents.
#include "bindings.hpp"

namespace dcap::python {

void raise_if_failed(Status status) {
    if (status == Status::kOk) return;
    const py::object raise = py::module_::import("dcap.kernels._status").attr("raise_if_failed");
    raise(static_cast<int>(status));
}

}  // namespace dcap::python

PYBIND11_MODULE(_core, m) {
    using namespace dcap::python;
    m.doc() = "C++ kernels of dcap: arrays in, arrays out. Call them through dcap.kernels.";
    register_affine(m);
    register_area(m);
    register_clip(m);
    register_difference(m);
    register_grid(m);
    register_hull(m);
    register_outside(m);
    register_overlap(m);
    register_pack(m);
    register_patches(m);
    register_recolor(m);
    register_record(m);
    register_simplify(m);
    register_warp(m);
}
