/* Reading datagrams: what `relay.net.udp.receive` does, in C, with fewer system calls (udp(7)). */

#ifndef RELAY_NET_DATAGRAMS_H
#define RELAY_NET_DATAGRAMS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifdef __linux__
#define RELAY_RECEIVES

extern const char datagrams_receive_doc[];

/* `receive(sock, limit)` of the module. */
PyObject *datagrams_receive(PyObject *module, PyObject *const *args, Py_ssize_t given);

#endif
#endif
