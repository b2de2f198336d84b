/* What comes in on a settled connection: `relay.net.incoming`, and `ShortWay.receive`. */

#include <math.h>

#include "steps.h"

enum {
    SPIN = 0x20, /* its bit in a packet's first byte (RFC 9000, 17.4) */
    ACK = 0x02,  /* frame types (19) */
    RESET_STREAM = 0x04,
    STOP_SENDING = 0x05,
    STREAM_FRAME = 0x08,
    MAX_DATA = 0x10,
    TOLD_APART = 128, /* packet numbers: `relay.net.window` */
};

static PyObject *range_from(long long start, long long stop) {
    PyObject *ends[] = {PyLong_FromLongLong(start), PyLong_FromLongLong(stop)}, *range = NULL;
    if (ends[0] != NULL && ends[1] != NULL) {
        range = PyObject_Vectorcall((PyObject *)&PyRange_Type, ends, 2, NULL);
    }
    Py_XDECREF(ends[0]);
    Py_XDECREF(ends[1]);
    return range;
}

/* The last of some ranges, which is kept as it is where it does not end at `start`; otherwise it
 * goes on to `stop`. -1 with an exception, 0 where it does not, else 1. */
static int prolong(PyObject *ranges, long long start, long long stop) {
    Py_ssize_t count = PyList_GET_SIZE(ranges);
    long long begun, ended;

    if (!count) {
        return 0;
    }
    PyObject *last = PyList_GET_ITEM(ranges, count - 1);
    if (!number_of(last, word_stop, &ended)) {
        return -1;
    }
    if (ended != start) {
        return 0;
    }
    if (!number_of(last, word_start, &begun)) {
        return -1;
    }
    PyObject *longer = range_from(begun, stop);
    return longer != NULL && PyList_SetItem(ranges, count - 1, longer) == 0 ? 1 : -1;
}

/* `Window.add_next`. */
static int add_next(PyObject *window, long long start, long long stop) {
    long long lower;
    int is_longer = 0;
    PyObject *ranges = NULL;

    if (is_a(window, WINDOW)) {
        ranges = member(get(window, WINDOW__came), word__RangeSet__ranges);
        if (ranges == NULL || !is_list(ranges) || !number_in(window, WINDOW__lower, &lower)) {
            Py_XDECREF(ranges);
            return 0;
        }
        is_longer = prolong(ranges, start, stop);
    }
    if (is_longer > 0 && stop - TOLD_APART > lower) {
        lower = stop - TOLD_APART;
        if (!put_number(window, WINDOW__lower, lower)) {
            is_longer = -1;
        } else if (PyList_GET_SIZE(ranges) > 1) {
            PyObject *came = get(window, WINDOW__came);
            is_longer = done(PyObject_CallMethod(came, "subtract", "iL", 0, lower)) ? 1 : -1;
        }
    }
    Py_XDECREF(ranges);
    if (is_longer) {
        return is_longer > 0;
    }
    return done(PyObject_CallMethod(window, "add_next", "LL", start, stop));
}

/* Have a method of the connection hear a frame. */
static int hear(PyObject *connection, enum word word, PyObject *frame) {
    PyObject *method = PyObject_GetAttr(connection, words[word]);
    int is_good = method != NULL && done(PyObject_Call(method, frame, NULL));
    Py_XDECREF(method);
    return is_good;
}

/* A `Heard` with these bytes, which is told. */
static int tell_heard(
    PyObject *connection, PyObject *number, PyObject *data, int is_last, int is_whole) {
    PyObject *heard = books_types[HEARD]->tp_alloc(books_types[HEARD], 0);
    int is_good = heard != NULL && put_shared(heard, HEARD_stream_id, number) &&
                  put_shared(heard, HEARD_data, data) &&
                  put_flag(heard, HEARD_end_stream, is_last) &&
                  put_shared(heard, HEARD_chunks, Py_None) &&
                  put_shared(connection, CONNECTION__heard, is_whole ? Py_None : heard) &&
                  done(CALL(get(connection, CONNECTION_events), append, heard));
    Py_XDECREF(heard);
    return is_good;
}

