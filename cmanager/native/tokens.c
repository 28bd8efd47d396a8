/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * See tokens.h.
 */

#include "tokens.h"

#include <stdint.h>

/* ==== Characters ==== */

#define P (TEXT | VALUE)
#define D (TEXT | VALUE | NAME)
#define L (TEXT | VALUE | NAME | NAME_START)

const Byte CLASSES[256] = {
    /* clang-format off */
    0, 0, 0, 0, 0, 0, 0, 0, 0, SPACE | TEXT, SPACE | TEXT, 0, 0, SPACE, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    SPACE | P, P, TEXT, P, P, P, 0, TEXT, P, P, P, P, P, D, D, P, /*  !"#$%&'()*+,-./ */
    D, D, D, D, D, D, D, D, D, D, P, P, 0, P, 0, P,               /* 0123456789:;<=>? */
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, P, P, VALUE, P, L,           /* PQRSTUVWXYZ[\]^_ */
    P, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
    L, L, L, L, L, L, L, L, L, L, L, P, P, P, P, P,
    /* clang-format on */
};

#undef P
#undef D
#undef L

typedef struct {
    uint16_t first, last;
} Range;

/* XML 1.0, fourth edition, appendix B, from U+0080 on: BaseChar and Ideographic, */
static const Range NAME_STARTS[] = {
    {0x00C0, 0x00D6}, {0x00D8, 0x00F6}, {0x00F8, 0x0131}, {0x0134, 0x013E}, {0x0141, 0x0148},
    {0x014A, 0x017E}, {0x0180, 0x01C3}, {0x01CD, 0x01F0}, {0x01F4, 0x01F5}, {0x01FA, 0x0217},
    {0x0250, 0x02A8}, {0x02BB, 0x02C1}, {0x0386, 0x0386}, {0x0388, 0x038A}, {0x038C, 0x038C},
    {0x038E, 0x03A1}, {0x03A3, 0x03CE}, {0x03D0, 0x03D6}, {0x03DA, 0x03DA}, {0x03DC, 0x03DC},
    {0x03DE, 0x03DE}, {0x03E0, 0x03E0}, {0x03E2, 0x03F3}, {0x0401, 0x040C}, {0x040E, 0x044F},
    {0x0451, 0x045C}, {0x045E, 0x0481}, {0x0490, 0x04C4}, {0x04C7, 0x04C8}, {0x04CB, 0x04CC},
    {0x04D0, 0x04EB}, {0x04EE, 0x04F5}, {0x04F8, 0x04F9}, {0x0531, 0x0556}, {0x0559, 0x0559},
    {0x0561, 0x0586}, {0x05D0, 0x05EA}, {0x05F0, 0x05F2}, {0x0621, 0x063A}, {0x0641, 0x064A},
    {0x0671, 0x06B7}, {0x06BA, 0x06BE}, {0x06C0, 0x06CE}, {0x06D0, 0x06D3}, {0x06D5, 0x06D5},
    {0x06E5, 0x06E6}, {0x0905, 0x0939}, {0x093D, 0x093D}, {0x0958, 0x0961}, {0x0985, 0x098C},
    {0x098F, 0x0990}, {0x0993, 0x09A8}, {0x09AA, 0x09B0}, {0x09B2, 0x09B2}, {0x09B6, 0x09B9},
    {0x09DC, 0x09DD}, {0x09DF, 0x09E1}, {0x09F0, 0x09F1}, {0x0A05, 0x0A0A}, {0x0A0F, 0x0A10},
    {0x0A13, 0x0A28}, {0x0A2A, 0x0A30}, {0x0A32, 0x0A33}, {0x0A35, 0x0A36}, {0x0A38, 0x0A39},
    {0x0A59, 0x0A5C}, {0x0A5E, 0x0A5E}, {0x0A72, 0x0A74}, {0x0A85, 0x0A8B}, {0x0A8D, 0x0A8D},
    {0x0A8F, 0x0A91}, {0x0A93, 0x0AA8}, {0x0AAA, 0x0AB0}, {0x0AB2, 0x0AB3}, {0x0AB5, 0x0AB9},
    {0x0ABD, 0x0ABD}, {0x0AE0, 0x0AE0}, {0x0B05, 0x0B0C}, {0x0B0F, 0x0B10}, {0x0B13, 0x0B28},
    {0x0B2A, 0x0B30}, {0x0B32, 0x0B33}, {0x0B36, 0x0B39}, {0x0B3D, 0x0B3D}, {0x0B5C, 0x0B5D},
    {0x0B5F, 0x0B61}, {0x0B85, 0x0B8A}, {0x0B8E, 0x0B90}, {0x0B92, 0x0B95}, {0x0B99, 0x0B9A},
    {0x0B9C, 0x0B9C}, {0x0B9E, 0x0B9F}, {0x0BA3, 0x0BA4}, {0x0BA8, 0x0BAA}, {0x0BAE, 0x0BB5},
    {0x0BB7, 0x0BB9}, {0x0C05, 0x0C0C}, {0x0C0E, 0x0C10}, {0x0C12, 0x0C28}, {0x0C2A, 0x0C33},
    {0x0C35, 0x0C39}, {0x0C60, 0x0C61}, {0x0C85, 0x0C8C}, {0x0C8E, 0x0C90}, {0x0C92, 0x0CA8},
    {0x0CAA, 0x0CB3}, {0x0CB5, 0x0CB9}, {0x0CDE, 0x0CDE}, {0x0CE0, 0x0CE1}, {0x0D05, 0x0D0C},
    {0x0D0E, 0x0D10}, {0x0D12, 0x0D28}, {0x0D2A, 0x0D39}, {0x0D60, 0x0D61}, {0x0E01, 0x0E2E},
    {0x0E30, 0x0E30}, {0x0E32, 0x0E33}, {0x0E40, 0x0E45}, {0x0E81, 0x0E82}, {0x0E84, 0x0E84},
    {0x0E87, 0x0E88}, {0x0E8A, 0x0E8A}, {0x0E8D, 0x0E8D}, {0x0E94, 0x0E97}, {0x0E99, 0x0E9F},
    {0x0EA1, 0x0EA3}, {0x0EA5, 0x0EA5}, {0x0EA7, 0x0EA7}, {0x0EAA, 0x0EAB}, {0x0EAD, 0x0EAE},
    {0x0EB0, 0x0EB0}, {0x0EB2, 0x0EB3}, {0x0EBD, 0x0EBD}, {0x0EC0, 0x0EC4}, {0x0F40, 0x0F47},
    {0x0F49, 0x0F69}, {0x10A0, 0x10C5}, {0x10D0, 0x10F6}, {0x1100, 0x1100}, {0x1102, 0x1103},
    {0x1105, 0x1107}, {0x1109, 0x1109}, {0x110B, 0x110C}, {0x110E, 0x1112}, {0x113C, 0x113C},
    {0x113E, 0x113E}, {0x1140, 0x1140}, {0x114C, 0x114C}, {0x114E, 0x114E}, {0x1150, 0x1150},
    {0x1154, 0x1155}, {0x1159, 0x1159}, {0x115F, 0x1161}, {0x1163, 0x1163}, {0x1165, 0x1165},
    {0x1167, 0x1167}, {0x1169, 0x1169}, {0x116D, 0x116E}, {0x1172, 0x1173}, {0x1175, 0x1175},
    {0x119E, 0x119E}, {0x11A8, 0x11A8}, {0x11AB, 0x11AB}, {0x11AE, 0x11AF}, {0x11B7, 0x11B8},
    {0x11BA, 0x11BA}, {0x11BC, 0x11C2}, {0x11EB, 0x11EB}, {0x11F0, 0x11F0}, {0x11F9, 0x11F9},
    {0x1E00, 0x1E9B}, {0x1EA0, 0x1EF9}, {0x1F00, 0x1F15}, {0x1F18, 0x1F1D}, {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D}, {0x1F50, 0x1F57}, {0x1F59, 0x1F59}, {0x1F5B, 0x1F5B}, {0x1F5D, 0x1F5D},
    {0x1F5F, 0x1F7D}, {0x1F80, 0x1FB4}, {0x1FB6, 0x1FBC}, {0x1FBE, 0x1FBE}, {0x1FC2, 0x1FC4},
    {0x1FC6, 0x1FCC}, {0x1FD0, 0x1FD3}, {0x1FD6, 0x1FDB}, {0x1FE0, 0x1FEC}, {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC}, {0x2126, 0x2126}, {0x212A, 0x212B}, {0x212E, 0x212E}, {0x2180, 0x2182},
    {0x3007, 0x3007}, {0x3021, 0x3029}, {0x3041, 0x3094}, {0x30A1, 0x30FA}, {0x3105, 0x312C},
    {0x4E00, 0x9FA5}, {0xAC00, 0xD7A3},
};

