#include "dcap/clip.hpp"

#include <cstring>
#include <vector>

#include "bindings.hpp"

namespace dcap::python {
namespace {

// A read-only NumPy array with a copy of the values. The C interface is used because py::array_t allocates its shape
// and strides on the heap, which costs as much as clipping a small image.
template <class T>
py::object frozen(const T* data, std::initializer_list<Py_intptr_t> shape) {
    const auto& api = py::detail::npy_api::get();
    py::object array = py::reinterpret_steal<py::object>(
        api.PyArray_NewFromDescr_(api.PyArray_Type_, py::dtype::of<T>().release().ptr(), static_cast<int>(shape.size()),
                                  shape.begin(), nullptr, nullptr, 0, nullptr));
    if (!array) throw py::error_already_set();
    auto* proxy = py::detail::array_proxy(array.ptr());
    std::int64_t size = 1;
    for (const Py_intptr_t n : shape) size *= n;
    if (size > 0) std::memcpy(proxy->data, data, static_cast<std::size_t>(size) * sizeof(T));
    proxy->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return array;
}

// Room for the parts of an image; how many there are is known only after the cut, so they are copied out to size.
struct Room {
    std::vector<double> xy, fraction;
    std::vector<std::int64_t> offsets, source;
    std::vector<std::uint8_t> kinds;

    void grow(std::int64_t shapes, std::int64_t points) {
        const auto n = static_cast<std::size_t>(shapes), p = static_cast<std::size_t>(2 * points);
        if (xy.size() < p) xy.resize(p);
        if (kinds.size() >= n) return;
        fraction.resize(n);
        source.resize(n);
        kinds.resize(n);
        offsets.resize(n + 1);
    }
    [[nodiscard]] bool holds(const ClipOutput& out) const {
        return static_cast<std::size_t>(out.num_shapes) <= kinds.size() &&
               static_cast<std::size_t>(2 * out.num_points) <= xy.size();
    }
    [[nodiscard]] py::tuple arrays(const ClipOutput& out) const {
        const Py_intptr_t m = out.num_shapes, p = out.num_points;
        return py::make_tuple(frozen(xy.data(), {p, 2}), frozen(offsets.data(), {m + 1}), frozen(kinds.data(), {m}),
                              frozen(source.data(), {m}), frozen(fraction.data(), {m}));
    }
};

constexpr std::size_t kKeptNumbers = std::size_t{1} << 20;  // larger rooms are given back after the call

template <class Kernel>
py::tuple run(const Shapes& shapes, Kernel kernel) {
    // Kept from call to call: fresh pages cost more than the cut itself.
    thread_local Room room;
    room.grow(2 * shapes.size() + 8, static_cast<std::int64_t>(shapes.xy.size() / 2) + 4 * shapes.size() + 64);
    while (true) {
        ClipOutput out{room.xy, room.offsets, room.kinds, room.source, room.fraction};
        Status status;
        {
            const py::gil_scoped_release release;
            status = kernel(out);
        }
        raise_if_failed(status);
        if (room.holds(out)) {
            py::tuple arrays = room.arrays(out);
            if (room.xy.size() > kKeptNumbers) room = Room{};
            return arrays;
        }
        room.grow(out.num_shapes, out.num_points);
    }
}

ClipOptions options_of(const Matrix& matrix, bool keep_boxes, bool keep_largest) {
    return {matrix, keep_boxes ? BoxPolicy::kBounds : BoxPolicy::kPolygon, keep_largest};
}

py::tuple clip_rect_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets,
                           const Array<std::uint8_t>& kinds, const Matrix& matrix, bool keep_boxes, bool keep_largest,
                           const std::array<double, 4>& rect) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix, keep_boxes, keep_largest);
    return run(shapes, [&](ClipOutput& out) noexcept { return clip_rect(shapes, options, rect, out); });
}

py::tuple clip_convex_arrays(const Array<double>& xy, const Array<std::int64_t>& offsets,
                             const Array<std::uint8_t>& kinds, const Matrix& matrix, bool keep_boxes, bool keep_largest,
                             const Array<double>& region) {
    const Shapes shapes = shapes_of(xy, offsets, kinds);
    const ClipOptions options = options_of(matrix, keep_boxes, keep_largest);
    const auto corners = view(region);
    return run(shapes, [&](ClipOutput& out) noexcept { return clip_convex(shapes, options, corners, out); });
}

}  // namespace

void register_clip(py::module_& m) {
    m.def("clip_rect", &clip_rect_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("matrix"), py::arg("keep_boxes"), py::arg("keep_largest"),
          py::arg("rect"));
    m.def("clip_convex", &clip_convex_arrays, py::arg("xy").noconvert(), py::arg("offsets").noconvert(),
          py::arg("kinds").noconvert(), py::arg("matrix"), py::arg("keep_boxes"), py::arg("keep_largest"),
          py::arg("region").noconvert());
}

}  // namespace dcap::python
