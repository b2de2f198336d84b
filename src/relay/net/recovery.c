/* What was sent and has not been acknowledged: `relay.net.recovery` of an everyday acknowledgement,
 * with what it learns from it (`relay.net.growth`, `relay.net.pacing`) and whom it tells
 * (`relay.net.sender`). */

#include <math.h>

#include "steps.h"

enum {
    SAFE = 1200,     /* bytes that every path carries: `relay.net.mtu` */
    LONG_BURST = 44, /* packets: `relay.net.pacing` */
    BURST = 16,
};

static const double GRANULARITY = 0.001, MICRO_SECOND = 0.000001, SECOND = 1.0;

/* `Reno.on_packet_acked`. */
static int control_acked(PyObject *control, PyObject *train) {
    long long size, window, flying, enough, threshold, stash, full;
    double sent, begun;

    if (!number_in(train, TRAIN_sent_bytes, &size) ||
        !number_in(control, CONTROL_congestion_window, &window) ||
        !number_in(control, CONTROL_bytes_in_flight, &flying) ||
        !number_in(control, CONTROL__enough, &enough) ||
        !put_number(control, CONTROL_bytes_in_flight, flying - size)) {
        return 0;
    }
    if (window > enough) {
        return 1;
    }
    if (!time_in(train, TRAIN_sent_time, &sent) ||
        !time_in(control, CONTROL__congestion_recovery_start_time, &begun)) {
        return 0;
    }
    if (sent <= begun) {
        return 1;
    }
    if (!is_none(control, CONTROL_ssthresh)) {
        if (!number_in(control, CONTROL_ssthresh, &threshold)) {
            return 0;
        }
        if (window >= threshold) {
            if (!number_in(control, CONTROL__congestion_stash, &stash) ||
                !number_in(control, CONTROL__max_datagram_size, &full)) {
                return 0;
            }
            stash += size;
            long long times = window > 0 ? stash / window : 0;
            return put_number(control, CONTROL__congestion_stash, stash - times * window) &&
                   (!times ||
                       put_number(control, CONTROL_congestion_window, window + times * full));
        }
    }
    return put_number(control, CONTROL_congestion_window, window + size);
}

/* `SharedSender._trim`: let go of chunks before an offset, or of `all`. */
static int let_go(PyObject *sender, long long before, int all) {
    PyObject *chunks = get(sender, SENDER__chunks), *starts = get(sender, SENDER__starts);
    long long next;

    if (!is_list(chunks) || !is_list(starts)) {
        PyErr_SetString(PyExc_TypeError, "chunks are a list");
        return 0;
    }
    Py_ssize_t count = PyList_GET_SIZE(starts), gone = all ? count : 0;
    for (; gone + 1 < count; gone++) {
        if (!as_number(PyList_GET_ITEM(starts, gone + 1), &next)) {
            return 0;
        }
        if (next > before) {
            break;
        }
    }
    return !gone || (PyList_SetSlice(chunks, 0, gone, NULL) == 0 &&
                        PyList_SetSlice(starts, 0, gone, NULL) == 0);
}

int forget(PyObject *connection, PyObject *stream) {
    PyObject *stirred = get(connection, CONNECTION_stirred);
    PyObject *streams = get(connection, CONNECTION__streams);
    PyObject *receiver = get(stream, STREAM_receiver);
    long long number, begun = 0, highest = 0, value, used, sent;

    if (is_a(receiver, RECEIVER)) {
        if (!number_in(receiver, RECEIVER__buffer_start, &begun) ||
            !number_in(receiver, RECEIVER_highest_offset, &highest)) {
            return 0;
        }
    } else if (receiver != mute) {
        begun = -1;
    }
    PyObject *id = get(stream, STREAM_stream_id);
    if (begun < highest || id == NULL || !is_dict(stirred) || !is_table(streams)) {
        return done(CALL(connection, _discard, stream));
    }
    int is_stirred = PyDict_Contains(stirred, id), is_known = PyDict_Contains(streams, id);
    if (!number_in(stream, STREAM_stream_id, &number) || is_stirred < 0 || is_known < 0 ||
        (is_stirred && PyDict_DelItem(stirred, id) < 0) ||
        !put_shared(stream, STREAM_sender, deaf) || (is_known && PyDict_DelItem(streams, id) < 0)) {
        return 0;
    }
    if (!is_known || (number & 1) != is_true(connection, CONNECTION__is_client)) {
        return 1;
    }
    /* One of the peer's: it may open another (RFC 9000, 4.6). */
    PyObject *limit = get(connection,
        number & 2 ? CONNECTION__local_max_streams_uni : CONNECTION__local_max_streams_bidi);
    return number_of(limit, word_value, &value) && number_of(limit, word_used, &used) &&
           number_of(limit, word_sent, &sent) && set_number(limit, word_value, value + 1) &&
           (sent - used >= value + 1 - sent || put_flag(connection, CONNECTION__is_long_due, 1));
}

