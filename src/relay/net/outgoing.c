/* What goes out on a settled connection: `relay.net.outgoing`, and `ShortWay.departures`. */

#include <math.h>

#include "outgoing.h"

enum {
    FIRST = 0x41,  /* first byte of a packet with a number of two bytes (RFC 9000, 17.3.1) */
    SPIN = 0x20,   /* its bit (17.4) */
    TO_END = 0x0c, /* a STREAM frame with an offset that reaches to the end of the packet */
    ACK = 0x02,
};

/* `SharedSender.cut`: the bytes between two offsets. */
static PyObject *cut(PyObject *sender, long long start, long long stop) {
    PyObject *starts = get(sender, SENDER__starts), *chunks = get(sender, SENDER__chunks);
    Py_ssize_t low = 0, high = PyList_GET_SIZE(starts), size = (Py_ssize_t)(stop - start);
    long long begun;

    if (!high || PyList_GET_SIZE(chunks) != high) {
        PyErr_SetString(PyExc_IndexError, "nothing to cut");
        return NULL;
    }
    while (high - low > 1) { /* the last that begins no later */
        Py_ssize_t middle = low + (high - low) / 2;
        if (!as_number(PyList_GET_ITEM(starts, middle), &begun)) {
            return NULL;
        }
        if (begun <= start) {
            low = middle;
        } else {
            high = middle;
        }
    }
    if (!as_number(PyList_GET_ITEM(starts, low), &begun)) {
        return NULL;
    }
    long long at = start - begun;
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    for (Py_ssize_t filled = 0; data != NULL && filled < size; low++, at = 0) {
        PyObject *chunk = low < PyList_GET_SIZE(chunks) ? PyList_GET_ITEM(chunks, low) : NULL;
        if (!is_bytes(chunk) || at < 0 || at > PyBytes_GET_SIZE(chunk)) {
            PyErr_SetString(PyExc_TypeError, "chunks are bytes");
            Py_CLEAR(data);
            break;
        }
        Py_ssize_t left = PyBytes_GET_SIZE(chunk) - (Py_ssize_t)at;
        left = left < size - filled ? left : size - filled;
        memcpy(PyBytes_AS_STRING(data) + filled, PyBytes_AS_STRING(chunk) + at, (size_t)left);
        filled += left;
    }
    return data;
}

int take_new(struct run *run) {
    PyObject *sender = run->sender, *starts = get(sender, SENDER__starts);
    PyObject *chunks = get(sender, SENDER__chunks);
    long long end = run->stop, begun = -1, fin = -1;

    if (!is_list(starts) || !is_list(chunks)) {
        PyErr_SetString(PyExc_TypeError, "chunks are a list");
        return 0;
    }
    Py_ssize_t count = PyList_GET_SIZE(starts);
    run->stop = end > run->most ? run->most : end;
    if (!is_none(sender, SENDER__buffer_fin) && !number_in(sender, SENDER__buffer_fin, &fin)) {
        return 0;
    }
    run->fin = fin == run->stop;
    if (count && !as_number(PyList_GET_ITEM(starts, count - 1), &begun)) {
        return 0;
    }
    if (run->stop == run->start) {
        run->data = PyBytes_FromStringAndSize(NULL, 0);
    } else if (run->start == begun && run->stop == end && PyList_GET_SIZE(chunks) == count) {
        run->data = Py_NewRef(PyList_GET_ITEM(chunks, count - 1));
    } else {
        run->data = cut(sender, run->start, run->stop);
    }
    if (run->data == NULL || !is_bytes(run->data) ||
        PyBytes_GET_SIZE(run->data) != run->stop - run->start) {
        if (run->data != NULL) {
            PyErr_SetString(PyExc_TypeError, "chunks are bytes");
        }
        return 0;
    }
    run->is_last = run->stop == end;
    return put_number(sender, SENDER_highest_offset, run->stop) &&
           (!run->fin || put_flag(sender, SENDER__pending_eof, 0));
}