/* `Incoming._whole_stream`: 1 when it was one, else 0; -1 with an exception. */
static int whole_stream(PyObject *connection, PyObject *number, long long id, PyObject *data) {
    PyObject *limit = get(connection, CONNECTION__local_max_streams_uni);
    PyObject *credit = get(connection, CONNECTION__local_max_data);
    long long had, value, sent, used, granted, most, size = PyBytes_GET_SIZE(data);

    if (!number_of(limit, word_used, &had) || !number_of(limit, word_value, &value) ||
        !number_of(limit, word_sent, &sent) || !number_of(credit, word_used, &used) ||
        !number_of(credit, word_value, &granted) ||
        !number_in(connection, CONNECTION__local_max_stream_data_uni, &most)) {
        return -1;
    }
    long long kind = is_true(connection, CONNECTION__is_client) ? 3 : 2;
    if (id != (had << 2 | kind) || had >= value || !size || size > most || used + size > granted) {
        return 0;
    }
    if (!put_flag(connection, CONNECTION_has_news, 1) ||
        !set_number(credit, word_used, used + size) || !set_number(limit, word_used, had + 1) ||
        !set_number(limit, word_value, value + 1)) {
        return -1;
    }
    if (sent - (had + 1) < value + 1 - sent && !put_flag(connection, CONNECTION__is_long_due, 1)) {
        return -1;
    }
    return tell_heard(connection, number, data, 1, 1) ? 1 : -1;
}

/* `Incoming._stream_frame`. */
static int stream_frame(PyObject *connection, PyObject *frame) {
    long long kind, id, offset, begun, highest, most, used, limit;

    if (PyTuple_GET_SIZE(frame) != 4 || !is_bytes(PyTuple_GET_ITEM(frame, 3))) {
        PyErr_SetString(PyExc_TypeError, "no STREAM frame");
        return 0;
    }
    PyObject *number = PyTuple_GET_ITEM(frame, 1), *data = PyTuple_GET_ITEM(frame, 3);
    PyObject *streams = get(connection, CONNECTION__streams);
    PyObject *credit = get(connection, CONNECTION__local_max_data);
    if (!as_number(PyTuple_GET_ITEM(frame, 0), &kind) || !as_number(number, &id) ||
        !as_number(PyTuple_GET_ITEM(frame, 2), &offset)) {
        return 0;
    }
    PyObject *stream = is_table(streams) ? PyDict_GetItemWithError(streams, number) : NULL;
    if (stream == NULL && PyErr_Occurred()) {
        return 0;
    }
    long long own = is_true(connection, CONNECTION__is_client) ? 2 : 3;
    if (stream == NULL && (id & 3) != own && kind & 1 && !offset) {
        int is_whole = whole_stream(connection, number, id, data);
        if (is_whole) {
            return is_whole > 0;
        }
    }
    PyObject *stirred = get(connection, CONNECTION_stirred);
    if (stream == NULL || (id & 3) == own || !PyBytes_GET_SIZE(data) || !is_kind(stream, STREAM) ||
        !is_dict(stirred)) {
        return hear(connection, word__stream_frame, frame);
    }
    PyObject *receiver = get(stream, STREAM_receiver);
    if (!is_a(receiver, RECEIVER) || !is_none(receiver, RECEIVER__final_size) ||
        is_true(receiver, RECEIVER_is_finished)) {
        return hear(connection, word__stream_frame, frame);
    }
    long long end = offset + PyBytes_GET_SIZE(data);
    if (!number_in(receiver, RECEIVER__buffer_start, &begun) ||
        !number_in(receiver, RECEIVER_highest_offset, &highest) ||
        !number_in(stream, STREAM_max_stream_data_local, &most) ||
        !number_of(credit, word_used, &used) || !number_of(credit, word_value, &limit)) {
        return 0;
    }
    used += end - highest;
    if (offset != begun || offset != highest || end > most || used > limit) {
        return hear(connection, word__stream_frame, frame);
    }
    /* The next bytes, and nothing came before its turn: nothing to be put together. */
    int is_last = kind & 1;
    Py_INCREF(stream);
    PyObject *heard = get(connection, CONNECTION__heard);
    int is_good = put_flag(connection, CONNECTION_has_news, 1) &&
                  put_number(receiver, RECEIVER__buffer_start, end) &&
                  put_number(receiver, RECEIVER_highest_offset, end) &&
                  (!is_last || (put_number(receiver, RECEIVER__final_size, end) &&
                                   put_flag(receiver, RECEIVER_is_finished, 1))) &&
                  set_number(credit, word_used, used);
    long long before = -1;
    if (is_good && is_a(heard, HEARD)) {
        is_good = number_in(heard, HEARD_stream_id, &before);
    }
    if (is_good && before == id) {
        is_good = done(CALL(heard, add, data, is_last ? Py_True : Py_False));
    } else if (is_good) {
        is_good = tell_heard(connection, number, data, is_last, 0);
    }
    if (is_good && is_last) {
        PyObject *ended = member(get(stream, STREAM_sender), word_is_finished);
        int has_ended = told(ended);
        is_good = has_ended >= 0 && (!has_ended || forget(connection, stream));
    } else if (is_good && end > most - end) {
        is_good = PyDict_SetItem(stirred, number, stream) == 0 &&
                  put_flag(connection, CONNECTION__is_long_due, 1);
    }
    Py_DECREF(stream);
    return is_good;
}

