// Rings as a cut leaves them: without spikes, and with their holes joined to them.
#pragma once

#include <cstdint>
#include <vector>

#include "dcap/halfplane.hpp"

namespace dcap {

// Drop repeated points, and spikes that are no wider than `width`; the outline may shrink to nothing.
void drop_spikes(std::vector<double>& ring, double width);

// Rings with their interior to the left. Fill `outlines` with those that enclose an area of more than `least`, each
// with the holes in it as one ring, and `areas` with what they enclose; returns the area of all. Holes are the rings
// that turn the other way. A seam from a hole to the outline runs to and fro, so it encloses nothing.
double join_holes(const Parts& rings, double least, double width, Parts& outlines, std::vector<double>& areas);

}  // namespace dcap