PyObject *new_train(long long first, long long last, PyObject *now) {
    PyObject *train = books_types[TRAIN]->tp_alloc(books_types[TRAIN], 0);
    int is_good = train != NULL && put_number(train, TRAIN_first, first) &&
                  put_number(train, TRAIN_last, last) && put_number(train, TRAIN_sent_bytes, 0) &&
                  put_shared(train, TRAIN_sent_time, now) && put_number(train, TRAIN_full, 0) &&
                  put_shared(train, TRAIN_sender, Py_None) && put_number(train, TRAIN_start, 0) &&
                  put_number(train, TRAIN_stop, 0) && put_number(train, TRAIN_step, 0) &&
                  put_flag(train, TRAIN_fin, 0) && put(train, TRAIN_handlers, PyTuple_New(0)) &&
                  put_flag(train, TRAIN_is_ack_eliciting, 1) &&
                  put_flag(train, TRAIN_is_foreign, 0) && put_flag(train, TRAIN_is_trial, 0) &&
                  put_shared(train, TRAIN_ticket, Py_None);
    if (!is_good) {
        Py_CLEAR(train);
    }
    return train;
}

int enter_train(PyObject *connection, PyObject *train, long long count, PyObject *now) {
    PyObject *loss = get(connection, CONNECTION__loss), *space = get(connection, CONNECTION__space);
    long long bytes;

    if (!number_in(train, TRAIN_sent_bytes, &bytes) ||
        !enter(loss, space, train, count, bytes, PyFloat_AS_DOUBLE(now))) {
        return 0;
    }
    return is_true(connection, CONNECTION__ack_eliciting_sent_since_receipt) ||
           (put_shared(connection, CONNECTION__alive_at, now) &&
               put_flag(connection, CONNECTION__ack_eliciting_sent_since_receipt, 1));
}

/* What a packet's header begins with, and the peer's id in it; 0 with an exception, and then either
 * may be NULL. */
static int begin_header(PyObject *connection, PyObject **first, PyObject **cid) {
    PyObject *keys = get(connection, CONNECTION__keys);
    long spins = is_true(connection, CONNECTION__spin_bit) ? SPIN : 0;
    long long phase;

    if (!number_in(keys, KEYS_phase, &phase)) {
        return 0;
    }
    *first = PyLong_FromLong(FIRST | spins | (long)phase << 2);
    *cid = member(get(connection, CONNECTION__peer_cid), word_cid);
    return *first != NULL && *cid != NULL;
}

/* Have a pacer count packets that left; 0 with an exception. */
static int spend(PyObject *pacer, long long count) {
    double bucket, paced;

    if (is_none(pacer, PACER_packet_time)) {
        return 1;
    }
    if (!time_in(pacer, PACER_packet_time, &paced) || !time_in(pacer, PACER_bucket_time, &bucket)) {
        return 0;
    }
    double left = bucket - paced * (double)count;
    return put_time(pacer, PACER_bucket_time, left > 0.0 ? left : 0.0);
}

