/* Reading the frames of every day: what `relay.net.frames` does, in C (RFC 9000, 19). */

#ifndef RELAY_NET_FRAMES_H
#define RELAY_NET_FRAMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Add the frames of a payload to a list, as `relay.net.frames.Frame`. Answers where the first one
 * begins that is not read: not of every day, cut off, or with a number out of range. NULL with an
 * exception set when memory ran out. */
const unsigned char *frames_read(
    const unsigned char *at, const unsigned char *end, PyObject *frames);

#endif
