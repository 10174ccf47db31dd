// What a kernel reports. Kernels never throw; the bindings turn a status into an exception.
#pragma once

#include <cstdint>

namespace dcap {

enum class Status : std::uint8_t {
    kOk = 0,
    kBadLayout = 1,    // offsets, kinds and points do not describe shapes
    kNotFinite = 2,    // NaN, infinity or a magnitude above kMaxCoordinate
    kTooComplex = 3,   // more self-crossings than the work bound allows
    kBadRegion = 4,    // the clip region is no convex polygon with an area
    kOutOfMemory = 5,  // a scratch buffer could not be allocated
    kBadArgument = 6,  // an output array, an option or a length to pack does not fit
    kBadImage = 7,     // no RGB image with sides that are multiples of a block
    kBadColor = 8,     // a colour step is unknown, or a number of it is not finite, below 0 or too large
    kBadSource = 9,    // the image that is warped is empty or too large
};

}  // namespace dcap