/* Seal a run, and note it where it is noted. */
static int leave(PyObject *connection, PyObject *packets, struct run *run, PyObject *now) {
    PyObject *keys = get(connection, CONNECTION__keys), *label = get(run->sender, SENDER_label);
    PyObject *first = NULL, *cid = NULL;
    long long number, size = run->stop - run->start;
    char frame[1 + LABEL] = {TO_END};

    if (!is_bytes(label) || PyBytes_GET_SIZE(label) > LABEL || !is_a(keys, KEYS)) {
        PyErr_SetString(PyExc_TypeError, "a label is a varint");
        return 0;
    }
    memcpy(frame + 1, PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label));
    if (!number_in(connection, CONNECTION__packet_number, &number)) {
        return 0;
    }
    run->count = size ? (size - 1) / run->step + 1 : 1; /* an end without bytes is a packet, too */
    long long last = number + run->count - 1;
    long long bytes = size + run->count * (run->limit - run->step);
    PyObject *train = new_train(number, last, now);
    PyObject *head = PyBytes_FromStringAndSize(frame, 1 + PyBytes_GET_SIZE(label));
    int is_good =
        train != NULL && begin_header(connection, &first, &cid) &&
        put_number(train, TRAIN_sent_bytes, bytes) && put_number(train, TRAIN_full, run->limit) &&
        put_shared(train, TRAIN_sender, run->sender) &&
        put_number(train, TRAIN_start, run->start) && put_number(train, TRAIN_stop, run->stop) &&
        put_number(train, TRAIN_step, run->step) && put_flag(train, TRAIN_fin, run->fin);
    if (is_good) {
        PyObject *train_sealed = CALL(get(keys, KEYS_sealer), seal_run, run->data,
            get(train, TRAIN_step), head, get(train, TRAIN_start), get(train, TRAIN_fin), first,
            cid, get(train, TRAIN_first));
        PyObject *pair =
            train_sealed == NULL ? NULL : PyTuple_Pack(2, train_sealed, get(train, TRAIN_full));
        Py_XDECREF(train_sealed);
        is_good =
            append(packets, pair) &&
            put_number(connection, CONNECTION__remote_max_data_used, run->credit_used + size) &&
            put_number(connection, CONNECTION__packet_number, last + 1) &&
            enter_train(connection, train, run->count, now);
    }
    Py_XDECREF(train);
    Py_XDECREF(head);
    Py_XDECREF(first);
    Py_XDECREF(cid);
    return is_good;
}

/* `Outgoing._send_run`: 1 when something was done, 0 when it is not that simple, else -1. */
static int send_run(PyObject *connection, PyObject *packets, PyObject *now) {
    PyObject *stirred = get(connection, CONNECTION_stirred), *id, *stream;
    PyObject *loss = get(connection, CONNECTION__loss), *control = get(loss, RECOVERY__cc);
    PyObject *pacer = get(loss, RECOVERY__pacer);
    Py_ssize_t at = 0;

    if (!PyDict_Next(stirred, &at, &id, &stream)) {
        return 0;
    }
    int is_alone = PyDict_GET_SIZE(stirred) == 1;
    PyObject *sender = is_kind(stream, STREAM) ? get(stream, STREAM_sender) : NULL;
    if (!is_a(sender, SENDER)) {
        return told(CALL(connection, _send_run, now, packets));
    }
    struct run run = {.sender = sender};
    long long overhead, window, flying, granted, most;
    double bucket, paced = 0.0;
    if (!number_in(sender, SENDER_highest_offset, &run.start) ||
        !number_in(sender, SENDER__buffer_stop, &run.stop) ||
        !number_in(connection, CONNECTION__max_datagram_size, &run.limit) ||
        !number_in(connection, CONNECTION__overhead, &overhead) ||
        !number_in(control, CONTROL_congestion_window, &window) ||
        !number_in(control, CONTROL_bytes_in_flight, &flying) ||
        !number_in(connection, CONNECTION__remote_max_data, &granted) ||
        !number_in(connection, CONNECTION__remote_max_data_used, &run.credit_used) ||
        !number_in(stream, STREAM_max_stream_data_remote, &most) ||
        !time_in(pacer, PACER_bucket_time, &bucket) ||
        (!is_none(pacer, PACER_packet_time) && !time_in(pacer, PACER_packet_time, &paced))) {
        return -1;
    }
    if (!is_true(sender, SENDER_is_orderly) || is_true(stream, STREAM_is_blocked) ||
        run.stop >= FAR) {
        return 0;
    }
    if (run.start == run.stop && !is_true(sender, SENDER__pending_eof)) {
        return put_flag(sender, SENDER_buffer_is_empty, 1) && PyDict_DelItem(stirred, id) == 0 ? 1
                                                                                               : -1;
    }
    PyObject *label = get(sender, SENDER_label);
    run.step = run.limit - overhead - 5 - (is_bytes(label) ? PyBytes_GET_SIZE(label) : 0);
    if (run.step < 1 || run.limit < 1 || (run.stop - run.start < run.step && !is_alone)) {
        return 0; /* what several have shares packets */
    }
    long long count = (window - flying) / run.limit;
    if (!is_none(pacer, PACER_packet_time)) {
        double allowed = paced > 0.0 ? ceil(bucket / paced) : 0.0;
        count = (double)count < allowed ? count : (long long)allowed;
    }
    if (count <= 0) {
        return 0;
    }
    long long room = count * run.step, credit = granted - run.credit_used;
    run.most = run.start + (room < credit ? room : credit);
    run.most = run.most < most ? run.most : most;
    if (!is_alone) {
        long long end = run.most < run.stop ? run.most : run.stop;
        run.most = run.start + (end > run.start ? (end - run.start) / run.step * run.step : 0);
    }
    if (run.most < run.start || (run.most == run.start && (run.start < run.stop || !is_alone))) {
        return 0; /* less than a packet may still fit */
    }
    Py_INCREF(id);
    Py_INCREF(stream);
    Py_INCREF(sender);
    int is_good = take_new(&run) && leave(connection, packets, &run, now);
    Py_XDECREF(run.data);
    if (is_good && run.is_last) {
        is_good = put_flag(sender, SENDER_buffer_is_empty, 1) && PyDict_DelItem(stirred, id) == 0;
    }
    is_good = is_good && spend(pacer, run.count);
    Py_DECREF(id);
    Py_DECREF(stream);
    Py_DECREF(sender);
    return is_good ? 1 : -1;
}

