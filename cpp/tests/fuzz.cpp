// Runs every kernel over a deterministic corpus of good, degenerate and broken input; built with ASan and UBSan.
// Exits 1 with a message when a kernel breaks a promise that the sanitizers cannot see.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "corpus.hpp"
#include "dcap/affine.hpp"
#include "dcap/area.hpp"
#include "dcap/clip.hpp"
#include "dcap/difference.hpp"
#include "dcap/hull.hpp"
#include "dcap/outside.hpp"
#include "dcap/overlap.hpp"
#include "dcap/pack.hpp"
#include "dcap/patches.hpp"
#include "dcap/recolor.hpp"
#include "dcap/simplify.hpp"
#include "dcap/warp.hpp"
#include "fuzz_grid.hpp"
#include "fuzz_record.hpp"

namespace {

using dcap::Status;

struct Sample {
    std::vector<double> xy;
    std::vector<std::int64_t> offsets{0};
    std::vector<std::uint8_t> kinds;

    [[nodiscard]] dcap::Shapes shapes() const { return {xy, offsets, kinds}; }
};

Sample make_sample(Corpus& c, int style) {
    Sample s;
    const std::int64_t shapes = c.whole(0, 5);
    // Nearly all edges between odd points meet in ties, whose exact order takes long to find.
    const std::int64_t large = style == 2 && c.whole(0, 9) != 0 ? 60 : 300;
    for (std::int64_t i = 0; i < shapes; ++i) {
        const auto kind = static_cast<std::uint8_t>(c.whole(0, 2));
        const std::int64_t least = kind == dcap::kPolygon ? 3 : 2;
        const std::int64_t n = kind == dcap::kBox ? 2 : c.whole(least, c.whole(0, 9) == 0 ? large : 14);
        for (std::int64_t k = 0; k < 2 * n; ++k) s.xy.push_back(c.coordinate(style));
        // A retraced edge now and then, and a repeated point.
        if (kind != dcap::kBox && c.whole(0, 3) == 0) std::copy(s.xy.end() - 4, s.xy.end() - 2, s.xy.end() - 2);
        s.kinds.push_back(kind);
        s.offsets.push_back(static_cast<std::int64_t>(s.xy.size() / 2));
    }
    return s;
}

void break_layout(Corpus& c, Sample& s) {
    static const std::int64_t wrong[] = {-1, 1, 1000000, std::numeric_limits<std::int64_t>::max(),
                                         std::numeric_limits<std::int64_t>::min()};
    const std::int64_t how = c.whole(0, 4);
    if (how == 0) s.offsets[c.whole(0, static_cast<std::int64_t>(s.offsets.size()) - 1)] = wrong[c.whole(0, 4)];
    if (how == 1 && !s.kinds.empty()) s.kinds[0] = static_cast<std::uint8_t>(c.whole(3, 255));
    if (how == 2) s.offsets.pop_back();
    if (how == 3) s.xy.push_back(1.0);
    if (how == 4 && !s.xy.empty()) s.xy.pop_back();
}

void check_clip(const dcap::ClipOutput& out, const dcap::Shapes& in) {
    require(out.num_shapes == 0 || out.offsets[out.num_shapes] == out.num_points, "offsets end at the last point");
    for (std::int64_t k = 0; k < out.num_shapes; ++k) {
        require(out.offsets[k + 1] >= out.offsets[k] + (out.kinds[k] == dcap::kPolygon ? 3 : 2), "parts have points");
        require(out.source[k] >= 0 && out.source[k] < in.size(), "sources exist");
        require(out.fraction[k] > 0.0 && out.fraction[k] <= 1.0, "fractions are in (0, 1]");
    }
    for (std::int64_t k = 0; k < 2 * out.num_points; ++k) require(std::isfinite(out.xy[k]), "points are finite");
}

void run_clip(Corpus& c, const Sample& s, int style) {
    dcap::ClipOptions options;
    if (c.whole(0, 1) == 0) {
        for (double& v : options.matrix) v = c.coordinate(style == 3 ? 1 : style);
    }
    options.box_policy = c.whole(0, 1) == 0 ? dcap::BoxPolicy::kPolygon : dcap::BoxPolicy::kBounds;
    options.keep_largest = c.whole(0, 1) == 0;
    // Exact room, no room, or some room: what does not fit must be counted, not written.
    const std::int64_t room = c.whole(0, 2) == 0 ? c.whole(0, 8) : 4096;
    std::vector<double> xy(static_cast<std::size_t>(2 * room)), fraction(static_cast<std::size_t>(room));
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(room + 1)), source(static_cast<std::size_t>(room));
    std::vector<std::uint8_t> kinds(static_cast<std::size_t>(room));
    std::vector<double> region;
    for (std::int64_t k = 0; k < 2 * c.whole(2, 6); ++k) region.push_back(c.coordinate(style));
    const std::array<double, 4> rect{c.coordinate(style), c.coordinate(style), c.coordinate(style) + 50.0,
                                     c.coordinate(style) + 50.0};
    for (int which = 0; which < 2; ++which) {
        dcap::ClipOutput out{xy, offsets, kinds, source, fraction};
        const Status status = which == 0 ? dcap::clip_rect(s.shapes(), options, rect, out)
                                         : dcap::clip_convex(s.shapes(), options, region, out);
        if (status == Status::kOk && out.num_shapes <= room && out.num_points <= room) check_clip(out, s.shapes());
    }
}

