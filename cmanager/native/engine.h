/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * What the parts of the native scanner engine share; see ../_scanner.c.
 */

#ifndef CMANAGER_ENGINE_H
#define CMANAGER_ENGINE_H

#include "tokens.h"

#pragma GCC visibility push(hidden)

#define LEVELS 3         /* A level is 0, 1 or 2. */
#define HEAD_BYTES 9     /* As many as "<![CDATA[" has. */
#define INLINE_FRAMES 24 /* Elements of a stanza inside each other that need no memory. */

#define ROUTE "route"
#define CLIENT_URI "jabber:client"
#define XML_URI "http://www.w3.org/XML/1998/namespace"

/* ==== What all scanners share ==== */

/* Flaws by the numbers expat gives them: its words for them go to the log. */
enum {
    NO_FLAW = 0,
    INVALID_TOKEN = 4,
    TAG_MISMATCH = 7,
    DUPLICATE_ATTRIBUTE = 8,
    UNDEFINED_ENTITY = 11,
    BAD_CHARACTER_REFERENCE = 14,
    MISPLACED_DECLARATION = 17,
    UNBOUND_PREFIX = 27,
    UNDECLARED_PREFIX = 28,
    RESERVED_PREFIX_XML = 38,
    RESERVED_PREFIX_XMLNS = 39,
    RESERVED_NAMESPACE = 40,
    FLAWS
};

#define COMMON_NAMES 12 /* Names that are met all the time: their strings are made once. */
#define STANZA_NAMES 3  /* The first of these, of which each is the name of a stanza. */
typedef struct {
    Byte length;
    char text[9];
} Name;
extern const Name COMMON[COMMON_NAMES];

/* A class with __slots__, and where its objects have what. */
#define SLOTS 5
typedef struct {
    PyTypeObject *type;
    Py_ssize_t slots[SLOTS];
} Shape;

enum { STANZA_NAME, STANZA_NAMESPACE, STANZA_ATTRIBUTES, STANZA_DATA, STANZA_SLOTS };
/* As those of a stanza, but that its attributes may be None: to be read when they are asked for. */
enum { ROUTED_STREAM_ID = STANZA_SLOTS, ROUTED_SLOTS };
enum { TAG_NAME, TAG_NAMESPACE, TAG_PREFIX, TAG_ATTRIBUTES, TAG_NAMESPACES, TAG_SLOTS };
enum { SCOPE_NAMESPACES, SCOPE_DEFAULT, SCOPE_NEEDLES, SCOPE_SLOTS };

typedef struct {
    PyTypeObject *scanner;
    Shape stanza, routed, tag, scope, opened, text, routedText, closed;
    PyObject *streamError, *localError;
    PyObject *otherEngine; /* cmanager.scanner.Scanner */
    PyObject *slicerFor, *scopeFor, *textOf;
    PyObject *content; /* CONTENT_NAMESPACES */
    PyObject *clientURI, *xmlURI;
    PyObject *route; /* Its name, as bytes. */
    PyObject *common[COMMON_NAMES];
    PyObject *reasons[FLAWS];
    Py_ssize_t maxWritten, renewBytes;
} State;

/* ==== What a scanner has ==== */

/* An open element of a stanza. */
typedef struct {
    Py_ssize_t name, length; /* From the start of the stanza. */
    Py_ssize_t bound;        /* How many prefixes it declares. */
} Frame;

/* An element above the level, or (at index 0) the document. */
typedef struct {
    PyObject *scope; /* cmanager.slices.Scope: what is declared in it */
    PyObject *name;  /* bytes, as written */
    char isContent, isClient; /* Its default namespace is one of the content, is that of clients. */
} Level;

/*
 * What there is while something is read, and as long as something has begun and not ended.
 */
typedef struct {
    const Byte *bytes; /* Those of the read, or `own`. */
    Py_ssize_t size;
    PyObject *source;  /* The bytes object of the read, not counted; NULL with `own`. */
    Byte *own;
    Py_ssize_t room;

    Py_ssize_t fed;      /* Up to here the tokens have been looked for, */
    Py_ssize_t at;       /* up to here they have been found; */
    Py_ssize_t boundary; /* up to here everything has been reported. */
    Py_ssize_t unit;     /* Here the element begins that is measured, */
    Py_ssize_t origin;   /* here the Python engine would have begun with its parser; */
    Py_ssize_t start;    /* here the stanza that is open, or -1. */

    /* Of the stanza that is open. */
    Frame *frames;
    Py_ssize_t frameCount, frameRoom;
    PyObject *bindings;      /* Prefixes it declares: uri by prefix, or NULL */
    PyObject *undo;          /* prefix, former uri or None, ... in the order of declaration */
    PyObject *name, *uri;
    PyObject *attributes;    /* NULL in a route */
    Py_ssize_t declaration;  /* Its own default namespace is declared here, from `start`; or -1 */
    Py_ssize_t declarationSize;
    Py_ssize_t declared;     /* Most declarations on one element */
    char hasPrefix;
    char isCanonical;

    char ownsFrames;
    char isCDATA;   /* Inside a CDATA section. */

    /* What cmanager.markup.OpenMarkup knows of the token that begins at `at`. */
    char isOpen;
    Byte within;
    Byte head[HEAD_BYTES];
    Byte headSize;
} Work;

