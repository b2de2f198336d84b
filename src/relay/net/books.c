/* The books of a connection; `books.h` says which. */

#include "books.h"

#include <structmember.h>

PyTypeObject *books_types[KINDS];
Py_ssize_t books_places[SLOTS];

#define NAME_OF(class, name) {class, #name},

static const struct {
    enum book book;
    const char *name;
} NAMES[SLOTS] = {BOOKS(AS_NOTHING, NAME_OF)};

int books_bind(PyObject *const *classes, Py_ssize_t given) {
    Py_ssize_t places[SLOTS];

    if (given != KINDS) {
        PyErr_Format(PyExc_TypeError, "there are %d books, not %zd", KINDS, given);
        return 0;
    }
    for (int index = 0; index < KINDS; index++) {
        if (!PyType_Check(classes[index])) {
            PyErr_SetString(PyExc_TypeError, "a book is a class");
            return 0;
        }
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        PyObject *class = classes[NAMES[slot].book];
        PyObject *found = PyObject_GetAttrString(class, NAMES[slot].name);
        if (found == NULL) {
            return 0;
        }
        PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type)
                                  ? ((PyMemberDescrObject *)found)->d_member
                                  : NULL;
        Py_DECREF(found);
        if (member == NULL || member->type != T_OBJECT_EX) {
            PyErr_Format(PyExc_TypeError, "%R has no slot %s", class, NAMES[slot].name);
            return 0;
        }
        places[slot] = member->offset;
    }
    memcpy(books_places, places, sizeof places);
    for (int index = 0; index < KINDS; index++) {
        PyTypeObject *before = books_types[index];
        books_types[index] = (PyTypeObject *)Py_NewRef(classes[index]);
        Py_XDECREF(before);
    }
    return 1;
}

int put(PyObject *object, enum slot slot, PyObject *value) {
    if (value == NULL) {
        if (!PyErr_Occurred()) { /* it was not there; otherwise it could not be made */
            PyErr_SetString(PyExc_TypeError, "nothing to put in a book");
        }
        return 0;
    }
    PyObject **place = slot_of(object, slot), *before = *place;
    *place = value;
    Py_XDECREF(before);
    return 1;
}

int as_number(PyObject *object, long long *value) {
    if (object == NULL || !PyLong_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "no number where a book has one");
        return 0;
    }
    *value = PyLong_AsLongLong(object);
    return *value != -1 || !PyErr_Occurred();
}

int as_time(PyObject *object, double *value) {
    if (object != NULL && PyFloat_CheckExact(object)) {
        *value = PyFloat_AS_DOUBLE(object);
        return 1;
    }
    if (object == NULL || !PyLong_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "no time where a book has one");
        return 0;
    }
    *value = PyLong_AsDouble(object);
    return *value != -1.0 || !PyErr_Occurred();
}

int number_in(PyObject *object, enum slot slot, long long *value) {
    return as_number(get(object, slot), value);
}

int time_in(PyObject *object, enum slot slot, double *value) {
    return as_time(get(object, slot), value);
}