void run_difference(Corpus& c, const Sample& s, const Sample& covers) {
    const dcap::DifferenceOptions options{c.whole(0, 1) == 0 ? dcap::BoxPolicy::kPolygon : dcap::BoxPolicy::kBounds,
                                          c.whole(0, 1) == 0};
    const std::int64_t room = c.whole(0, 2) == 0 ? c.whole(0, 8) : 4096;
    std::vector<double> xy(static_cast<std::size_t>(2 * room)), fraction(static_cast<std::size_t>(room));
    std::vector<std::int64_t> offsets(static_cast<std::size_t>(room + 1)), source(static_cast<std::size_t>(room));
    std::vector<std::uint8_t> kinds(static_cast<std::size_t>(room));
    dcap::ClipOutput out{xy, offsets, kinds, source, fraction};
    const Status status = dcap::difference(s.shapes(), covers.shapes(), options, out);
    if (status == Status::kOk && out.num_shapes <= room && out.num_points <= room) check_clip(out, s.shapes());
}

void run_all(Corpus& c, const Sample& s, const Sample& other, int style) {
    const std::size_t n = s.kinds.size(), m = other.kinds.size(), points = s.xy.size() / 2;
    run_clip(c, s, style);
    run_difference(c, s, other);
    // Every crossing of a ring with itself is a tie then, and there are many.
    if (points < 60) run_difference(c, s, s);
    std::vector<double> areas(n), rects(8 * n), scores(n), iou(n * m);
    std::vector<std::uint8_t> keep(points);
    if (dcap::area_or_length(s.shapes(), areas) == Status::kOk) {
        for (double a : areas) require(a >= 0.0, "areas are not negative");
    }
    (void)dcap::min_area_rect(s.shapes(), rects);
    if (dcap::simplify(s.shapes(), c.whole(-1, 8), keep, scores) == Status::kOk) {
        for (double v : scores) require(v >= 0.0 && v <= 1.0, "scores are in [0, 1]");
    }
    if (dcap::pairwise_iou(s.shapes(), other.shapes(), iou) == Status::kOk) {
        for (double v : iou) require(v >= 0.0 && v <= 1.0, "IoU is in [0, 1]");
    }
    dcap::Matrix matrix{};
    for (double& v : matrix) v = c.coordinate(style);
    std::vector<double> xy(static_cast<std::size_t>(2 * c.whole(0, 1) * static_cast<std::int64_t>(points + 2 * n)));
    std::vector<std::int64_t> offsets(n + 1);
    std::vector<std::uint8_t> kinds(n);
    std::int64_t num_points = 0;
    (void)dcap::transform(s.shapes(), matrix, dcap::BoxPolicy::kPolygon, xy, offsets, kinds, num_points);
}

// Patches of one image by every instruction set that is here; buffers of exactly the right length, from new.
template <class T>
void run_patches(Corpus& c, const dcap::Image& image, std::size_t steps) {
    const std::vector<T> before(image.rgb.size() * steps + (c.whole(0, 9) == 0 ? 1 : 0), T{1});
    std::vector<T> first;
    Status expected = Status::kOk;
    for (int isa = 0; isa <= static_cast<int>(dcap::widest_isa()); ++isa) {
        std::vector<T> out = before;
        const Status status = dcap::patchify(image, std::span<T>(out), static_cast<dcap::Isa>(isa));
        if (isa == 0) expected = status, first = out;
        require(status == expected, "instruction sets agree on what is refused");
        require(out == first, "instruction sets write the same patches");
        require(status == Status::kOk || out == before, "what is refused is not written");
    }
}

