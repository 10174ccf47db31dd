#include "dcap/clip.hpp"

#include <algorithm>
#include <memory>

#include "bindings.hpp"

namespace dcap::python {
namespace {

// A read-only NumPy array with a copy of the first n values.
template <class T>
py::array_t<T> frozen(const T* data, std::initializer_list<py::ssize_t> shape) {
    py::array_t<T> array(shape);
    std::copy(data, data + array.size(), array.mutable_data());
    py::detail::array_proxy(array.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return array;
}

// Room for the parts of an image; what they are is known only after the cut, so it is copied out to size.
struct Room {
    std::int64_t shapes, points;
    std::unique_ptr<double[]> xy = std::make_unique_for_overwrite<double[]>(2 * points);
    std::unique_ptr<std::int64_t[]> offsets = std::make_unique_for_overwrite<std::int64_t[]>(shapes + 1);
    std::unique_ptr<std::uint8_t[]> kinds = std::make_unique_for_overwrite<std::uint8_t[]>(shapes);
    std::unique_ptr<std::int64_t[]> source = std::make_unique_for_overwrite<std::int64_t[]>(shapes);
    std::unique_ptr<double[]> fraction = std::make_unique_for_overwrite<double[]>(shapes);

    [[nodiscard]] ClipOutput output() const {
        const auto n = static_cast<std::size_t>(shapes);
        return {{xy.get(), static_cast<std::size_t>(2 * points)},
                {offsets.get(), n + 1},
                {kinds.get(), n},
                {source.get(), n},
                {fraction.get(), n}};
    }
    [[nodiscard]] py::tuple arrays(const ClipOutput& out) const {
        const py::ssize_t m = out.num_shapes, p = out.num_points;
        return py::make_tuple(frozen(xy.get(), {p, 2}), frozen(offsets.get(), {m + 1}), frozen(kinds.get(), {m}),
                              frozen(source.get(), {m}), frozen(fraction.get(), {m}));
    }
};

template <class Kernel>
py::tuple run(const Shapes& shapes, Kernel kernel) {
    Room room{2 * shapes.size() + 8, static_cast<std::int64_t>(shapes.xy.size() / 2) + 4 * shapes.size() + 64};
    while (true) {
        ClipOutput out = room.output();
        Status status;
        {
            const py::gil_scoped_release release;
            status = kernel(out);
        }
        raise_if_failed(status);
        if (out.num_shapes <= room.shapes && out.num_points <= room.points) return room.arrays(out);
        room = Room{std::max(out.num_shapes, room.shapes), std::max(out.num_points, room.points)};
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
