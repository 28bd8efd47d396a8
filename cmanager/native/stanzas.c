/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * Events: what is reported of elements and of the text between them.
 */

#include "engine.h"

/* ==== Objects ==== */

/* Make an object of a class with slots, not by calling it.  Its values are stolen. */
static PyObject *
makeObject(const Shape *shape, PyObject *const *values, int count)
{
    PyObject *object = NULL;
    int i;
    for (i = 0; i < count && values[i] != NULL; i++)
        ;
    if (i == count)
        object = shape->type->tp_alloc(shape->type, 0);
    for (i = 0; i < count; i++) {
        if (object != NULL)
            *(PyObject **)((char *)object + shape->slots[i]) = values[i];
        else
            Py_XDECREF(values[i]);
    }
    return object;
}

/* Add an event, which is stolen. */
static int
report(PyObject **events, PyObject *event)
{
    int result = -1;
    if (event == NULL)
        return -1;
    if (*events == NULL)
        *events = PyList_New(0);
    if (*events != NULL)
        result = PyList_Append(*events, event);
    Py_DECREF(event);
    return result;
}

/* ==== Elements above the level ==== */

int
enter(Scanner *self, Level *level, PyObject *scope)
{
    State *state = stateOf(self);
    PyObject *uri;
    int isContent;
    if (scope == NULL)
        return -1;
    Py_XSETREF(level->scope, scope);
    uri = slotOf(&state->scope, scope, SCOPE_DEFAULT);
    isContent = PySequence_Contains(self->content, uri);
    level->isContent = isContent > 0;
    level->isClient = PyUnicode_Compare(uri, state->clientURI) == 0;
    return isContent < 0 ? -1 : 0;
}

int
reportText(Scanner *self, Work *work, Py_ssize_t offset, int depth, PyObject **events)
{
    State *state = stateOf(self);
    const Byte *p = work->bytes + work->boundary, *end = work->bytes + offset;
    PyObject *text, *stripped;
    Py_ssize_t length;
    skipSpaces(&p, end);
    if (p >= end)
        return 0;
    if (depth < 2 && self->isStrict)
        return refuseQuietly(self, "bad-format", "text between elements");
    text = PyObject_CallFunction(state->textOf, "y#", work->bytes + work->boundary,
                                 offset - work->boundary);
    stripped = text != NULL ? PyObject_CallMethod(text, "strip", NULL) : NULL;
    length = stripped != NULL ? PyObject_Length(stripped) : -1;
    Py_XDECREF(stripped);
    if (length <= 0) {
        Py_XDECREF(text);
        return (int)length;
    }
    if (depth < 2) {
        Py_DECREF(text);
        return refuseQuietly(self, "bad-format", "text between elements");
    }
    if (self->streamID != NULL) {
        PyObject *values[] = {Py_NewRef(self->streamID), text};
        return report(events, makeObject(&state->routedText, values, 2));
    }
    return report(events, makeObject(&state->text, &text, 1));
}

int
reportOpened(Scanner *self, Work *work, const StartTag *tag, Meaning *meaning, Py_ssize_t end,
             PyObject **events)
{
    State *state = stateOf(self);
    Level *outer = &self->levels[self->depth], *level = outer + 1;
    Py_ssize_t skip = prefixOf(tag);
    PyObject *values[TAG_SLOTS], *event;
    work->boundary = end;
    if (meaning->declared > self->maxNamespaces)
        return refuse(self, "policy-violation", "too many namespace declarations");
    if (meaning->namespaces != NULL) {
        PyObject *scope = PyObject_CallFunctionObjArgs(
            state->scopeFor, slotOf(&state->scope, outer->scope, SCOPE_NAMESPACES),
            meaning->namespaces, self->content, NULL);
        if (enter(self, level, scope) < 0)
            return -1;
    }
    else {
        Py_XSETREF(level->scope, Py_NewRef(outer->scope));
        level->isContent = outer->isContent;
        level->isClient = outer->isClient;
    }
    Py_XSETREF(level->name, equals(tag->name, tag->length, ROUTE)
                                ? Py_NewRef(state->route)
                                : PyBytes_FromStringAndSize((const char *)tag->name, tag->length));
    if (level->name == NULL)
        return -1;
    if (self->depth == 0)
        work->unit = end;
    if (meaning->streamID != NULL) {
        self->streamID = Py_NewRef(meaning->streamID);
        return 0;
    }
    if (meaning->namespaces == NULL && (meaning->namespaces = PyDict_New()) == NULL)
        return -1;
    values[TAG_NAME] = named(state, tag->name + skip, tag->length - skip);
    values[TAG_NAMESPACE] = Py_NewRef(meaning->uri);
    values[TAG_PREFIX] = skip > 0 ? decoded(tag->name, tag->prefix) : Py_NewRef(Py_None);
    values[TAG_ATTRIBUTES] = Py_NewRef(meaning->attributes);
    values[TAG_NAMESPACES] = Py_NewRef(meaning->namespaces);
    event = makeObject(&state->tag, values, TAG_SLOTS);
    if (event == NULL)
        return -1;
    return report(events, makeObject(&state->opened, &event, 1));
}

