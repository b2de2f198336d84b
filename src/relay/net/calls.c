/* Asking Python; `calls.h` says what for. */

#include "calls.h"

#define AS_TEXT(text) #text,

PyObject *words[WORD_COUNT];
static const char *const TEXTS[WORD_COUNT] = {WORDS(AS_TEXT)};

int words_make(void) {
    for (int index = 0; index < WORD_COUNT; index++) {
        if (words[index] == NULL &&
            (words[index] = PyUnicode_InternFromString(TEXTS[index])) == NULL) {
            return 0;
        }
    }
    return 1;
}

PyObject *call(PyObject *object, enum word word, PyObject *const *given, size_t count) {
    PyObject *all[10];

    if (object == NULL || count >= sizeof all / sizeof *all) {
        PyErr_SetString(PyExc_TypeError, "nothing to call");
        return NULL;
    }
    all[0] = object;
    for (size_t index = 0; index < count; index++) {
        if ((all[index + 1] = given[index]) == NULL) {
            if (!PyErr_Occurred()) { /* it was not there; otherwise it could not be made */
                PyErr_SetString(PyExc_TypeError, "nothing to call with");
            }
            return NULL;
        }
    }
    return PyObject_VectorcallMethod(words[word], all, count + 1, NULL);
}

int done(PyObject *answer) {
    Py_XDECREF(answer);
    return answer != NULL;
}

int told(PyObject *answer) {
    int is_so = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return is_so;
}

PyObject *member(PyObject *object, enum word word) {
    if (object == NULL) {
        PyErr_SetString(PyExc_TypeError, "nothing to ask");
        return NULL;
    }
    return PyObject_GetAttr(object, words[word]);
}

int number_of(PyObject *object, enum word word, long long *value) {
    PyObject *found = member(object, word);
    int is_number = found != NULL && as_number(found, value);
    Py_XDECREF(found);
    return is_number;
}

int set_number(PyObject *object, enum word word, long long value) {
    PyObject *number = PyLong_FromLongLong(value);
    int is_good = number != NULL && PyObject_SetAttr(object, words[word], number) == 0;
    Py_XDECREF(number);
    return is_good;
}

int append(PyObject *list, PyObject *item) {
    int is_good = item != NULL && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return is_good;
}