/* `Incoming.next_event`, where bytes of a stream are the next. */
PyObject *connection_next_event(PyObject *connection, PyObject *Py_UNUSED(none)) {
    PyObject *events = get(connection, CONNECTION_events);
    Py_ssize_t count = events == NULL ? 0 : PyObject_Size(events);
    long long delivered, enough;

    if (count <= 0) {
        return count < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *first = PySequence_GetItem(events, 0);
    PyObject *data =
        is_a(first, HEARD) && is_none(first, HEARD_chunks) ? get(first, HEARD_data) : NULL;
    Py_XDECREF(first); /* the queue has it */
    if (first == NULL) {
        return NULL;
    }
    if (data == NULL || !is_bytes(data)) {
        return call(connection, word__next_event, NULL, 0);
    }
    if (!number_in(connection, CONNECTION__delivered, &delivered) ||
        !number_in(connection, CONNECTION__grant_at, &enough)) {
        return NULL;
    }
    delivered += PyBytes_GET_SIZE(data);
    if (!put_shared(connection, CONNECTION__heard, Py_None) ||
        !put_number(connection, CONNECTION__delivered, delivered) ||
        (delivered >= enough && !put_flag(connection, CONNECTION__is_long_due, 1))) {
        return NULL;
    }
    return call(events, word_popleft, NULL, 0);
}

/* An acknowledgement that came (RFC 9000, 19.3). */
static int ack_frame(PyObject *connection, PyObject *frame, double now) {
    PyObject *loss = get(connection, CONNECTION__loss), *space = get(connection, CONNECTION__space);
    long long waited, exponent, first, last, next;

    if (PyTuple_GET_SIZE(frame) != 3 || !is_list(PyTuple_GET_ITEM(frame, 1)) ||
        !is_a(loss, RECOVERY)) {
        PyErr_SetString(PyExc_TypeError, "no ACK frame");
        return 0;
    }
    PyObject *said = PyTuple_GET_ITEM(frame, 1);
    if (!as_number(PyTuple_GET_ITEM(frame, 2), &waited) ||
        !number_in(connection, CONNECTION__remote_ack_delay_exponent, &exponent) ||
        !put_flag(loss, RECOVERY_peer_completed_address_validation, 1)) {
        return 0;
    }
    double delay = ldexp((double)waited, (int)exponent) / 1000000;
    PyObject *range = PyList_GET_SIZE(said) ? PyList_GET_ITEM(said, 0) : Py_None;
    if (!is_tuple(range) || PyTuple_GET_SIZE(range) != 2) {
        PyErr_SetString(PyExc_TypeError, "no range");
        return 0;
    }
    if (!as_number(PyTuple_GET_ITEM(range, 0), &first) ||
        !as_number(PyTuple_GET_ITEM(range, 1), &last) ||
        !number_in(connection, CONNECTION__packet_number, &next)) {
        return 0;
    }
    int is_good;
    if (last >= next) {
        is_good = done(PyObject_CallMethod(connection, "_believe", "iL", ACK, last));
    } else if (PyList_GET_SIZE(said) == 1) {
        is_good = acknowledge(loss, space, first, last, delay, now);
    } else {
        PyObject *ranges = PyList_GetSlice(said, 0, PyList_GET_SIZE(said));
        is_good =
            ranges != NULL && PyList_Reverse(ranges) == 0 &&
            done(PyObject_CallMethod(loss, "acknowledge_all", "OOdd", space, ranges, delay, now));
        Py_XDECREF(ranges);
    }
    if (is_good && is_true(loss, RECOVERY_lost_foreign)) {
        is_good = put_flag(loss, RECOVERY_lost_foreign, 0) &&
                  put_flag(connection, CONNECTION__is_long_due, 1);
    }
    return is_good;
}

/* Hear the frames of a packet; whether it asks to be acknowledged is added to `eliciting`. */
static int hear_frames(PyObject *connection, PyObject *frames, double now, int *eliciting) {
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(frames); at++) {
        PyObject *frame = PyList_GET_ITEM(frames, at);
        long long kind;
        if (!is_tuple(frame) || !PyTuple_GET_SIZE(frame)) {
            PyErr_SetString(PyExc_TypeError, "no frame");
            return 0;
        }
        if (!as_number(PyTuple_GET_ITEM(frame, 0), &kind)) {
            return 0;
        }
        int is_good = 1;
        if (kind == ACK) {
            is_good = ack_frame(connection, frame, now);
        } else {
            *eliciting = 1;
            if (kind >= MAX_DATA) {
                is_good = hear(connection, word__limit_frame, frame);
            } else if (kind >= STREAM_FRAME) {
                is_good = stream_frame(connection, frame);
            } else if (kind == RESET_STREAM) {
                is_good = hear(connection, word__reset_frame, frame);
            } else if (kind == STOP_SENDING) {
                is_good = hear(connection, word__stop_frame, frame);
            }
        }
        if (!is_good) {
            return 0;
        }
    }
    return 1;
}