PyObject *sealed(PyObject *connection, PyObject *payload) {
    PyObject *keys = get(connection, CONNECTION__keys), *first = NULL, *cid = NULL, *packet = NULL;
    PyObject *pacer = get(get(connection, CONNECTION__loss), RECOVERY__pacer);
    long long number;

    if (payload == NULL || !number_in(connection, CONNECTION__packet_number, &number)) {
        return NULL;
    }
    if (begin_header(connection, &first, &cid)) {
        packet = CALL(get(keys, KEYS_sealer), seal, payload, first, cid,
            get(connection, CONNECTION__packet_number));
    }
    Py_XDECREF(first);
    Py_XDECREF(cid);
    int is_good = packet != NULL && is_bytes(packet) &&
                  put_number(connection, CONNECTION__packet_number, number + 1) && spend(pacer, 1);
    if (!is_good) {
        Py_CLEAR(packet);
    }
    return packet;
}

/* `Outgoing._ack_frame` of one range, in a packet with nothing else. */
static PyObject *only_ack(PyObject *connection, double now) {
    PyObject *space = get(connection, CONNECTION__space);
    PyObject *range = PyList_GET_ITEM(get(connection, CONNECTION__unsaid), 0);
    long long start, stop, exponent;
    double came = now;
    unsigned char frame[14] = {ACK}, *to = frame + 1;

    if (!number_of(range, word_start, &start) || !number_of(range, word_stop, &stop) ||
        !number_in(connection, CONNECTION__local_ack_delay_exponent, &exponent) ||
        (!is_none(space, SPACE_largest_received_time) &&
            !time_in(space, SPACE_largest_received_time, &came))) {
        return NULL;
    }
    double waited = (now - came) * 1000000;
    waited = waited < 0.0 ? 0.0 : waited > 1e9 ? 1e9 : waited;
    long long delay = (long long)waited >> exponent;
    const long long says[] = {stop - 1, delay, -1, stop - start - 1};
    for (int index = 0; index < 4; index++) {
        if (index == 2) {
            *to++ = 0; /* no further range */
            continue;
        }
        for (int shift = 24; shift >= 0; shift -= 8) { /* varints of four bytes (RFC 9000, 16) */
            *to++ = (unsigned char)((says[index] | INT64_C(2) << 30) >> shift);
        }
    }
    PyObject *payload = PyBytes_FromStringAndSize((char *)frame, sizeof frame);
    PyObject *packet = sealed(connection, payload);
    Py_XDECREF(payload);
    if (packet != NULL && !put_shared(space, SPACE_ack_at, Py_None)) {
        Py_CLEAR(packet);
    }
    return packet;
}

