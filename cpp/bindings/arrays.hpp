// New arrays for kernels whose sizes nobody knows before.
#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>

#include "bindings.hpp"

namespace dcap::python {

// The C interface is used because py::array_t allocates its shape and strides on the heap, which costs as much as
// clipping a small image.
using npy = py::detail::npy_api;

template <class T>
py::object fresh(std::initializer_list<Py_intptr_t> shape) {
    const auto& api = npy::get();
    py::object array = py::reinterpret_steal<py::object>(
        api.PyArray_NewFromDescr_(api.PyArray_Type_, py::dtype::of<T>().release().ptr(), static_cast<int>(shape.size()),
                                  shape.begin(), nullptr, nullptr, 0, nullptr));
    if (!array) throw py::error_already_set();
    return array;
}

template <class T>
T* data_of(const py::object& array) {
    return reinterpret_cast<T*>(py::detail::array_proxy(array.ptr())->data);
}

inline void freeze(const py::object& array) {
    py::detail::array_proxy(array.ptr())->flags &= ~npy::NPY_ARRAY_WRITEABLE_;
}

// A read-only array of that shape with a copy of the first values.
template <class Values>
py::object frozen(const Values& values, std::initializer_list<Py_intptr_t> shape) {
    using T = typename Values::value_type;
    py::object array = fresh<T>(shape);
    std::size_t count = 1;
    for (const Py_intptr_t side : shape) count *= static_cast<std::size_t>(side);
    if (count > 0) std::memcpy(data_of<T>(array), values.data(), count * sizeof(T));
    freeze(array);
    return array;
}

}  // namespace dcap::python