/* An error of the peer's ends the connection; 0 when it is another, which is raised. */
static int refuse(PyObject *connection) {
    PyObject *type, *error, *trace;

    if (!PyErr_ExceptionMatches(violation)) {
        return 0;
    }
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    int is_good = done(CALL(connection, _refuse, error));
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return is_good;
}

/* `Incoming._came`: packets were heard whose last number is this one. */
static int came(
    PyObject *connection, long long count, long long number, int is_eliciting, double now) {
    PyObject *space = get(connection, CONNECTION__space), *loss = get(connection, CONNECTION__loss);
    PyObject *unsaid = get(connection, CONNECTION__unsaid);
    long long begun = number + 1 - count, largest, owed, silent;
    double wait;

    if (!is_a(space, SPACE) || !is_a(loss, RECOVERY) || !is_list(unsaid) ||
        !number_in(loss, RECOVERY__pto_count, &silent) ||
        !number_in(space, SPACE_largest_received_packet, &largest)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "a book is missing");
        }
        return 0;
    }
    int is_next = 0;
    if (is_true(connection, CONNECTION_is_settled) && !silent && begun > largest) {
        is_next = prolong(unsaid, begun, number + 1);
    }
    if (is_next < 0) {
        return 0;
    }
    if (!is_next) {
        return done(PyObject_CallMethod(
            connection, "_came", "LLOd", count, number, is_eliciting ? Py_True : Py_False, now));
    }
    if (!put_time(connection, CONNECTION__alive_at, now) ||
        !put_flag(connection, CONNECTION__ack_eliciting_sent_since_receipt, 0) ||
        !put_number(space, SPACE_largest_received_packet, number) ||
        !put_shared(space, SPACE_largest_received_time, get(connection, CONNECTION__alive_at)) ||
        !add_next(get(connection, CONNECTION__numbers), begun, number + 1)) {
        return 0;
    }
    if (!is_eliciting) {
        return 1;
    }
    if (is_none(space, SPACE_ack_at)) {
        return time_in(connection, CONNECTION__ack_delay, &wait) &&
               put_time(space, SPACE_ack_at, now + wait) &&
               put_number(connection, CONNECTION__owed, count);
    }
    return number_in(connection, CONNECTION__owed, &owed) &&
           put_number(connection, CONNECTION__owed, owed + count);
}

/* `Incoming._take_in`: packets that were opened. */
static int take_in(PyObject *connection, PyObject *one, PyObject *now_object, double now) {
    PyObject *space = get(connection, CONNECTION__space), *frames = PyTuple_GET_ITEM(one, 3);
    PyObject *rest = PyTuple_GET_ITEM(one, 4);
    long long count, number, first, expected, highest;

    if (!is_bytes(rest) || PyBytes_GET_SIZE(rest) || !is_list(frames) ||
        !is_ours(get(connection, CONNECTION__loss))) {
        return done(CALL(connection, _take_in, one, now_object));
    }
    if (!as_number(PyTuple_GET_ITEM(one, 0), &count) ||
        !as_number(PyTuple_GET_ITEM(one, 1), &number) ||
        !as_number(PyTuple_GET_ITEM(one, 2), &first) ||
        !number_in(space, SPACE_expected_packet_number, &expected) ||
        !number_in(connection, CONNECTION__spin_highest_pn, &highest)) {
        return 0;
    }
    if (number > expected && !put_number(space, SPACE_expected_packet_number, number + 1)) {
        return 0;
    }
    if (number > highest) {
        int spins = !(first & SPIN) != !is_true(connection, CONNECTION__is_client);
        if (!put_flag(connection, CONNECTION__spin_bit, spins) ||
            !put_number(connection, CONNECTION__spin_highest_pn, number)) {
            return 0;
        }
    }
    int is_eliciting = 0;
    if (!hear_frames(connection, frames, now, &is_eliciting)) {
        return refuse(connection);
    }
    return came(connection, count, number, is_eliciting, now);
}

