/* What a settled connection does for each frame and each acknowledgement, in C: the same as
 * `relay.net.short_way`, the rooms below it and `relay.net.engine` do. Whatever is not of every day
 * is left to the Python that does the same, before anything is changed: each step begins with the
 * question whether it is that simple. What is used after Python may have run is held. */

#ifndef RELAY_NET_STEPS_H
#define RELAY_NET_STEPS_H

#include "calls.h"

extern const char steps_bind_doc[], steps_acknowledge_doc[];

PyObject *steps_bind(PyObject *module, PyObject *const *args, Py_ssize_t given);
PyObject *steps_acknowledge(PyObject *module, PyObject *const *args, Py_ssize_t given);

#pragma GCC visibility push(hidden)

/* What `bind` is given beside the books, and `SharedSender.on_data_delivery`. */
extern PyObject *acked, *violation, *joined, *mute, *deaf, *on_data_delivery;

/* Whether a recovery's books are those that are known here. */
int is_ours(PyObject *loss);

/* `Recovery.acknowledge`; 0 with an exception, as all of these. */
int acknowledge(
    PyObject *loss, PyObject *space, long long first, long long last, double delay, double now);

/* `Recovery.enter`, of a train whose packets are all in flight. */
int enter(
    PyObject *loss, PyObject *space, PyObject *train, long long count, long long size, double now);

/* `ShortWay._discard`: a stream is over. */
int forget(PyObject *connection, PyObject *stream);

/* What a connection has in place of its own methods. */
PyObject *connection_next_event(PyObject *connection, PyObject *none);
PyObject *connection_receive(PyObject *connection, PyObject *const *args, Py_ssize_t given);
PyObject *connection_departures(PyObject *connection, PyObject *const *args, Py_ssize_t given);
PyObject *connection_capacity(PyObject *connection, PyObject *const *args, Py_ssize_t given);
PyObject *connection_is_ample(PyObject *connection, PyObject *const *args, Py_ssize_t given);
PyObject *connection_open_stream(PyObject *connection, PyObject *const *args, Py_ssize_t given);
PyObject *connection_offer(PyObject *connection, PyObject *const *args, Py_ssize_t given);

#pragma GCC visibility pop

#endif