/* `ShortWay.sent_whole`: all of our half of a stream has arrived. */
static int sent_whole(PyObject *owner, PyObject *stream) {
    if (!is_kind(owner, CONNECTION) || !is_kind(stream, STREAM)) {
        return done(CALL(owner, sent_whole, stream));
    }
    PyObject *receiver = get(stream, STREAM_receiver);
    return (receiver != mute &&
               !(is_a(receiver, RECEIVER) && is_true(receiver, RECEIVER_is_finished))) ||
           forget(owner, stream);
}

/* `SharedSender.arrived`. */
static int sender_arrived(PyObject *sender, PyObject *from, PyObject *to, PyObject *ends) {
    long long start, stop, begun, end;
    int fin = ends == Py_True;

    if (!is_a(sender, SENDER) || !is_none(sender, SENDER__reset_error_code) ||
        !is_none(sender, SENDER__acked)) {
        goto otherwise;
    }
    if (!as_number(from, &start) || !as_number(to, &stop) ||
        !number_in(sender, SENDER__buffer_start, &begun) ||
        !number_in(sender, SENDER__buffer_stop, &end)) {
        return 0;
    }
    if (fin && !start && !begun) {
        begun = stop;
    } else if (start != begun) {
        goto otherwise;
    } else if (stop > start) {
        begun = stop;
        if (!let_go(sender, stop, stop == end)) {
            return 0;
        }
    }
    if (!put_number(sender, SENDER__buffer_start, begun) ||
        (fin && !put_flag(sender, SENDER__acked_fin, 1))) {
        return 0;
    }
    if (is_true(sender, SENDER__acked_fin) && !is_none(sender, SENDER__buffer_fin)) {
        if (!number_in(sender, SENDER__buffer_fin, &end)) {
            return 0;
        }
        if (begun == end) {
            PyObject *stream = Py_NewRef(get(sender, SENDER_stream));
            int is_good = put_flag(sender, SENDER_is_finished, 1) &&
                          sent_whole(get(sender, SENDER__owner), stream);
            Py_DECREF(stream);
            return is_good;
        }
    }
    return 1;

otherwise:
    return done(CALL(sender, arrived, from, to, ends));
}

