/* Datagrams read and sent: what `relay.net.udp` does, in C (udp(7)). */

#ifndef RELAY_NET_DATAGRAMS_H
#define RELAY_NET_DATAGRAMS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef __linux__
#define RELAY_DATAGRAMS

extern const char datagrams_receive_doc[], datagrams_send_doc[];

/* `receive(sock, limit, alike)` of the module. */
PyObject *datagrams_receive(PyObject *module, PyObject *const *args, Py_ssize_t given);

/* `send(sock, data, size, address)` of the module. */
PyObject *datagrams_send(PyObject *module, PyObject *const *args, Py_ssize_t given);

#endif
#endif