int
reportClosed(Scanner *self, Level *level, PyObject **events)
{
    State *state = stateOf(self);
    const char *name = PyBytes_AS_STRING(level->name), *colon = strchr(name, ':');
    const char *local = colon != NULL ? colon + 1 : name;
    PyObject *value;
    if (self->streamID != NULL) {
        Py_CLEAR(self->streamID);
        self->isFilled = 0;
        return 0;
    }
    value = named(state, (const Byte *)local, PyBytes_GET_SIZE(level->name) - (local - name));
    return report(events, makeObject(&state->closed, &value, 1));
}

/* ==== Stanzas ==== */

int
beginStanza(Scanner *self, Work *work, const StartTag *tag, Meaning *meaning)
{
    Py_ssize_t skip = prefixOf(tag);
    const Attribute *declaration = meaning->declaration;
    work->hasPrefix = skip > 0;
    work->isCanonical = tag->isCanonical;
    work->declared = meaning->declared;
    work->declaration = -1;
    if (declaration != NULL) {
        /* From the space before it to the quote behind it, if the tag is in the profile. */
        work->declaration = declaration->name - 1 - (work->bytes + work->start);
        work->declarationSize = declaration->value + declaration->size + 1 - declaration->name + 1;
    }
    work->name = named(stateOf(self), tag->name + skip, tag->length - skip);
    work->uri = Py_NewRef(meaning->uri);
    work->attributes = Py_XNewRef(meaning->attributes);
    self->isFilled = self->streamID != NULL;
    return work->name != NULL ? 0 : -1;
}

void
forgetStanza(Work *work)
{
    Py_CLEAR(work->name);
    Py_CLEAR(work->uri);
    Py_CLEAR(work->attributes);
    Py_CLEAR(work->bindings);
    Py_CLEAR(work->undo);
    work->frameCount = 0;
    work->start = -1;
}

/* Tell whether a prefix from around a stanza, or the prefix "xml", is perhaps declared or used. */
static int
mayNeedPrefix(Scanner *self, const Byte *start, const Byte *end)
{
    PyObject *needles = slotOf(&stateOf(self)->scope, levelOf(self)->scope, SCOPE_NEEDLES);
    const Byte *p = start;
    for (; (p = memchr(p, ':', (size_t)(end - p))) != NULL; p++) {
        Py_ssize_t before = p - start;
        if (before >= 6 && end - p > 4 && memcmp(p - 6, " xmlns:xml=", 11) == 0)
            return 1;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(needles); i++) {
            /* It ends with the colon; or is empty, which isRare sees to. */
            PyObject *needle = PyTuple_GET_ITEM(needles, i);
            Py_ssize_t size = PyBytes_GET_SIZE(needle) - 1;
            if (size > 0 && size <= before
                && memcmp(p - size, PyBytes_AS_STRING(needle), (size_t)size) == 0)
                return 1;
        }
    }
    return 0;
}