typedef struct {
    PyObject_HEAD
    State *state;        /* The module's. */
    Py_ssize_t limit;
    PyObject *completed; /* A list, or NULL for none. */
    PyObject *slicer;    /* Makes the rare stanzas; shared by all scanners that are alike. */
    PyObject *content;
    PyObject *other;     /* A Python engine that reads this stream instead, or NULL. */
    Work *work;          /* NULL where nothing has begun. */
    Level levels[LEVELS];
    PyObject *streamID;  /* Of the route that is open, without an error; or NULL. */
    /* Where nothing has begun: how far back `unit` and `origin` are. */
    Py_ssize_t measured, read;
    int maxDepth, maxAttributes, maxNamespaces; /* The first without the level. */
    int depth; /* Of open elements. */
    Byte level;
    char isStrict, isBMPOnly;
    char hasRoot;  /* The first tag has been read. */
    char isFilled; /* An element has begun in the route that is open. */
    char isSpent, isBusy;
} Scanner;

static inline State *
stateOf(Scanner *self)
{
    return self->state;
}

/* Where stanzas stand. */
static inline Level *
levelOf(Scanner *self)
{
    return &self->levels[self->level];
}

static inline PyObject *
slotOf(const Shape *shape, PyObject *object, int index)
{
    return *(PyObject **)((char *)object + shape->slots[index]);
}

/* ==== Refusals; see _scanner.c.  All return -1 ==== */

/* Raise a StreamError with what the peer may read, or nothing; */
int refuse(Scanner *self, const char *condition, const char *text);
/* with what only the operator reads; */
int refuseQuietly(Scanner *self, const char *condition, const char *reason);
/* for a flaw in the XML. */
int refuseFlaw(Scanner *self, int flaw);

/* ==== What a start tag means; see meaning.c ==== */

typedef struct {
    PyObject *attributes;  /* By name as written, without declarations; NULL inside a stanza, */
    PyObject *streamID;    /* of a route, which has this instead unless it has an error, and in it. */
    PyObject *namespaces;  /* Above the level: what it declares, by prefix.  Else NULL. */
    PyObject *uri;         /* Of the element; NULL inside a stanza. */
    PyObject *defaultURI;  /* Its own default namespace, or NULL. */
    const Attribute *declaration; /* Where that is declared. */
    Py_ssize_t declared, bound, count;
} Meaning;

/*
 * Find out what a start tag means at the depth where the scanner is, in the order in which expat
 * does.  The meaning must be released whatever comes of it.
 */
int understand(Scanner *self, Work *work, StartTag *tag, Meaning *meaning);
void release(Meaning *meaning);

/* Return the attributes of a tag that has been understood, by name as written. */
PyObject *attributesOf(State *state, const StartTag *tag);

/* Take the latest declarations of prefixes back. */
int unbind(Work *work, Py_ssize_t count);

/* Return a name, or what else is in UTF-8 that was found good, as a string. */
PyObject *named(State *state, const Byte *p, Py_ssize_t length);
PyObject *decoded(const Byte *p, Py_ssize_t length);

/* ==== Events; see stanzas.c ==== */

/* Note what the scope inside an element is; the scope is stolen. */
int enter(Scanner *self, Level *level, PyObject *scope);

/*
 * Report the text, if any, before the tag at `offset`; `depth` elements are open around it.  In a
 * route that is its end tag.
 */
int reportText(Scanner *self, Work *work, Py_ssize_t offset, int depth, PyObject **events);

/*
 * Report an element above the level, whose tag ends at `end`, if it is no route for a session, and
 * be inside of it,
 */
int reportOpened(Scanner *self, Work *work, const StartTag *tag, Meaning *meaning, Py_ssize_t end,
                 PyObject **events);
/* and its end. */
int reportClosed(Scanner *self, Level *level, PyObject **events);

/* Begin with a stanza, at `start`; */
int beginStanza(Scanner *self, Work *work, const StartTag *tag, Meaning *meaning);
/* report it, where its end is; */
int reportStanza(Scanner *self, Work *work, Py_ssize_t end, PyObject **events);
/* forget it. */
void forgetStanza(Work *work);

/* ==== The profile; see spelling.c ==== */

/*
 * Spell a well-formed element in the serialisation profile, as cmanager.profile.canonicalise does
 * where nothing has to be declared.  With `isSaid` its root's default namespace is left out.
 */
PyObject *spelled(const Byte *p, const Byte *end, int isSaid);

/* ==== Aside: the type of cmanager.routes; see routes.c ==== */

extern PyType_Spec ROUTES;

#pragma GCC visibility pop

#endif
