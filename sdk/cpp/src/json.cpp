#include "json.hpp"

#include <charconv>
#include <cstdint>

namespace medsam_edge {
namespace {

constexpr int kDeepest = 64;

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Json whole() {
        Json value = any(0);
        blanks();
        if (at_ != text_.size()) { wrong("the end"); }
        return value;
    }

private:
    [[noreturn]] void wrong(const char* expected) const {
        throw JsonError("expected " + std::string(expected) + " at byte " + std::to_string(at_));
    }

    [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    bool take(char wanted) {
        if (at_ >= text_.size() || text_[at_] != wanted) { return false; }
        ++at_;
        return true;
    }

    void blanks() {
        while (at_ < text_.size() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) { ++at_; }
    }

    void word(std::string_view wanted) {
        if (text_.substr(at_, wanted.size()) != wanted) { wrong("a value"); }
        at_ += wanted.size();
    }

    Json any(int depth) {
        if (depth > kDeepest) { throw JsonError("nested too deep"); }
        blanks();
        Json value;
        switch (peek()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                value.kind = Json::Kind::string;
                value.string = string();
                return value;
            case 't':
                word("true");
                value.kind = Json::Kind::boolean;
                value.number = 1;
                return value;
            case 'f':
                word("false");
                value.kind = Json::Kind::boolean;
                return value;
            case 'n':
                word("null");
                return value;
            default:
                return number();
        }
    }

    Json object(int depth) {
        Json value;
        value.kind = Json::Kind::object;
        ++at_;
        blanks();
        if (take('}')) { return value; }
        do {
            blanks();
            if (peek() != '"') { wrong("a name"); }
            std::string name = string();
            blanks();
            if (!take(':')) { wrong("':'"); }
            value.object[std::move(name)] = any(depth + 1);
            blanks();
        } while (take(','));
        if (!take('}')) { wrong("',' or '}'"); }
        return value;
    }

    Json array(int depth) {
        Json value;
        value.kind = Json::Kind::array;
        ++at_;
        blanks();
        if (take(']')) { return value; }
        do {
            value.array.push_back(any(depth + 1));
            blanks();
        } while (take(','));
        if (!take(']')) { wrong("',' or ']'"); }
        return value;
    }

    bool digits() {
        const std::size_t before = at_;
        while (peek() >= '0' && peek() <= '9') { ++at_; }
        return at_ > before;
    }

    Json number() {
        const std::size_t begin = at_;
        take('-');
        if (!take('0') && !digits()) { wrong("a value"); }
        Json value;
        value.kind = Json::Kind::integer;
        if (take('.')) {
            value.kind = Json::Kind::real;
            if (!digits()) { wrong("a digit"); }
        }
        if (take('e') || take('E')) {
            value.kind = Json::Kind::real;
            if (!take('+')) { take('-'); }
            if (!digits()) { wrong("a digit"); }
        }
        const char* end = text_.data() + at_;
        const auto parsed = std::from_chars(text_.data() + begin, end, value.number);
        if (parsed.ec != std::errc() || parsed.ptr != end) { wrong("a number that a double holds"); }
        return value;
    }

    std::uint32_t four_digits() {
        std::uint32_t code = 0;
        const char* begin = text_.data() + at_;
        const bool there = at_ + 4 <= text_.size();
        const auto parsed = there ? std::from_chars(begin, begin + 4, code, 16) : std::from_chars_result{};
        if (!there || parsed.ptr != begin + 4) { wrong("four hexadecimal digits"); }
        at_ += 4;
        return code;
    }

    /// A character beyond 16 bits is two escapes.
    std::uint32_t escaped() {
        const std::uint32_t high = four_digits();
        if (high < 0xD800 || high >= 0xDC00 || text_.substr(at_, 2) != "\\u") { return high; }
        at_ += 2;
        const std::uint32_t low = four_digits();
        if (low < 0xDC00 || low >= 0xE000) { wrong("the second half of a character"); }
        return 0x10000 + ((high - 0xD800) << 10U) + (low - 0xDC00);
    }

    static void append(std::string& result, std::uint32_t code) {
        const auto last = [&](unsigned shift) { result.push_back(static_cast<char>(0x80U | (code >> shift & 0x3FU))); };
        if (code < 0x80) {
            result.push_back(static_cast<char>(code));
        } else if (code < 0x800) {
            result.push_back(static_cast<char>(0xC0U | code >> 6U));
            last(0);
        } else if (code < 0x10000) {
            result.push_back(static_cast<char>(0xE0U | code >> 12U));
            last(6), last(0);
        } else {
            result.push_back(static_cast<char>(0xF0U | code >> 18U));
            last(12), last(6), last(0);
        }
    }

    std::string string() {
        std::string result;
        ++at_;
        while (!take('"')) {
            if (at_ >= text_.size() || static_cast<unsigned char>(peek()) < 0x20) { wrong("'\"'"); }
            if (!take('\\')) {
                result.push_back(text_[at_++]);
                continue;
            }
            static constexpr std::string_view kNames = "\"\\/bfnrt";
            static constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
            const std::size_t which = kNames.find(peek());
            if (take('u')) {
                append(result, escaped());
            } else if (at_ < text_.size() && which != std::string_view::npos) {
                ++at_;
                result.push_back(kValues[which]);
            } else {
                wrong("an escape");
            }
        }
        return result;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

const Json& Json::operator[](const std::string& name) const {
    static const Json kNull;
    const auto found = object.find(name);
    return found == object.end() ? kNull : found->second;
}

Json parse_json(std::string_view text) { return Reader(text).whole(); }

}  // namespace medsam_edge
