/* The steps of every day; `steps.h` says whose. Whatever is not of every day is left to the Python
 * that does the same, before anything is changed: each step begins with the question whether it is
 * that simple. What is used after Python may have run is held. */

#include "steps.h"

#include <math.h>

#include "books.h"

enum {
    SAFE = 1200,        /* bytes that every path carries: `relay.net.mtu` */
    FIRST = 0x41,       /* of a packet with a number of two bytes (RFC 9000, 17.3.1) */
    SPIN = 0x20,        /* its bit (17.4) */
    TO_END = 0x0c,      /* a STREAM frame with an offset that reaches to the packet's end */
    ACK = 0x02,         /* frame types (19) */
    RESET_STREAM = 0x04,
    STOP_SENDING = 0x05,
    STREAM_FRAME = 0x08,
    MAX_DATA = 0x10,
    LABEL = 8,          /* bytes of the longest stream id */
    TOLD_APART = 128,   /* packet numbers: `relay.net.window` */
    LONG_BURST = 44,    /* packets: `relay.net.pacing` */
    BURST = 16,
};

static const long long FAR = 1 << 30; /* offsets from here on take more than four bytes */
static const double GRANULARITY = 0.001, MICRO_SECOND = 0.000001, SECOND = 1.0;

#define WORDS(WORD)                                                                                \
    WORD(__stream_frame_out) WORD(_came) WORD(_next_event) WORD(popleft) WORD(_capacity) WORD(_is_ample) WORD(_open_stream) WORD(_depart_long) WORD(_departures) WORD(_extras) WORD(_offer) WORD(_receive_long) WORD(_detect_loss) WORD(_discard) WORD(_left)                   \
    WORD(_limit_frame) WORD(_note) WORD(_RangeSet__ranges) WORD(_refuse) WORD(_reset_frame)        \
    WORD(_send_mixed) WORD(_send_run) WORD(_stop_frame) WORD(_stream_frame) WORD(_take_in)         \
    WORD(acknowledge) WORD(acknowledge_all) WORD(add) WORD(add_next) WORD(append) WORD(arrived)    \
    WORD(cid) WORD(cut) WORD(every) WORD(is_finished) WORD(sent) WORD(now) WORD(open) WORD(seal)              \
    WORD(seal_run) WORD(sent_whole) WORD(space) WORD(start) WORD(stop) WORD(subtract) WORD(used)   \
    WORD(value)

#define AS_WORD(text) word_##text,
#define AS_TEXT(text) #text,

enum word { WORDS(AS_WORD) WORD_COUNT };
static PyObject *words[WORD_COUNT];
static const char *const TEXTS[WORD_COUNT] = {WORDS(AS_TEXT)};

/* What `bind` is given beside the books. */
static PyObject *acked, *violation, *joined, *mute, *deaf;

/* `SharedSender.on_data_delivery`. */
static PyObject *on_data_delivery;

/* Call a method; a new reference, or NULL with an exception. */
static PyObject *call(PyObject *object, enum word word, PyObject *const *given, size_t count) {
    PyObject *all[10];

    if (object == NULL || count >= sizeof all / sizeof *all) {
        PyErr_SetString(PyExc_TypeError, "nothing to call");
        return NULL;
    }
    all[0] = object;
    for (size_t index = 0; index < count; index++) {
        if ((all[index + 1] = given[index]) == NULL) {
            return NULL; /* it could not be made */
        }
    }
    return PyObject_VectorcallMethod(words[word], all, count + 1, NULL);
}

#define CALL(object, word, ...)                                                                    \
    call(object, word_##word, (PyObject *[]){__VA_ARGS__},                                         \
        sizeof((PyObject *[]){__VA_ARGS__}) / sizeof(PyObject *))

/* Whether a call succeeded whose answer nobody needs. */
static int done(PyObject *answer) {
    Py_XDECREF(answer);
    return answer != NULL;
}

/* Whether a call answered yes; -1 with an exception. */
static int told(PyObject *answer) {
    int is_so = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return is_so;
}

/* The number that an object has by this name; 0 with an exception. */
static int number_of(PyObject *object, enum word word, long long *value) {
    PyObject *found = object == NULL ? NULL : PyObject_GetAttr(object, words[word]);
    if (found == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "nothing to ask");
        }
        return 0;
    }
    int is_number = as_number(found, value);
    Py_DECREF(found);
    return is_number;
}

/* Set a number that an object has by this name; 0 with an exception. */
static int set_number(PyObject *object, enum word word, long long value) {
    PyObject *number = PyLong_FromLongLong(value);
    int is_good = number != NULL && PyObject_SetAttr(object, words[word], number) == 0;
    Py_XDECREF(number);
    return is_good;
}

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

