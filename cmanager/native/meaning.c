/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * What a start tag means: the values of its attributes, the namespaces of its names.
 */

#include "engine.h"

#define FEW 16 /* So many names are compared each with each. */
#define XMLNS_URI "http://www.w3.org/2000/xmlns/"

/* ==== Strings ==== */

#define NAME_OF(text) {sizeof(text) - 1, text}
const Name COMMON[COMMON_NAMES] = {
    NAME_OF("iq"),      NAME_OF("message"),  NAME_OF("presence"), NAME_OF("to"),
    NAME_OF("from"),    NAME_OF("id"),       NAME_OF("type"),     NAME_OF("xml:lang"),
    NAME_OF("route"),   NAME_OF("streamid"), NAME_OF("version"),  NAME_OF("stream"),
};

PyObject *
decoded(const Byte *p, Py_ssize_t length)
{
    return PyUnicode_DecodeUTF8((const char *)p, length, NULL);
}

PyObject *
named(State *state, const Byte *p, Py_ssize_t length)
{
    for (size_t i = 0; i < COMMON_NAMES; i++)
        if (COMMON[i].length == length && memcmp(COMMON[i].text, p, (size_t)length) == 0)
            return Py_NewRef(state->common[i]);
    return decoded(p, length);
}

/* Return the value of an attribute, whose references are good, as XML 1.0 section 3.3.3 wants it. */
static PyObject *
valueOf(const Attribute *attribute)
{
    const Byte *p = attribute->value, *end = p + attribute->size;
    Byte *plain, *to;
    PyObject *value;
    if (attribute->isPlain && attribute->isASCII) {
        value = PyUnicode_New(attribute->size, 127);
        if (value != NULL && attribute->size > 0)
            memcpy(PyUnicode_DATA(value), p, (size_t)attribute->size);
        return value;
    }
    if (attribute->isPlain)
        return decoded(p, attribute->size);
    /* No reference is shorter than what it stands for. */
    plain = to = PyMem_Malloc((size_t)attribute->size);
    if (plain == NULL)
        return PyErr_NoMemory();
    while (p < end) {
        if (*p == '&') {
            Reference reference;
            readReference(&p, end, &reference);
            to += encodeCharacter(to, (unsigned long)reference.code);
            continue;
        }
        if (*p == '\r' && p + 1 < end && p[1] == '\n')
            p++;
        *to++ = is(*p, SPACE) ? ' ' : *p;
        p++;
    }
    value = decoded(plain, to - plain);
    PyMem_Free(plain);
    return value;
}

/* Return what is wrong with the references of a value. */
static int
flawOf(const Attribute *attribute)
{
    const Byte *p = attribute->value, *end = p + attribute->size;
    while ((p = memchr(p, '&', (size_t)(end - p))) != NULL) {
        Reference reference;
        readReference(&p, end, &reference);
        if (reference.code < 0)
            return reference.code == UNKNOWN_ENTITY ? UNDEFINED_ENTITY : BAD_CHARACTER_REFERENCE;
    }
    return NO_FLAW;
}

/* ==== Namespaces ==== */

/* Return what is wrong with a declaration. */
static int
flawOfDeclaration(const Byte *prefix, Py_ssize_t length, const char *uri, Py_ssize_t size)
{
    int isXML = equals((const Byte *)uri, size, XML_URI);
    if (size == 0 && length > 0)
        return UNDECLARED_PREFIX;
    if (equals(prefix, length, "xmlns"))
        return RESERVED_PREFIX_XMLNS;
    if (equals(prefix, length, "xml"))
        return isXML ? NO_FLAW : RESERVED_PREFIX_XML;
    return isXML || equals((const Byte *)uri, size, XMLNS_URI) ? RESERVED_NAMESPACE : NO_FLAW;
}

/* Declare a prefix inside a stanza. */
static int
bindPrefix(Work *work, PyObject *prefix, PyObject *uri)
{
    PyObject *former;
    if (work->bindings == NULL) {
        work->bindings = PyDict_New();
        work->undo = PyList_New(0);
        if (work->bindings == NULL || work->undo == NULL)
            return -1;
    }
    former = PyDict_GetItemWithError(work->bindings, prefix);
    if (former == NULL && PyErr_Occurred())
        return -1;
    if (PyList_Append(work->undo, prefix) < 0
        || PyList_Append(work->undo, former != NULL ? former : Py_None) < 0)
        return -1;
    return PyDict_SetItem(work->bindings, prefix, uri);
}

