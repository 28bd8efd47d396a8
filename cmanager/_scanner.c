/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * The native scanner engine: what cmanager.scanner does, without expat.
 *
 * The two engines accept and refuse the same, and report the same after the same reads.  Where
 * XML leaves open which of two flaws is named, or how soon, this one does as expat does;
 * tests/test_scanner_native.py and bench/fuzz.py hold the two together.
 *
 * A read is gone through once, byte after byte.  Of what has been gone through nothing is kept but
 * the element that has not ended; where none has begun, nothing at all, so that a stream that is
 * idle costs this object alone.  A stanza in the serialisation profile (cmanager.profile) leaves
 * as it came, in one copy.  What is rare is left to Python: a stanza with a prefix from around it
 * (cmanager.slices), text above the level, and all that may stand before the first tag but a plain
 * XML declaration: such a stream the Python engine reads alone.
 *
 * Read on in native/: tokens.h, engine.h, meaning.c, stanzas.c, spelling.c.  routes.c stands apart:
 * what cmanager.routes does for each stanza that goes up.
 */

#include "native/engine.h"

#include <structmember.h>

/* What setup.py builds it from, by cmanager.sources; of no use to the program without. */
#ifndef INTERFACE
#define INTERFACE (-1)
#endif

/* ==== Refusals ==== */

/* Raise a StreamError; `reason` may be NULL. */
static int
refuseFor(State *state, const char *condition, const char *text, PyObject *reason)
{
    PyObject *error = NULL, *arguments, *keywords = NULL;
    arguments = Py_BuildValue("(sz)", condition, text);
    if (arguments != NULL && reason != NULL)
        keywords = Py_BuildValue("{sO}", "reason", reason);
    if (arguments != NULL && (reason == NULL || keywords != NULL))
        error = PyObject_Call(state->streamError, arguments, keywords);
    if (error != NULL)
        PyErr_SetObject(state->streamError, error);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    Py_XDECREF(error);
    return -1;
}

int
refuse(Scanner *self, const char *condition, const char *text)
{
    return refuseFor(stateOf(self), condition, text, NULL);
}

int
refuseQuietly(Scanner *self, const char *condition, const char *reason)
{
    PyObject *string = PyUnicode_FromString(reason);
    if (string != NULL) {
        refuseFor(stateOf(self), condition, NULL, string);
        Py_DECREF(string);
    }
    return -1;
}

int
refuseFlaw(Scanner *self, int flaw)
{
    State *state = stateOf(self);
    if (flaw == UNDEFINED_ENTITY)
        return refuseQuietly(self, "restricted-xml", "an entity reference");
    if (flaw == MISPLACED_DECLARATION && self->isStrict)
        return refuseQuietly(self, "restricted-xml", "a declaration");
    return refuseFor(state, "not-well-formed", NULL, state->reasons[flaw]);
}

/* Refuse a token for the byte at p. */
static int
refuseToken(Scanner *self, Work *work, const Byte *p)
{
    if (self->isStrict && p - work->bytes >= 2 && p[-2] == '<' && p[-1] == '!')
        return refuseQuietly(self, "restricted-xml", "a declaration");
    return refuseFlaw(self, INVALID_TOKEN);
}

/* ==== The token that has begun, as cmanager.markup.OpenMarkup sees it ==== */

/* Refuse what a client may not begin. */
static int
refuseHead(Scanner *self, Work *work)
{
    static const char CDATA_HEAD[] = "<![CDATA[", XML_HEAD[] = "<?xml";
    const char *allowed = CDATA_HEAD;
    size_t size = work->headSize, length;
    if (!self->isStrict || size < 2 || (work->head[1] != '!' && work->head[1] != '?'))
        return 0;
    if (work->head[1] == '?')
        allowed = self->hasRoot ? "" : XML_HEAD;
    length = strlen(allowed);
    if (length > 0 && memcmp(work->head, allowed, size < length ? size : length) == 0)
        return 0;
    return refuse(self, "restricted-xml", NULL);
}

/* Tell whether bytes can end what is open: a tag, a quoted value in it, or a reference. */
static int
canEnd(Work *work, const Byte *p, Py_ssize_t size)
{
    for (const Byte *end = p + size; p < end; p++) {
        if (*p == '<')
            return 1;
        if (work->within == '"' || work->within == '\'') {
            if (*p == work->within)
                work->within = 0;
        }
        else if (*p == (work->within == '&' ? ';' : '>'))
            return 1;
        else if (work->within == 0 && (*p == '"' || *p == '\''))
            work->within = *p;
    }
    return 0;
}