/* Acknowledgements: `Recovery.acknowledge` and what it calls */

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

    if (!PyList_CheckExact(chunks) || !PyList_CheckExact(starts)) {
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

/* `ShortWay._discard`: a stream is over. */
static int forget(PyObject *connection, PyObject *stream) {
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
    if (begun < highest || !PyDict_CheckExact(stirred) || !PyDict_Check(streams)) {
        return done(CALL(connection, _discard, stream));
    }
    PyObject *id = get(stream, STREAM_stream_id);
    int is_stirred = PyDict_Contains(stirred, id), is_known = PyDict_Contains(streams, id);
    if (!number_in(stream, STREAM_stream_id, &number) || is_stirred < 0 || is_known < 0 ||
        (is_stirred && PyDict_DelItem(stirred, id) < 0) ||
        !put_shared(stream, STREAM_sender, deaf) ||
        (is_known && PyDict_DelItem(streams, id) < 0)) {
        return 0;
    }
    if (!is_known || (number & 1) != is_true(connection, CONNECTION__is_client)) {
        return 1;
    }
    /* One of the peer's: it may open another (RFC 9000, 4.6). */
    PyObject *limit = get(connection, number & 2 ? CONNECTION__local_max_streams_uni
                                                 : CONNECTION__local_max_streams_bidi);
    return number_of(limit, word_value, &value) && number_of(limit, word_used, &used) &&
           number_of(limit, word_sent, &sent) && set_number(limit, word_value, value + 1) &&
           (sent - used >= value + 1 - sent || put_flag(connection, CONNECTION__is_long_due, 1));
}

/* `ShortWay.sent_whole`: all of our half of a stream has arrived. */
static int sent_whole(PyObject *owner, PyObject *stream) {
    if (!PyObject_TypeCheck(owner, books_types[CONNECTION]) ||
        !PyObject_TypeCheck(stream, books_types[STREAM])) {
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
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a handler is a pair");
            is_good = 0;
            break;
        }
        handler = PyTuple_GET_ITEM(pair, 0);
        PyObject *given = PyTuple_GET_ITEM(pair, 1);
        if (PyMethod_Check(handler) && PyMethod_GET_FUNCTION(handler) == on_data_delivery &&
            is_a(PyMethod_GET_SELF(handler), SENDER) && PyTuple_CheckExact(given) &&
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
    if (!PyList_CheckExact(samples) || index < 0 || index >= PyList_GET_SIZE(samples)) {
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
        if (increases < 0 ||
            (increases &&
             !put_shared(control, CONTROL_ssthresh, get(control, CONTROL_congestion_window)))) {
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
    if (is_true(train, TRAIN_in_flight) && !control_acked(control, train)) {
        return 0;
    }
    if (!number_in(train, last > first ? TRAIN_full : TRAIN_sent_bytes, &size)) {
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
    int has_none = (PyTuple_CheckExact(handlers) && !PyTuple_GET_SIZE(handlers)) ||
                   (PyList_CheckExact(handlers) && !PyList_GET_SIZE(handlers));
    return (is_none(train, TRAIN_sender) ||
               sender_arrived(get(train, TRAIN_sender), get(train, TRAIN_start),
                   get(train, TRAIN_stop), get(train, TRAIN_fin))) &&
           (has_none || tell_handlers(train));
}

/* `Recovery._detect_loss`, where there may be something to find. */
static int detect_loss(PyObject *loss, PyObject *space, double now) {
    PyObject *book = get(loss, RECOVERY_book);
    long long first, largest;

    if (!PyList_CheckExact(book) || !PyList_GET_SIZE(book)) {
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
    PyObject *at = PyFloat_FromDouble(now), *kinds = PyTuple_Pack(2, words[word_now], words[word_space]);
    int is_good = method != NULL && at != NULL && kinds != NULL &&
                  done(PyObject_Vectorcall(method, (PyObject *[]){at, space}, 0, kinds));
    Py_XDECREF(method);
    Py_XDECREF(at);
    Py_XDECREF(kinds);
    return is_good;
}

/* `Recovery._arrived`: tell of what arrived, and learn from it. */
static int arrived(
    PyObject *loss, PyObject *space, PyObject *trains, long long largest, double delay, double now) {
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
    if (last == largest && is_eliciting &&
        !measure(loss, control, pacer, now - sent, delay, now)) {
        return 0;
    }
    return put_shared(space, SPACE_loss_time, Py_None) && detect_loss(loss, space, now) &&
           (!is_true(loss, RECOVERY_peer_completed_address_validation) ||
            put_number(loss, RECOVERY__pto_count, 0));
}

/* Whether the recovery's books are those that are known here. */
static int is_ours(PyObject *loss) {
    if (!is_a(loss, RECOVERY)) {
        return 0;
    }
    PyObject *control = get(loss, RECOVERY__cc);
    return is_a(control, CONTROL) && is_a(get(control, CONTROL__rtt_monitor), MONITOR) &&
           is_a(get(loss, RECOVERY__pacer), PACER) && is_a(get(loss, RECOVERY_mtu), MTU) &&
           is_a(get(loss, RECOVERY_reordering), REORDERING);
}

/* `Recovery.acknowledge`. */
static int acknowledge(
    PyObject *loss, PyObject *space, long long first, long long last, double delay, double now) {
    long long largest;
    PyObject *gone = is_ours(loss) ? get(get(loss, RECOVERY_reordering), REORDERING_gone) : NULL;
    PyObject *book = gone != NULL ? get(loss, RECOVERY_book) : NULL;
    Py_ssize_t count = 0;

    if (book != NULL && is_a(space, SPACE) && PyList_CheckExact(gone) && !PyList_GET_SIZE(gone) &&
        PyList_CheckExact(book)) {
        count = PyList_GET_SIZE(book) ? whole_trains(book, first, last) : 0;
        if (count < 0 || !number_in(space, SPACE_largest_acked_packet, &largest)) {
            return 0;
        }
    }
    if (!count) {
        PyObject *numbers[] = {PyLong_FromLongLong(first), PyLong_FromLongLong(last),
            PyFloat_FromDouble(delay), PyFloat_FromDouble(now)};
        int is_good =
            done(CALL(loss, acknowledge, space, numbers[0], numbers[1], numbers[2], numbers[3]));
        for (int index = 0; index < 4; index++) {
            Py_XDECREF(numbers[index]);
        }
        return is_good;
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

/* Packets that came: `Incoming._read` and what it calls */

/* `Window.add_next`. */
static int add_next(PyObject *window, long long start, long long stop) {
    long long lower;
    int is_longer = 0;
    PyObject *ranges = NULL;

    if (is_a(window, WINDOW)) {
        ranges = PyObject_GetAttr(get(window, WINDOW__came), words[word__RangeSet__ranges]);
        if (ranges == NULL || !PyList_CheckExact(ranges) ||
            !number_in(window, WINDOW__lower, &lower)) {
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
            PyObject *zero = PyLong_FromLong(0);
            if (!done(CALL(get(window, WINDOW__came), subtract, zero, get(window, WINDOW__lower)))) {
                is_longer = -1;
            }
            Py_XDECREF(zero);
        }
    }
    Py_XDECREF(ranges);
    if (is_longer) {
        return is_longer > 0;
    }
    PyObject *ends[] = {PyLong_FromLongLong(start), PyLong_FromLongLong(stop)};
    int is_good = done(CALL(window, add_next, ends[0], ends[1]));
    Py_XDECREF(ends[0]);
    Py_XDECREF(ends[1]);
    return is_good;
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

    if (PyTuple_GET_SIZE(frame) != 4 || !PyBytes_Check(PyTuple_GET_ITEM(frame, 3))) {
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
    PyObject *stream = PyDict_Check(streams) ? PyDict_GetItemWithError(streams, number) : NULL;
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
    if (stream == NULL || (id & 3) == own || !PyBytes_GET_SIZE(data) ||
        !PyObject_TypeCheck(stream, books_types[STREAM])) {
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
        PyObject *ended = PyObject_GetAttr(get(stream, STREAM_sender), words[word_is_finished]);
        int has_ended = told(ended);
        is_good = has_ended >= 0 && (!has_ended || forget(connection, stream));
    } else if (is_good && end > most - end) {
        is_good = put_flag(connection, CONNECTION__is_long_due, 1);
    }
    Py_DECREF(stream);
    return is_good;
}

/* `Incoming.next_event`, where bytes of a stream are the next. */
static PyObject *connection_next_event(PyObject *connection, PyObject *Py_UNUSED(none)) {
    PyObject *events = get(connection, CONNECTION_events);
    Py_ssize_t count = PyObject_Size(events);
    long long delivered, enough;

    if (count <= 0) {
        return count < 0 ? NULL : Py_NewRef(Py_None);
    }
    PyObject *first = PySequence_GetItem(events, 0);
    PyObject *data = is_a(first, HEARD) && is_none(first, HEARD_chunks) ? get(first, HEARD_data) : NULL;
    Py_XDECREF(first); /* the queue has it */
    if (first == NULL) {
        return NULL;
    }
    if (data == NULL || !PyBytes_CheckExact(data)) {
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
    long long waited, exponent, first, last;

    if (PyTuple_GET_SIZE(frame) != 3 || !PyList_CheckExact(PyTuple_GET_ITEM(frame, 1)) ||
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
    int is_good;
    if (PyList_GET_SIZE(said) == 1) {
        PyObject *range = PyList_GET_ITEM(said, 0);
        is_good = PyTuple_CheckExact(range) && PyTuple_GET_SIZE(range) == 2 &&
                  as_number(PyTuple_GET_ITEM(range, 0), &first) &&
                  as_number(PyTuple_GET_ITEM(range, 1), &last) &&
                  acknowledge(loss, space, first, last, delay, now);
    } else {
        PyObject *ranges = PyList_GetSlice(said, 0, PyList_GET_SIZE(said));
        PyObject *wait = PyFloat_FromDouble(delay), *at = PyFloat_FromDouble(now);
        is_good = ranges != NULL && PyList_Reverse(ranges) == 0 &&
                  done(CALL(loss, acknowledge_all, space, ranges, wait, at));
        Py_XDECREF(ranges);
        Py_XDECREF(wait);
        Py_XDECREF(at);
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
        if (!PyTuple_CheckExact(frame) || !PyTuple_GET_SIZE(frame)) {
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

    if (!is_a(space, SPACE) || !is_a(loss, RECOVERY) || !PyList_CheckExact(unsaid) ||
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
        PyObject *numbers[] = {PyLong_FromLongLong(count), PyLong_FromLongLong(number),
            PyFloat_FromDouble(now)};
        int is_good = done(CALL(connection, _came, numbers[0], numbers[1],
            is_eliciting ? Py_True : Py_False, numbers[2]));
        for (int index = 0; index < 3; index++) {
            Py_XDECREF(numbers[index]);
        }
        return is_good;
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

    if (!PyBytes_Check(rest) || PyBytes_GET_SIZE(rest) || !PyList_CheckExact(frames) ||
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
        if (!PyTuple_CheckExact(one) || PyTuple_GET_SIZE(one) != 5) {
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
            int came_before = PySequence_Contains(received, PyTuple_GET_ITEM(one, 1));
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
    PyObject *found = CALL(get(keys, KEYS_opener), open, datagrams, at,
        get(connection, CONNECTION_host_cid), get(keys, KEYS_phase),
        get(space, SPACE_expected_packet_number), next);
    Py_XDECREF(next);
    Py_XDECREF(at);
    if (found == NULL) {
        return -1;
    }
    int is_good = PyList_CheckExact(found) && read_found(connection, found, now_object, now, &count);
    Py_DECREF(found);
    return is_good ? count : -1;
}

static PyObject *connection_receive(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    double now;

    if (given != 3 || !PyList_CheckExact(args[0])) {
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
    if ((PyDict_CheckExact(stirred) && PyDict_GET_SIZE(stirred)) ||
        is_true(connection, CONNECTION__is_long_due) ||
        is_true(connection, CONNECTION_wants_room)) {
        put_flag(connection, CONNECTION_has_news, 1);
    }
    Py_RETURN_NONE;
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

/* Packets that leave: `ShortWay.departures`, `Outgoing._send_run` and what they call */

/* Add to a list what is a new reference; 0 when it is NULL. */
static int append(PyObject *list, PyObject *item) {
    int is_good = item != NULL && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return is_good;
}

/* `Recovery.enter`, of a train whose packets are all in flight. */
static int enter(
    PyObject *loss, PyObject *space, PyObject *train, long long count, long long size, double now) {
    PyObject *control = get(loss, RECOVERY__cc);
    long long flying, peak, waiting;
    double ends;

    if (PyList_Append(get(loss, RECOVERY_book), train) < 0 ||
        !number_in(space, SPACE_ack_eliciting_in_flight, &waiting) ||
        !put_number(space, SPACE_ack_eliciting_in_flight, waiting + count) ||
        !put_shared(loss, RECOVERY__time_of_last_sent_ack_eliciting_packet,
            get(train, TRAIN_sent_time)) ||
        !number_in(control, CONTROL_bytes_in_flight, &flying) ||
        !number_in(control, CONTROL__peak, &peak) ||
        !time_in(control, CONTROL__period_ends, &ends) ||
        !put_number(control, CONTROL_bytes_in_flight, flying + size)) {
        return 0;
    }
    return (flying + size <= peak && now < ends) ||
           done(CALL(control, _left, get(train, TRAIN_sent_time)));
}

/* A run of packets that is about to leave. */
struct run {
    PyObject *stream, *sender, *data;
    long long start, stop, step, limit, most, count, credit_used;
    int fin, is_last;
};

/* `SharedSender.take_new`. */
static int take_new(struct run *run) {
    PyObject *sender = run->sender, *starts = get(sender, SENDER__starts);
    PyObject *chunks = get(sender, SENDER__chunks);
    long long end = run->stop, begun = -1, fin = -1;

    if (!PyList_CheckExact(starts) || !PyList_CheckExact(chunks)) {
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
        PyObject *until = PyLong_FromLongLong(run->stop);
        run->data = CALL(sender, cut, get(sender, SENDER_highest_offset), until);
        Py_XDECREF(until);
    }
    if (run->data == NULL || !PyBytes_Check(run->data) ||
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

/* Seal a run, and note it where it is noted. */
static int leave(PyObject *connection, PyObject *packets, struct run *run, PyObject *now) {
    PyObject *loss = get(connection, CONNECTION__loss), *space = get(connection, CONNECTION__space);
    PyObject *keys = get(connection, CONNECTION__keys), *label = get(run->sender, SENDER_label);
    long long number, phase, size = run->stop - run->start;
    char frame[1 + LABEL] = {TO_END};

    if (!PyBytes_Check(label) || PyBytes_GET_SIZE(label) > LABEL || !is_a(keys, KEYS)) {
        PyErr_SetString(PyExc_TypeError, "a label is a varint");
        return 0;
    }
    memcpy(frame + 1, PyBytes_AS_STRING(label), (size_t)PyBytes_GET_SIZE(label));
    if (!number_in(connection, CONNECTION__packet_number, &number) ||
        !number_in(keys, KEYS_phase, &phase)) {
        return 0;
    }
    long spins = is_true(connection, CONNECTION__spin_bit) ? SPIN : 0;
    run->count = size ? (size - 1) / run->step + 1 : 1; /* an end without bytes is a packet, too */
    long long last = number + run->count - 1;
    long long bytes = size + run->count * (run->limit - run->step);
    PyObject *train = books_types[TRAIN]->tp_alloc(books_types[TRAIN], 0);
    PyObject *head = PyBytes_FromStringAndSize(frame, 1 + PyBytes_GET_SIZE(label));
    PyObject *first = PyLong_FromLong(FIRST | spins | (long)phase << 2);
    PyObject *cid = PyObject_GetAttr(get(connection, CONNECTION__peer_cid), words[word_cid]);
    int is_good =
        train != NULL && put_number(train, TRAIN_first, number) &&
        put_number(train, TRAIN_last, last) && put_number(train, TRAIN_sent_bytes, bytes) &&
        put_shared(train, TRAIN_sent_time, now) && put_number(train, TRAIN_full, run->limit) &&
        put_shared(train, TRAIN_sender, run->sender) &&
        put_number(train, TRAIN_start, run->start) && put_number(train, TRAIN_stop, run->stop) &&
        put_number(train, TRAIN_step, run->step) && put_flag(train, TRAIN_fin, run->fin) &&
        put(train, TRAIN_handlers, PyTuple_New(0)) && put_flag(train, TRAIN_is_ack_eliciting, 1) &&
        put_flag(train, TRAIN_in_flight, 1) && put_flag(train, TRAIN_is_foreign, 0) &&
        put_flag(train, TRAIN_is_trial, 0) && put_shared(train, TRAIN_ticket, Py_None);
    if (is_good) {
        PyObject *sealed = CALL(get(keys, KEYS_sealer), seal_run, run->data,
            get(train, TRAIN_step), head, get(train, TRAIN_start), get(train, TRAIN_fin), first, cid,
            get(train, TRAIN_first));
        PyObject *pair = sealed == NULL ? NULL : PyTuple_Pack(2, sealed, get(train, TRAIN_full));
        Py_XDECREF(sealed);
        is_good = append(packets, pair) &&
                  put_number(connection, CONNECTION__remote_max_data_used,
                      run->credit_used + size) &&
                  put_number(connection, CONNECTION__packet_number, last + 1) &&
                  enter(loss, space, train, run->count, bytes, PyFloat_AS_DOUBLE(now));
    }
    Py_XDECREF(train);
    Py_XDECREF(head);
    Py_XDECREF(first);
    Py_XDECREF(cid);
    if (is_good && !is_true(connection, CONNECTION__ack_eliciting_sent_since_receipt)) {
        is_good = put_shared(connection, CONNECTION__alive_at, now) &&
                  put_flag(connection, CONNECTION__ack_eliciting_sent_since_receipt, 1);
    }
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
    PyObject *sender = PyObject_TypeCheck(stream, books_types[STREAM])
                           ? get(stream, STREAM_sender)
                           : NULL;
    if (!is_a(sender, SENDER)) {
        return told(CALL(connection, _send_run, now, packets));
    }
    struct run run = {.stream = stream, .sender = sender};
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
        return put_flag(sender, SENDER_buffer_is_empty, 1) && PyDict_DelItem(stirred, id) == 0
                   ? 1
                   : -1;
    }
    PyObject *label = get(sender, SENDER_label);
    run.step = run.limit - overhead - 5 - (PyBytes_Check(label) ? PyBytes_GET_SIZE(label) : 0);
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
    if (is_good && !is_none(pacer, PACER_packet_time)) {
        double left = bucket - paced * (double)run.count;
        is_good = put_time(pacer, PACER_bucket_time, left > 0.0 ? left : 0.0);
    }
    Py_DECREF(id);
    Py_DECREF(stream);
    Py_DECREF(sender);
    return is_good ? 1 : -1;
}

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
    if (!take_new(run) ||
        (run->is_last &&
            !put_flag(sender, SENDER_buffer_is_empty, !is_true(sender, SENDER__pending_eof)))) {
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
    PyObject *bytes = Py_BuildValue(
        "LLO", run->start, run->start + (long long)PyBytes_GET_SIZE(run->data),
        run->fin ? Py_True : Py_False);
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

/* `Outgoing._stream_frame_out`. */
static PyObject *connection_stream_frame_out(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    long long room, granted, most;

    if (given != 6 || !PyList_CheckExact(args[3]) || !PyList_CheckExact(args[5]) ||
        !is_a(args[4], TRAIN)) {
        PyErr_SetString(PyExc_TypeError, "_stream_frame_out() takes six arguments");
        return NULL;
    }
    struct run run = {.stream = args[0], .sender = args[1]};
    PyObject *label = is_a(run.sender, SENDER) ? get(run.sender, SENDER_label) : NULL;
    if (label == NULL || !PyBytes_Check(label) || PyBytes_GET_SIZE(label) > LABEL ||
        !PyObject_TypeCheck(run.stream, books_types[STREAM]) ||
        !is_true(run.sender, SENDER_is_orderly)) {
        return call(connection, word___stream_frame_out, args, (size_t)given);
    }
    if (!as_number(args[2], &room) || !number_in(run.sender, SENDER_highest_offset, &run.start) ||
        !number_in(run.sender, SENDER__buffer_stop, &run.stop) ||
        !number_in(connection, CONNECTION__remote_max_data, &granted) ||
        !number_in(connection, CONNECTION__remote_max_data_used, &run.credit_used) ||
        !number_in(run.stream, STREAM_max_stream_data_remote, &most)) {
        return NULL;
    }
    run.most = run.start + granted - run.credit_used;
    run.most = run.most < most ? run.most : most;
    room -= (run.stop < FAR ? 7 : 11) + PyBytes_GET_SIZE(label);
    int found = room < 0 ? 0 : take(&run, room);
    if (!found) {
        return PyLong_FromLong(0);
    }
    PyObject *head = NULL;
    long long size = found > 0 ? (long long)PyBytes_GET_SIZE(run.data) : 0, wrote = -1;
    if (found > 0 && (head = frame_head(label, run.start, size, run.fin)) != NULL &&
        PyList_Append(args[3], head) == 0 && PyList_Append(args[3], run.data) == 0 &&
        carry(args[4], args[5], &run) &&
        put_number(connection, CONNECTION__remote_max_data_used, run.credit_used + size)) {
        wrote = PyBytes_GET_SIZE(head) + size;
    }
    Py_XDECREF(head);
    Py_XDECREF(run.data);
    return wrote < 0 ? NULL : PyLong_FromLongLong(wrote);
}

/* `Outgoing._ack_frame` of one range, and `Outgoing._sealed`: a packet with nothing else. */
static PyObject *only_ack(PyObject *connection, double now) {
    PyObject *space = get(connection, CONNECTION__space), *keys = get(connection, CONNECTION__keys);
    PyObject *pacer = get(get(connection, CONNECTION__loss), RECOVERY__pacer);
    PyObject *range = PyList_GET_ITEM(get(connection, CONNECTION__unsaid), 0);
    long long start, stop, exponent, number, phase;
    double came = now, bucket, paced;
    unsigned char frame[14] = {ACK}, *to = frame + 1;

    if (!number_of(range, word_start, &start) || !number_of(range, word_stop, &stop) ||
        !number_in(connection, CONNECTION__local_ack_delay_exponent, &exponent) ||
        !number_in(connection, CONNECTION__packet_number, &number) ||
        !number_in(keys, KEYS_phase, &phase) ||
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
    long spins = is_true(connection, CONNECTION__spin_bit) ? SPIN : 0;
    PyObject *payload = PyBytes_FromStringAndSize((char *)frame, sizeof frame);
    PyObject *first = PyLong_FromLong(FIRST | spins | (long)phase << 2);
    PyObject *cid = PyObject_GetAttr(get(connection, CONNECTION__peer_cid), words[word_cid]);
    PyObject *packet = CALL(get(keys, KEYS_sealer), seal, payload, first, cid,
        get(connection, CONNECTION__packet_number));
    Py_XDECREF(payload);
    Py_XDECREF(first);
    Py_XDECREF(cid);
    int is_good = packet != NULL && PyBytes_Check(packet) &&
                  put_number(connection, CONNECTION__packet_number, number + 1) &&
                  put_shared(space, SPACE_ack_at, Py_None);
    if (is_good && !is_none(pacer, PACER_packet_time)) {
        is_good = time_in(pacer, PACER_packet_time, &paced) &&
                  time_in(pacer, PACER_bucket_time, &bucket) &&
                  put_time(pacer, PACER_bucket_time, bucket > paced ? bucket - paced : 0.0);
    }
    if (!is_good) {
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
            sent = told(CALL(
                connection, _send_mixed, now_object, ack_due ? Py_True : Py_False, packets));
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
        !PyDict_CheckExact(get(connection, CONNECTION_stirred)) ||
        !PyList_CheckExact(get(connection, CONNECTION__unsaid)) ||
        !is_ours(get(connection, CONNECTION__loss))) {
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
    int is_good = extras != NULL && PyList_CheckExact(extras);

    for (Py_ssize_t at = 0; is_good && at < PyList_GET_SIZE(extras); at++) {
        PyObject *extra = PyList_GET_ITEM(extras, at);
        PyObject *size = PyLong_FromSsize_t(PyBytes_Check(extra) ? PyBytes_GET_SIZE(extra) : 0);
        is_good = size != NULL && append(departures, PyTuple_Pack(3, extra, size, home));
        Py_XDECREF(size);
    }
    Py_XDECREF(extras);
    return is_good;
}

static PyObject *connection_departures(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
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
    PyObject *home = get(connection, CONNECTION__home), *queue = get(connection, CONNECTION__streams_queue);
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
    if (!PyList_Check(queue) || PyList_SetSlice(queue, 0, PyList_GET_SIZE(queue), NULL) < 0 ||
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
        PyObject *departure = size == NULL ? NULL : PyTuple_Pack(3, packet, size, home);
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
        if (packets == NULL || !PyList_CheckExact(packets)) {
            goto failed;
        }
    }
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(packets); at++) {
        PyObject *pair = PyList_GET_ITEM(packets, at);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "packets are pairs");
            goto failed;
        }
        if (!append(departures,
                PyTuple_Pack(3, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), home))) {
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

static PyObject *connection_capacity(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    PyObject *id = given ? args[0] : Py_None, *stream = NULL;
    PyObject *streams = get(connection, CONNECTION__streams);
    long long room, remote, stop;

    if (given > 1) {
        PyErr_SetString(PyExc_TypeError, "capacity() takes a stream");
        return NULL;
    }
    int is_simple = is_true(connection, CONNECTION_is_settled) &&
                    is_ours(get(connection, CONNECTION__loss)) && PyDict_Check(streams);
    if (is_simple && id != Py_None) {
        stream = PyDict_GetItemWithError(streams, id);
        if (stream == NULL && PyErr_Occurred()) {
            return NULL;
        }
        is_simple = stream != NULL && PyObject_TypeCheck(stream, books_types[STREAM]) &&
                    is_a(get(stream, STREAM_sender), SENDER);
    }
    if (!is_simple) {
        return CALL(connection, _capacity, id);
    }
    if (!capacity(connection, &room) ||
        (room <= 0 && !put_flag(connection, CONNECTION_wants_room, 1))) {
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

static PyObject *connection_is_ample(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    long long wanted, next, most, room;

    if (given != 1 || !as_number(args[0], &wanted)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "is_ample() takes room");
        }
        return NULL;
    }
    if (!is_true(connection, CONNECTION_is_settled) || !is_ours(get(connection, CONNECTION__loss))) {
        return CALL(connection, _is_ample, args[0]);
    }
    if (!number_in(connection, CONNECTION__remote_max_streams_uni, &most) ||
        !number_in(connection, CONNECTION__local_next_stream_id_uni, &next)) {
        return NULL;
    }
    if (most - (next >> 2) <= SPARE) {
        Py_RETURN_FALSE;
    }
    if (!capacity(connection, &room) ||
        (room <= 0 && !put_flag(connection, CONNECTION_wants_room, 1))) {
        return NULL;
    }
    return PyBool_FromLong((room > 0 ? room : 0) >= wanted);
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
        put_shared(sender, SENDER__buffer_fin,
            fin ? get(sender, SENDER__buffer_stop) : Py_None) &&
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

static PyObject *connection_open_stream(
    PyObject *connection, PyObject *const *args, Py_ssize_t given) {
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
    if (args[0] != Py_True || head == NULL || !PyBytes_CheckExact(head) || !PyDict_Check(streams) ||
        !PyDict_CheckExact(stirred) || !is_true(connection, CONNECTION_is_settled)) {
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
    int is_good = stream != NULL &&
                  put_number(connection, CONNECTION__local_next_stream_id_uni, next + 4) &&
                  PyDict_SetItem(streams, id, stream) == 0 &&
                  (!says || (PyDict_SetItem(stirred, id, stream) == 0 &&
                                put_number(connection, CONNECTION__handed,
                                    handed + PyBytes_GET_SIZE(head))));
    Py_XDECREF(stream);
    if (!is_good) {
        Py_CLEAR(id);
    }
    return id;
}

static PyObject *connection_offer(PyObject *connection, PyObject *const *args, Py_ssize_t given) {
    long long wanted, room, handed, stop, remote;

    if (given != 3 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "offer() takes a stream, data and room");
        return NULL;
    }
    PyObject *id = args[0], *data = args[1], *streams = get(connection, CONNECTION__streams);
    if (!as_number(args[2], &wanted)) {
        return NULL;
    }
    PyObject *stream = PyDict_Check(streams) ? PyDict_GetItemWithError(streams, id) : NULL;
    if (stream == NULL && PyErr_Occurred()) {
        return NULL;
    }
    PyObject *sender = stream != NULL && PyObject_TypeCheck(stream, books_types[STREAM])
                           ? get(stream, STREAM_sender)
                           : NULL;
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
        if (!PyList_CheckExact(chunks) || !PyList_CheckExact(starts) || !PyDict_CheckExact(stirred)) {
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

/* Whether `deadline` may be nearer than a probe timeout: `ShortWay.is_impatient`. */
static PyObject *connection_is_impatient(PyObject *connection, void *Py_UNUSED(closure)) {
    PyObject *space = get(connection, CONNECTION__space);

    return PyBool_FromLong(!is_true(connection, CONNECTION_is_settled) || !is_a(space, SPACE) ||
                           !is_none(connection, CONNECTION__pacing_at) ||
                           !is_none(space, SPACE_ack_at) || !is_none(space, SPACE_loss_time));
}

#define FAST(name) (PyCFunction)(void (*)(void)) name, METH_FASTCALL

static PyMethodDef methods[] = {
    {"next_event", connection_next_event, METH_NOARGS, "What was heard."},
    {"receive", FAST(connection_receive), "Datagrams came, one after the other."},
    {"departures", FAST(connection_departures), "Datagrams that may leave now."},
    {"offer", FAST(connection_offer), "Append to an open stream where there is so much room."},
    {"capacity", FAST(connection_capacity), "Bytes that would leave soon."},
    {"is_ample", FAST(connection_is_ample), "Whether there is so much room, and more streams."},
    {"_stream_frame_out", FAST(connection_stream_frame_out), "Add a frame of a stream's next bytes."},
    {"open_stream", FAST(connection_open_stream), "A new stream, or None without credit."},
};

static PyGetSetDef is_impatient = {"is_impatient", connection_is_impatient, NULL, NULL, NULL};

/* What a connection has in place of its own. */
static PyObject *all_methods(void) {
    PyObject *found = PyDict_New(), *impatience;

    if (found == NULL) {
        return NULL;
    }
    for (size_t index = 0; index < sizeof methods / sizeof *methods; index++) {
        PyObject *method = PyDescr_NewMethod(books_types[CONNECTION], &methods[index]);
        int is_good =
            method != NULL && PyDict_SetItemString(found, methods[index].ml_name, method) == 0;
        Py_XDECREF(method);
        if (!is_good) {
            Py_DECREF(found);
            return NULL;
        }
    }
    impatience = PyDescr_NewGetSet(books_types[CONNECTION], &is_impatient);
    if (impatience == NULL || PyDict_SetItemString(found, is_impatient.name, impatience) < 0) {
        Py_CLEAR(found);
    }
    Py_XDECREF(impatience);
    return found;
}

const char steps_bind_doc[] =
    "bind(acked, violation, joined, mute, deaf, *books)\n--\n\n"
    "Learn what the steps are about: what tells of an arrival, the error that is the peer's,\n"
    "`relay.net.udp.joined`, `MUTE` and `DEAF` of `relay.net.sender`, and the classes of all books.\n"
    "Answers what a connection has in place of its own methods.";

PyObject *steps_bind(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t given) {
    if (given < 5 || !PyExceptionClass_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "bind() takes what its text says, and books");
        return NULL;
    }
    for (int index = 0; index < WORD_COUNT; index++) {
        if (words[index] == NULL && (words[index] = PyUnicode_InternFromString(TEXTS[index])) == NULL) {
            return NULL;
        }
    }
    if (!books_bind(args + 5, given - 5)) {
        return NULL;
    }
    Py_XSETREF(acked, Py_NewRef(args[0]));
    Py_XSETREF(violation, Py_NewRef(args[1]));
    Py_XSETREF(joined, Py_NewRef(args[2]));
    Py_XSETREF(mute, Py_NewRef(args[3]));
    Py_XSETREF(deaf, Py_NewRef(args[4]));
    Py_XSETREF(on_data_delivery,
        PyObject_GetAttrString((PyObject *)books_types[SENDER], "on_data_delivery"));
    if (on_data_delivery == NULL) {
        return NULL;
    }
    return all_methods();
}
