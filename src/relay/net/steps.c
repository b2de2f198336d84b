/* The steps of every day, and what they are told at the start; `steps.h` says whose they are. */

#include "steps.h"

PyObject *acked, *violation, *joined, *mute, *deaf, *on_data_delivery;

/* Whether `deadline` may be nearer than a probe timeout: `ShortWay.is_impatient`. */
static PyObject *connection_is_impatient(PyObject *connection, void *Py_UNUSED(closure)) {
    PyObject *space = get(connection, CONNECTION__space);

    return PyBool_FromLong(!is_true(connection, CONNECTION_is_settled) || !is_a(space, SPACE) ||
                           !is_none(connection, CONNECTION__pacing_at) ||
                           !is_none(space, SPACE_ack_at) || !is_none(space, SPACE_loss_time));
}

#define FAST(name) (PyCFunction)(void (*)(void)) name, METH_FASTCALL

static PyMethodDef methods[] = {
    {"next_event", connection_next_event, METH_NOARGS, "What was heard."},
    {"receive", FAST(connection_receive), "Datagrams came, one after the other."},
    {"departures", FAST(connection_departures), "Datagrams that may leave now."},
    {"offer", FAST(connection_offer), "Append to an open stream where there is so much room."},
    {"capacity", FAST(connection_capacity), "Bytes that would leave soon."},
    {"is_ample", FAST(connection_is_ample), "Whether there is so much room, and more streams."},
    {"open_stream", FAST(connection_open_stream), "A new stream, or None without credit."},
};

static PyGetSetDef is_impatient = {"is_impatient", connection_is_impatient, NULL, NULL, NULL};

/* What a connection has in place of its own. */
static PyObject *all_methods(void) {
    PyObject *found = PyDict_New(), *impatience;

    if (found == NULL) {
        return NULL;
    }
    for (size_t index = 0; index < sizeof methods / sizeof *methods; index++) {
        PyObject *method = PyDescr_NewMethod(books_types[CONNECTION], &methods[index]);
        int is_good =
            method != NULL && PyDict_SetItemString(found, methods[index].ml_name, method) == 0;
        Py_XDECREF(method);
        if (!is_good) {
            Py_DECREF(found);
            return NULL;
        }
    }
    impatience = PyDescr_NewGetSet(books_types[CONNECTION], &is_impatient);
    if (impatience == NULL || PyDict_SetItemString(found, is_impatient.name, impatience) < 0) {
        Py_CLEAR(found);
    }
    Py_XDECREF(impatience);
    return found;
}

const char steps_bind_doc[] =
    "bind(acked, violation, joined, mute, deaf, *books)\n--\n\n"
    "Learn what the steps are about: what tells of an arrival, the error that is the peer's,\n"
    "`relay.net.udp.joined`, `MUTE` and `DEAF` of `relay.net.sender`, and the classes of all "
    "books.\n"
    "Answers what a connection has in place of its own methods.";

PyObject *steps_bind(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given) {
    if (given < 5 || !PyExceptionClass_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "bind() takes what its text says, and books");
        return NULL;
    }
    if (!words_make() || !books_bind(args + 5, given - 5)) {
        return NULL;
    }
    Py_XSETREF(acked, Py_NewRef(args[0]));
    Py_XSETREF(violation, Py_NewRef(args[1]));
    Py_XSETREF(joined, Py_NewRef(args[2]));
    Py_XSETREF(mute, Py_NewRef(args[3]));
    Py_XSETREF(deaf, Py_NewRef(args[4]));
    Py_XSETREF(on_data_delivery,
        PyObject_GetAttrString((PyObject *)books_types[SENDER], "on_data_delivery"));
    if (on_data_delivery == NULL) {
        return NULL;
    }
    return all_methods();
}
