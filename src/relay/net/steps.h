/* What a settled connection does for each frame and each acknowledgement, in C: the same as
 * `relay.net.short_way`, the rooms below it and `relay.net.engine` do. */

#ifndef RELAY_NET_STEPS_H
#define RELAY_NET_STEPS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern const char steps_bind_doc[], steps_acknowledge_doc[];

PyObject *steps_bind(PyObject *module, PyObject *const *args, Py_ssize_t given);
PyObject *steps_acknowledge(PyObject *module, PyObject *const *args, Py_ssize_t given);

#endif