/* Start from what is left at `at`. */
static int
beginMarkup(Scanner *self, Work *work)
{
    const Byte *token = work->bytes + work->at;
    Py_ssize_t size = work->size - work->at;
    work->isOpen = 0;
    if (size > 0 && *token == '<') {
        work->headSize = (Byte)(size < HEAD_BYTES ? size : HEAD_BYTES);
        memcpy(work->head, token, work->headSize);
        if (refuseHead(self, work) < 0)
            return -1;
        work->within = 0;
        work->isOpen = !canEnd(work, token + 1, size - 1);
    }
    else if (size > 0 && *token == '&') {
        work->within = '&';
        work->isOpen = 1;
    }
    return 0;
}

/* Follow it through new bytes.  Return whether they can end it, or -1. */
static int
goOnWithMarkup(Scanner *self, Work *work, const Byte *p, Py_ssize_t size)
{
    if (work->headSize < HEAD_BYTES && work->within != '&') {
        Py_ssize_t room = HEAD_BYTES - work->headSize;
        room = size < room ? size : room;
        memcpy(work->head + work->headSize, p, (size_t)room);
        work->headSize = (Byte)(work->headSize + room);
        if (refuseHead(self, work) < 0)
            return -1;
    }
    return canEnd(work, p, size);
}

/* ==== Reading ==== */

