// Fuzzed shapes on grids for `canonicalize`, in buffers without a point to spare.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "corpus.hpp"
#include "dcap/grid.hpp"
#include "dcap/types.hpp"

namespace dcap::fuzz {

struct GridSample {
    std::vector<std::int64_t> xy, offsets{0}, order;
    std::vector<std::uint8_t> kinds;

    [[nodiscard]] GridShapes shapes() const { return {xy, offsets, kinds}; }
};

// Few distinct coordinates, so that points repeat and rings are flat.
inline GridSample grid_sample(Corpus& c, const std::array<std::int64_t, 2>& span) {
    GridSample s;
    for (std::int64_t i = c.whole(0, 5); i > 0; --i) {
        const auto kind = static_cast<std::uint8_t>(c.whole(0, 2));
        const std::int64_t n = kind == kBox ? 2 : c.whole(kind == kPolygon ? 3 : 2, c.whole(0, 9) == 0 ? 200 : 12);
        for (std::int64_t k = 0; k < 2 * n; ++k) s.xy.push_back(c.whole(0, 4) * (span[k % 2] / 4));
        s.order.push_back(static_cast<std::int64_t>(s.kinds.size()));
        s.kinds.push_back(kind);
        s.offsets.push_back(static_cast<std::int64_t>(s.xy.size() / 2));
    }
    std::shuffle(s.order.begin(), s.order.end(), c.random);
    return s;
}

// Whether shapes become legal ones that stay as they are, and broken input is refused without a write out of bounds.
inline bool grid_holds(Corpus& c) {
    static constexpr std::int64_t kSides[] = {1, 3, 5, 1000, kMaxGrid};
    const std::array<std::int64_t, 2> span{kSides[c.whole(0, 4)], kSides[c.whole(0, 4)]};
    GridSample s = grid_sample(c, span);
    const std::size_t n = s.kinds.size();
    std::vector<std::int64_t> xy(s.xy.size()), offsets(n + 1), again_xy(s.xy.size()), again_offsets(n + 1);
    std::int64_t num_points = 0, num_again = 0;
    if (canonicalize(s.shapes(), s.order, span, xy, offsets, num_points) != Status::kOk) return false;
    std::vector<std::uint8_t> kinds(n);
    for (std::size_t k = 0; k < n; ++k) kinds[k] = s.kinds[static_cast<std::size_t>(s.order[k])];
    xy.resize(static_cast<std::size_t>(2 * num_points));
    std::iota(s.order.begin(), s.order.end(), 0);
    if (canonicalize({xy, offsets, kinds}, s.order, span, again_xy, again_offsets, num_again) != Status::kOk)
        return false;
    again_xy.resize(static_cast<std::size_t>(2 * num_again));
    if (again_xy != xy || again_offsets != offsets) return false;
    static constexpr std::int64_t kWrong[] = {-1, 7, 1000000, std::numeric_limits<std::int64_t>::min(),
                                              std::numeric_limits<std::int64_t>::max()};
    const std::int64_t wrong = kWrong[c.whole(0, 4)];
    std::vector<std::int64_t>* broken[] = {&s.xy, &s.offsets, &s.order};
    std::vector<std::int64_t>& which = *broken[c.whole(0, 2)];
    if (!which.empty())
        which[static_cast<std::size_t>(c.whole(0, static_cast<std::int64_t>(which.size()) - 1))] = wrong;
    again_xy.resize(s.xy.size());
    (void)canonicalize(s.shapes(), s.order, span, again_xy, again_offsets, num_again);
    return num_again <= static_cast<std::int64_t>(s.xy.size() / 2);
}

}  // namespace dcap::fuzz