/* Tell whoever else is concerned that a train arrived. */
static int tell_handlers(PyObject *train) {
    PyObject *handlers = PySequence_Fast(get(train, TRAIN_handlers), "handlers are a sequence");
    int is_good = handlers != NULL;
    for (Py_ssize_t at = 0; is_good && at < PySequence_Fast_GET_SIZE(handlers); at++) {
        PyObject *pair = PySequence_Fast_GET_ITEM(handlers, at), *handler, *arguments;
        if (!is_tuple(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a handler is a pair");
            is_good = 0;
            break;
        }
        handler = PyTuple_GET_ITEM(pair, 0);
        PyObject *given = PyTuple_GET_ITEM(pair, 1);
        if (PyMethod_Check(handler) && PyMethod_GET_FUNCTION(handler) == on_data_delivery &&
            is_a(PyMethod_GET_SELF(handler), SENDER) && is_tuple(given) &&
            PyTuple_GET_SIZE(given) == 3) {
            is_good = sender_arrived(PyMethod_GET_SELF(handler), PyTuple_GET_ITEM(given, 0),
                PyTuple_GET_ITEM(given, 1), PyTuple_GET_ITEM(given, 2));
            continue;
        }
        PyObject *first = PyTuple_Pack(1, acked);
        PyObject *others = PySequence_Tuple(given);
        arguments = first && others ? PySequence_Concat(first, others) : NULL;
        is_good = arguments != NULL && done(PyObject_Call(handler, arguments, NULL));
        Py_XDECREF(first);
        Py_XDECREF(others);
        Py_XDECREF(arguments);
    }
    Py_XDECREF(handlers);
    return is_good;
}

/* `RttMonitor.is_rtt_increasing`; -1 with an exception. */
static int is_increasing(PyObject *monitor, double now, double rtt) {
    double before, most, least, filtered;
    long long index, times, size;
    PyObject *samples = get(monitor, MONITOR__samples);

    if (!time_in(monitor, MONITOR__sample_time, &before)) {
        return -1;
    }
    if (now <= before + GRANULARITY) {
        return 0;
    }
    if (!number_in(monitor, MONITOR__sample_idx, &index)) {
        return -1;
    }
    if (!is_list(samples) || index < 0 || index >= PyList_GET_SIZE(samples)) {
        PyErr_SetString(PyExc_TypeError, "samples are a list");
        return -1;
    }
    PyObject *sample = PyFloat_FromDouble(rtt);
    if (sample == NULL || PyList_SetItem(samples, index, sample) < 0 ||
        !put_time(monitor, MONITOR__sample_time, now)) {
        return -1;
    }
    index = (index + 1) % PyList_GET_SIZE(samples);
    if (!put_number(monitor, MONITOR__sample_idx, index) ||
        (!index && !put_flag(monitor, MONITOR__ready, 1))) {
        return -1;
    }
    if (!is_true(monitor, MONITOR__ready)) {
        return 0;
    }
    most = least = rtt;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(samples); at++) {
        double each;
        if (!as_time(PyList_GET_ITEM(samples, at), &each)) {
            return -1;
        }
        most = each > most ? each : most;
        least = each < least ? each : least;
    }
    filtered = most;
    if (!is_none(monitor, MONITOR__filtered_min) &&
        !time_in(monitor, MONITOR__filtered_min, &filtered)) {
        return -1;
    }
    if (is_none(monitor, MONITOR__filtered_min) || filtered > most) {
        filtered = most;
        if (!put_time(monitor, MONITOR__filtered_min, most)) {
            return -1;
        }
    }
    if ((least - filtered) * 4 >= filtered) {
        if (!number_in(monitor, MONITOR__increases, &times) ||
            !number_in(monitor, MONITOR__size, &size) ||
            !put_number(monitor, MONITOR__increases, times + 1)) {
            return -1;
        }
        return times + 1 >= size;
    }
    if (least > filtered && !put_number(monitor, MONITOR__increases, 0)) {
        return -1;
    }
    return 0;
}

/* `Pacer.update_rate`. */
static int set_pace(PyObject *pacer, long long window, double smoothed) {
    long long size;
    double bucket;

    if (!number_in(pacer, PACER__max_datagram_size, &size) ||
        !time_in(pacer, PACER_bucket_time, &bucket)) {
        return 0;
    }
    double rate = (double)window / (smoothed > MICRO_SECOND ? smoothed : MICRO_SECOND);
    if (rate <= 0.0) {
        PyErr_SetString(PyExc_ValueError, "no window");
        return 0;
    }
    double time = (double)size / rate, burst = rate * GRANULARITY;
    double quarter = (double)(window / 4), most = (double)(LONG_BURST * size),
           least = (double)(BURST * size);
    burst = burst > most ? most : burst;
    burst = burst < least ? least : burst;
    burst = burst > quarter ? quarter : burst;
    burst = burst < (double)(2 * size) ? (double)(2 * size) : burst;
    double bucket_max = burst / rate;
    return put_time(pacer, PACER_packet_time, time < SECOND ? time : SECOND) &&
           put_time(pacer, PACER_bucket_max, bucket_max) &&
           (bucket <= bucket_max || put_time(pacer, PACER_bucket_time, bucket_max));
}

/* `Recovery._measure`. */
static int measure(
    PyObject *loss, PyObject *control, PyObject *pacer, double latest, double delay, double now) {
    double shown = latest > 0.001 ? latest : 0.001, least, wait, smoothed, variance;
    long long window;

    if (!time_in(loss, RECOVERY__rtt_min, &least) ||
        !time_in(loss, RECOVERY_max_ack_delay, &wait)) {
        return 0;
    }
    if (shown < least) {
        least = shown;
        if (!put_time(loss, RECOVERY__rtt_min, least)) {
            return 0;
        }
    }
    delay = delay > wait ? wait : delay;
    if (shown > least + delay) {
        shown -= delay;
    }
    if (is_true(loss, RECOVERY__rtt_initialized)) {
        if (!time_in(loss, RECOVERY__rtt_variance, &variance) ||
            !time_in(loss, RECOVERY__rtt_smoothed, &smoothed)) {
            return 0;
        }
        variance = 0.75 * variance + 0.25 * fabs(least - shown);
        smoothed = 0.875 * smoothed + 0.125 * shown;
    } else {
        if (!put_time(loss, RECOVERY__rtt_first_sample_time, now) ||
            !put_flag(loss, RECOVERY__rtt_initialized, 1)) {
            return 0;
        }
        variance = latest / 2;
        smoothed = latest;
    }
    if (!put_time(loss, RECOVERY__rtt_latest, shown) ||
        !put_time(loss, RECOVERY__rtt_variance, variance) ||
        !put_time(loss, RECOVERY__rtt_smoothed, smoothed)) {
        return 0;
    }
    if (is_none(control, CONTROL_ssthresh)) {
        int increases = is_increasing(get(control, CONTROL__rtt_monitor), now, latest);
        if (increases < 0 || (increases && !put_shared(control, CONTROL_ssthresh,
                                               get(control, CONTROL_congestion_window)))) {
            return 0;
        }
    }
    return number_in(control, CONTROL_congestion_window, &window) &&
           set_pace(pacer, window, smoothed);
}