static int read_found(
    PyObject *connection, PyObject *found, PyObject *now_object, double now, long long *read) {
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(found); at++) {
        PyObject *one = PyList_GET_ITEM(found, at), *space = get(connection, CONNECTION__space);
        long long count, number, largest;
        if (!is_tuple(one) || PyTuple_GET_SIZE(one) != 5) {
            PyErr_SetString(PyExc_TypeError, "no packet that was opened");
            return 0;
        }
        if (!as_number(PyTuple_GET_ITEM(one, 0), &count) ||
            !as_number(PyTuple_GET_ITEM(one, 1), &number) ||
            !number_in(space, SPACE_largest_received_packet, &largest)) {
            return 0;
        }
        *read += count;
        if (number <= largest) {
            PyObject *received = get(space, SPACE_received_packets);
            int came_before =
                received == NULL ? -1 : PySequence_Contains(received, PyTuple_GET_ITEM(one, 1));
            if (came_before < 0) {
                return 0;
            }
            if (came_before) {
                continue; /* RFC 9000, 12.3 */
            }
        }
        if (!take_in(connection, one, now_object, now)) {
            return 0;
        }
        if (!is_true(connection, CONNECTION_is_settled)) {
            break;
        }
    }
    return 1;
}

/* `Incoming._read`; -1 with an exception. */
static long long read_packets(
    PyObject *connection, PyObject *datagrams, Py_ssize_t start, PyObject *now_object, double now) {
    PyObject *keys = get(connection, CONNECTION__keys), *space = get(connection, CONNECTION__space);
    long long largest, count = 0;

    if (!is_a(keys, KEYS) || !is_a(space, SPACE)) {
        PyErr_SetString(PyExc_TypeError, "a book is missing");
        return -1;
    }
    if (!number_in(space, SPACE_largest_received_packet, &largest)) {
        return -1;
    }
    PyObject *next = PyLong_FromLongLong(largest + 1), *at = PyLong_FromSsize_t(start);
    PyObject *found =
        CALL(get(keys, KEYS_opener), open, datagrams, at, get(connection, CONNECTION_host_cid),
            get(keys, KEYS_phase), get(space, SPACE_expected_packet_number), next);
    Py_XDECREF(next);
    Py_XDECREF(at);
    if (found == NULL) {
        return -1;
    }
    int is_good = is_list(found) && read_found(connection, found, now_object, now, &count);
    Py_DECREF(found);
    return is_good ? count : -1;
}

PyObject *connection_receive(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    double now;

    if (given != 3 || !is_list(args[0])) {
        PyErr_SetString(PyExc_TypeError, "receive() takes datagrams, an address and now");
        return NULL;
    }
    if (!as_time(args[2], &now)) {
        return NULL;
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(args[0]);) {
        PyObject *home = get(connection, CONNECTION__home);
        long long count = 0;
        if (is_true(connection, CONNECTION_is_settled)) {
            int is_home = PyObject_RichCompareBool(args[1], home, Py_EQ);
            count = is_home > 0 ? read_packets(connection, args[0], at, args[2], now) : is_home;
        }
        if (count < 0) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_TypeError, "a book is not what it was");
            }
            return NULL;
        }
        if (!count) {
            PyObject *datagram = Py_NewRef(PyList_GET_ITEM(args[0], at));
            int is_good = done(CALL(connection, _receive_long, datagram, args[1], args[2]));
            Py_DECREF(datagram);
            if (!is_good) {
                return NULL;
            }
        }
        at += count ? (Py_ssize_t)count : 1;
    }
    PyObject *stirred = get(connection, CONNECTION_stirred);
    if ((is_dict(stirred) && PyDict_GET_SIZE(stirred)) ||
        is_true(connection, CONNECTION__is_long_due) ||
        is_true(connection, CONNECTION_wants_room)) {
        put_flag(connection, CONNECTION_has_news, 1);
    }
    Py_RETURN_NONE;
}
