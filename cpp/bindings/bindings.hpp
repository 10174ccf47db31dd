// What every binding file shares: array views and the one place where a status becomes an exception.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <span>

#include "dcap/types.hpp"

namespace dcap::python {

namespace py = pybind11;

// The one check of what comes from outside: a NumPy array of exactly T that is C-contiguous and aligned, since reading
// a number that is not is undefined. It is never converted; a copy would be a surprise for an output, and dear for an
// input.
template <class T>
bool is_array_of(py::handle source) {
    if (!py::array_t<T, py::array::c_style>::check_(source)) return false;
    return py::detail::check_flags(source.ptr(), py::detail::npy_api::NPY_ARRAY_ALIGNED_);
}

// An array to read; the caller's argument owns it.
template <class T>
struct Input {
    std::span<const T> values;
    py::handle array;
};

// An array to fill; the caster raises ValueError when it is read-only.
template <class T>
struct Output {
    std::span<T> values;
    py::handle array;
};

inline std::int64_t side_of(py::handle array, int axis) {
    return py::detail::array_proxy(array.ptr())->dimensions[axis];
}

inline bool is_rgb(py::handle array) { return py::detail::array_proxy(array.ptr())->nd == 3 && side_of(array, 2) == 3; }

// N numbers from a tuple or list; pybind11's caster for std::array takes several times as long.
template <std::size_t N>
struct Numbers {
    std::array<double, N> values;
};

inline Shapes shapes_of(const Input<double>& xy, const Input<std::int64_t>& offsets, const Input<std::uint8_t>& kinds) {
    return {xy.values, offsets.values, kinds.values};
}

// Raises dcap.core.errors.GeometryError with the message that every backend uses.
void raise_if_failed(Status status);

// Call a kernel without the GIL, and raise what its status means.
template <class Kernel>
void run(Kernel kernel) {
    Status status;
    {
        const py::gil_scoped_release release;
        status = kernel();
    }
    raise_if_failed(status);
}

void register_affine(py::module_& m);
void register_area(py::module_& m);
void register_clip(py::module_& m);
void register_difference(py::module_& m);
void register_grid(py::module_& m);
void register_hull(py::module_& m);
void register_outside(py::module_& m);
void register_overlap(py::module_& m);
void register_pack(py::module_& m);
void register_patches(py::module_& m);
void register_recolor(py::module_& m);
void register_record(py::module_& m);
void register_simplify(py::module_& m);
void register_warp(py::module_& m);

}  // namespace dcap::python

template <class T>
struct pybind11::detail::type_caster<dcap::python::Input<T>> {
    PYBIND11_TYPE_CASTER(dcap::python::Input<T>,
                         const_name("numpy.ndarray[") + npy_format_descriptor<T>::name + const_name("]"));

    bool load(handle source, bool /*convert*/) {
        if (!dcap::python::is_array_of<T>(source)) return false;
        const auto array = reinterpret_borrow<pybind11::array>(source);
        value = {{static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())}, source};
        return true;
    }
};

template <class T>
struct pybind11::detail::type_caster<dcap::python::Output<T>> {
    PYBIND11_TYPE_CASTER(dcap::python::Output<T>,
                         const_name("numpy.ndarray[") + npy_format_descriptor<T>::name + const_name("]"));

    bool load(handle source, bool /*convert*/) {
        if (!dcap::python::is_array_of<T>(source)) return false;
        auto array = reinterpret_borrow<pybind11::array>(source);
        const auto size = static_cast<std::size_t>(array.size());
        value = {{static_cast<T*>(array.mutable_data()), size}, source};
        return true;
    }
};

template <std::size_t N>
struct pybind11::detail::type_caster<dcap::python::Numbers<N>> {
    PYBIND11_TYPE_CASTER(dcap::python::Numbers<N>, const_name("tuple[float, ...]"));

    bool load(handle source, bool /*convert*/) {
        if (!PyTuple_Check(source.ptr()) && !PyList_Check(source.ptr())) return false;
        if (PySequence_Fast_GET_SIZE(source.ptr()) != static_cast<Py_ssize_t>(N)) return false;
        for (std::size_t i = 0; i < N; ++i) {
            const double number = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(source.ptr(), static_cast<Py_ssize_t>(i)));
            if (number == -1.0 && PyErr_Occurred()) {
                PyErr_Clear();
                return false;
            }
            value.values[i] = number;
        }
        return true;
    }
};
