// What lies outside the visible region of an image becomes one grey.
#pragma once

#include "dcap/image.hpp"
#include "dcap/status.hpp"

namespace dcap {

// Blend each pixel with `grey` by the share of it that lies outside a convex polygon: `region` holds x, y of its points
// in either direction, in the pixel-edge frame. Without an area it shows nothing. Shares are measured on 8 scanlines
// per pixel, exactly along each.
[[nodiscard]] Status fill_outside(std::span<const double> region, std::uint8_t grey, const Canvas& out) noexcept;

}  // namespace dcap
