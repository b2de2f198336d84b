/* Packets that several streams share: the rest of `relay.net.outgoing`. */

#include "outgoing.h"

enum { LEAST = 64 }; /* bytes of a packet below which no stream data is begun */

/* What `SharedSender.take` does of new bytes: 1 when there are some or an end, 0 when there is
 * nothing that may leave, -1 with an exception. */
static int take(struct run *run, long long room) {
    PyObject *sender = run->sender;

    if (!number_in(sender, SENDER_highest_offset, &run->start) ||
        !number_in(sender, SENDER__buffer_stop, &run->stop)) {
        return -1;
    }
    if (run->start == run->stop) {
        if (!put_flag(sender, SENDER_buffer_is_empty, 1)) {
            return -1;
        }
        if (!is_true(sender, SENDER__pending_eof)) {
            return 0;
        }
        run->data = PyBytes_FromStringAndSize(NULL, 0);
        run->fin = 1;
        return run->data != NULL && put_flag(sender, SENDER__pending_eof, 0) ? 1 : -1;
    }
    run->most = run->most < run->start + room ? run->most : run->start + room;
    if (run->most <= run->start) {
        return 0;
    }
    if (!take_new(run) || (run->is_last && !put_flag(sender, SENDER_buffer_is_empty,
                                               !is_true(sender, SENDER__pending_eof)))) {
        return -1;
    }
    return 1;
}

/* The head of a STREAM frame with a length (RFC 9000, 19.8). */
static PyObject *frame_head(PyObject *label, long long offset, long long size, int fin) {
    unsigned char head[1 + LABEL + 10], *to = head;
    int bytes = offset < FAR ? 4 : 8;
    unsigned long long mark = bytes == 4 ? UINT64_C(2) << 30 : UINT64_C(3) << 62;

    *to++ = (unsigned char)(0x0a | (offset ? 0x04 : 0) | (fin ? 0x01 : 0));
    memcpy(to, PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label));
    to += PyBytes_GET_SIZE(label);
    if (offset) {
        mark |= (unsigned long long)offset;
        for (int shift = 8 * bytes - 8; shift >= 0; shift -= 8) {
            *to++ = (unsigned char)(mark >> shift);
        }
    }
    *to++ = (unsigned char)(size >> 8 | 0x40);
    *to++ = (unsigned char)size;
    return PyBytes_FromStringAndSize((char *)head, to - head);
}

/* Note in a train, or among handlers, that it carries what a run has. */
static int carry(PyObject *train, PyObject *handlers, struct run *run) {
    PyObject *bytes = Py_BuildValue("LLO", run->start,
        run->start + (long long)PyBytes_GET_SIZE(run->data), run->fin ? Py_True : Py_False);
    int is_good = bytes != NULL;
    if (is_good && is_none(train, TRAIN_sender)) {
        is_good = put_shared(train, TRAIN_sender, run->sender) &&
                  put_shared(train, TRAIN_start, PyTuple_GET_ITEM(bytes, 0)) &&
                  put_shared(train, TRAIN_stop, PyTuple_GET_ITEM(bytes, 1)) &&
                  put_flag(train, TRAIN_fin, run->fin);
    } else if (is_good) {
        PyObject *told = PyMethod_New(on_data_delivery, run->sender);
        is_good = told != NULL && append(handlers, PyTuple_Pack(2, told, bytes));
        Py_XDECREF(told);
    }
    Py_XDECREF(bytes);
    return is_good;
}

/* `Outgoing._stream_frame_out` of new bytes; answers the frame's size, 0 when nothing may leave, -1
 * with an exception. */
static long long frame_out(PyObject *connection, PyObject *stream, long long room, PyObject *frames,
    PyObject *train, PyObject *handlers) {
    struct run run = {.sender = get(stream, STREAM_sender)};
    PyObject *label = get(run.sender, SENDER_label), *head = NULL;
    long long granted, most, wrote = -1;

    if (!is_bytes(label) || PyBytes_GET_SIZE(label) > LABEL) {
        PyErr_SetString(PyExc_TypeError, "a label is a varint");
        return -1;
    }
    if (!number_in(run.sender, SENDER_highest_offset, &run.start) ||
        !number_in(run.sender, SENDER__buffer_stop, &run.stop) ||
        !number_in(connection, CONNECTION__remote_max_data, &granted) ||
        !number_in(connection, CONNECTION__remote_max_data_used, &run.credit_used) ||
        !number_in(stream, STREAM_max_stream_data_remote, &most)) {
        return -1;
    }
    run.most = run.start + granted - run.credit_used;
    run.most = run.most < most ? run.most : most;
    room -= (run.stop < FAR ? 7 : 11) + PyBytes_GET_SIZE(label);
    int found = room < 0 ? 0 : take(&run, room);
    if (found <= 0) {
        Py_XDECREF(run.data);
        return found;
    }
    long long size = PyBytes_GET_SIZE(run.data);
    if ((head = frame_head(label, run.start, size, run.fin)) != NULL &&
        PyList_Append(frames, head) == 0 && PyList_Append(frames, run.data) == 0 &&
        carry(train, handlers, &run) &&
        put_number(connection, CONNECTION__remote_max_data_used, run.credit_used + size)) {
        wrote = PyBytes_GET_SIZE(head) + size;
    }
    Py_XDECREF(head);
    Py_XDECREF(run.data);
    return wrote;
}