/* and CombiningChar, Digit and Extender. */
static const Range NAME_OTHERS[] = {
    {0x00B7, 0x00B7}, {0x02D0, 0x02D1}, {0x0300, 0x0345}, {0x0360, 0x0361}, {0x0387, 0x0387},
    {0x0483, 0x0486}, {0x0591, 0x05A1}, {0x05A3, 0x05B9}, {0x05BB, 0x05BD}, {0x05BF, 0x05BF},
    {0x05C1, 0x05C2}, {0x05C4, 0x05C4}, {0x0640, 0x0640}, {0x064B, 0x0652}, {0x0660, 0x0669},
    {0x0670, 0x0670}, {0x06D6, 0x06E4}, {0x06E7, 0x06E8}, {0x06EA, 0x06ED}, {0x06F0, 0x06F9},
    {0x0901, 0x0903}, {0x093C, 0x093C}, {0x093E, 0x094D}, {0x0951, 0x0954}, {0x0962, 0x0963},
    {0x0966, 0x096F}, {0x0981, 0x0983}, {0x09BC, 0x09BC}, {0x09BE, 0x09C4}, {0x09C7, 0x09C8},
    {0x09CB, 0x09CD}, {0x09D7, 0x09D7}, {0x09E2, 0x09E3}, {0x09E6, 0x09EF}, {0x0A02, 0x0A02},
    {0x0A3C, 0x0A3C}, {0x0A3E, 0x0A42}, {0x0A47, 0x0A48}, {0x0A4B, 0x0A4D}, {0x0A66, 0x0A71},
    {0x0A81, 0x0A83}, {0x0ABC, 0x0ABC}, {0x0ABE, 0x0AC5}, {0x0AC7, 0x0AC9}, {0x0ACB, 0x0ACD},
    {0x0AE6, 0x0AEF}, {0x0B01, 0x0B03}, {0x0B3C, 0x0B3C}, {0x0B3E, 0x0B43}, {0x0B47, 0x0B48},
    {0x0B4B, 0x0B4D}, {0x0B56, 0x0B57}, {0x0B66, 0x0B6F}, {0x0B82, 0x0B83}, {0x0BBE, 0x0BC2},
    {0x0BC6, 0x0BC8}, {0x0BCA, 0x0BCD}, {0x0BD7, 0x0BD7}, {0x0BE7, 0x0BEF}, {0x0C01, 0x0C03},
    {0x0C3E, 0x0C44}, {0x0C46, 0x0C48}, {0x0C4A, 0x0C4D}, {0x0C55, 0x0C56}, {0x0C66, 0x0C6F},
    {0x0C82, 0x0C83}, {0x0CBE, 0x0CC4}, {0x0CC6, 0x0CC8}, {0x0CCA, 0x0CCD}, {0x0CD5, 0x0CD6},
    {0x0CE6, 0x0CEF}, {0x0D02, 0x0D03}, {0x0D3E, 0x0D43}, {0x0D46, 0x0D48}, {0x0D4A, 0x0D4D},
    {0x0D57, 0x0D57}, {0x0D66, 0x0D6F}, {0x0E31, 0x0E31}, {0x0E34, 0x0E3A}, {0x0E46, 0x0E4E},
    {0x0E50, 0x0E59}, {0x0EB1, 0x0EB1}, {0x0EB4, 0x0EB9}, {0x0EBB, 0x0EBC}, {0x0EC6, 0x0EC6},
    {0x0EC8, 0x0ECD}, {0x0ED0, 0x0ED9}, {0x0F18, 0x0F19}, {0x0F20, 0x0F29}, {0x0F35, 0x0F35},
    {0x0F37, 0x0F37}, {0x0F39, 0x0F39}, {0x0F3E, 0x0F3F}, {0x0F71, 0x0F84}, {0x0F86, 0x0F8B},
    {0x0F90, 0x0F95}, {0x0F97, 0x0F97}, {0x0F99, 0x0FAD}, {0x0FB1, 0x0FB7}, {0x0FB9, 0x0FB9},
    {0x20D0, 0x20DC}, {0x20E1, 0x20E1}, {0x3005, 0x3005}, {0x302A, 0x302F}, {0x3031, 0x3035},
    {0x3099, 0x309A}, {0x309D, 0x309E}, {0x30FC, 0x30FE},
};