/* How many trains a range of numbers holds whole, from the oldest on; 0 when it is not that simple,
 * -1 with an exception. */
static Py_ssize_t whole_trains(PyObject *book, long long first, long long last) {
    long long begun, ended;
    Py_ssize_t count = 0;

    for (; count < PyList_GET_SIZE(book); count++) {
        PyObject *train = PyList_GET_ITEM(book, count);
        if (!is_a(train, TRAIN)) {
            return 0;
        }
        if (!number_in(train, TRAIN_first, &begun) || !number_in(train, TRAIN_last, &ended)) {
            return -1;
        }
        if (!count && first > begun) {
            return 0;
        }
        if (ended > last) {
            return begun <= last ? 0 : count;
        }
    }
    return count;
}

/* One of the trains that `arrived` is told of. */
static int train_arrived(
    PyObject *loss, PyObject *space, PyObject *control, PyObject *train, int *is_eliciting) {
    long long first, last, flying, size;

    if (!number_in(train, TRAIN_first, &first) || !number_in(train, TRAIN_last, &last)) {
        return 0;
    }
    if (is_true(train, TRAIN_is_ack_eliciting)) {
        *is_eliciting = 1;
        if (!number_in(space, SPACE_ack_eliciting_in_flight, &flying) ||
            !put_number(space, SPACE_ack_eliciting_in_flight, flying - (last + 1 - first))) {
            return 0;
        }
    }
    if (!control_acked(control, train) ||
        !number_in(train, last > first ? TRAIN_full : TRAIN_sent_bytes, &size)) {
        return 0;
    }
    if (size > SAFE) {
        PyObject *mtu = get(loss, RECOVERY_mtu);
        if (!put_shared(loss, RECOVERY__largest_large, get(train, TRAIN_last)) ||
            !put_number(mtu, MTU_gone, 0)) {
            return 0;
        }
    }
    PyObject *handlers = get(train, TRAIN_handlers);
    int has_none = (is_tuple(handlers) && !PyTuple_GET_SIZE(handlers)) ||
                   (is_list(handlers) && !PyList_GET_SIZE(handlers));
    return (is_none(train, TRAIN_sender) ||
               sender_arrived(get(train, TRAIN_sender), get(train, TRAIN_start),
                   get(train, TRAIN_stop), get(train, TRAIN_fin))) &&
           (has_none || tell_handlers(train));
}

/* `Recovery._detect_loss`, where there may be something to find. */
static int detect_loss(PyObject *loss, PyObject *space, double now) {
    PyObject *book = get(loss, RECOVERY_book);
    long long first, largest;

    if (!is_list(book) || !PyList_GET_SIZE(book)) {
        return 1;
    }
    PyObject *oldest = PyList_GET_ITEM(book, 0);
    if (!is_a(oldest, TRAIN)) {
        PyErr_SetString(PyExc_TypeError, "a book has trains");
        return 0;
    }
    if (!number_in(oldest, TRAIN_first, &first) ||
        !number_in(space, SPACE_largest_acked_packet, &largest)) {
        return 0;
    }
    if (first > largest) {
        return 1;
    }
    PyObject *method = PyObject_GetAttr(loss, words[word__detect_loss]);
    PyObject *at = PyFloat_FromDouble(now),
             *kinds = PyTuple_Pack(2, words[word_now], words[word_space]);
    int is_good = method != NULL && at != NULL && kinds != NULL &&
                  done(PyObject_Vectorcall(method, (PyObject *[]){at, space}, 0, kinds));
    Py_XDECREF(method);
    Py_XDECREF(at);
    Py_XDECREF(kinds);
    return is_good;
}

