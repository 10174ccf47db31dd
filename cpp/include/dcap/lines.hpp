// Where the lines of a text begin that is read in chunks.
#pragma once

#include <cstdint>
#include <span>

#include "dcap/status.hpp"

namespace dcap {

// What is known at a border of chunks. It is kept in int64 values, so that Python can hold it; see `find_lines`.
enum LineState : std::uint8_t {
    kPlace = 0,   // bytes before the next chunk
    kNumber = 1,  // number of the line that the chunk begins in
    kStart = 2,   // where that line begins, in bytes
    kFound = 3,   // not 0 when that line has been given out
    kLineStateSize = 4,
};

// Give out the lines of a text that are not blank: each in the chunk that holds its first byte other than ASCII white
// space. Lines end with '\n'.
//   chunk    the next bytes of the text
//   state    kLineStateSize values, {0, 1, 0, 0} before the first chunk; they are moved behind the chunk
//   starts   where each line begins in the text, bytes; half as many values as the chunk has bytes, rounded up
//   numbers  number of each line, blank ones counted; as many values
//   count    number of values written to both
[[nodiscard]] Status find_lines(std::span<const std::uint8_t> chunk, std::span<std::int64_t> state,
                                std::span<std::int64_t> starts, std::span<std::int64_t> numbers,
                                std::int64_t& count) noexcept;

}  // namespace dcap
