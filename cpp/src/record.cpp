#include "dcap/record.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string_view>

#include "dcap/json.hpp"
#include "dcap/types.hpp"

namespace dcap {
namespace {

// clang-format off
constexpr std::array<std::string_view, 13> kNames{
    "images", "width", "height", "objects", "summary", "metadata",
    "desc", "bbox_2d", "poly", "line", "poly_points", "line_points", "attributes",
};
// clang-format on

// A set of keys has the bit of each.
using Keys = std::uint32_t;

constexpr Keys key(std::string_view name) noexcept {
    return Keys{1} << (std::find(kNames.begin(), kNames.end(), name) - kNames.begin());
}

constexpr Keys kImages = key("images"), kWidth = key("width"), kHeight = key("height"), kObjects = key("objects");
constexpr Keys kSummary = key("summary"), kMetadata = key("metadata"), kDesc = key("desc");
constexpr Keys kBbox = key("bbox_2d"), kPoly = key("poly"), kPolyline = key("line"), kAttributes = key("attributes");
constexpr Keys kPolyPoints = key("poly_points"), kLinePoints = key("line_points");
constexpr Keys kNeeded = kImages | kWidth | kHeight | kObjects, kOfRecord = kNeeded | kSummary | kMetadata;
constexpr Keys kShape = kBbox | kPoly | kPolyline;
constexpr Keys kOfObject = kDesc | kShape | kPolyPoints | kLinePoints | kAttributes;

// Share of its largest coordinate by which rounding may move a point.
constexpr double kRounding = 0x1p-40;

// Whether the ring passes its first corner by x, then y, once, and turns there: then it encloses something. Other rings
// are for the slow reader, which measures them. No coordinate is above `reach`.
bool turns_outside(const double* p, std::int64_t count, double reach) noexcept {
    std::int64_t at = 0;
    bool twice = false;
    double x0 = p[0], y0 = p[1];
    for (std::int64_t i = 1; i < count; ++i) {
        const double x = p[2 * i], y = p[2 * i + 1];
        if (x > x0 || (x == x0 && y > y0)) continue;
        twice = x == x0 && y == y0;
        if (twice) continue;
        at = i;
        x0 = x;
        y0 = y;
    }
    const double* q = p + 2 * (at == 0 ? count - 1 : at - 1);
    const double* r = p + 2 * (at == count - 1 ? 0 : at + 1);
    const double ax = q[0] - x0, ay = q[1] - y0, bx = r[0] - x0, by = r[1] - y0;
    const double steps = std::max(std::max(std::abs(ax), std::abs(ay)), std::max(std::abs(bx), std::abs(by)));
    return !twice && std::abs(ax * by - ay * bx) > kRounding * reach * steps;
}

class Reader {
  public:
    Reader(std::span<const std::uint8_t> line, std::int64_t max_side, RecordOutput& out) noexcept
        : line_(line), max_side_(max_side), out_(out) {}

    bool record() noexcept {
        Keys seen = 0;
        bool more = line_.take('{');
        for (Keys which = 0; more; more = line_.take(',')) {
            if (!next_key(seen, kOfRecord, which) || !record_value(which)) return false;
        }
        if (!line_.take('}') || (seen & kNeeded) != kNeeded) return false;
        line_.skip_space();
        return line_.at_end() && right_ <= static_cast<double>(out_.width) &&
               bottom_ <= static_cast<double>(out_.height);
    }

  private:
    // A known key that was not there before.
    bool next_key(Keys& seen, Keys known, Keys& which) noexcept {
        std::string_view name;
        if (!line_.key(name)) return false;
        which = key(name);
        if ((which & known & ~seen) == 0) return false;
        seen |= which;
        return true;
    }

    bool record_value(Keys which) noexcept {
        if (which == kImages) return line_.take('[') && text(0) && line_.take(']');
        if (which == kWidth) return line_.whole_number(out_.width) && out_.width >= 1 && out_.width <= max_side_;
        if (which == kHeight) return line_.whole_number(out_.height) && out_.height >= 1 && out_.height <= max_side_;
        if (which == kSummary) return line_.take_null() || text(1);
        if (which == kMetadata) return line_.take_null() || (line_.peek() == '{' && value(-1));
        return objects();
    }