int
unbind(Work *work, Py_ssize_t count)
{
    Py_ssize_t size = count > 0 ? PyList_GET_SIZE(work->undo) : 0;
    for (; count > 0; count--) {
        PyObject *prefix = PyList_GET_ITEM(work->undo, size - 2);
        PyObject *former = PyList_GET_ITEM(work->undo, size - 1);
        int result = former == Py_None ? PyDict_DelItem(work->bindings, prefix)
                                       : PyDict_SetItem(work->bindings, prefix, former);
        if (result < 0 || PyList_SetSlice(work->undo, size - 2, size, NULL) < 0)
            return -1;
        size -= 2;
    }
    return 0;
}

void
release(Meaning *meaning)
{
    Py_CLEAR(meaning->attributes);
    Py_CLEAR(meaning->streamID);
    Py_CLEAR(meaning->namespaces);
    Py_CLEAR(meaning->uri);
    Py_CLEAR(meaning->defaultURI);
}

/* Return a new reference to the namespace of a prefix; NULL without an error if it has none. */
static PyObject *
namespaceOf(Scanner *self, Work *work, const Meaning *meaning, const Byte *prefix,
            Py_ssize_t length)
{
    State *state = stateOf(self);
    int depth = self->depth < self->level ? self->depth : self->level;
    PyObject *dicts[2], *uri = NULL, *key;
    if (equals(prefix, length, "xml"))
        return Py_NewRef(state->xmlURI);
    key = decoded(prefix, length);
    dicts[0] = meaning->namespaces != NULL ? meaning->namespaces : work->bindings;
    dicts[1] = slotOf(&state->scope, self->levels[depth].scope, SCOPE_NAMESPACES);
    for (int i = 0; key != NULL && uri == NULL && i < 2; i++) {
        if (dicts[i] == NULL)
            continue;
        uri = PyDict_GetItemWithError(dicts[i], key);
        if (uri == NULL && PyErr_Occurred())
            break;
    }
    Py_XDECREF(key);
    return Py_XNewRef(uri);
}

/* Add to a set.  Return whether it was there, or -1; the key is stolen. */
static int
addTo(PyObject **set, PyObject *key)
{
    int result = -1;
    if (key != NULL && *set == NULL)
        *set = PySet_New(NULL);
    if (key != NULL && *set != NULL) {
        result = PySet_Contains(*set, key);
        if (result == 0)
            result = PySet_Add(*set, key);
    }
    Py_XDECREF(key);
    return result;
}

/* Tell whether an attribute has the name of an earlier one. */
static int
isDouble(const StartTag *tag, Py_ssize_t index, PyObject **names)
{
    const Attribute *attribute = &tag->attributes[index];
    if (tag->count > FEW)
        return addTo(names,
                     PyBytes_FromStringAndSize((const char *)attribute->name, attribute->length));
    for (Py_ssize_t i = 0; i < index; i++)
        if (tag->attributes[i].length == attribute->length
            && memcmp(tag->attributes[i].name, attribute->name, (size_t)attribute->length) == 0)
            return 1;
    return 0;
}

/* Take a declaration of a namespace in. */
static int
declare(Scanner *self, Work *work, const Attribute *attribute, Meaning *meaning)
{
    Py_ssize_t skip = attribute->prefix > 0 ? attribute->prefix + 1 : attribute->length, size = 0;
    const Byte *prefix = attribute->name + skip;
    Py_ssize_t length = attribute->length - skip;
    int flaw, result = 0;
    const char *text;
    PyObject *uri, *key;
    meaning->declared++;
    if (length == 0 && self->depth > self->level && attribute->isPlain) {
        /* Nobody asks for the default namespace inside a stanza. */
        flaw = flawOfDeclaration(prefix, 0, (const char *)attribute->value, attribute->size);
        return flaw ? refuseFlaw(self, flaw) : 0;
    }
    uri = valueOf(attribute);
    text = uri != NULL ? PyUnicode_AsUTF8AndSize(uri, &size) : NULL;
    if (text == NULL) {
        Py_XDECREF(uri);
        return -1;
    }
    flaw = flawOfDeclaration(prefix, length, text, size);
    if (flaw) {
        Py_DECREF(uri);
        return refuseFlaw(self, flaw);
    }
    if (length == 0 && self->depth <= self->level) {
        Py_XSETREF(meaning->defaultURI, Py_NewRef(uri));
        meaning->declaration = attribute;
    }
    if (self->depth < self->level) {
        if (meaning->namespaces == NULL)
            meaning->namespaces = PyDict_New();
        key = decoded(prefix, length);
        result = meaning->namespaces == NULL || key == NULL
                     ? -1
                     : PyDict_SetItem(meaning->namespaces, key, uri);
        Py_XDECREF(key);
    }
    else if (length > 0) {
        key = decoded(prefix, length);
        result = key == NULL ? -1 : bindPrefix(work, key, uri);
        Py_XDECREF(key);
        meaning->bound++;
    }
    Py_DECREF(uri);
    return result;
}