static int
isIn(const Range *ranges, size_t count, unsigned code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else if (code < ranges[middle].first)
            high = middle;
        else
            return 1;
    }
    return 0;
}

static int
isNameCharacter(unsigned code, int isFirst)
{
    return isIn(NAME_STARTS, sizeof NAME_STARTS / sizeof *NAME_STARTS, code)
           || (!isFirst && isIn(NAME_OTHERS, sizeof NAME_OTHERS / sizeof *NAME_OTHERS, code));
}

/*
 * Return the length of the character beyond ASCII at p, 0 if it is cut off, or -1 if it is none of
 * XML.  Its code is stored in `code` if it has at most three bytes.
 */
static int
character(const Byte *p, const Byte *end, unsigned *code)
{
    Py_ssize_t left = end - p;
    if (*p < 0xC0 || *p > 0xF4)
        return -1;
    if (*p < 0xE0) {
        if (left < 2)
            return 0;
        *code = (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
        return (p[1] & 0xC0) == 0x80 && *code >= 0x80 ? 2 : -1;
    }
    if (*p < 0xF0) {
        if (left < 3)
            return 0;
        *code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        if ((p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || *code < 0x800)
            return -1;
        return (*code & 0xF800) == 0xD800 || *code >= 0xFFFE ? -1 : 3;
    }
    if (left < 4)
        return 0;
    *code = (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    if ((p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80)
        return -1;
    return *code >= 0x10000 && *code < 0x110000 ? 4 : -1;
}

/* ==== Tokens ==== */

/*
 * Read a name.  With `prefix` it may have one, whose length is stored there, 0 for none; without,
 * colons end it, or are letters like others if it is `isRaw`.
 */
static Verdict
readName(const Byte **at, const Byte *end, Py_ssize_t *prefix, int isRaw)
{
    const Byte *start = *at, *p = start;
    int isFirst = 1;
    if (prefix != NULL)
        *prefix = 0;
    for (;;) {
        if (!isFirst)
            while (p < end && is(*p, NAME))
                p++;
        *at = p;
        if (p == end)
            return PART;
        if (*p >= 0x80) {
            unsigned code = 0;
            int length = character(p, end, &code);
            if (length == 0)
                return PART;
            if (length < 0 || length > 3 || !isNameCharacter(code, isFirst))
                return BAD;
            p += length;
            isFirst = 0;
        }
        else if (isFirst) {
            if (!is(*p, NAME_START))
                return BAD;
            p++;
            isFirst = 0;
        }
        else if (*p == ':' && isRaw)
            p++;
        else if (*p == ':' && prefix != NULL && *prefix == 0) {
            *prefix = p - start;
            p++;
            isFirst = 1;
        }
        else
            return WHOLE;
    }
}

#if defined(__GNUC__) && defined(__ORDER_LITTLE_ENDIAN__) \
    && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LANES 16
typedef signed char Lanes __attribute__((vector_size(LANES)));

/*
 * Return the first byte that may not be of a class, TEXT or VALUE; or one with fewer than LANES
 * bytes behind it.
 */
static inline const Byte *
leap(const Byte *p, const Byte *end, int class)
{
    for (; end - p >= LANES; p += LANES) {
        Lanes lanes, odd;
        uint64_t halves[2];
        memcpy(&lanes, p, LANES);
        /* Control characters, and, being negative, what is not ASCII; "<" and ">" */
        odd = (lanes < 0x20) | ((lanes | 2) == '>');
        if (class == TEXT)
            odd |= (lanes == '&') | (lanes == ']');
        else /* both quotes, "&" and, for nothing, "#" */
            odd |= (lanes | 5) == '\'';
        memcpy(halves, &odd, LANES);
        if (halves[0] != 0)
            return p + __builtin_ctzll(halves[0]) / 8;
        if (halves[1] != 0)
            return p + 8 + __builtin_ctzll(halves[1]) / 8;
    }
    return p;
}
#else
#define leap(p, end, class) (p)
#endif

/* Return the first byte that is not of a class, TEXT or VALUE, or the end. */
static inline const Byte *
skip(const Byte *p, const Byte *end, int class)
{
    for (;; p++) {
        p = leap(p, end, class);
        if (p == end || !is(*p, class))
            return p;
    }
}

/* Pass over a character that means nothing where it stands. */
static Verdict
readCharacter(const Byte **at, const Byte *end)
{
    unsigned code;
    if (**at >= 0x80) {
        int length = character(*at, end, &code);
        if (length <= 0)
            return length < 0 ? BAD : PART;
        *at += length;
        return WHOLE;
    }
    if (**at < 0x20 && !is(**at, SPACE))
        return BAD;
    (*at)++;
    return WHOLE;
}

/* Return what the number in a reference stands for. */
static long
numbered(const Byte *p, const Byte *end, unsigned base)
{
    unsigned long code = 0;
    for (; p < end; p++) {
        code = code * base + (*p <= '9' ? *p - 0x30u : (*p | 0x20u) - 0x61u + 10u);
        if (code >= 0x110000)
            return NO_CHARACTER;
    }
    if (code < 0x20 && !is((Byte)code, SPACE))
        return NO_CHARACTER;
    if ((code & 0x1FF800) == 0xD800 || code == 0xFFFE || code == 0xFFFF)
        return NO_CHARACTER;
    return (long)code;
}

Verdict
readReference(const Byte **at, const Byte *end, Reference *reference)
{
    const Byte *p = *at + 1, *start = p;
    Py_ssize_t length;
    reference->isProfile = reference->isForValue = 0;
    if (p < end && *p == '#') {
        unsigned base = 10;
        start = ++p;
        if (p < end && *p == 'x') {
            base = 16;
            start = ++p;
        }
        while (p < end
               && ((*p >= '0' && *p <= '9')
                   || (base == 16 && (*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')))
            p++;
        *at = p;
        if (p == end)
            return PART;
        if (p == start || *p != ';')
            return BAD;
        reference->code = numbered(start, p, base);
        length = p - start;
        if (base == 10) {
            reference->isProfile = equals(start, length, "13");
            reference->isForValue = reference->isProfile || equals(start, length, "9")
                                    || equals(start, length, "10");
        }
    }
    else {
        Verdict verdict = readName(&p, end, NULL, 0);
        *at = p;
        if (verdict != WHOLE)
            return verdict;
        if (*p != ';')
            return BAD;
        length = p - start;
        reference->code = equals(start, length, "amp")    ? '&'
                          : equals(start, length, "lt")   ? '<'
                          : equals(start, length, "gt")   ? '>'
                          : equals(start, length, "quot") ? '"'
                          : equals(start, length, "apos") ? '\''
                                                          : UNKNOWN_ENTITY;
        reference->isProfile = reference->code != '"' && reference->code != '\'';
        reference->isForValue = reference->code != '\'';
    }
    *at = p + 1;
    return WHOLE;
}

Verdict
readText(const Byte **at, const Byte *end, char *isCanonical)
{
    const Byte *p = *at;
    Verdict verdict = WHOLE;
    for (;;) {
        p = skip(p, end, TEXT);
        *at = p;
        if (p == end)
            return PART;
        if (*p == '<' || *p == '&')
            return WHOLE;
        if (*p == ']') {
            if (end - p < 2 || (p[1] == ']' && end - p < 3))
                return PART;
            if (p[1] == ']' && p[2] == '>') {
                *at = p + 2;
                return BAD;
            }
        }
        else if (*p == '>' || *p == '\r')
            *isCanonical = 0;
        verdict = readCharacter(&p, end);
        if (verdict != WHOLE)
            return verdict;
    }
}

Verdict
readCDATA(const Byte **at, const Byte *end)
{
    while (*at < end) {
        const Byte *p = *at;
        if (*p == ']') {
            if (end - p < 2 || (p[1] == ']' && end - p < 3))
                return PART;
            if (p[1] == ']' && p[2] == '>') {
                *at = p + 3;
                return WHOLE;
            }
        }
        Verdict verdict = readCharacter(at, end);
        if (verdict != WHOLE)
            return verdict;
    }
    return PART;
}

Verdict
readExclaimed(const Byte **at, const Byte *end, Kind *kind)
{
    static const char CDATA_HEAD[] = "CDATA[";
    const Byte *p = *at = *at + 2;
    if (p == end)
        return PART;
    if (*p == '[') {
        *kind = CDATA;
        p++;
        if (end - p < (Py_ssize_t)strlen(CDATA_HEAD))
            return PART;
        for (const char *expected = CDATA_HEAD; *expected; expected++, p++) {
            *at = p;
            if (*p != (Byte)*expected)
                return BAD;
        }
        *at = p;
        return WHOLE;
    }
    if (*p != '-')
        return BAD;
    *kind = COMMENT;
    *at = ++p;
    if (p == end)
        return PART;
    if (*p != '-')
        return BAD;
    *at = ++p;
    while (*at < end) {
        p = *at;
        if (*p == '-') {
            if (end - p < 2 || (p[1] == '-' && end - p < 3))
                return PART;
            if (p[1] == '-') {
                *at = p[2] == '>' ? p + 3 : p + 2;
                return p[2] == '>' ? WHOLE : BAD;
            }
        }
        Verdict verdict = readCharacter(at, end);
        if (verdict != WHOLE)
            return verdict;
    }
    return PART;
}

Verdict
readQuestioned(const Byte **at, const Byte *end, Kind *kind)
{
    const Byte *target = *at + 2, *p = target;
    Verdict verdict = readName(&p, end, NULL, 0);
    *at = p;
    if (verdict != WHOLE)
        return verdict;
    if (*p != '?' && !is(*p, SPACE))
        return BAD;
    *kind = INSTRUCTION;
    if (p - target == 3 && (target[0] | 0x20) == 'x' && (target[1] | 0x20) == 'm'
        && (target[2] | 0x20) == 'l') {
        if (memcmp(target, "xml", 3) != 0)
            return BAD;
        *kind = DECLARATION;
    }
    if (*p == '?') {
        if (end - p < 2)
            return PART;
        *at = p + 1;
        if (p[1] != '>')
            return BAD;
        *at = p + 2;
        return WHOLE;
    }
    while (*at < end) {
        p = *at;
        if (*p == '?') {
            if (end - p < 2)
                return PART;
            if (p[1] == '>') {
                *at = p + 2;
                return WHOLE;
            }
        }
        verdict = readCharacter(at, end);
        if (verdict != WHOLE)
            return verdict;
    }
    return PART;
}

void
forgetTag(StartTag *tag)
{
    if (tag->attributes != tag->inlined)
        PyMem_Free(tag->attributes);
}

static Attribute *
nextAttribute(StartTag *tag)
{
    if (tag->count == tag->room) {
        size_t room = (size_t)tag->room * 2;
        Attribute *larger = PyMem_Malloc(room * sizeof *larger);
        if (larger == NULL)
            return NULL;
        memcpy(larger, tag->attributes, (size_t)tag->count * sizeof *larger);
        forgetTag(tag);
        tag->attributes = larger;
        tag->room = (Py_ssize_t)room;
    }
    return &tag->attributes[tag->count++];
}

/* Read the value of an attribute, between its quotes. */
static Verdict
readValue(const Byte **at, const Byte *end, Byte quote, Attribute *attribute, char *isCanonical)
{
    const Byte *p = *at;
    attribute->value = p;
    attribute->isPlain = attribute->isASCII = 1;
    attribute->hasReference = 0;
    for (;;) {
        p = skip(p, end, VALUE);
        *at = p;
        if (p == end)
            return PART;
        if (*p == quote) {
            attribute->size = p - attribute->value;
            *at = p + 1;
            return WHOLE;
        }
        if (*p == '<')
            return BAD;
        if (*p == '&') {
            Reference reference;
            Verdict verdict = readReference(&p, end, &reference);
            *at = p;
            if (verdict != WHOLE)
                return verdict;
            attribute->isPlain = 0;
            attribute->hasReference = 1;
            if (!reference.isForValue)
                *isCanonical = 0;
            continue;
        }
        if (*p >= 0x80)
            attribute->isASCII = 0;
        else if (is(*p, SPACE))
            attribute->isPlain = *isCanonical = 0;
        else if (*p == '>')
            *isCanonical = 0;
        Verdict verdict = readCharacter(&p, end);
        if (verdict != WHOLE) {
            *at = p;
            return verdict;
        }
    }
}

Verdict
readStartTag(const Byte **at, const Byte *end, StartTag *tag)
{
    const Byte *p = *at + 1;
    Verdict verdict;
    tag->attributes = tag->inlined;
    tag->count = 0;
    tag->room = INLINE_ATTRIBUTES;
    tag->isEmpty = 0;
    tag->isCanonical = 1;
    tag->name = p;
    verdict = readName(&p, end, &tag->prefix, 0);
    tag->length = p - tag->name;
    for (;;) {
        const Byte *gap = p;
        Attribute *attribute;
        *at = p;
        if (verdict != WHOLE)
            return verdict;
        skipSpaces(&p, end);
        *at = p;
        if (p == end)
            return PART;
        if (*p == '>' || *p == '/') {
            if (p != gap)
                tag->isCanonical = 0;
            if (*p == '/') {
                tag->isEmpty = 1;
                *at = ++p;
                if (p == end)
                    return PART;
                if (*p != '>')
                    return BAD;
            }
            *at = p + 1;
            return WHOLE;
        }
        if (p == gap)
            return BAD;
        if (p - gap != 1 || *gap != ' ')
            tag->isCanonical = 0;
        attribute = nextAttribute(tag);
        if (attribute == NULL)
            return NO_MEMORY;
        attribute->name = p;
        verdict = readName(&p, end, &attribute->prefix, 0);
        *at = p;
        if (verdict != WHOLE)
            return verdict;
        attribute->length = p - attribute->name;
        if (*p != '=') {
            tag->isCanonical = 0;
            skipSpaces(&p, end);
            *at = p;
            if (p == end)
                return PART;
            if (*p != '=')
                return BAD;
        }
        *at = ++p;
        if (p == end)
            return PART;
        if (*p != '"') {
            tag->isCanonical = 0;
            skipSpaces(&p, end);
            *at = p;
            if (p == end)
                return PART;
            if (*p != '"' && *p != '\'')
                return BAD;
        }
        p++;
        verdict = readValue(&p, end, p[-1], attribute, &tag->isCanonical);
    }
}

Verdict
readEndTag(const Byte **at, const Byte *end, const Byte **name, Py_ssize_t *length,
           char *isCanonical)
{
    const Byte *p = *at + 2;
    Verdict verdict;
    *name = p;
    verdict = readName(&p, end, NULL, 1);
    *at = p;
    if (verdict != WHOLE)
        return verdict;
    *length = p - *name;
    if (*p != '>') {
        *isCanonical = 0;
        skipSpaces(&p, end);
        *at = p;
        if (p == end)
            return PART;
        if (*p != '>')
            return BAD;
    }
    *at = p + 1;
    return WHOLE;
}

/* Read `text`, in any case if it `isWord`. */
static Verdict
readLiteral(const Byte **at, const Byte *end, const char *text, int isWord)
{
    for (; *text; text++, (*at)++) {
        Byte byte;
        if (*at == end)
            return PART;
        byte = **at;
        if (isWord && byte >= 'A' && byte <= 'Z')
            byte |= 0x20;
        if (byte != (Byte)*text)
            return BAD;
    }
    return WHOLE;
}

/* Read ` name = "value"` of an XML declaration behind its white space. */
static Verdict
readPseudo(const Byte **at, const Byte *end, const char *name, const char *value, int isWord)
{
    const char *const parts[] = {name, "=", NULL, value, NULL};
    Byte quote = 0;
    for (int i = 0; i < 5; i++) {
        Verdict verdict;
        if (parts[i] != NULL) {
            verdict = readLiteral(at, end, parts[i], isWord && i == 3);
            if (verdict != WHOLE)
                return verdict;
        }
        else {
            if (*at == end)
                return PART;
            if (i == 2)
                quote = **at;
            if (**at != quote || (quote != '"' && quote != '\''))
                return BAD;
            (*at)++;
        }
        if (i < 2)
            skipSpaces(at, end);
    }
    return WHOLE;
}

Verdict
readDeclaration(const Byte **at, const Byte *end)
{
    Verdict verdict = readLiteral(at, end, "<?xml", 0);
    for (int i = 0; verdict == WHOLE; i++) {
        const Byte *gap = *at;
        skipSpaces(at, end);
        if (*at == end)
            return PART;
        if (**at == '?' && i > 0)
            return readLiteral(at, end, "?>", 0);
        if (*at == gap)
            return BAD;
        if (i == 0)
            verdict = readPseudo(at, end, "version", "1.0", 0);
        else if (i == 1 && **at == 'e')
            verdict = readPseudo(at, end, "encoding", "utf-8", 1);
        else if (i <= 2 && **at == 's') {
            const Byte *start = *at;
            verdict = readPseudo(at, end, "standalone", "yes", 0);
            if (verdict == BAD) {
                *at = start;
                verdict = readPseudo(at, end, "standalone", "no", 0);
            }
            i = 2;
        }
        else
            return BAD;
    }
    return verdict;
}

/* ==== Writing ==== */

Py_ssize_t
encodeCharacter(Byte *to, unsigned long code)
{
    if (code < 0x80) {
        to[0] = (Byte)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (Byte)(0xC0 | code >> 6);
        to[1] = (Byte)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (Byte)(0xE0 | code >> 12);
        to[1] = (Byte)(0x80 | (code >> 6 & 0x3F));
        to[2] = (Byte)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (Byte)(0xF0 | code >> 18);
    to[1] = (Byte)(0x80 | (code >> 12 & 0x3F));
    to[2] = (Byte)(0x80 | (code >> 6 & 0x3F));
    to[3] = (Byte)(0x80 | (code & 0x3F));
    return 4;
}
