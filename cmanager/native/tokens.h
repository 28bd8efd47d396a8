/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * Tokens of XML, as expat tells them apart in a document without a DTD.  Knows nothing of Python's
 * objects, nor of what tokens mean together.
 */

#ifndef CMANAGER_TOKENS_H
#define CMANAGER_TOKENS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#pragma GCC visibility push(hidden)

typedef unsigned char Byte;

#define INLINE_ATTRIBUTES 24 /* Attributes of a tag that need no memory of their own. */

#define NAME_START 1
#define NAME 2
#define SPACE 4
#define TEXT 8   /* Stands in text in the profile, and means nothing. */
#define VALUE 16 /* Likewise in an attribute's value. */

extern const Byte CLASSES[256];

static inline int
is(Byte byte, int class)
{
    return CLASSES[byte] & class;
}

static inline int
equals(const Byte *p, Py_ssize_t length, const char *text)
{
    return (size_t)length == strlen(text) && memcmp(p, text, (size_t)length) == 0;
}

static inline void
skipSpaces(const Byte **at, const Byte *end)
{
    while (*at < end && is(**at, SPACE))
        (*at)++;
}

/*
 * Each reader begins at *at and leaves there, if the token is WHOLE, where it ends; if it is BAD,
 * the byte that shows it.  PART: more is needed to tell.
 */
typedef enum { WHOLE, PART, BAD, NO_MEMORY } Verdict;

/* What a reference stands for if it is no character. */
#define UNKNOWN_ENTITY -1
#define NO_CHARACTER -2

typedef struct {
    long code;       /* Of the character, or one of the above. */
    char isProfile;  /* It is how the profile spells the character in text, */
    char isForValue; /* or in the value of an attribute. */
} Reference;

typedef struct {
    const Byte *name;
    Py_ssize_t length, prefix;
    const Byte *value;
    Py_ssize_t size;
    char isPlain; /* The value is as it is written: no references, no white space but spaces. */
    char isASCII;
    char hasReference;
} Attribute;

typedef struct {
    const Byte *name;
    Py_ssize_t length, prefix;
    char isEmpty, isCanonical;
    Attribute *attributes;
    Py_ssize_t count, room;
    Attribute inlined[INLINE_ATTRIBUTES];
} StartTag;

/* Tell whether an attribute declares a namespace. */
static inline int
isDeclaration(const Attribute *attribute)
{
    return (attribute->prefix == 5 || (attribute->prefix == 0 && attribute->length == 5))
           && memcmp(attribute->name, "xmlns", 5) == 0;
}

/* Return how much of a tag's name its prefix is, with the colon. */
static inline Py_ssize_t
prefixOf(const StartTag *tag)
{
    return tag->prefix > 0 ? tag->prefix + 1 : 0;
}

typedef enum { COMMENT, CDATA, INSTRUCTION, DECLARATION } Kind;

/* Read a reference, from its ampersand on. */
Verdict readReference(const Byte **at, const Byte *end, Reference *reference);

/* Read character data: WHOLE before markup or a reference, PART at what more bytes may change. */
Verdict readText(const Byte **at, const Byte *end, char *isCanonical);

/* Read what is inside a CDATA section, with its end. */
Verdict readCDATA(const Byte **at, const Byte *end);

/* Read a comment, or the beginning of a CDATA section: what begins with "<!". */
Verdict readExclaimed(const Byte **at, const Byte *end, Kind *kind);

/* Read a processing instruction, or an XML declaration: what begins with "<?". */
Verdict readQuestioned(const Byte **at, const Byte *end, Kind *kind);

/*
 * Read a start tag, or one that is both; what its attributes mean is not looked at.  The tag must
 * be forgotten whatever comes of it.
 */
Verdict readStartTag(const Byte **at, const Byte *end, StartTag *tag);
void forgetTag(StartTag *tag);

/* Read an end tag; its name is stored. */
Verdict readEndTag(const Byte **at, const Byte *end, const Byte **name, Py_ssize_t *length,
                   char *isCanonical);

/* Read an XML declaration; BAD is one that should be shown to expat. */
Verdict readDeclaration(const Byte **at, const Byte *end);

/* Write a character in UTF-8; return its length. */
Py_ssize_t encodeCharacter(Byte *to, unsigned long code);

#pragma GCC visibility pop

#endif