/* Look attributes up that have prefixes: each must be declared, no two be the same. */
static int
expand(Scanner *self, Work *work, const StartTag *tag, const Meaning *meaning, Py_ssize_t prefixed)
{
    PyObject *names = NULL;
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < tag->count; i++) {
        const Attribute *attribute = &tag->attributes[i];
        PyObject *uri;
        if (attribute->prefix == 0 || isDeclaration(attribute))
            continue;
        uri = namespaceOf(self, work, meaning, attribute->name, attribute->prefix);
        if (uri == NULL)
            result = PyErr_Occurred() ? -1 : refuseFlaw(self, UNBOUND_PREFIX);
        else if (prefixed > 1) {
            PyObject *local = decoded(attribute->name + attribute->prefix + 1,
                                      attribute->length - attribute->prefix - 1);
            result = addTo(&names, local != NULL ? PyTuple_Pack(2, uri, local) : NULL);
            Py_XDECREF(local);
            if (result > 0)
                result = refuseFlaw(self, DUPLICATE_ATTRIBUTE);
        }
        Py_XDECREF(uri);
    }
    Py_XDECREF(names);
    return result;
}

PyObject *
attributesOf(State *state, const StartTag *tag)
{
    PyObject *attributes = PyDict_New();
    for (Py_ssize_t i = 0; attributes != NULL && i < tag->count; i++) {
        const Attribute *attribute = &tag->attributes[i];
        PyObject *name, *value;
        if (isDeclaration(attribute))
            continue;
        name = named(state, attribute->name, attribute->length);
        value = valueOf(attribute);
        if (name == NULL || value == NULL || PyDict_SetItem(attributes, name, value) < 0)
            Py_CLEAR(attributes);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return attributes;
}

/* Store for which session a tag is, if it is that of a route without an error. */
static int
route(const StartTag *tag, Meaning *meaning)
{
    const Attribute *target = NULL;
    const Py_ssize_t skip = prefixOf(tag);
    if (!equals(tag->name + skip, tag->length - skip, ROUTE))
        return 0;
    for (Py_ssize_t i = 0; i < tag->count; i++) {
        const Attribute *attribute = &tag->attributes[i];
        if (equals(attribute->name, attribute->length, "streamid"))
            target = attribute;
        else if (equals(attribute->name, attribute->length, "type")) {
            PyObject *value = valueOf(attribute);
            int isError = value != NULL && PyUnicode_CompareWithASCIIString(value, "error") == 0;
            Py_XDECREF(value);
            if (value == NULL || isError)
                return value == NULL ? -1 : 0;
        }
    }
    if (target == NULL || target->size == 0)
        return 0;
    meaning->streamID = valueOf(target);
    return meaning->streamID != NULL ? 0 : -1;
}

int
understand(Scanner *self, Work *work, StartTag *tag, Meaning *meaning)
{
    State *state = stateOf(self);
    PyObject *names = NULL;
    Py_ssize_t prefixed = 0;
    int result = 0;
    memset(meaning, 0, sizeof *meaning);
    for (Py_ssize_t i = 0; result == 0 && i < tag->count; i++) {
        const Attribute *attribute = &tag->attributes[i];
        int flaw = isDouble(tag, i, &names);
        if (flaw > 0)
            flaw = DUPLICATE_ATTRIBUTE;
        if (flaw == 0 && attribute->hasReference)
            flaw = flawOf(attribute);
        if (flaw != 0) {
            result = flaw > 0 ? refuseFlaw(self, flaw) : -1;
            break;
        }
        if (isDeclaration(attribute)) {
            result = declare(self, work, attribute, meaning);
            continue;
        }
        meaning->count++;
        prefixed += attribute->prefix > 0;
    }
    Py_XDECREF(names);
    if (result == 0 && prefixed > 0)
        result = expand(self, work, tag, meaning, prefixed);
    if (result == 0 && tag->prefix > 0) {
        meaning->uri = namespaceOf(self, work, meaning, tag->name, tag->prefix);
        if (meaning->uri == NULL)
            result = PyErr_Occurred() ? -1 : refuseFlaw(self, UNBOUND_PREFIX);
    }
    else if (result == 0 && self->depth <= self->level) {
        PyObject *scope = self->levels[self->depth].scope;
        meaning->uri = Py_NewRef(meaning->defaultURI != NULL
                                     ? meaning->defaultURI
                                     : slotOf(&state->scope, scope, SCOPE_DEFAULT));
    }
    if (result == 0 && self->level == 2 && self->depth == 1)
        result = route(tag, meaning);
    if (result == 0 && self->depth <= self->level && self->streamID == NULL
        && meaning->streamID == NULL) {
        meaning->attributes = attributesOf(state, tag);
        result = meaning->attributes != NULL ? 0 : -1;
    }
    return result;
}
