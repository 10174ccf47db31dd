#include "dcap/lines.hpp"

#include "bindings.hpp"

namespace dcap::python {
namespace {

std::int64_t find_lines_arrays(const Array<std::uint8_t>& chunk, Array<std::int64_t>& state,
                               Array<std::int64_t>& out_starts, Array<std::int64_t>& out_numbers) {
    const auto bytes = view(chunk);
    const auto place = fill(state), starts = fill(out_starts), numbers = fill(out_numbers);
    std::int64_t count = 0;
    Status status;
    {
        const py::gil_scoped_release release;
        status = find_lines(bytes, place, starts, numbers, count);
    }
    raise_if_failed(status);
    return count;
}

}  // namespace

void register_lines(py::module_& m) {
    m.def("find_lines", &find_lines_arrays, py::arg("chunk").noconvert(), py::arg("state").noconvert(),
          py::arg("out_starts").noconvert(), py::arg("out_numbers").noconvert());
}

}  // namespace dcap::python
