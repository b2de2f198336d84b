/* What is handed over to be sent: `relay.net.engine`, for each frame and each group. */

#include "steps.h"

/* Bytes that would leave soon, of the connection: `Engine.capacity`; 0 with an exception. */
static int capacity(PyObject *connection, long long *room) {
    long long used, window, most, granted, handed, dropped;

    if (!number_in(connection, CONNECTION__remote_max_data_used, &used) ||
        !number_in(get(get(connection, CONNECTION__loss), RECOVERY__cc), CONTROL_congestion_window,
            &window) ||
        !number_in(connection, CONNECTION__most, &most) ||
        !number_in(connection, CONNECTION__remote_max_data, &granted) ||
        !number_in(connection, CONNECTION__handed, &handed) ||
        !number_in(connection, CONNECTION__dropped, &dropped)) {
        return 0;
    }
    window = window < most ? window : most;
    long long credit = granted - used;
    *room = (window < credit ? window : credit) - handed + dropped + used;
    return 1;
}

/* The same, noting who is refused; not below 0. */
static int room_now(PyObject *connection, long long *room) {
    if (!capacity(connection, room) ||
        (*room <= 0 && !put_flag(connection, CONNECTION_wants_room, 1))) {
        return 0;
    }
    *room = *room > 0 ? *room : 0;
    return 1;
}

PyObject *connection_capacity(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    PyObject *id = given ? args[0] : Py_None, *stream = NULL;
    PyObject *streams = get(connection, CONNECTION__streams);
    long long room, remote, stop;

    if (given > 1) {
        PyErr_SetString(PyExc_TypeError, "capacity() takes a stream");
        return NULL;
    }
    int is_simple = is_true(connection, CONNECTION_is_settled) &&
                    is_ours(get(connection, CONNECTION__loss)) && is_table(streams);
    if (is_simple && id != Py_None) {
        stream = PyDict_GetItemWithError(streams, id);
        if (stream == NULL && PyErr_Occurred()) {
            return NULL;
        }
        is_simple =
            stream != NULL && is_kind(stream, STREAM) && is_a(get(stream, STREAM_sender), SENDER);
    }
    if (!is_simple) {
        return CALL(connection, _capacity, id);
    }
    if (!room_now(connection, &room)) {
        return NULL;
    }
    if (stream != NULL) {
        if (!number_in(stream, STREAM_max_stream_data_remote, &remote) ||
            !number_in(get(stream, STREAM_sender), SENDER__buffer_stop, &stop)) {
            return NULL;
        }
        room = room < remote - stop ? room : remote - stop;
    }
    return PyLong_FromLongLong(room > 0 ? room : 0);
}

enum { SPARE = 8 }; /* streams that are left to what is more urgent: `relay.net.engine` */

PyObject *connection_is_ample(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    long long wanted, next, most, room;

    if (given != 1 || !as_number(args[0], &wanted)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "is_ample() takes room");
        }
        return NULL;
    }
    if (!is_true(connection, CONNECTION_is_settled) ||
        !is_ours(get(connection, CONNECTION__loss))) {
        return CALL(connection, _is_ample, args[0]);
    }
    if (!number_in(connection, CONNECTION__remote_max_streams_uni, &most) ||
        !number_in(connection, CONNECTION__local_next_stream_id_uni, &next)) {
        return NULL;
    }
    if (most - (next >> 2) <= SPARE) {
        Py_RETURN_FALSE;
    }
    return room_now(connection, &room) ? PyBool_FromLong(room >= wanted) : NULL;
}

/* A varint (RFC 9000, 16), as short as it can be; a new reference. */
static PyObject *varint(unsigned long long number) {
    unsigned char bytes[8];
    int size = number < 1 << 6 ? 1 : number < 1 << 14 ? 2 : number < 1 << 30 ? 4 : 8;
    int mark = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;

    for (int at = size - 1; at >= 0; at--, number >>= 8) {
        bytes[at] = (unsigned char)number;
    }
    bytes[0] |= (unsigned char)(mark << 6);
    return PyBytes_FromStringAndSize((char *)bytes, size);
}

