/* Reading the frames of every day; `frames.h` says how. Every length is checked before it is used. */

#include "frames.h"

/* Frame types of every day (RFC 9000, 19), and the bits of STREAM's. */
enum {
    PADDING = 0x00,
    PING = 0x01,
    ACK = 0x02,
    RESET_STREAM = 0x04,
    STOP_SENDING = 0x05,
    STREAM = 0x08,
    STREAM_LAST = 0x0F,
    MAX_DATA = 0x10,
    MAX_STREAM_DATA = 0x11,
    MAX_STREAMS_UNI = 0x13,
    OFFSET_BIT = 0x04,
    LENGTH_BIT = 0x02,
};

enum { UNTIDY = 64 }; /* ranges of an ACK frame, beyond the first, up to which it is read */

static const uint64_t MAX_NUMBER = (UINT64_C(1) << 62) - 1; /* a varint's largest */
static const uint64_t MAX_STREAM_COUNT = UINT64_C(1) << 60;

/* Bytes that are being read. */
struct reader {
    const unsigned char *at, *end;
};

/* A varint (RFC 9000, 16); 0 when it is cut off. */
static int read_number(struct reader *reader, uint64_t *number) {
    if (reader->at == reader->end) {
        return 0;
    }
    Py_ssize_t size = (Py_ssize_t)1 << (*reader->at >> 6);
    if (reader->end - reader->at < size) {
        return 0;
    }
    *number = *reader->at++ & 0x3F;
    while (--size) {
        *number = *number << 8 | *reader->at++;
    }
    return 1;
}

/* The body of an ACK frame (19.3). NULL, with or without an exception, when it is not read. */
static PyObject *read_ack(struct reader *reader) {
    uint64_t last, delay, count, size;

    if (!read_number(reader, &last) || !read_number(reader, &delay) ||
        !read_number(reader, &count) || count > UNTIDY || !read_number(reader, &size) ||
        size > last) {
        return NULL;
    }
    PyObject *ranges = PyList_New(0);
    if (ranges == NULL) {
        return NULL;
    }
    for (;;) {
        uint64_t first = last - size, gap;
        PyObject *range = Py_BuildValue("KK", (unsigned long long)first, (unsigned long long)last);
        int failed = range == NULL || PyList_Append(ranges, range) < 0;
        Py_XDECREF(range);
        if (failed) {
            break;
        }
        if (count-- == 0) {
            return Py_BuildValue("iNK", ACK, ranges, (unsigned long long)delay);
        }
        if (!read_number(reader, &gap) || !read_number(reader, &size) || first < gap + 2 ||
            size > first - gap - 2) {
            break;
        }
        last = first - gap - 2;
    }
    Py_DECREF(ranges);
    return NULL;
}

/* The body of RESET_STREAM or STOP_SENDING (19.4, 19.5), as above. */
static PyObject *read_break(int kind, struct reader *reader) {
    uint64_t stream, code, size;

    if (!read_number(reader, &stream) || !read_number(reader, &code)) {
        return NULL;
    }
    if (kind == STOP_SENDING) {
        return Py_BuildValue("iKK", kind, (unsigned long long)stream, (unsigned long long)code);
    }
    if (!read_number(reader, &size)) {
        return NULL;
    }
    return Py_BuildValue(
        "iKKK", kind, (unsigned long long)stream, (unsigned long long)code,
        (unsigned long long)size);
}

/* The body of a STREAM frame (19.8); 0 when it is not read. */
static int find_stream(int kind, struct reader *reader, struct stream_frame *frame) {
    frame->kind = kind;
    frame->offset = 0;
    if (!read_number(reader, &frame->stream) ||
        (kind & OFFSET_BIT && !read_number(reader, &frame->offset))) {
        return 0;
    }
    uint64_t left = (uint64_t)(reader->end - reader->at), size = left;
    if (kind & LENGTH_BIT) {
        if (!read_number(reader, &size)) {
            return 0;
        }
        left = (uint64_t)(reader->end - reader->at);
    }
    if (size > left || size > MAX_NUMBER - frame->offset) {
        return 0;
    }
    frame->data = reader->at;
    frame->size = (Py_ssize_t)size;
    reader->at += size;
    return 1;
}

/* The same, as above. */
static PyObject *read_stream(int kind, struct reader *reader) {
    struct stream_frame frame;

    if (!find_stream(kind, reader, &frame)) {
        return NULL;
    }
    return Py_BuildValue(
        "iKKy#", kind, (unsigned long long)frame.stream, (unsigned long long)frame.offset,
        (const char *)frame.data, frame.size);
}

int frames_only_stream(
    const unsigned char *at, const unsigned char *end, struct stream_frame *frame) {
    while (at < end && *at == PADDING) {
        at++;
    }
    struct reader reader = {at + 1, end};
    if (at == end || *at < STREAM || *at > STREAM_LAST || !find_stream(*at, &reader, frame)) {
        return 0;
    }
    while (reader.at < end && *reader.at == PADDING) {
        reader.at++;
    }
    return reader.at == end;
}

/* The body of MAX_DATA, MAX_STREAM_DATA or MAX_STREAMS (19.9 to 19.11), as above. */
static PyObject *read_limit(int kind, struct reader *reader) {
    uint64_t value, limit;

    if (!read_number(reader, &value)) {
        return NULL;
    }
    if (kind == MAX_STREAM_DATA) {
        if (!read_number(reader, &limit)) {
            return NULL;
        }
        return Py_BuildValue("iKK", kind, (unsigned long long)value, (unsigned long long)limit);
    }
    if (kind != MAX_DATA && value > MAX_STREAM_COUNT) {
        return NULL;
    }
    return Py_BuildValue("iK", kind, (unsigned long long)value);
}

const unsigned char *frames_read(
    const unsigned char *at, const unsigned char *end, PyObject *frames) {
    while (at < end) {
        struct reader reader = {at + 1, end};
        int kind = *at;
        PyObject *frame = NULL;
        if (kind == PADDING) {
            at++;
            continue;
        }
        if (kind == ACK) {
            frame = read_ack(&reader);
        } else if (kind >= STREAM && kind <= STREAM_LAST) {
            frame = read_stream(kind, &reader);
        } else if (kind == PING) {
            frame = Py_BuildValue("(i)", kind);
        } else if (kind == RESET_STREAM || kind == STOP_SENDING) {
            frame = read_break(kind, &reader);
        } else if (kind >= MAX_DATA && kind <= MAX_STREAMS_UNI) {
            frame = read_limit(kind, &reader);
        }
        if (frame == NULL) {
            return PyErr_Occurred() ? NULL : at;
        }
        int failed = PyList_Append(frames, frame) < 0;
        Py_DECREF(frame);
        if (failed) {
            return NULL;
        }
        at = reader.at;
    }
    return at;
}
