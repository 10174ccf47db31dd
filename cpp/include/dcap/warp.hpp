// An affine map of an image, bilinear.
#pragma once

#include "dcap/image.hpp"
#include "dcap/isa.hpp"
#include "dcap/status.hpp"
#include "dcap/types.hpp"

namespace dcap {

// How many points of each pixel are sampled and averaged, along x and along y: 1 or 2.
struct Samples {
    std::int64_t x = 1, y = 1;
};

inline constexpr std::int64_t kMaxSide = 32768;
inline constexpr double kMaxStep = 1024.0;

// Fill `out` with what `image` shows where `matrix` leads, from the pixel-edge frame of the output to that of the
// image; its border is repeated. Positions are rounded to 1/128 of a pixel along x, values to the nearest level.
//   image   at least one pixel, sides up to kMaxSide, fewer than 2^31 values; not overlapping `out`
//   matrix  from one output pixel of a row to the next at most kMaxStep pixels along each side longer than one
[[nodiscard]] Status warp(const Image& image, const Matrix& matrix, Samples samples, const Canvas& out,
                          Isa isa = widest_isa()) noexcept;

}  // namespace dcap
