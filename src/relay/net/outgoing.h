/* What building packets of one stream and of several have in common. */

#ifndef RELAY_NET_OUTGOING_H
#define RELAY_NET_OUTGOING_H

#include "steps.h"

#pragma GCC visibility push(hidden)

enum { LABEL = 8 }; /* bytes of the longest stream id */

static const long long FAR = 1 << 30; /* offsets from here on take more than four bytes */

/* Bytes of a stream that are about to leave. */
struct run {
    PyObject *sender, *data;
    long long start, stop, step, limit, most, count, credit_used;
    int fin, is_last;
};

/* `SharedSender.take_new`: from `start` on up to `stop` and before `most`; 0 with an exception. */
int take_new(struct run *run);

/* `Train` of packets that leave now, of which more is to be noted; NULL with an exception. */
PyObject *new_train(long long first, long long last, PyObject *now);

/* `Outgoing._enter`, once its bytes are noted; 0 with an exception. */
int enter_train(PyObject *connection, PyObject *train, long long count, PyObject *now);

/* `Outgoing._sealed`; NULL with an exception, also where the payload is NULL. */
PyObject *sealed(PyObject *connection, PyObject *payload);

/* `Outgoing._send_mixed` without an acknowledgement: 1 when more may follow, 0 when not, -1 with an
 * exception. */
int send_mixed(PyObject *connection, PyObject *packets, PyObject *now);

#pragma GCC visibility pop

#endif