/* Tell whether a stanza in the profile perhaps declares a content namespace but a client's; or -1. */
static int
mayDropNamespace(Scanner *self, const Byte *start, const Byte *end)
{
    static const char NEEDLE[] = " xmlns=\"";
    const Py_ssize_t sign = 6, size = 8;
    const Byte *p = start;
    for (; (p = memchr(p, '=', (size_t)(end - p))) != NULL; p++) {
        const Byte *value = p - sign + size, *quote;
        PyObject *uri;
        int isContent;
        if (p - start < sign || value > end || memcmp(p - sign, NEEDLE, (size_t)size) != 0)
            continue;
        quote = memchr(value, '"', (size_t)(end - value));
        if (quote == NULL || equals(value, quote - value, CLIENT_URI))
            continue;
        if (memchr(value, '&', (size_t)(quote - value)) != NULL)
            return 1;
        uri = decoded(value, quote - value);
        isContent = uri != NULL ? PySequence_Contains(self->content, uri) : -1;
        Py_XDECREF(uri);
        if (isContent != 0)
            return isContent;
    }
    return 0;
}

static PyObject *
sliceOf(Work *work, Py_ssize_t start, Py_ssize_t end)
{
    if (work->source != NULL && start == 0 && end == work->size
        && end == PyBytes_GET_SIZE(work->source))
        return Py_NewRef(work->source);
    return PyBytes_FromStringAndSize((const char *)work->bytes + start, end - start);
}

/* Find the attributes of a stanza in a route. */
static int
findAttributes(Scanner *self, Work *work)
{
    const Byte *p = work->bytes + work->start;
    StartTag tag;
    if (readStartTag(&p, work->bytes + work->size, &tag) == WHOLE)
        work->attributes = attributesOf(stateOf(self), &tag);
    else
        PyErr_NoMemory();
    forgetTag(&tag);
    return work->attributes != NULL ? 0 : -1;
}

/* Have Python make a stanza. */
static PyObject *
rareStanza(Scanner *self, Work *work, Py_ssize_t end)
{
    PyObject *data, *name = NULL, *stanza = NULL;
    const char *written = (const char *)work->bytes + work->start + work->frames[0].name;
    if (work->attributes == NULL && findAttributes(self, work) < 0)
        return NULL;
    data = sliceOf(work, work->start, end);
    /* As expat would name it. */
    if (work->hasPrefix) {
        const char *colon = strchr(written, ':');
        PyObject *prefix = PyUnicode_FromStringAndSize(written, colon - written);
        if (prefix != NULL)
            name = PyUnicode_FromFormat("%U\f%U\f%U", work->uri, work->name, prefix);
        Py_XDECREF(prefix);
    }
    else if (PyUnicode_GET_LENGTH(work->uri) > 0)
        name = PyUnicode_FromFormat("%U\f%U", work->uri, work->name);
    else
        name = Py_NewRef(work->name);
    if (data != NULL && name != NULL)
        stanza = PyObject_CallMethod(self->slicer, "stanza", "OOOO", data, name, work->attributes,
                                     levelOf(self)->scope);
    Py_XDECREF(data);
    Py_XDECREF(name);
    if (stanza != NULL && self->streamID != NULL)
        Py_SETREF(stanza, PyObject_CallFunctionObjArgs((PyObject *)stateOf(self)->routed.type,
                                                       self->streamID, stanza, NULL));
    return stanza;
}

/* What cmanager.slices.Slicer decides from the namespace of a stanza. */
typedef struct {
    PyObject *uri;    /* What is reported; borrowed. */
    char isSaid;      /* Its own declaration is taken off: it had to say it, and need not any more. */
    char mayDrop;     /* Content namespaces are taken off. */
    char isUndeclared; /* It must have a namespace. */
} Manner;

