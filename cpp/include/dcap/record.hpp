// One line of JSONL that holds a plain record of the contract, read in one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dcap/status.hpp"

namespace dcap {

// Where texts and values stand in `RecordOutput`.
inline constexpr std::int64_t kTextColumns = 3;  // first and last + 1 character; not 0 when the text needs a look
inline constexpr std::int64_t kValueColumns =
    4;  // object or -1 for the record; first and last + 1 character; colons outside of texts
inline constexpr std::int64_t kHeadTexts = 2;  // the path of the image and the summary stand before the captions

// Sizes that fit any line of so many bytes: a point takes 4 ("0,0,"), an object more than 20.
[[nodiscard]] constexpr std::size_t most_points(std::size_t bytes) noexcept { return bytes / 4 + 1; }
[[nodiscard]] constexpr std::size_t most_objects(std::size_t bytes) noexcept { return bytes / 20 + 1; }

struct RecordOutput {
    std::span<double> xy;             // 2 * most_points
    std::span<std::int64_t> offsets;  // most_objects + 1
    std::span<std::uint8_t> kinds;    // most_objects
    std::span<std::int64_t> texts;    // kTextColumns * (kHeadTexts + most_objects)
    std::span<std::int64_t> values;   // kValueColumns * (1 + most_objects)
    std::int64_t width = 0, height = 0, num_objects = 0, num_points = 0, num_values = 0;
    bool plain = false;  // whether the line is a plain record; when not, nothing else here means anything
};

// Read a line, if it is plain: a record of the contract, with known keys only, each given once and written without
// escapes, all shapes inside the image, and numbers that are whole or decimals of at most 18 digits.
//
// Points that repeat the one before, or close a ring, are left out. Numbers are rounded correctly. Texts and values
// are left to the caller, who decodes them: that they are UTF-8, what their escapes mean, and that values are JSON, is
// not looked at here. Characters are counted as those of valid UTF-8.
//   line      UTF-8 JSON without its line end
//   max_side  largest width and height, at most 2^31 - 1
//   texts     path, summary (0, 0 where there is none) and captions, without quotes. A text needs a look when it has a
//             backslash, or may have nothing but white space
//   values    the record's metadata and the objects' attributes where they are objects or lists, unread
[[nodiscard]] Status read_record(std::span<const std::uint8_t> line, std::int64_t max_side, RecordOutput& out) noexcept;

}  // namespace dcap
