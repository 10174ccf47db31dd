// Pixels as the kernels read and write them: interleaved RGB values, row after row.
#pragma once

#include <cstdint>
#include <span>

namespace dcap {

inline constexpr std::int64_t kChannels = 3;

struct Image {
    std::span<const std::uint8_t> rgb;
    std::int64_t height, width;
};

// An image that is written.
struct Canvas {
    std::span<std::uint8_t> rgb;
    std::int64_t height, width;
};

// Whether sides are not negative and belong to this many values; by division, since their product could overflow.
[[nodiscard]] constexpr bool is_image(std::size_t values, std::int64_t height, std::int64_t width) noexcept {
    const auto pixels = static_cast<std::int64_t>(values) / kChannels;
    if (values % kChannels != 0 || height < 0 || width < 0) return false;
    return height == 0 || width == 0 ? pixels == 0 : pixels % width == 0 && pixels / width == height;
}

}  // namespace dcap
