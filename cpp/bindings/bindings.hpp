// What every binding file shares: array views and the one place where a status becomes an exception.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <span>

#include "dcap/types.hpp"

namespace dcap::python {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

template <class T>
std::span<const T> view(const Array<T>& array) {
    return {array.data(), static_cast<std::size_t>(array.size())};
}

// Raises ValueError when the array is read-only.
template <class T>
std::span<T> fill(Array<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

inline Shapes shapes_of(const Array<double>& xy, const Array<std::int64_t>& offsets, const Array<std::uint8_t>& kinds) {
    return {view(xy), view(offsets), view(kinds)};
}

// Raises dcap.core.errors.GeometryError with the message that the numba twins use too.
void raise_if_failed(Status status);

void register_affine(py::module_& m);
void register_area(py::module_& m);
void register_clip(py::module_& m);
void register_hull(py::module_& m);
void register_overlap(py::module_& m);
void register_simplify(py::module_& m);

}  // namespace dcap::python
