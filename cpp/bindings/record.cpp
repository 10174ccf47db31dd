#include "dcap/record.hpp"

#include <vector>

#include "arrays.hpp"

namespace dcap::python {
namespace {

// Room for any record of a line, kept from call to call: copying what is used is cheaper than fresh memory.
struct RecordRoom {
    std::vector<double> xy;
    std::vector<std::int64_t> offsets, texts, values;
    std::vector<std::uint8_t> kinds;

    void grow(std::size_t bytes) {
        if (xy.size() >= 2 * most_points(bytes)) return;
        const std::size_t objects = most_objects(bytes);
        xy.resize(2 * most_points(bytes));
        offsets.resize(objects + 1);
        kinds.resize(objects);
        texts.resize(kTextColumns * (kHeadTexts + objects));
        values.resize(kValueColumns * (1 + objects));
    }
};

constexpr std::size_t kKeptBytes = std::size_t{1} << 20;  // the room for a longer line is given back after the call

py::object read_record_arrays(const py::bytes& line, std::int64_t max_side) {
    thread_local RecordRoom room;
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(line.ptr()));
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(line.ptr())), size);
    room.grow(size);
    RecordOutput out{room.xy, room.offsets, room.kinds, room.texts, room.values};
    run([&]() noexcept { return read_record(bytes, max_side, out); });
    py::object found = py::none();
    if (out.plain) {
        const std::int64_t n = out.num_objects;
        found =
            py::make_tuple(frozen(room.xy, {out.num_points, 2}), frozen(room.offsets, {n + 1}), frozen(room.kinds, {n}),
                           frozen(room.texts, {n + kHeadTexts, kTextColumns}),
                           frozen(room.values, {out.num_values, kValueColumns}), py::make_tuple(out.width, out.height));
    }
    if (size > kKeptBytes) room = RecordRoom{};
    return found;
}

}  // namespace

void register_record(py::module_& m) {
    m.def("read_record", &read_record_arrays, py::arg("line"), py::arg("max_side"));
}

}  // namespace dcap::python