/* `Outgoing._send_short` but for a mere acknowledgement. */
static int send_short(
    PyObject *connection, PyObject *packets, PyObject *now_object, double now, int ack_due) {
    PyObject *stirred = get(connection, CONNECTION_stirred);
    PyObject *pacer = get(get(connection, CONNECTION__loss), RECOVERY__pacer);
    double bucket, paced;

    while (ack_due || PyDict_GET_SIZE(stirred)) {
        if (!ack_due && !is_none(pacer, PACER_packet_time)) {
            if (!time_in(pacer, PACER_bucket_time, &bucket) ||
                !time_in(pacer, PACER_packet_time, &paced)) {
                return 0;
            }
            if (bucket <= 0.0) {
                return put_time(connection, CONNECTION__pacing_at, now + paced);
            }
        }
        int sent = ack_due ? 0 : send_run(connection, packets, now_object);
        if (!sent) {
            sent = ack_due ? told(CALL(connection, _send_mixed, now_object, Py_True, packets))
                           : send_mixed(connection, packets, now_object);
            if (!sent) {
                return 1;
            }
            ack_due = 0;
        }
        if (sent < 0) {
            return 0;
        }
    }
    return 1;
}

/* `Pacer.update_bucket`. */
static int fill_bucket(PyObject *pacer, double now) {
    double before, bucket, most;

    if (is_none(pacer, PACER_packet_time)) {
        return 1;
    }
    if (!time_in(pacer, PACER_evaluation_time, &before)) {
        return 0;
    }
    if (now <= before) {
        return 1;
    }
    if (!time_in(pacer, PACER_bucket_time, &bucket) || !time_in(pacer, PACER_bucket_max, &most)) {
        return 0;
    }
    bucket = bucket + now - before;
    return put_time(pacer, PACER_bucket_time, bucket < most ? bucket : most) &&
           put_time(pacer, PACER_evaluation_time, now);
}

/* Whether an acknowledgement is to leave; -1 with an exception. */
static int is_ack_due(PyObject *connection, double now) {
    PyObject *space = get(connection, CONNECTION__space);
    long long owed, every;
    double at;

    if (is_none(space, SPACE_ack_at)) {
        return 0;
    }
    if (!time_in(space, SPACE_ack_at, &at)) {
        return -1;
    }
    if (at <= now) {
        return 1;
    }
    if (!number_in(connection, CONNECTION__owed, &owed) ||
        !number_of(get(connection, CONNECTION__acks), word_every, &every)) {
        return -1;
    }
    return owed >= every;
}

/* Whether there are no more than everyday packets to be sent; -1 with an exception. */
static int is_everyday(PyObject *connection) {
    PyObject *mtu = get(connection, CONNECTION__mtu);
    long long size, most;

    if (!is_true(connection, CONNECTION_is_settled) ||
        is_true(connection, CONNECTION__is_long_due) || !is_none(connection, CONNECTION__rated) ||
        !is_a(mtu, MTU) || !is_a(get(connection, CONNECTION__space), SPACE) ||
        !is_a(get(connection, CONNECTION__keys), KEYS) ||
        !is_dict(get(connection, CONNECTION_stirred)) ||
        !is_list(get(connection, CONNECTION__unsaid)) ||
        get(connection, CONNECTION__home) == NULL || !is_ours(get(connection, CONNECTION__loss))) {
        return 0;
    }
    if (!number_in(mtu, MTU_size, &size) ||
        !number_in(connection, CONNECTION__max_datagram_size, &most)) {
        return -1;
    }
    return size == most;
}

/* Add packets that ask something of the path or the peer; 0 with an exception. */
static int add_extras(PyObject *connection, PyObject *departures, PyObject *now) {
    PyObject *extras = CALL(connection, _extras, now), *home = get(connection, CONNECTION__home);
    int is_good = extras != NULL && is_list(extras);

    for (Py_ssize_t at = 0; is_good && at < PyList_GET_SIZE(extras); at++) {
        PyObject *extra = PyList_GET_ITEM(extras, at);
        PyObject *size = PyLong_FromSsize_t(is_bytes(extra) ? PyBytes_GET_SIZE(extra) : 0);
        is_good = size != NULL && append(departures, PyTuple_Pack(3, extra, size, home));
        Py_XDECREF(size);
    }
    Py_XDECREF(extras);
    return is_good;
}