/* `Recovery._arrived`: tell of what arrived, and learn from it. */
static int arrived(PyObject *loss, PyObject *space, PyObject *trains, long long largest,
    double delay, double now) {
    PyObject *control = get(loss, RECOVERY__cc), *pacer = get(loss, RECOVERY__pacer);
    PyObject *latest = PyList_GET_ITEM(trains, PyList_GET_SIZE(trains) - 1);
    int is_eliciting = 0;
    long long last;
    double sent;

    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(trains); at++) {
        if (!train_arrived(loss, space, control, PyList_GET_ITEM(trains, at), &is_eliciting)) {
            return 0;
        }
    }
    if (!number_in(latest, TRAIN_last, &last) || !time_in(latest, TRAIN_sent_time, &sent)) {
        return 0;
    }
    if (last == largest && is_eliciting && !measure(loss, control, pacer, now - sent, delay, now)) {
        return 0;
    }
    return put_shared(space, SPACE_loss_time, Py_None) && detect_loss(loss, space, now) &&
           (!is_true(loss, RECOVERY_peer_completed_address_validation) ||
               put_number(loss, RECOVERY__pto_count, 0));
}

int is_ours(PyObject *loss) {
    if (!is_a(loss, RECOVERY)) {
        return 0;
    }
    PyObject *control = get(loss, RECOVERY__cc);
    return is_a(control, CONTROL) && is_a(get(control, CONTROL__rtt_monitor), MONITOR) &&
           is_a(get(loss, RECOVERY__pacer), PACER) && is_a(get(loss, RECOVERY_mtu), MTU) &&
           is_a(get(loss, RECOVERY_reordering), REORDERING) && is_list(get(loss, RECOVERY_book));
}

int acknowledge(
    PyObject *loss, PyObject *space, long long first, long long last, double delay, double now) {
    long long largest;
    PyObject *gone = is_ours(loss) ? get(get(loss, RECOVERY_reordering), REORDERING_gone) : NULL;
    PyObject *book = gone != NULL ? get(loss, RECOVERY_book) : NULL;
    Py_ssize_t count = 0;

    if (book != NULL && is_a(space, SPACE) && is_list(gone) && !PyList_GET_SIZE(gone) &&
        is_list(book)) {
        count = PyList_GET_SIZE(book) ? whole_trains(book, first, last) : 0;
        if (count < 0 || !number_in(space, SPACE_largest_acked_packet, &largest)) {
            return 0;
        }
    }
    if (!count) {
        return done(
            PyObject_CallMethod(loss, "acknowledge", "OLLdd", space, first, last, delay, now));
    }
    if (last > largest && !put_number(space, SPACE_largest_acked_packet, last)) {
        return 0;
    }
    PyObject *taken = PyList_GetSlice(book, 0, count);
    int is_good = taken != NULL && PyList_SetSlice(book, 0, count, NULL) == 0 &&
                  arrived(loss, space, taken, last, delay, now);
    Py_XDECREF(taken);
    return is_good;
}

int enter(
    PyObject *loss, PyObject *space, PyObject *train, long long count, long long size, double now) {
    PyObject *control = get(loss, RECOVERY__cc);
    long long flying, peak, waiting;
    double ends;

    if (PyList_Append(get(loss, RECOVERY_book), train) < 0 ||
        !number_in(space, SPACE_ack_eliciting_in_flight, &waiting) ||
        !put_number(space, SPACE_ack_eliciting_in_flight, waiting + count) ||
        !put_shared(
            loss, RECOVERY__time_of_last_sent_ack_eliciting_packet, get(train, TRAIN_sent_time)) ||
        !number_in(control, CONTROL_bytes_in_flight, &flying) ||
        !number_in(control, CONTROL__peak, &peak) ||
        !time_in(control, CONTROL__period_ends, &ends) ||
        !put_number(control, CONTROL_bytes_in_flight, flying + size)) {
        return 0;
    }
    return (flying + size <= peak && now < ends) ||
           done(CALL(control, _left, get(train, TRAIN_sent_time)));
}

const char steps_acknowledge_doc[] =
    "acknowledge(loss, space, first, last, delay, now)\n--\n\nWhat `Recovery.acknowledge` does.";

PyObject *steps_acknowledge(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given) {
    long long first, last;
    double delay, now;

    if (given != 6 || books_types[RECOVERY] == NULL) {
        PyErr_SetString(PyExc_TypeError, "acknowledge() takes six arguments");
        return NULL;
    }
    if (!as_number(args[2], &first) || !as_number(args[3], &last) || !as_time(args[4], &delay) ||
        !as_time(args[5], &now) || !acknowledge(args[0], args[1], first, last, delay, now)) {
        return NULL;
    }
    Py_RETURN_NONE;
}