static int
choose(Scanner *self, const Work *work, Manner *manner)
{
    State *state = stateOf(self);
    const Level *level = levelOf(self);
    PyObject *inherited = slotOf(&state->scope, level->scope, SCOPE_DEFAULT);
    int isInherited = work->declaration < 0 && !work->hasPrefix, isContent;
    int isClient = isInherited ? level->isClient
                               : PyUnicode_Compare(work->uri, state->clientURI) == 0;
    *manner = (Manner){.uri = isClient ? state->clientURI : work->uri};
    if (work->hasPrefix)
        return 0;
    if (isClient) {
        manner->isSaid = self->isStrict && !level->isClient;
        return 0;
    }
    isContent = isInherited ? level->isContent : PySequence_Contains(self->content, work->uri);
    if (isContent <= 0)
        return isContent;
    manner->isUndeclared = self->level == 0 && PyUnicode_GET_LENGTH(work->uri) == 0;
    if (!self->isStrict) {
        manner->mayDrop = PyUnicode_GET_LENGTH(work->uri) == 0;
        for (int i = 0; i < STANZA_NAMES; i++)
            manner->mayDrop |= work->name == state->common[i];
    }
    if (manner->mayDrop || isInherited || PyUnicode_Compare(work->uri, inherited) == 0)
        manner->uri = state->clientURI;
    return 0;
}

/* Tell whether Python has to make a stanza, see above; it may be wrong in saying so.  Or -1. */
static int
isRare(Scanner *self, const Work *work, const Manner *manner, const Byte *start, const Byte *end)
{
    if (self->isBMPOnly || manner->isUndeclared)
        return 1;
    /* A namespace that has to be written, because it comes from around. */
    if (!levelOf(self)->isContent && work->declaration < 0)
        return 1;
    if (mayNeedPrefix(self, start, end))
        return 1;
    if (!manner->mayDrop)
        return 0;
    return work->isCanonical ? mayDropNamespace(self, start, end) : work->declared > 0;
}

/* Return the bytes of a stanza that is not rare. */
static PyObject *
dataOf(Work *work, Py_ssize_t end, int isSaid)
{
    const Byte *first = work->bytes + work->start, *last = work->bytes + end;
    Py_ssize_t before = work->declaration, behind = before + work->declarationSize;
    PyObject *data;
    char *to;
    if (!work->isCanonical)
        return spelled(first, last, isSaid);
    if (!isSaid)
        return sliceOf(work, work->start, end);
    data = PyBytes_FromStringAndSize(NULL, last - first - (behind - before));
    if (data != NULL) {
        to = PyBytes_AS_STRING(data);
        memcpy(to, first, (size_t)before);
        memcpy(to + before, first + behind, (size_t)(last - first - behind));
    }
    return data;
}

/* Return the stanza that ends at `end`; see cmanager.slices.Slicer.stanza. */
static PyObject *
stanzaOf(Scanner *self, Work *work, Py_ssize_t end)
{
    State *state = stateOf(self);
    PyObject *values[ROUTED_SLOTS];
    Manner manner;
    int rare;
    if (work->declared > self->maxNamespaces) {
        refuse(self, "policy-violation", "too many namespace declarations");
        return NULL;
    }
    if (choose(self, work, &manner) < 0)
        return NULL;
    rare = isRare(self, work, &manner, work->bytes + work->start, work->bytes + end);
    if (rare)
        return rare < 0 ? NULL : rareStanza(self, work, end);
    values[STANZA_DATA] = dataOf(work, end, manner.isSaid);
    if (values[STANZA_DATA] == NULL)
        return NULL;
    if (self->isStrict && PyBytes_GET_SIZE(values[STANZA_DATA]) > state->maxWritten) {
        Py_DECREF(values[STANZA_DATA]);
        refuse(self, "policy-violation", "an element is too large once it is written out");
        return NULL;
    }
    values[STANZA_NAME] = Py_NewRef(work->name);
    values[STANZA_NAMESPACE] = Py_NewRef(manner.uri);
    if (self->streamID != NULL) {
        values[STANZA_ATTRIBUTES] = Py_NewRef(Py_None);
        values[ROUTED_STREAM_ID] = Py_NewRef(self->streamID);
        return makeObject(&state->routed, values, ROUTED_SLOTS);
    }
    values[STANZA_ATTRIBUTES] = Py_NewRef(work->attributes);
    return makeObject(&state->stanza, values, STANZA_SLOTS);
}

int
reportStanza(Scanner *self, Work *work, Py_ssize_t end, PyObject **events)
{
    return report(events, stanzaOf(self, work, end));
}