/* `SharedStream` of a one-way stream of ours, with its sender, onto which `head` is written. */
static PyObject *own_stream(PyObject *connection, PyObject *id, PyObject *head, int fin) {
    PyTypeObject *kinds[] = {books_types[SHARED], books_types[SENDER]};
    PyObject *stream = kinds[0]->tp_alloc(kinds[0], 0), *sender = kinds[1]->tp_alloc(kinds[1], 0);
    Py_ssize_t size = PyBytes_GET_SIZE(head);
    int is_good =
        stream != NULL && sender != NULL && put_flag(stream, STREAM_is_blocked, 0) &&
        put_number(stream, STREAM_max_stream_data_local, 0) &&
        put_number(stream, STREAM_max_stream_data_local_sent, 0) &&
        put_shared(stream, STREAM_max_stream_data_remote,
            get(connection, CONNECTION__remote_max_stream_data_uni)) &&
        put_shared(stream, STREAM_stream_id, id) && put_shared(stream, STREAM_receiver, mute) &&
        put_shared(stream, STREAM_sender, sender) &&
        put_flag(sender, SENDER_buffer_is_empty, !size && !fin) &&
        put_number(sender, SENDER_highest_offset, 0) && put_flag(sender, SENDER_is_finished, 0) &&
        put_flag(sender, SENDER_reset_pending, 0) && put_number(sender, SENDER__buffer_start, 0) &&
        put_number(sender, SENDER__buffer_stop, size) &&
        put_shared(sender, SENDER__buffer_fin, fin ? get(sender, SENDER__buffer_stop) : Py_None) &&
        put_shared(sender, SENDER__acked, Py_None) && put_flag(sender, SENDER__acked_fin, 0) &&
        put_shared(sender, SENDER__lost, Py_None) && put_flag(sender, SENDER_is_orderly, 1) &&
        put_flag(sender, SENDER__pending_eof, fin) &&
        put_shared(sender, SENDER__reset_error_code, Py_None) &&
        put_shared(sender, SENDER__stream_id, id) && put_shared(sender, SENDER_stream, stream) &&
        put_shared(sender, SENDER__owner, connection) &&
        put(sender, SENDER__chunks, PyList_New(0)) && put(sender, SENDER__starts, PyList_New(0)) &&
        put(sender, SENDER_label, varint(PyLong_AsUnsignedLongLong(id)));
    if (is_good && size) {
        is_good = PyList_Append(get(sender, SENDER__chunks), head) == 0 &&
                  append(get(sender, SENDER__starts), PyLong_FromLong(0));
    }
    Py_XDECREF(sender);
    if (!is_good) {
        Py_CLEAR(stream);
    }
    return stream;
}

PyObject *connection_open_stream(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    PyObject *head = given > 1 ? args[1] : NULL, *streams = get(connection, CONNECTION__streams);
    PyObject *stirred = get(connection, CONNECTION_stirred);
    int fin = given > 2 ? PyObject_IsTrue(args[2]) : 0;
    long long next, most, handed;

    if (given < 1 || given > 3 || fin < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "open_stream() takes its kind, head and end");
        }
        return NULL;
    }
    if (args[0] != Py_True || head == NULL || !is_bytes(head) || !is_table(streams) ||
        !is_dict(stirred) || !is_true(connection, CONNECTION_is_settled)) {
        return call(connection, word__open_stream, args, (size_t)given);
    }
    if (!number_in(connection, CONNECTION__local_next_stream_id_uni, &next) ||
        !number_in(connection, CONNECTION__remote_max_streams_uni, &most) ||
        !number_in(connection, CONNECTION__handed, &handed)) {
        return NULL;
    }
    if (next >> 2 >= most) {
        Py_RETURN_NONE;
    }
    PyObject *id = Py_NewRef(get(connection, CONNECTION__local_next_stream_id_uni));
    PyObject *stream = own_stream(connection, id, head, fin);
    int says = PyBytes_GET_SIZE(head) || fin;
    int is_good =
        stream != NULL && put_number(connection, CONNECTION__local_next_stream_id_uni, next + 4) &&
        PyDict_SetItem(streams, id, stream) == 0 &&
        (!says || (PyDict_SetItem(stirred, id, stream) == 0 &&
                      put_number(connection, CONNECTION__handed, handed + PyBytes_GET_SIZE(head))));
    Py_XDECREF(stream);
    if (!is_good) {
        Py_CLEAR(id);
    }
    return id;
}

PyObject *connection_offer(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    long long wanted, room, handed, stop, remote;

    if (given != 3 || !is_bytes(args[1])) {
        PyErr_SetString(PyExc_TypeError, "offer() takes a stream, data and room");
        return NULL;
    }
    PyObject *id = args[0], *data = args[1], *streams = get(connection, CONNECTION__streams);
    if (!as_number(args[2], &wanted)) {
        return NULL;
    }
    PyObject *stream = is_table(streams) ? PyDict_GetItemWithError(streams, id) : NULL;
    if (stream == NULL && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *sender =
        stream != NULL && is_kind(stream, STREAM) ? get(stream, STREAM_sender) : NULL;
    PyObject *loss = get(connection, CONNECTION__loss);
    if (!is_a(sender, SENDER) || !is_ours(loss)) {
        return CALL(connection, _offer, id, data, args[2]);
    }
    if (!is_true(connection, CONNECTION_is_settled)) {
        Py_RETURN_FALSE;
    }
    if (!capacity(connection, &room) || !number_in(connection, CONNECTION__handed, &handed) ||
        !number_in(sender, SENDER__buffer_stop, &stop) ||
        !number_in(stream, STREAM_max_stream_data_remote, &remote)) {
        return NULL;
    }
    if (room < wanted || remote - stop < wanted || !is_none(sender, SENDER__buffer_fin) ||
        !is_none(sender, SENDER__reset_error_code)) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(data);
    if (size) {
        PyObject *chunks = get(sender, SENDER__chunks), *starts = get(sender, SENDER__starts);
        PyObject *stirred = get(connection, CONNECTION_stirred);
        if (!is_list(chunks) || !is_list(starts) || !is_dict(stirred)) {
            PyErr_SetString(PyExc_TypeError, "chunks are a list");
            return NULL;
        }
        if (PyList_Append(chunks, data) < 0 ||
            PyList_Append(starts, get(sender, SENDER__buffer_stop)) < 0 ||
            !put_number(sender, SENDER__buffer_stop, stop + size) ||
            !put_flag(sender, SENDER_buffer_is_empty, 0) ||
            PyDict_SetItem(stirred, id, stream) < 0 ||
            !put_number(connection, CONNECTION__handed, handed + size)) {
            return NULL;
        }
    }
    Py_RETURN_TRUE;
}
