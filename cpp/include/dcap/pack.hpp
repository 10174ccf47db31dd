// Which samples share a row of a batch.
#pragma once

#include <cstdint>
#include <span>

#include "dcap/status.hpp"

namespace dcap {

// Pack by best-fit-decreasing: longest first, equal ones in order, each into the row with the least room that still
// holds it; of rows with equal room into the oldest one. O(n log n) at worst, whatever the capacity.
//   lengths   each within 1..capacity
//   window    so many samples in a row of them are packed together, apart from the others; at least 1
//   row_of    one entry per length, 0..num_rows-1; not written when the arguments are refused
[[nodiscard]] Status pack(std::span<const std::int64_t> lengths, std::int64_t capacity, std::int64_t window,
                          std::span<std::int64_t> row_of, std::int64_t& num_rows) noexcept;

}  // namespace dcap