/* `Outgoing._fill_from`: frames of one stream; answers their size, -1 with an exception. */
static long long fill_from(PyObject *connection, PyObject *stream, long long room, PyObject *frames,
    PyObject *train, PyObject *handlers) {
    PyObject *sender = is_kind(stream, STREAM) ? get(stream, STREAM_sender) : NULL;
    PyObject *receiver = sender != NULL ? get(stream, STREAM_receiver) : NULL;
    int stops = receiver != mute &&
                !(is_a(receiver, RECEIVER) && get(receiver, RECEIVER_stop_pending) == Py_False);
    long long wrote;

    if (!is_a(sender, SENDER) || stops || !is_true(sender, SENDER_is_orderly) ||
        is_true(sender, SENDER_reset_pending)) {
        PyObject *answer = PyObject_CallMethod(
            connection, "_fill_from", "OLOOO", stream, room, frames, train, handlers);
        int is_number = answer != NULL && as_number(answer, &wrote);
        Py_XDECREF(answer);
        return is_number ? wrote : -1;
    }
    if (is_true(stream, STREAM_is_blocked) || is_true(sender, SENDER_buffer_is_empty)) {
        return 0;
    }
    return frame_out(connection, stream, room, frames, train, handlers);
}

/* Whether a stream has more for another packet: 1 or 0, -1 with an exception. */
static int has_more(PyObject *stream) {
    PyObject *sender = member(stream, word_sender);
    int is_empty = sender == NULL ? -1 : told(member(sender, word_buffer_is_empty));
    int is_blocked = is_empty ? 1 : told(member(stream, word_is_blocked));

    Py_XDECREF(sender);
    return is_empty < 0 || is_blocked < 0 ? -1 : !is_blocked;
}

/* `Outgoing._fill`: add frames of streams whose turn it is; 0 with an exception. */
static int fill(
    PyObject *connection, long long room, PyObject *frames, PyObject *train, PyObject *handlers) {
    PyObject *stirred = get(connection, CONNECTION_stirred), *id, *stream;
    PyObject *streams = get(connection, CONNECTION__streams), *again = PyDict_New();
    int is_good = again != NULL && is_table(streams);

    while (is_good && room >= LEAST && PyDict_GET_SIZE(stirred)) {
        Py_ssize_t at = 0;
        if (!PyDict_Next(stirred, &at, &id, &stream)) {
            break;
        }
        Py_INCREF(id);
        Py_INCREF(stream);
        int is_known = PyDict_DelItem(stirred, id) < 0 ? -1 : PyDict_Contains(streams, id);
        is_good = is_known >= 0;
        if (is_known > 0) {
            long long wrote = fill_from(connection, stream, room, frames, train, handlers);
            int more = wrote < 0 ? -1 : has_more(stream);
            room -= wrote;
            is_good = more >= 0 && (!more || PyDict_SetItem(again, id, stream) == 0);
        }
        Py_DECREF(id);
        Py_DECREF(stream);
    }
    is_good = is_good && PyDict_Update(stirred, again) == 0;
    Py_XDECREF(again);
    return is_good && put_shared(train, TRAIN_handlers, handlers);
}

int send_mixed(PyObject *connection, PyObject *packets, PyObject *now) {
    PyObject *control = get(get(connection, CONNECTION__loss), RECOVERY__cc);
    PyObject *train = NULL, *packet = NULL, *payload = NULL, *empty = NULL;
    long long number, size, window, flying, overhead;
    int answer = -1;

    if (!number_in(connection, CONNECTION__packet_number, &number) ||
        !number_in(connection, CONNECTION__max_datagram_size, &size) ||
        !number_in(connection, CONNECTION__overhead, &overhead) ||
        !number_in(control, CONTROL_congestion_window, &window) ||
        !number_in(control, CONTROL_bytes_in_flight, &flying)) {
        return -1;
    }
    long long room = size < window - flying ? size : window - flying;
    PyObject *frames = PyList_New(0), *handlers = PyList_New(0);
    if (frames == NULL || handlers == NULL || (train = new_train(number, number, now)) == NULL ||
        !fill(connection, room - overhead, frames, train, handlers)) {
        goto over;
    }
    if (!PyList_GET_SIZE(frames)) {
        answer = 0;
        goto over;
    }
    empty = PyBytes_FromStringAndSize(NULL, 0);
    payload = CALL(empty, join, frames);
    packet = sealed(connection, payload);
    if (packet != NULL && put_number(train, TRAIN_sent_bytes, PyBytes_GET_SIZE(packet)) &&
        put_shared(train, TRAIN_full, get(train, TRAIN_sent_bytes)) &&
        append(packets, PyTuple_Pack(2, packet, get(train, TRAIN_sent_bytes))) &&
        enter_train(connection, train, 1, now)) {
        answer = 1;
    }

over:
    Py_XDECREF(frames);
    Py_XDECREF(handlers);
    Py_XDECREF(train);
    Py_XDECREF(empty);
    Py_XDECREF(payload);
    Py_XDECREF(packet);
    return answer;
}