void run_patches(Corpus& c) {
    static const std::int64_t wrong[] = {
        -32, 0, 1, 16, 33, std::numeric_limits<std::int64_t>::max() - 31, std::numeric_limits<std::int64_t>::min()};
    std::int64_t height = 32 * c.whole(1, 4), width = 32 * c.whole(1, 4);
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(3 * height * width));
    for (std::uint8_t& v : rgb) v = static_cast<std::uint8_t>(c.whole(0, 255));
    if (c.whole(0, 2) == 0) (c.whole(0, 1) == 0 ? height : width) = wrong[c.whole(0, 6)];
    if (c.whole(0, 9) == 0) rgb.pop_back();
    const dcap::Image image{rgb, height, width};
    run_patches<float>(c, image, 2);
    run_patches<std::uint16_t>(c, image, 2);
    run_patches<std::uint8_t>(c, image, 1);
}

std::vector<std::uint8_t> random_values(Corpus& c, std::int64_t count) {
    std::vector<std::uint8_t> made(static_cast<std::size_t>(count));
    for (std::uint8_t& v : made) v = static_cast<std::uint8_t>(c.whole(0, 255));
    return made;
}

// Call a kernel that writes pixels with every instruction set that is here; what is refused must not be written.
template <class Call>
void run_everywhere(const std::vector<std::uint8_t>& before, const Call& call) {
    std::vector<std::uint8_t> first;
    Status expected = Status::kOk;
    for (int isa = 0; isa <= static_cast<int>(dcap::widest_isa()); ++isa) {
        std::vector<std::uint8_t> out = before;
        const Status status = call(std::span<std::uint8_t>(out), static_cast<dcap::Isa>(isa));
        if (isa == 0) expected = status, first = out;
        require(status == expected && out == first, "instruction sets agree on pixels");
        require(status == Status::kOk || out == before, "what is refused is not written");
    }
}

void run_recolor(Corpus& c) {
    static const float odd[] = {0.0f,  1.0f,  6.0f,          255.0f,
                                1e30f, -1.0f, std::nanf(""), std::numeric_limits<float>::infinity()};
    const std::int64_t n = c.whole(0, 4);
    std::vector<std::uint8_t> kinds;
    std::vector<float> numbers;
    for (std::int64_t i = 0; i < n; ++i)
        kinds.push_back(static_cast<std::uint8_t>(c.whole(0, c.whole(0, 19) ? 2 : 255)));
    for (std::int64_t i = 0; i < 3 * n; ++i) {
        numbers.push_back(c.whole(0, 5) ? static_cast<float>(c.real(0.0, 6.0))
                                        : odd[c.whole(0, c.whole(0, 9) ? 4 : 7)]);
    }
    const auto tables = random_values(c, 256 * n + (c.whole(0, 19) ? 0 : 1));
    const auto image = random_values(c, 3 * c.whole(0, 700) + (c.whole(0, 19) ? 0 : 1));
    const dcap::RecolorSteps steps{kinds, tables, numbers};
    run_everywhere(image, [&](auto out, dcap::Isa isa) { return dcap::recolor(out, steps, out, isa); });
}

void run_warp(Corpus& c, int style) {
    const auto side = [&c] { return c.whole(0, 9) ? c.whole(1, 40) : c.whole(-1, 1); };
    const std::int64_t height = side(), width = side(), out_height = side(), out_width = side();
    const auto source = random_values(c, std::max<std::int64_t>(0, 3 * height * width) + (c.whole(0, 19) ? 0 : 3));
    const auto before =
        random_values(c, std::max<std::int64_t>(0, 3 * out_height * out_width) + (c.whole(0, 19) ? 0 : 3));
    dcap::Matrix matrix{};
    for (double& v : matrix) v = c.whole(0, 2) ? c.real(-3.0, 3.0) : c.coordinate(style);
    const dcap::Samples samples{c.whole(1, c.whole(0, 9) ? 2 : 3), c.whole(c.whole(0, 9) ? 1 : 0, 2)};
    run_everywhere(before, [&](auto out, dcap::Isa isa) {
        return dcap::warp({source, height, width}, matrix, samples, {out, out_height, out_width}, isa);
    });
}

