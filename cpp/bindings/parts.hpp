// New arrays for the parts of shapes that a kernel cuts.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "arrays.hpp"
#include "dcap/clip.hpp"

namespace dcap::python {

inline constexpr std::int64_t kSmallPoints = 4096;  // 64 KiB: the allocator shrinks these in place

// The first n of `capacity` points, read-only, without a copy. A large array at least half used stays as it is, under a
// view: when shrunk, the allocator would map fresh pages for the next one, which cost more than the cut itself.
inline py::object first_points(py::object points, std::int64_t n, std::int64_t capacity) {
    if (capacity > kSmallPoints && 2 * n >= capacity) {
        points = py::array_t<double>({static_cast<py::ssize_t>(n), py::ssize_t{2}}, data_of<double>(points), points);
    } else {
        Py_intptr_t shape[2] = {static_cast<Py_intptr_t>(n), 2};
        npy::PyArray_Dims dims{shape, 2};
        if (!py::reinterpret_steal<py::object>(npy::get().PyArray_Resize_(points.ptr(), &dims, 0, -1))) {
            throw py::error_already_set();
        }
    }
    freeze(points);
    return points;
}

// Room for the parts of an image; how many there are is known only after the cut, so they are copied out to size.
struct Room {
    std::vector<double> fraction;
    std::vector<std::int64_t> offsets, source;
    std::vector<std::uint8_t> kinds;

    void grow(std::size_t shapes) {
        if (kinds.size() >= shapes) return;
        fraction.resize(shapes);
        source.resize(shapes);
        kinds.resize(shapes);
        offsets.resize(shapes + 1);
    }
};

inline constexpr std::size_t kKeptShapes = std::size_t{1} << 18;  // a larger room is given back after the call

// Call a kernel that fills a ClipOutput, again with more room until all fits: points, offsets, kinds, sources, shares.
template <class Kernel>
py::tuple fill_parts(const Shapes& shapes, Kernel kernel) {
    thread_local Room room;  // kept from call to call, since fresh memory costs more than a small cut
    room.grow(static_cast<std::size_t>(2 * shapes.size() + 8));
    // The points are most of the result: they are written where they stay.
    std::int64_t capacity = static_cast<std::int64_t>(shapes.xy.size() / 2) + 4 * shapes.size() + 64;
    while (true) {
        py::object points = fresh<double>({static_cast<Py_intptr_t>(capacity), 2});
        const std::span<double> xy{data_of<double>(points), static_cast<std::size_t>(2 * capacity)};
        ClipOutput out{xy, room.offsets, room.kinds, room.source, room.fraction};
        run([&]() noexcept { return kernel(out); });
        const std::int64_t m = out.num_shapes;
        if (out.num_points <= capacity && static_cast<std::size_t>(m) <= room.kinds.size()) {
            py::tuple arrays =
                py::make_tuple(first_points(std::move(points), out.num_points, capacity), frozen(room.offsets, {m + 1}),
                               frozen(room.kinds, {m}), frozen(room.source, {m}), frozen(room.fraction, {m}));
            if (room.kinds.size() > kKeptShapes) room = Room{};
            return arrays;
        }
        capacity = std::max(capacity, out.num_points);
        room.grow(static_cast<std::size_t>(m));
    }
}

}  // namespace dcap::python