/* Note that an element inside a stanza, or the stanza itself, is open. */
static int
push(Work *work, const StartTag *tag, Py_ssize_t bound)
{
    Frame *frame;
    if (work->frameCount == work->frameRoom) {
        size_t room = (size_t)work->frameRoom * 2 + INLINE_FRAMES;
        Frame *larger = PyMem_Malloc(room * sizeof *larger);
        if (larger == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(larger, work->frames, (size_t)work->frameCount * sizeof *larger);
        if (work->ownsFrames)
            PyMem_Free(work->frames);
        work->frames = larger;
        work->frameRoom = (Py_ssize_t)room;
        work->ownsFrames = 1;
    }
    frame = &work->frames[work->frameCount++];
    frame->name = tag->name - (work->bytes + work->start);
    frame->length = tag->length;
    frame->bound = bound;
    return 0;
}

typedef enum {
    FAILED = -1,
    DONE,    /* There is no more that is whole. */
    RENEWED, /* The Python engine would now begin with a new parser. */
    STRANGE, /* It should read this stream. */
} Outcome;

/*
 * An element that began at `offset` is over; `end` is behind it.  `depth` elements are open around
 * it.
 */
static Outcome
ended(Scanner *self, Work *work, Py_ssize_t offset, Py_ssize_t end, int isEmpty, PyObject **events)
{
    int depth = --self->depth;
    if (depth == self->level) {
        if (reportStanza(self, work, end, events) < 0)
            return FAILED;
        work->boundary = end;
        forgetStanza(work);
    }
    else {
        Level *level = &self->levels[depth + 1];
        if (!isEmpty && offset != work->boundary && !self->isFilled
            && reportText(self, work, offset, depth + 1, events) < 0)
            return FAILED;
        work->boundary = end;
        if (reportClosed(self, level, events) < 0)
            return FAILED;
        Py_CLEAR(level->name);
        Py_CLEAR(level->scope);
    }
    if (depth > 1)
        return DONE;
    if (depth == 0) {
        const Byte *p = work->bytes + end;
        skipSpaces(&p, work->bytes + work->size);
        if (p < work->bytes + work->size) {
            refuseQuietly(self, "not-well-formed", "something behind the last tag");
            return FAILED;
        }
    }
    work->unit = end;
    if (depth > 0 && end - work->origin > stateOf(self)->renewBytes) {
        work->origin = work->fed = end;
        return RENEWED;
    }
    return DONE;
}

/* A start tag has been read, from `offset` to `end`. */
static Outcome
started(Scanner *self, Work *work, Py_ssize_t offset, Py_ssize_t end, StartTag *tag,
        PyObject **events)
{
    Outcome outcome = FAILED;
    Meaning meaning;
    int depth = self->depth;
    if (understand(self, work, tag, &meaning) < 0)
        goto done;
    if (meaning.count > self->maxAttributes) {
        refuse(self, "policy-violation", "too many attributes");
        goto done;
    }
    if (depth > self->level) {
        if (depth - self->level >= self->maxDepth) {
            refuse(self, "policy-violation", "elements are nested too deeply");
            goto done;
        }
        work->isCanonical &= tag->isCanonical;
        if (meaning.declared > work->declared)
            work->declared = meaning.declared;
        if (tag->isEmpty)
            outcome = unbind(work, meaning.bound) < 0 ? FAILED : DONE;
        else if (push(work, tag, meaning.bound) == 0) {
            self->depth++;
            outcome = DONE;
        }
        goto done;
    }
    if (depth > 0) {
        if (offset != work->boundary && self->streamID == NULL
            && reportText(self, work, offset, depth, events) < 0)
            goto done;
        if (depth == 1)
            work->unit = offset;
    }
    if (depth == self->level) {
        work->start = offset;
        if (beginStanza(self, work, tag, &meaning) < 0 || push(work, tag, meaning.bound) < 0)
            goto done;
    }
    else if (reportOpened(self, work, tag, &meaning, end, events) < 0)
        goto done;
    self->hasRoot = 1;
    self->depth++;
    outcome = tag->isEmpty ? ended(self, work, offset, end, 1, events) : DONE;
done:
    release(&meaning);
    return outcome;
}

static Outcome
endTag(Scanner *self, Work *work, Py_ssize_t offset, const Byte *end, PyObject **events)
{
    const Byte *p = work->bytes + offset, *name = p + 2, *expected;
    Py_ssize_t length, size = 0;
    if (work->frameCount > 0) {
        const Frame *frame = &work->frames[work->frameCount - 1];
        expected = work->bytes + work->start + frame->name;
        length = frame->length;
    }
    else {
        PyObject *open = self->levels[self->depth].name;
        expected = (const Byte *)PyBytes_AS_STRING(open);
        length = PyBytes_GET_SIZE(open);
    }
    if (end - name > length && name[length] == '>' && memcmp(name, expected, (size_t)length) == 0)
        p = name + length + 1;
    else {
        Verdict verdict = readEndTag(&p, end, &name, &size, &work->isCanonical);
        if (verdict == PART)
            return DONE;
        if (verdict == BAD) {
            refuseToken(self, work, p);
            return FAILED;
        }
        if (size != length || memcmp(name, expected, (size_t)length) != 0) {
            refuseFlaw(self, TAG_MISMATCH);
            return FAILED;
        }
    }
    work->at = p - work->bytes;
    if (work->frameCount <= 1)
        return ended(self, work, offset, work->at, 0, events);
    self->depth--;
    return unbind(work, work->frames[--work->frameCount].bound) < 0 ? FAILED : DONE;
}

/*
 * Read what stands before the first tag: at most an XML declaration and white space.  BAD is all
 * else; WHOLE, that a start tag seems to follow.
 */
static Verdict
readProlog(Work *work, const Byte *end)
{
    const Byte *p = work->bytes + work->at;
    if (work->at == 0 && end - p > 1 && p[1] == '?') {
        Verdict verdict = readDeclaration(&p, end);
        if (verdict != WHOLE)
            return verdict;
    }
    skipSpaces(&p, end);
    work->at = p - work->bytes;
    if (p < end && *p != '<')
        return BAD;
    if (end - p < 2)
        return PART;
    return p[1] < 0x80 && !is(p[1], NAME_START) ? BAD : WHOLE;
}

/* Read one token of markup, which begins at `at` with "<". */
static Outcome
markup(Scanner *self, Work *work, const Byte *end, PyObject **events)
{
    Py_ssize_t offset = work->at;
    const Byte *p = work->bytes + offset;
    Verdict verdict;
    Kind kind = COMMENT;
    if (end - p < 2)
        return DONE;
    if (p[1] == '/')
        return endTag(self, work, offset, end, events);
    if (p[1] != '!' && p[1] != '?') {
        StartTag tag;
        Outcome outcome = DONE;
        verdict = readStartTag(&p, end, &tag);
        if (verdict == WHOLE) {
            work->at = p - work->bytes;
            outcome = started(self, work, offset, work->at, &tag, events);
        }
        else if (verdict != PART) {
            outcome = FAILED;
            if (verdict == BAD)
                refuseToken(self, work, p);
            else
                PyErr_NoMemory();
        }
        forgetTag(&tag);
        return outcome;
    }
    verdict = p[1] == '!' ? readExclaimed(&p, end, &kind) : readQuestioned(&p, end, &kind);
    if (verdict == PART)
        return DONE;
    if (verdict == BAD)
        refuseToken(self, work, p);
    else if (kind == DECLARATION)
        refuseFlaw(self, MISPLACED_DECLARATION);
    else if (kind != CDATA && self->isStrict)
        refuse(self, "restricted-xml", NULL);
    else {
        work->isCDATA = kind == CDATA;
        work->isCanonical = 0;
        work->at = p - work->bytes;
        return DONE;
    }
    return FAILED;
}

/* Read the tokens before `stop`. */
static Outcome
readOn(Scanner *self, Work *work, Py_ssize_t stop, PyObject **events)
{
    const Byte *end = work->bytes + stop;
    for (;;) {
        const Byte *p = work->bytes + work->at;
        Py_ssize_t offset;
        Verdict verdict;
        Outcome outcome;
        if (self->depth == 0) {
            verdict = self->hasRoot ? PART : readProlog(work, end);
            if (verdict != WHOLE)
                return verdict == PART ? DONE : STRANGE;
        }
        else {
            verdict = WHOLE;
            if (work->isCDATA)
                verdict = readCDATA(&p, end);
            else if (p == end || *p != '<')
                verdict = readText(&p, end, &work->isCanonical);
            work->at = p - work->bytes;
            if (verdict == WHOLE && work->isCDATA) {
                work->isCDATA = 0;
                continue;
            }
            if (verdict == WHOLE && *p == '&') {
                Reference reference;
                verdict = readReference(&p, end, &reference);
                if (verdict == WHOLE) {
                    if (reference.code < 0) {
                        refuseFlaw(self, reference.code == UNKNOWN_ENTITY
                                             ? UNDEFINED_ENTITY
                                             : BAD_CHARACTER_REFERENCE);
                        return FAILED;
                    }
                    if (!reference.isProfile)
                        work->isCanonical = 0;
                    work->at = p - work->bytes;
                    continue;
                }
            }
            if (verdict == PART)
                return DONE;
            if (verdict == BAD) {
                refuseToken(self, work, p);
                return FAILED;
            }
        }
        offset = work->at;
        outcome = markup(self, work, end, events);
        if (outcome != DONE || work->at == offset)
            return outcome;
    }
}

/* White space between elements belongs to none of them and is not kept. */
static int
skipWhite(Scanner *self, Work *work)
{
    const Byte *p = work->bytes + work->boundary, *end = work->bytes + work->size;
    if (work->start >= 0 || self->depth > 1 || p == end || *p == '<')
        return 0;
    skipSpaces(&p, end);
    if (p < end && *p != '<')
        return refuseQuietly(self, "bad-format", "text between elements");
    work->boundary = work->unit = p - work->bytes;
    if (work->at < work->boundary)
        work->at = work->boundary;
    return 0;
}

/* Read what has come, as far as the limit lets. */
static Outcome
parse(Scanner *self, Work *work, PyObject **events)
{
    for (;;) {
        Py_ssize_t stop = work->size;
        Outcome outcome;
        if (stop - work->unit > self->limit) {
            stop = work->unit + self->limit;
            /* The limit may have been lowered meanwhile. */
            if (stop < work->fed)
                stop = work->fed;
        }
        outcome = readOn(self, work, stop, events);
        if (outcome == RENEWED)
            continue;
        if (outcome != DONE)
            return outcome;
        work->fed = stop;
        if (stop == work->size)
            return DONE;
        if (skipWhite(self, work) < 0)
            return FAILED;
        if (stop - work->unit >= self->limit) {
            refuse(self, "policy-violation", "an element is too large");
            return FAILED;
        }
    }
}

/* ==== What is kept between two reads ==== */

/* Make room in the scanner's own buffer. */
static int
reserve(Work *work, Py_ssize_t size)
{
    if (size > work->room) {
        Py_ssize_t room = work->room + work->room / 2;
        Byte *own = PyMem_Realloc(work->own, (size_t)(room > size ? room : size));
        if (own == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        work->own = own;
        work->room = room > size ? room : size;
    }
    return 0;
}

/* Add a read to what has begun. */
static int
append(Work *work, const char *bytes, Py_ssize_t size)
{
    if (size > PY_SSIZE_T_MAX - work->size) {
        PyErr_NoMemory();
        return -1;
    }
    if (reserve(work, work->size + size) < 0)
        return -1;
    if (size > 0)
        memcpy(work->own + work->size, bytes, (size_t)size);
    work->size += size;
    work->bytes = work->own;
    return 0;
}

static void
discard(Scanner *self, Work *work)
{
    forgetStanza(work);
    if (work->ownsFrames)
        PyMem_Free(work->frames);
    PyMem_Free(work->own);
    work->own = NULL;
    work->frames = NULL;
    work->ownsFrames = 0;
    if (work == self->work) {
        self->work = NULL;
        PyMem_Free(work);
    }
}

/* Move what is there while something is read to where it outlives the read. */
static int
settle(Scanner *self, Work *work)
{
    Work *kept = PyMem_Malloc(sizeof *kept);
    Frame *frames = work->frames;
    if (!work->ownsFrames) {
        size_t size = (size_t)work->frameCount * sizeof *frames;
        frames = PyMem_Malloc(size);
        if (frames != NULL && size > 0)
            memcpy(frames, work->frames, size);
    }
    if (kept == NULL || frames == NULL) {
        PyMem_Free(kept);
        if (!work->ownsFrames)
            PyMem_Free(frames);
        PyErr_NoMemory();
        return -1;
    }
    *kept = *work;
    kept->frames = frames;
    if (!work->ownsFrames)
        kept->frameRoom = work->frameCount;
    kept->ownsFrames = 1;
    self->work = kept;
    return 0;
}

/* Drop all that has been reported; if something has begun keep it, else nothing. */
static int
keep(Scanner *self, Work *work)
{
    Py_ssize_t from, size;
    if (skipWhite(self, work) < 0)
        return -1;
    from = work->start < 0 ? work->boundary : work->start;
    size = work->size - from;
    if (size == 0) {
        self->measured = work->boundary - work->unit;
        self->read = work->boundary - work->origin;
        discard(self, work);
        return 0;
    }
    if (work->own == NULL) {
        const Byte *bytes = work->bytes + from;
        work->size = 0;
        work->source = NULL;
        if (append(work, (const char *)bytes, size) < 0)
            return -1;
    }
    else if (from > 0) {
        memmove(work->own, work->own + from, (size_t)size);
        if (work->room / 4 > size) {
            Byte *own = PyMem_Realloc(work->own, (size_t)size);
            if (own != NULL) {
                work->own = own;
                work->room = size;
            }
        }
        work->bytes = work->own;
        work->size = size;
    }
    work->fed -= from;
    work->at -= from;
    work->boundary -= from;
    work->unit -= from;
    work->origin -= from;
    if (work->start >= 0)
        work->start = 0;
    if (beginMarkup(self, work) < 0)
        return -1;
    return work == self->work ? 0 : settle(self, work);
}

/* Leave the stream to a Python engine.  Of the bytes there are, `old` came before this read. */
static PyObject *
leave(Scanner *self, Work *work, Py_ssize_t old)
{
    State *state = stateOf(self);
    PyObject *before = PyBytes_FromStringAndSize((const char *)work->bytes, old);
    PyObject *read = PyBytes_FromStringAndSize((const char *)work->bytes + old, work->size - old);
    PyObject *arguments = Py_BuildValue("(in)", self->level, self->limit);
    PyObject *keywords
        = Py_BuildValue("{sisisisOsOsO}", "maxDepth", self->maxDepth, "maxAttributes",
                        self->maxAttributes, "maxNamespaces", self->maxNamespaces, "strict",
                        self->isStrict ? Py_True : Py_False, "bmpOnly",
                        self->isBMPOnly ? Py_True : Py_False, "content", self->content);
    PyObject *events = NULL;
    if (before != NULL && read != NULL && arguments != NULL && keywords != NULL)
        self->other = PyObject_Call(state->otherEngine, arguments, keywords);
    if (self->other != NULL && old > 0) {
        /* In two reads: it keeps back what cannot complete anything, as this one did. */
        events = PyObject_CallMethod(self->other, "feed", "O", before);
        if (events != NULL)
            Py_CLEAR(events);
        else
            Py_CLEAR(read);
    }
    if (self->other != NULL && read != NULL)
        events = PyObject_CallMethod(self->other, "feed", "O", read);
    Py_XDECREF(before);
    Py_XDECREF(read);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return events;
}

/* ==== The type ==== */

/* The stream is over, for an error has been raised.  What was completed before is stolen. */
static PyObject *
fail(Scanner *self, PyObject *events)
{
    self->isSpent = 1;
    Py_XSETREF(self->completed, events);
    return NULL;
}

static PyObject *
readAll(Scanner *self, PyObject *data)
{
    const char *bytes = PyBytes_AS_STRING(data);
    Py_ssize_t size = PyBytes_GET_SIZE(data), old = 0;
    Frame frames[INLINE_FRAMES];
    Work fresh, *work = self->work;
    PyObject *events = NULL;
    Outcome outcome;
    if (self->other != NULL) {
        events = PyObject_CallMethod(self->other, "feed", "O", data);
        return events != NULL ? events : fail(self, NULL);
    }
    if (work != NULL) {
        old = work->size;
        if (self->depth == 0 && work->fed == 1 && size > 0 && *bytes == 0) {
            /* "<" in UTF-16. */
            refuse(self, "unsupported-encoding", NULL);
            goto failed;
        }
        if (append(work, bytes, size) < 0)
            goto failed;
        if (work->isOpen) {
            int can = goOnWithMarkup(self, work, (const Byte *)bytes, size);
            if (can < 0)
                goto failed;
            if (!can && work->size - work->unit <= self->limit)
                return PyList_New(0);
        }
    }
    else {
        const Byte *first = (const Byte *)bytes, *last = first + size;
        if (self->depth <= 1)
            skipSpaces(&first, last);
        if (first == last)
            return PyList_New(0);
        memset(&fresh, 0, sizeof fresh);
        work = &fresh;
        work->bytes = first;
        work->size = last - first;
        work->source = PyBytes_CheckExact(data) ? data : NULL;
        work->unit = -self->measured;
        work->origin = -self->read;
        work->start = -1;
        work->frames = frames;
        work->frameRoom = INLINE_FRAMES;
        if (self->depth == 0 && self->hasRoot) {
            refuseQuietly(self, "not-well-formed", "something behind the last tag");
            goto failed;
        }
    }
    if (!self->hasRoot && old == 0
        && (*work->bytes != '<' || (work->size > 1 && work->bytes[1] == 0)))
        outcome = STRANGE;
    else
        outcome = parse(self, work, &events);
    if (outcome == STRANGE) {
        events = leave(self, work, old);
        discard(self, work);
        return events != NULL ? events : fail(self, NULL);
    }
    if (outcome == DONE && keep(self, work) == 0)
        return events != NULL ? events : PyList_New(0);
failed:
    discard(self, work);
    return fail(self, events);
}

PyDoc_STRVAR(feedText, "feed($self, data, /)\n--\n\n"
                       "Consume bytes from the peer and report what they completed; see "
                       "cmanager.scanner.");

static PyObject *
scannerFeed(PyObject *object, PyObject *data)
{
    Scanner *self = (Scanner *)object;
    PyObject *events;
    if (self->isSpent || self->isBusy) {
        PyErr_SetString(stateOf(self)->localError, self->isSpent
                                                       ? "a scanner was fed after its error"
                                                       : "a scanner was fed while it reads");
        return NULL;
    }
    if (!PyBytes_Check(data)) {
        PyErr_Format(PyExc_TypeError, "bytes expected, not %s", Py_TYPE(data)->tp_name);
        return NULL;
    }
    self->isBusy = 1;
    events = readAll(self, data);
    self->isBusy = 0;
    return events;
}

static PyObject *
scannerNew(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"level",  "limit",   "maxDepth", "maxAttributes", "maxNamespaces",
                            "strict", "bmpOnly", "content",  NULL};
    State *state = PyType_GetModuleState(type);
    int level, maxDepth = 128, maxAttributes = 64, maxNamespaces = 32, isStrict = 1, isBMPOnly = 0;
    Py_ssize_t limit;
    PyObject *content = state->content, *scope;
    Scanner *self;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "in|$iiippO:Scanner", names, &level,
                                     &limit, &maxDepth, &maxAttributes, &maxNamespaces, &isStrict,
                                     &isBMPOnly, &content))
        return NULL;
    if (level < 0 || level >= LEVELS) {
        PyErr_SetString(PyExc_ValueError, "a level is 0, 1 or 2");
        return NULL;
    }
    self = (Scanner *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = state;
    self->level = (Byte)level;
    self->limit = limit > 0 ? limit : 0;
    self->maxDepth = maxDepth;
    self->maxAttributes = maxAttributes;
    self->maxNamespaces = maxNamespaces;
    self->isStrict = (char)isStrict;
    self->isBMPOnly = (char)isBMPOnly;
    self->content = Py_NewRef(content);
    self->slicer = PyObject_CallFunction(state->slicerFor, "OOOOi", content,
                                         isStrict ? Py_True : Py_False,
                                         level == 0 ? Py_True : Py_False,
                                         isBMPOnly ? Py_True : Py_False, maxNamespaces);
    scope = self->slicer != NULL ? PyObject_CallFunction(state->scopeFor, "{}{}O", content) : NULL;
    if (enter(self, &self->levels[0], scope) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
scannerTraverse(PyObject *object, visitproc visit, void *arg)
{
    Scanner *self = (Scanner *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->completed);
    Py_VISIT(self->slicer);
    Py_VISIT(self->content);
    Py_VISIT(self->other);
    for (int i = 0; i < LEVELS; i++)
        Py_VISIT(self->levels[i].scope);
    if (self->work != NULL) {
        Py_VISIT(self->work->attributes);
        Py_VISIT(self->work->bindings);
        Py_VISIT(self->work->undo);
    }
    return 0;
}

static int
scannerClear(PyObject *object)
{
    Scanner *self = (Scanner *)object;
    self->isSpent = 1;
    if (self->work != NULL)
        discard(self, self->work);
    Py_CLEAR(self->completed);
    Py_CLEAR(self->slicer);
    Py_CLEAR(self->content);
    Py_CLEAR(self->other);
    Py_CLEAR(self->streamID);
    for (int i = 0; i < LEVELS; i++) {
        Py_CLEAR(self->levels[i].scope);
        Py_CLEAR(self->levels[i].name);
    }
    return 0;
}

static void
scannerDealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    scannerClear(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyObject *
scannerPending(PyObject *object, void *Py_UNUSED(closure))
{
    Scanner *self = (Scanner *)object;
    if (self->isSpent)
        Py_RETURN_FALSE;
    if (self->other != NULL)
        return PyObject_GetAttrString(self->other, "pending");
    return PyBool_FromLong(self->work != NULL || self->depth > 1);
}

static PyObject *
scannerCompleted(PyObject *object, void *Py_UNUSED(closure))
{
    Scanner *self = (Scanner *)object;
    if (self->other != NULL)
        return PyObject_GetAttrString(self->other, "completed");
    return self->completed != NULL ? Py_NewRef(self->completed) : PyList_New(0);
}

static PyObject *
scannerLimit(PyObject *object, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((Scanner *)object)->limit);
}

static int
scannerSetLimit(PyObject *object, PyObject *value, void *Py_UNUSED(closure))
{
    Scanner *self = (Scanner *)object;
    Py_ssize_t limit;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a scanner has a limit");
        return -1;
    }
    limit = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (limit == -1 && PyErr_Occurred())
        return -1;
    self->limit = limit > 0 ? limit : 0;
    return self->other != NULL ? PyObject_SetAttrString(self->other, "limit", value) : 0;
}

static PyObject *
scannerSize(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Scanner *self = (Scanner *)object;
    Py_ssize_t size = Py_TYPE(object)->tp_basicsize;
    if (self->work != NULL)
        size += (Py_ssize_t)sizeof *self->work + self->work->room
                + self->work->frameRoom * (Py_ssize_t)sizeof *self->work->frames;
    return PyLong_FromSsize_t(size);
}

static PyMethodDef SCANNER_METHODS[] = {
    {"feed", scannerFeed, METH_O, feedText},
    {"__sizeof__", scannerSize, METH_NOARGS, "Return the bytes it has, with those of the peer."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef SCANNER_ATTRIBUTES[] = {
    {"limit", scannerLimit, scannerSetLimit, NULL, NULL},
    {"completed", scannerCompleted, NULL, NULL, NULL},
    {"pending", scannerPending, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(scannerText, "One stream, from its header to its end; see cmanager.scanner.");

static PyType_Slot SCANNER_SLOTS[] = {
    {Py_tp_doc, (void *)scannerText},
    {Py_tp_new, scannerNew},
    {Py_tp_dealloc, scannerDealloc},
    {Py_tp_traverse, scannerTraverse},
    {Py_tp_clear, scannerClear},
    {Py_tp_methods, SCANNER_METHODS},
    {Py_tp_getset, SCANNER_ATTRIBUTES},
    {0, NULL},
};

static PyType_Spec SCANNER = {
    .name = "cmanager._scanner.Scanner",
    .basicsize = sizeof(Scanner),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SCANNER_SLOTS,
};

/* ==== The module ==== */

static const char *const STANZA_FIELDS[] = {"name", "namespace", "attributes", "data"};
static const char *const ROUTED_FIELDS[]
    = {"name", "namespace", "_attributes", "data", "streamID"};
static const char *const ROUTED_TEXT_FIELDS[] = {"streamID", "text"};
static const char *const TAG_FIELDS[] = {"name", "namespace", "prefix", "attributes", "namespaces"};
static const char *const SCOPE_FIELDS[] = {"namespaces", "default", "needles"};
static const char *const OPENED_FIELDS[] = {"tag"};
static const char *const TEXT_FIELDS[] = {"text"};
static const char *const CLOSED_FIELDS[] = {"name"};

static PyObject *
take(PyObject *module, const char *name)
{
    return module != NULL ? PyObject_GetAttrString(module, name) : NULL;
}

/* Find out where the objects of a class have what. */
static int
takeShape(Shape *shape, PyObject *module, const char *name, const char *const *fields, int count)
{
    shape->type = (PyTypeObject *)take(module, name);
    if (shape->type == NULL)
        return -1;
    for (int i = 0; i < count; i++) {
        PyObject *field = PyObject_GetAttrString((PyObject *)shape->type, fields[i]);
        PyMemberDef *member;
        if (field == NULL)
            return -1;
        if (!Py_IS_TYPE(field, &PyMemberDescr_Type)
            || (member = ((PyMemberDescrObject *)field)->d_member)->type != T_OBJECT_EX) {
            PyErr_Format(PyExc_ImportError, "%s.%s is no slot", name, fields[i]);
            Py_DECREF(field);
            return -1;
        }
        shape->slots[i] = member->offset;
        Py_DECREF(field);
    }
    return 0;
}

static int
takeReasons(State *state)
{
    PyObject *expat = PyImport_ImportModule("pyexpat");
    PyObject *wordsOf = take(expat, "ErrorString");
    for (int i = 1; wordsOf != NULL && i < FLAWS; i++) {
        state->reasons[i] = PyObject_CallFunction(wordsOf, "i", i);
        if (state->reasons[i] == NULL)
            break;
    }
    Py_XDECREF(expat);
    Py_XDECREF(wordsOf);
    return PyErr_Occurred() ? -1 : 0;
}

static int
takeNumber(PyObject *module, const char *name, Py_ssize_t *number)
{
    PyObject *value = take(module, name);
    if (value != NULL)
        *number = PyLong_AsSsize_t(value);
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    PyObject *errors = PyImport_ImportModule("cmanager.errors");
    PyObject *stanza = PyImport_ImportModule("cmanager.stanza");
    PyObject *profile = PyImport_ImportModule("cmanager.profile");
    PyObject *slices = PyImport_ImportModule("cmanager.slices");
    PyObject *scanner = PyImport_ImportModule("cmanager.scanner");
    int result = -1;
    if (errors == NULL || stanza == NULL || profile == NULL || slices == NULL || scanner == NULL)
        goto done;
    if (takeShape(&state->stanza, stanza, "Stanza", STANZA_FIELDS, STANZA_SLOTS) < 0
        || takeShape(&state->routed, stanza, "Routed", ROUTED_FIELDS, ROUTED_SLOTS) < 0
        || takeShape(&state->routedText, stanza, "RoutedText", ROUTED_TEXT_FIELDS, 2) < 0
        || takeShape(&state->tag, stanza, "Tag", TAG_FIELDS, TAG_SLOTS) < 0
        || takeShape(&state->opened, stanza, "Opened", OPENED_FIELDS, 1) < 0
        || takeShape(&state->text, stanza, "Text", TEXT_FIELDS, 1) < 0
        || takeShape(&state->closed, stanza, "Closed", CLOSED_FIELDS, 1) < 0
        || takeShape(&state->scope, slices, "Scope", SCOPE_FIELDS, SCOPE_SLOTS) < 0
        || takeNumber(slices, "MAX_WRITTEN_BYTES", &state->maxWritten) < 0
        || takeNumber(scanner, "RENEW_BYTES", &state->renewBytes) < 0 || takeReasons(state) < 0)
        goto done;
    state->streamError = take(errors, "StreamError");
    state->localError = take(errors, "LocalError");
    state->otherEngine = take(scanner, "Scanner");
    state->slicerFor = take(slices, "slicerFor");
    state->scopeFor = take(slices, "scopeFor");
    state->textOf = take(profile, "textOf");
    state->content = take(stanza, "CONTENT_NAMESPACES");
    /* The very object, which is quick to compare. */
    state->clientURI = take(stanza, "NS_CLIENT");
    state->route = PyBytes_FromString(ROUTE);
    state->xmlURI = PyUnicode_InternFromString(XML_URI);
    for (size_t i = 0; i < COMMON_NAMES; i++)
        state->common[i] = PyUnicode_InternFromString(COMMON[i].text);
    if (PyErr_Occurred())
        goto done;
    state->scanner = (PyTypeObject *)PyType_FromModuleAndSpec(module, &SCANNER, NULL);
    if (state->scanner != NULL)
        result = PyModule_AddType(module, state->scanner);
    if (result == 0) {
        PyObject *type = PyType_FromModuleAndSpec(module, &ROUTES, NULL);
        result = type != NULL ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
        Py_XDECREF(type);
    }
    if (result == 0)
        result = PyModule_AddIntConstant(module, "INTERFACE", INTERFACE);
done:
    Py_XDECREF(errors);
    Py_XDECREF(stanza);
    Py_XDECREF(profile);
    Py_XDECREF(slices);
    Py_XDECREF(scanner);
    return result;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Shape *const shapes[] = {&state->stanza, &state->routed, &state->tag,        &state->scope,
                             &state->opened, &state->text,   &state->routedText, &state->closed};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        Py_VISIT(shapes[i]->type);
    Py_VISIT(state->scanner);
    Py_VISIT(state->streamError);
    Py_VISIT(state->localError);
    Py_VISIT(state->otherEngine);
    Py_VISIT(state->slicerFor);
    Py_VISIT(state->scopeFor);
    Py_VISIT(state->textOf);
    Py_VISIT(state->content);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Shape *const shapes[] = {&state->stanza, &state->routed, &state->tag,        &state->scope,
                             &state->opened, &state->text,   &state->routedText, &state->closed};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        Py_CLEAR(shapes[i]->type);
    Py_CLEAR(state->scanner);
    Py_CLEAR(state->streamError);
    Py_CLEAR(state->localError);
    Py_CLEAR(state->otherEngine);
    Py_CLEAR(state->slicerFor);
    Py_CLEAR(state->scopeFor);
    Py_CLEAR(state->textOf);
    Py_CLEAR(state->content);
    Py_CLEAR(state->clientURI);
    Py_CLEAR(state->xmlURI);
    Py_CLEAR(state->route);
    for (size_t i = 0; i < COMMON_NAMES; i++)
        Py_CLEAR(state->common[i]);
    for (size_t i = 0; i < FLAWS; i++)
        Py_CLEAR(state->reasons[i]);
    return 0;
}

static void
destroy(void *module)
{
    clear(module);
}

static PyModuleDef_Slot MODULE_SLOTS[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cmanager._scanner",
    .m_doc = "The native scanner engine; see cmanager.framing.",
    .m_size = sizeof(State),
    .m_slots = MODULE_SLOTS,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = destroy,
};

PyMODINIT_FUNC
PyInit__scanner(void)
{
    return PyModuleDef_Init(&MODULE);
}
