/*
 * Copyright the cmanager authors.
 * See LICENSE for details.
 *
 * What cmanager.routes does.
 */

#include "engine.h"

static const char ID[] = "\" id=\"", TAG_END[] = "\">", ROUTE_END[] = "</route>";

#define LENGTH(text) ((Py_ssize_t)sizeof(text) - 1)
#define DIGITS 16 /* Of an id, at most. */

typedef struct {
    PyObject_HEAD
    PyObject *head; /* bytes */
    unsigned long long count;
    Py_ssize_t room;
    PyObject **sent; /* So many bytes objects, or NULL; each in the place of the oldest. */
} Routes;

static char *
put(char *to, const char *from, Py_ssize_t size)
{
    memcpy(to, from, (size_t)size);
    return to + size;
}

static char *
putNumber(char *to, unsigned long long number)
{
    char digits[DIGITS], *first = digits + DIGITS;
    do {
        *--first = "0123456789abcdef"[number & 15];
        number >>= 4;
    } while (number > 0);
    return put(to, first, digits + DIGITS - first);
}

PyDoc_STRVAR(wrapText, "wrap($self, wireID, data, tag=None, /)\n--\n\n"
                       "Return a route, and remember it; see cmanager.routes.");

static PyObject *
routesWrap(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
    Routes *self = (Routes *)object;
    char ids[LENGTH(ID) + DIGITS + LENGTH(TAG_END)], *to = ids;
    const char *text[3];
    Py_ssize_t size[3], head = PyBytes_GET_SIZE(self->head), tail;
    PyObject *route, *sent, **oldest;
    if (count == 3 && Py_IsNone(arguments[2]))
        count = 2;
    if (count != 2 && count != 3)
        return PyErr_Format(PyExc_TypeError, "wrap takes two or three arguments, not %zd", count);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(arguments[i]))
            return PyErr_Format(PyExc_TypeError, "bytes expected, not %s",
                                Py_TYPE(arguments[i])->tp_name);
        text[i] = PyBytes_AS_STRING(arguments[i]);
        size[i] = PyBytes_GET_SIZE(arguments[i]);
    }
    if (count == 2) {
        const char *end = memchr(text[1], '>', (size_t)size[1]);
        text[2] = text[1];
        size[2] = end != NULL ? end - text[1] : size[1];
    }
    to = put(to, ID, LENGTH(ID));
    to = putNumber(to, self->count + 1);
    to = put(to, TAG_END, LENGTH(TAG_END));
    tail = to - ids;
    /* None of them fills half of the memory there is. */
    route = PyBytes_FromStringAndSize(NULL, head + size[0] + tail + size[1] + LENGTH(ROUTE_END));
    sent = PyBytes_FromStringAndSize(NULL, size[0] + tail + size[2]);
    if (route == NULL || sent == NULL) {
        Py_XDECREF(route);
        Py_XDECREF(sent);
        return NULL;
    }
    to = put(PyBytes_AS_STRING(sent), text[0], size[0]);
    to = put(to, ids, tail);
    put(to, text[2], size[2]);
    to = put(PyBytes_AS_STRING(route), PyBytes_AS_STRING(self->head), head);
    to = put(to, PyBytes_AS_STRING(sent), size[0] + tail);
    to = put(to, text[1], size[1]);
    put(to, ROUTE_END, LENGTH(ROUTE_END));
    oldest = &self->sent[self->count++ % (unsigned long long)self->room];
    Py_XSETREF(*oldest, sent);
    return route;
}

PyDoc_STRVAR(sentText, "sent($self, ids, /)\n--\n\n"
                       "Return the start tag of what was in a route; see cmanager.routes.");

static PyObject *
routesSent(PyObject *object, PyObject *ids)
{
    Routes *self = (Routes *)object;
    Py_ssize_t size;
    if (!PyBytes_Check(ids))
        return PyErr_Format(PyExc_TypeError, "bytes expected, not %s", Py_TYPE(ids)->tp_name);
    size = PyBytes_GET_SIZE(ids);
    for (Py_ssize_t i = 0; i < self->room && self->sent[i] != NULL; i++) {
        const char *sent = PyBytes_AS_STRING(self->sent[i]);
        Py_ssize_t rest = PyBytes_GET_SIZE(self->sent[i]) - size;
        if (rest >= 0 && memcmp(sent, PyBytes_AS_STRING(ids), (size_t)size) == 0)
            return PyBytes_FromStringAndSize(sent + size, rest);
    }
    Py_RETURN_NONE;
}

static PyObject *
routesNew(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"head", "room", NULL};
    Routes *self;
    PyObject *head;
    Py_ssize_t room;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Sn:Routes", names, &head, &room))
        return NULL;
    if (room <= 0) {
        PyErr_SetString(PyExc_ValueError, "there is room for one route at least");
        return NULL;
    }
    self = (Routes *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->head = Py_NewRef(head);
    self->sent = PyMem_Calloc((size_t)room, sizeof *self->sent);
    if (self->sent == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->room = room;
    return (PyObject *)self;
}

static void
routesDealloc(PyObject *object)
{
    Routes *self = (Routes *)object;
    PyTypeObject *type = Py_TYPE(object);
    for (Py_ssize_t i = 0; i < self->room; i++)
        Py_XDECREF(self->sent[i]);
    PyMem_Free(self->sent);
    Py_DECREF(self->head);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef METHODS[] = {
    {"wrap", (PyCFunction)(void (*)(void))routesWrap, METH_FASTCALL, wrapText},
    {"sent", routesSent, METH_O, sentText},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(routesText, "The routes of one link; see cmanager.routes.");

static PyType_Slot SLOTS_OF_ROUTES[] = {
    {Py_tp_doc, (void *)routesText},
    {Py_tp_new, routesNew},
    {Py_tp_dealloc, routesDealloc},
    {Py_tp_methods, METHODS},
    {0, NULL},
};

PyType_Spec ROUTES = {
    .name = "cmanager._scanner.Routes",
    .basicsize = sizeof(Routes),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = SLOTS_OF_ROUTES,
};