void run_outside(Corpus& c, int style) {
    const std::int64_t height = c.whole(0, 40), width = c.whole(0, 40);
    auto rgb = random_values(c, 3 * height * width + (c.whole(0, 19) ? 0 : 3));
    std::vector<double> region;
    for (std::int64_t k = c.whole(0, 9) ? 2 * c.whole(0, 6) : 3; k > 0; --k) region.push_back(c.coordinate(style));
    (void)dcap::fill_outside(region, 128, {rgb, height, width});
}

// Lengths near each other, far apart or broken, in rows up to the largest number that there is.
void run_pack(Corpus& c) {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    static const std::int64_t capacities[] = {1, 2, 7, 100, 12'000, 1LL << 31, most};
    static const std::int64_t wrong[] = {0, -1, std::numeric_limits<std::int64_t>::min()};
    const std::int64_t capacity = capacities[c.whole(0, 6)];
    const std::int64_t longest = std::min(capacity, c.whole(0, 1) ? capacity / 8 + 1 : most - 1);
    const std::int64_t shortest = c.whole(0, 1) ? 1 : std::max<std::int64_t>(1, longest - 30);
    std::vector<std::int64_t> lengths(static_cast<std::size_t>(c.whole(1, c.whole(0, 9) ? 40 : 3000)));
    for (std::int64_t& length : lengths) length = c.whole(shortest, longest);
    const std::int64_t fault = c.whole(0, 15);
    if (fault == 0) lengths.back() = wrong[c.whole(0, 2)];
    const std::int64_t window = fault == 1 ? wrong[c.whole(0, 2)] : c.whole(0, 2) ? c.whole(1, 70) : most;
    std::vector<std::int64_t> row_of(lengths.size() + (fault == 2 ? 1 : 0), -7);
    std::int64_t num_rows = 0;
    const Status status = dcap::pack(lengths, capacity, window, row_of, num_rows);
    require(status == (fault <= 2 ? Status::kBadArgument : Status::kOk), "what cannot be packed is refused");
    std::vector<std::int64_t> room(static_cast<std::size_t>(num_rows), capacity);
    for (std::size_t i = 0; i < lengths.size() && status == Status::kOk; ++i) {
        require(row_of[i] >= 0 && row_of[i] < num_rows, "rows exist");
        require((room[row_of[i]] -= lengths[i]) >= 0, "no row overflows");
    }
    for (std::int64_t left : room) require(left < capacity, "no row is empty");
}

// A large ring: a comb, whose edges are long and near each other, or random points, which cross each
// other far too often and must be refused in time.
void run_large(bool comb) {
    constexpr std::int64_t n = 1'000'000;
    Corpus c;
    Sample s;
    for (std::int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(i / 2), y = i % 4 == 1 || i % 4 == 2 ? 1000.0 : 1.0;
        s.xy.push_back(comb ? x : c.real(0.0, 1e6));
        s.xy.push_back(comb ? (i + 2 >= n ? 0.0 : y) : c.real(0.0, 1e6));
    }
    s.kinds.push_back(dcap::kPolygon);
    s.offsets.push_back(n);
    std::vector<double> area(1);
    const Status status = dcap::area_or_length(s.shapes(), area);
    require(status == (comb ? Status::kOk : Status::kTooComplex), "a large ring is measured or refused");
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 8000;
    Corpus c;
    int num_plain = 0;
    for (int i = 0; i < rounds; ++i) {
        const int style = i % 7;
        Sample s = make_sample(c, style);
        const Sample other = make_sample(c, style);
        run_all(c, s, other, style);
        break_layout(c, s);
        run_all(c, s, other, style);
        if (i % 16 == 0) run_patches(c);
        run_recolor(c);
        run_warp(c, style);
        run_outside(c, style);
        run_pack(c);
        require(dcap::fuzz::grid_holds(c), "shapes on the grid are legal and stay as they are");
        for (int k = 0; k < 8; ++k) require(dcap::fuzz::record_holds(c.random, num_plain), "plain records are records");
    }
    require(num_plain > rounds, "many lines are plain");
    run_large(true);
    run_large(false);
    std::printf("fuzz: %d samples, every kernel, no failure\n", rounds);
    return 0;
}
