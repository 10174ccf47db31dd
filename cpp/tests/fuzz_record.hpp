// Fuzzed lines for `read_record`: a plain record with random edits, in buffers that end where their bytes do.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "dcap/record.hpp"
#include "dcap/types.hpp"

namespace dcap::fuzz {

inline constexpr std::string_view kRecord =
    R"({"images": ["a.png"], "width": 64, "height": 48, "summary": "a \"street\"", "metadata": {"a": {"b": [1, "]"]}},)"
    R"( "objects": [{"desc": "cup", "bbox_2d": [1, 2, 30.25, 40]}, {"desc": "road", "line": [0, 0, 0, 0, 5, 5],)"
    R"( "line_points": 3, "attributes": []}, {"poly": [0, 0, 5.123456789012345, 0, 5, 5, 0, 0], "desc": "a"}]})";

inline std::string edited_record(std::mt19937_64& random) {
    static constexpr std::string_view kTokens[] = {"\"",
                                                   "\\",
                                                   ",",
                                                   "[",
                                                   "]",
                                                   "{",
                                                   "}",
                                                   ":",
                                                   " ",
                                                   "0",
                                                   "9",
                                                   "-",
                                                   ".",
                                                   "e5",
                                                   "\n",
                                                   "\xe3\x80",
                                                   "\x80",
                                                   "null",
                                                   "123456789012345678",
                                                   "\"desc\": \"x\", ",
                                                   "\"line\": [",
                                                   "1, 2, ",
                                                   "\"attributes\": {}, ",
                                                   "\"poly_points\": 4, ",
                                                   "0.1",
                                                   "[[[["};
    std::string line(kRecord);
    for (std::uint64_t edits = random() % 4; edits > 0; --edits) {
        const std::size_t at = random() % (line.size() + 1);
        const std::string_view token = kTokens[random() % std::size(kTokens)];
        line.replace(at, random() % 4, random() % 5 != 0 ? token : std::string_view(line).substr(at, random() % 90));
    }
    if (random() % 8 == 0) line.resize(random() % (line.size() + 1));
    return line;
}

// Whether spans lie inside the line, one after the other.
inline bool spans_hold(std::span<const std::int64_t> rows, std::int64_t columns, std::int64_t first,
                       std::int64_t size) {
    for (std::size_t i = 0; i < rows.size(); i += static_cast<std::size_t>(columns)) {
        const std::int64_t begin = rows[i + static_cast<std::size_t>(first)],
                           end = rows[i + static_cast<std::size_t>(first) + 1];
        if (begin < 0 || end < begin || end > size) return false;
    }
    return true;
}

// Whether a random line is read within its buffers, and what is called plain is a record; `num_plain` counts those.
inline bool record_holds(std::mt19937_64& random, int& num_plain) {
    const std::string text = edited_record(random);
    const std::vector<std::uint8_t> line(text.begin(), text.end());
    const std::size_t objects = most_objects(line.size());
    std::vector<double> xy(2 * most_points(line.size()));
    std::vector<std::int64_t> offsets(objects + 1), texts(kTextColumns * (kHeadTexts + objects));
    std::vector<std::int64_t> values(kValueColumns * (1 + objects));
    std::vector<std::uint8_t> kinds(objects);
    RecordOutput out{xy, offsets, kinds, texts, values};
    RecordOutput small{xy, {offsets.data(), objects}, kinds, texts, values};
    if (read_record(line, 64, small) == Status::kOk || read_record(line, 0, out) == Status::kOk) return false;
    if (read_record(line, 64, out) != Status::kOk) return false;
    if (text == kRecord && !out.plain) return false;
    if (!out.plain) return true;
    ++num_plain;
    const auto n = static_cast<std::size_t>(out.num_objects);
    const Shapes shapes{out.xy.first(static_cast<std::size_t>(2 * out.num_points)), out.offsets.first(n + 1),
                        out.kinds.first(n)};
    if (check_layout(shapes) != Status::kOk) return false;
    for (std::size_t i = 0; i < shapes.xy.size(); ++i) {
        if (!(shapes.xy[i] >= 0.0 && shapes.xy[i] <= static_cast<double>(i % 2 == 0 ? out.width : out.height)))
            return false;
    }
    const auto size = static_cast<std::int64_t>(line.size());
    return spans_hold(out.texts.first(kTextColumns * (kHeadTexts + n)), kTextColumns, 0, size) &&
           spans_hold(out.values.first(static_cast<std::size_t>(kValueColumns * out.num_values)), kValueColumns, 1,
                      size);
}

}  // namespace dcap::fuzz
