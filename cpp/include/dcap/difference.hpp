// What is left of shapes when others are taken away from them.
#pragma once

#include "dcap/clip.hpp"
#include "dcap/types.hpp"

namespace dcap {

struct DifferenceOptions {
    BoxPolicy box_policy = BoxPolicy::kPolygon;
    bool keep_largest = false;
};

// Take the boxes and polygons of `covers`, all of them together, from every shape; lines cover nothing. Rings are
// filled by the even-odd rule. Parts are as those of clipping: what nothing covers stays as it is, with fraction 1; a
// part with holes is one ring, in which a seam runs to and fro between the hole and the nearest place of the outline.
[[nodiscard]] Status difference(const Shapes& shapes, const Shapes& covers, const DifferenceOptions& options,
                                ClipOutput& out) noexcept;

}  // namespace dcap