PyObject *connection_departures(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    PyObject *packets = NULL, *departures = NULL;
    double extras_at;

    if (given != 1) {
        PyErr_SetString(PyExc_TypeError, "departures() takes now");
        return NULL;
    }
    PyObject *now_object = args[0];
    double now = PyFloat_CheckExact(now_object) ? PyFloat_AS_DOUBLE(now_object) : -1.0;
    int is_simple = now >= 0.0 ? is_everyday(connection) : 0;
    int ack_due = is_simple > 0 ? is_ack_due(connection, now) : 0;
    if (is_simple < 0 || ack_due < 0) {
        return NULL;
    }
    if (!is_simple) {
        return CALL(connection, _departures, now_object);
    }
    PyObject *queue = get(connection, CONNECTION__streams_queue);
    PyObject *unsaid = get(connection, CONNECTION__unsaid);
    PyObject *pacer = get(get(connection, CONNECTION__loss), RECOVERY__pacer);
    int has_bytes = PyDict_GET_SIZE(get(connection, CONNECTION_stirred)) > 0;
    long long stop = FAR + 1;
    if (!put_flag(connection, CONNECTION_has_news, 0) ||
        !put_flag(connection, CONNECTION_heard_more, 0) ||
        !put_shared(connection, CONNECTION__pacing_at, Py_None) ||
        !time_in(connection, CONNECTION__extras_at, &extras_at) ||
        (departures = PyList_New(0)) == NULL) {
        return NULL;
    }
    if (now >= extras_at) {
        if (!add_extras(connection, departures, now_object)) {
            goto failed;
        }
    }
    if (!has_bytes && !ack_due) {
        goto whole;
    }
    if (!is_list(queue) || PyList_SetSlice(queue, 0, PyList_GET_SIZE(queue), NULL) < 0 ||
        !fill_bucket(pacer, now)) {
        goto failed;
    }
    if (!has_bytes && PyList_GET_SIZE(unsaid) == 1 &&
        !number_of(PyList_GET_ITEM(unsaid, 0), word_stop, &stop)) {
        goto failed;
    }
    if (stop <= FAR) { /* most that a publisher hears */
        PyObject *packet = only_ack(connection, now);
        PyObject *size = packet == NULL ? NULL : PyLong_FromSsize_t(PyBytes_GET_SIZE(packet));
        PyObject *departure =
            size == NULL ? NULL : PyTuple_Pack(3, packet, size, get(connection, CONNECTION__home));
        Py_XDECREF(packet);
        Py_XDECREF(size);
        if (!append(departures, departure)) {
            goto failed;
        }
        goto whole;
    }
    packets = PyList_New(0);
    if (packets == NULL || !send_short(connection, packets, now_object, now, ack_due)) {
        goto failed;
    }
    if (PyList_GET_SIZE(packets) > 1) {
        PyObject *trains = PyObject_CallOneArg(joined, packets);
        Py_SETREF(packets, trains);
        if (packets == NULL || !is_list(packets)) {
            goto failed;
        }
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(packets); at++) {
        PyObject *pair = PyList_GET_ITEM(packets, at);
        if (!is_tuple(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "packets are pairs");
            goto failed;
        }
        if (!append(
                departures, PyTuple_Pack(3, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1),
                                get(connection, CONNECTION__home)))) {
            goto failed;
        }
    }
    Py_CLEAR(packets);

whole:
    if (is_true(connection, CONNECTION__is_long_due)) {
        PyObject *more = CALL(connection, _depart_long, now_object);
        Py_SETREF(departures, more == NULL ? NULL : PySequence_Concat(departures, more));
        Py_XDECREF(more);
    }
    return departures;

failed:
    Py_XDECREF(packets);
    Py_XDECREF(departures);
    if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "a book is not what it was");
    }
    return NULL;
}
