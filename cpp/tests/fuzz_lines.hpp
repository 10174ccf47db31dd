// Fuzzed text for `find_lines`, in chunks whose buffers end where their bytes do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "dcap/lines.hpp"

namespace dcap::fuzz {

struct Lines {
    std::vector<std::int64_t> starts, numbers;

    bool operator==(const Lines&) const = default;
};

// One byte after the other, with the whole text at hand.
inline Lines lines_of(const std::vector<std::uint8_t>& text) {
    Lines found;
    for (std::size_t start = 0, number = 1; start < text.size(); ++number) {
        std::size_t end = start;
        bool blank = true;
        for (; end < text.size() && text[end] != '\n'; ++end) {
            blank = blank && text[end] != 0 && std::strchr(" \t\r\v\f", text[end]) != nullptr;
        }
        if (!blank) {
            found.starts.push_back(static_cast<std::int64_t>(start));
            found.numbers.push_back(static_cast<std::int64_t>(number));
        }
        start = end + 1;
    }
    return found;
}

// Whether a random text in random chunks has the lines that it has as a whole; broken states must do no harm.
inline bool lines_hold(std::mt19937_64& random) {
    static constexpr std::uint8_t kBytes[] = {'\n', '\n', '\n', ' ', '\t', '\r', '\v', '\f', 'x', '{', 0, 0xff};
    std::vector<std::uint8_t> text(random() % 300);
    for (std::uint8_t& byte : text) byte = kBytes[random() % sizeof kBytes];
    Lines found;
    std::vector<std::int64_t> state{0, 1, 0, 0};
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = std::min<std::size_t>(random() % 70, text.size() - at), most = (size + 1) / 2;
        const std::vector<std::uint8_t> chunk(text.data() + at, text.data() + at + size);
        std::vector<std::int64_t> starts(most), numbers(most), broken(state.size());
        std::int64_t count = 0;
        for (std::int64_t& value : broken) value = static_cast<std::int64_t>(random());
        if (find_lines(chunk, broken, starts, numbers, count) != Status::kOk) return false;
        if (size > 0 && find_lines(chunk, state, {starts.data(), most - 1}, numbers, count) == Status::kOk)
            return false;
        if (find_lines(chunk, state, starts, numbers, count) != Status::kOk) return false;
        found.starts.insert(found.starts.end(), starts.begin(), starts.begin() + count);
        found.numbers.insert(found.numbers.end(), numbers.begin(), numbers.begin() + count);
        at += size;
    }
    return found == lines_of(text);
}

}  // namespace dcap::fuzz