    bool objects() noexcept {
        if (!line_.take('[')) return false;
        if (line_.take(']')) return true;
        do {
            if (!object()) return false;
        } while (line_.take(','));
        return line_.take(']');
    }

    bool object() noexcept {
        Keys seen = 0;
        bool more = line_.take('{');
        for (Keys which = 0; more; more = line_.take(',')) {
            if (!next_key(seen, kOfObject, which) || !object_value(which)) return false;
        }
        const Keys shape = seen & kShape;
        if (!line_.take('}') || (seen & kDesc) == 0 || !std::has_single_bit(shape)) return false;
        if ((seen & kPolyPoints) != 0 && (shape != kPoly || told_ != given_)) return false;
        if ((seen & kLinePoints) != 0 && (shape != kPolyline || told_ != given_)) return false;
        out_.kinds[out_.num_objects] = shape == kBbox ? kBox : shape == kPoly ? kPolygon : kLine;
        out_.offsets[++out_.num_objects] = out_.num_points;
        return true;
    }

    bool object_value(Keys which) noexcept {
        if (which == kDesc) return text(kHeadTexts + out_.num_objects);
        if (which == kPolyPoints || which == kLinePoints) return line_.whole_number(told_);
        if (which == kAttributes) {
            return line_.take_null() || ((line_.peek() == '{' || line_.peek() == '[') && value(out_.num_objects));
        }
        const std::int64_t first = out_.offsets[out_.num_objects];
        if (out_.num_points > first || !points()) return false;  // a second shape
        const std::int64_t last = out_.num_points - 1;
        const double *a = out_.xy.data() + 2 * first, *b = out_.xy.data() + 2 * last;
        if (which == kBbox) return given_ == 2 && last == first + 1 && a[0] < b[0] && a[1] < b[1];
        if (which == kPoly && last > first && a[0] == b[0] && a[1] == b[1]) --out_.num_points;
        const std::int64_t count = out_.num_points - first;
        return which == kPoly ? count >= 3 && turns_outside(a, count, std::max(right_, bottom_)) : count >= 2;
    }

    // Numbers in pairs, without those that repeat the pair before; all of them are counted.
    bool points() noexcept {
        if (!line_.take('[')) return false;
        given_ = 0;
        const double* last = nullptr;
        do {
            double* to = out_.xy.data() + 2 * out_.num_points;
            if (!line_.number(to[0]) || !line_.take(',') || !line_.number(to[1])) return false;
            ++given_;
            if (last != nullptr && to[0] == last[0] && to[1] == last[1]) continue;
            right_ = std::max(right_, to[0]);
            bottom_ = std::max(bottom_, to[1]);
            ++out_.num_points;
            last = to;
        } while (line_.take(','));
        return line_.take(']');
    }

    bool text(std::int64_t row) noexcept {
        return line_.text(std::span<std::int64_t, 3>(out_.texts.data() + kTextColumns * row, 3));
    }

    bool value(std::int64_t owner) noexcept {
        std::int64_t* row = out_.values.data() + kValueColumns * out_.num_values++;
        row[0] = owner;
        return line_.value(std::span<std::int64_t, 3>(row + 1, 3));
    }

    JsonLine line_;
    std::int64_t max_side_;
    std::int64_t given_ = 0, told_ = 0;  // points of the object as they stand there, and as it says
    double right_ = 0.0, bottom_ = 0.0;
    RecordOutput& out_;
};

}  // namespace

Status read_record(std::span<const std::uint8_t> line, std::int64_t max_side, RecordOutput& out) noexcept {
    const std::size_t objects = most_objects(line.size());
    if (out.xy.size() < 2 * most_points(line.size()) || out.offsets.size() < objects + 1 ||
        out.kinds.size() < objects || out.texts.size() < kTextColumns * (kHeadTexts + objects) ||
        out.values.size() < kValueColumns * (1 + objects) || max_side < 1 || max_side >= kMostWhole) {
        return Status::kBadArgument;
    }
    out.width = out.height = out.num_objects = out.num_points = out.num_values = 0;
    out.offsets[0] = 0;
    std::fill_n(out.texts.begin(), kTextColumns * kHeadTexts, 0);
    out.plain = Reader(line, max_side, out).record();
    return Status::kOk;
}

}  // namespace dcap
