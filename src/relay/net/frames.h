/* Reading the frames of every day: what `relay.net.frames` does, in C (RFC 9000, 19). */

#ifndef RELAY_NET_FRAMES_H
#define RELAY_NET_FRAMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

/* Add the frames of a payload to a list, as `relay.net.frames.Frame`. Answers where the first one
 * begins that is not read: not of every day, cut off, or with a number out of range. NULL with an
 * exception set when memory ran out. */
const unsigned char *frames_read(
    const unsigned char *at, const unsigned char *end, PyObject *frames);

/* The body of a STREAM frame (RFC 9000, 19.8), whose data lies in the payload. */
struct stream_frame {
    int kind;
    uint64_t stream, offset;
    const unsigned char *data;
    Py_ssize_t size;
};

/* Whether a payload holds a STREAM frame and nothing else but padding, and which. */
int frames_only_stream(
    const unsigned char *at, const unsigned char *end, struct stream_frame *frame);

#endif
