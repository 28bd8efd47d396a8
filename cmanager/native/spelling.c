/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * The serialisation profile (cmanager.profile), written from what is well-formed and not in it.
 */

#include "engine.h"

typedef struct {
    Byte *bytes;
    Py_ssize_t size, room;
    int isTagOpen; /* The last start tag has no ">" yet: it may become "/>". */
    int hasFailed;
} Output;

static void
put(Output *output, const void *bytes, Py_ssize_t size)
{
    if (size > output->room - output->size && !output->hasFailed) {
        Py_ssize_t room = output->size + size + output->size / 2;
        Byte *larger = PyMem_Realloc(output->bytes, (size_t)room);
        if (larger != NULL) {
            output->bytes = larger;
            output->room = room;
        }
        else
            output->hasFailed = 1;
    }
    if (!output->hasFailed && size > 0) {
        memcpy(output->bytes + output->size, bytes, (size_t)size);
        output->size += size;
    }
}

static void
putString(Output *output, const char *string)
{
    put(output, string, (Py_ssize_t)strlen(string));
}

static void
putCharacter(Output *output, unsigned long code, int isValue)
{
    Byte bytes[4];
    switch (code) {
    case '&':
        putString(output, "&amp;");
        return;
    case '<':
        putString(output, "&lt;");
        return;
    case '>':
        putString(output, "&gt;");
        return;
    case '\r':
        putString(output, "&#13;");
        return;
    case '"':
        putString(output, isValue ? "&quot;" : "\"");
        return;
    case '\t':
        putString(output, isValue ? "&#9;" : "\t");
        return;
    case '\n':
        putString(output, isValue ? "&#10;" : "\n");
        return;
    default:
        put(output, bytes, encodeCharacter(bytes, code));
    }
}

/* Write the value of an attribute, or text; in a CDATA section an ampersand is one. */
static void
putData(Output *output, const Byte *p, const Byte *end, int isValue, int isCDATA)
{
    const Byte *plain = p;
    while (p < end) {
        Byte byte = *p;
        if (byte != '\r' && byte != '&' && byte != '<' && byte != '>'
            && !(isValue && (byte == '"' || byte == '\t' || byte == '\n'))) {
            p++;
            continue;
        }
        put(output, plain, p - plain);
        if (byte == '&' && !isCDATA) {
            Reference reference;
            readReference(&p, end, &reference);
            putCharacter(output, (unsigned long)reference.code, isValue);
        }
        else {
            /* White space of an attribute is a space each, a line ends with LF alone. */
            if (byte == '\r' && p + 1 < end && p[1] == '\n')
                p++;
            if (is(byte, SPACE))
                putString(output, isValue ? " " : "\n");
            else
                putCharacter(output, byte, isValue);
            p++;
        }
        plain = p;
    }
    put(output, plain, p - plain);
}

static void
putText(Output *output, const Byte *p, const Byte *end, int isCDATA)
{
    if (p == end)
        return;
    if (output->isTagOpen)
        putString(output, ">");
    output->isTagOpen = 0;
    putData(output, p, end, 0, isCDATA);
}

static const Byte *
putStartTag(Output *output, const Byte *p, const Byte *end, int isSaid)
{
    StartTag tag;
    if (output->isTagOpen)
        putString(output, ">");
    if (readStartTag(&p, end, &tag) == NO_MEMORY)
        output->hasFailed = 1;
    else {
        putString(output, "<");
        put(output, tag.name, tag.length);
        for (Py_ssize_t i = 0; i < tag.count; i++) {
            const Attribute *attribute = &tag.attributes[i];
            /* Always declared, and not every parser likes to read it. */
            if (equals(attribute->name, attribute->length, "xmlns:xml")
                || (isSaid && equals(attribute->name, attribute->length, "xmlns")))
                continue;
            putString(output, " ");
            put(output, attribute->name, attribute->length);
            putString(output, "=\"");
            putData(output, attribute->value, attribute->value + attribute->size, 1, 0);
            putString(output, "\"");
        }
        if (tag.isEmpty)
            putString(output, "/>");
        output->isTagOpen = !tag.isEmpty;
    }
    forgetTag(&tag);
    return p;
}

PyObject *
spelled(const Byte *p, const Byte *end, int isSaid)
{
    Output output = {NULL, 0, 0, 0, 0};
    PyObject *data = NULL;
    const Byte *from = p, *name;
    Py_ssize_t length;
    char ignored;
    Kind kind;
    while (p < end && !output.hasFailed) {
        if (*p != '<') {
            from = p;
            p = memchr(p, '<', (size_t)(end - p));
            putText(&output, from, p, 0);
        }
        else if (p[1] == '/') {
            readEndTag(&p, end, &name, &length, &ignored);
            if (output.isTagOpen)
                putString(&output, "/>");
            else {
                putString(&output, "</");
                put(&output, name, length);
                putString(&output, ">");
            }
            output.isTagOpen = 0;
        }
        else if (p[1] == '?')
            readQuestioned(&p, end, &kind);
        else if (p[1] == '!') {
            readExclaimed(&p, end, &kind);
            if (kind == CDATA) {
                from = p;
                readCDATA(&p, end);
                putText(&output, from, p - 3, 1);
            }
        }
        else
            p = putStartTag(&output, p, end, isSaid && output.size == 0);
    }
    if (output.hasFailed)
        PyErr_NoMemory();
    else
        data = PyBytes_FromStringAndSize((const char *)output.bytes, output.size);
    PyMem_Free(output.bytes);
    return data;
}
