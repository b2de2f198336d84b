/* The books of a connection, which are Python objects with slots: read and written without asking
 * the interpreter. */

#ifndef RELAY_NET_BOOKS_H
#define RELAY_NET_BOOKS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Every class of which slots are used, in the order of `books_bind`, and those slots. */
#define BOOKS(CLASS, SLOT)                                                                         \
    CLASS(CONNECTION)                                                                              \
    SLOT(CONNECTION, _delivered)                                                                   \
    SLOT(CONNECTION, _grant_at)                                                                    \
    SLOT(CONNECTION, _local_max_stream_data_uni)                                                   \
    SLOT(CONNECTION, _local_max_streams_bidi)                                                      \
    SLOT(CONNECTION, _local_max_streams_uni)                                                       \
    SLOT(CONNECTION, _local_next_stream_id_uni)                                                    \
    SLOT(CONNECTION, _remote_max_stream_data_uni)                                                  \
    SLOT(CONNECTION, _remote_max_streams_uni)                                                      \
    SLOT(CONNECTION, _ack_delay)                                                                   \
    SLOT(CONNECTION, _ack_eliciting_sent_since_receipt)                                            \
    SLOT(CONNECTION, _acks)                                                                        \
    SLOT(CONNECTION, _alive_at)                                                                    \
    SLOT(CONNECTION, _dropped)                                                                     \
    SLOT(CONNECTION, _extras_at)                                                                   \
    SLOT(CONNECTION, _handed)                                                                      \
    SLOT(CONNECTION, _heard)                                                                       \
    SLOT(CONNECTION, _home)                                                                        \
    SLOT(CONNECTION, _is_client)                                                                   \
    SLOT(CONNECTION, _is_long_due)                                                                 \
    SLOT(CONNECTION, _keys)                                                                        \
    SLOT(CONNECTION, _local_ack_delay_exponent)                                                    \
    SLOT(CONNECTION, _local_max_data)                                                              \
    SLOT(CONNECTION, _loss)                                                                        \
    SLOT(CONNECTION, _max_datagram_size)                                                           \
    SLOT(CONNECTION, _most)                                                                        \
    SLOT(CONNECTION, _mtu)                                                                         \
    SLOT(CONNECTION, _numbers)                                                                     \
    SLOT(CONNECTION, _overhead)                                                                    \
    SLOT(CONNECTION, _owed)                                                                        \
    SLOT(CONNECTION, _pacing_at)                                                                   \
    SLOT(CONNECTION, _packet_number)                                                               \
    SLOT(CONNECTION, _peer_cid)                                                                    \
    SLOT(CONNECTION, _rated)                                                                       \
    SLOT(CONNECTION, _remote_ack_delay_exponent)                                                   \
    SLOT(CONNECTION, _remote_max_data)                                                             \
    SLOT(CONNECTION, _remote_max_data_used)                                                        \
    SLOT(CONNECTION, _space)                                                                       \
    SLOT(CONNECTION, _spin_bit)                                                                    \
    SLOT(CONNECTION, _spin_highest_pn)                                                             \
    SLOT(CONNECTION, _streams)                                                                     \
    SLOT(CONNECTION, _streams_queue)                                                               \
    SLOT(CONNECTION, _unsaid)                                                                      \
    SLOT(CONNECTION, events)                                                                       \
    SLOT(CONNECTION, has_news)                                                                     \
    SLOT(CONNECTION, heard_more)                                                                   \
    SLOT(CONNECTION, host_cid)                                                                     \
    SLOT(CONNECTION, is_settled)                                                                   \
    SLOT(CONNECTION, stirred)                                                                      \
    SLOT(CONNECTION, wants_room)                                                                   \
    CLASS(SPACE)                                                                                   \
    SLOT(SPACE, ack_at)                                                                            \
    SLOT(SPACE, ack_eliciting_in_flight)                                                           \
    SLOT(SPACE, expected_packet_number)                                                            \
    SLOT(SPACE, largest_acked_packet)                                                              \
    SLOT(SPACE, largest_received_packet)                                                           \
    SLOT(SPACE, largest_received_time)                                                             \
    SLOT(SPACE, loss_time)                                                                         \
    SLOT(SPACE, received_packets)                                                                  \
    CLASS(RECOVERY)                                                                                \
    SLOT(RECOVERY, _cc)                                                                            \
    SLOT(RECOVERY, _largest_large)                                                                 \
    SLOT(RECOVERY, _pacer)                                                                         \
    SLOT(RECOVERY, _pto_count)                                                                     \
    SLOT(RECOVERY, _rtt_first_sample_time)                                                         \
    SLOT(RECOVERY, _rtt_initialized)                                                               \
    SLOT(RECOVERY, _rtt_latest)                                                                    \
    SLOT(RECOVERY, _rtt_min)                                                                       \
    SLOT(RECOVERY, _rtt_smoothed)                                                                  \
    SLOT(RECOVERY, _rtt_variance)                                                                  \
    SLOT(RECOVERY, _time_of_last_sent_ack_eliciting_packet)                                        \
    SLOT(RECOVERY, book)                                                                           \
    SLOT(RECOVERY, lost_foreign)                                                                   \
    SLOT(RECOVERY, max_ack_delay)                                                                  \
    SLOT(RECOVERY, mtu)                                                                            \
    SLOT(RECOVERY, peer_completed_address_validation)                                              \
    SLOT(RECOVERY, reordering)                                                                     \
    CLASS(TRAIN)                                                                                   \
    SLOT(TRAIN, fin)                                                                               \
    SLOT(TRAIN, first)                                                                             \
    SLOT(TRAIN, full)                                                                              \
    SLOT(TRAIN, handlers)                                                                          \
    SLOT(TRAIN, is_ack_eliciting)                                                                  \
    SLOT(TRAIN, is_foreign)                                                                        \
    SLOT(TRAIN, is_trial)                                                                          \
    SLOT(TRAIN, last)                                                                              \
    SLOT(TRAIN, sender)                                                                            \
    SLOT(TRAIN, sent_bytes)                                                                        \
    SLOT(TRAIN, sent_time)                                                                         \
    SLOT(TRAIN, start)                                                                             \
    SLOT(TRAIN, step)                                                                              \
    SLOT(TRAIN, stop)                                                                              \
    SLOT(TRAIN, ticket)                                                                            \
    CLASS(SENDER)                                                                                  \
    SLOT(SENDER, _lost)                                                                            \
    SLOT(SENDER, _stream_id)                                                                       \
    SLOT(SENDER, reset_pending)                                                                    \
    SLOT(SENDER, _acked)                                                                           \
    SLOT(SENDER, _acked_fin)                                                                       \
    SLOT(SENDER, _buffer_fin)                                                                      \
    SLOT(SENDER, _buffer_start)                                                                    \
    SLOT(SENDER, _buffer_stop)                                                                     \
    SLOT(SENDER, _chunks)                                                                          \
    SLOT(SENDER, _owner)                                                                           \
    SLOT(SENDER, _pending_eof)                                                                     \
    SLOT(SENDER, _reset_error_code)                                                                \
    SLOT(SENDER, _starts)                                                                          \
    SLOT(SENDER, buffer_is_empty)                                                                  \
    SLOT(SENDER, highest_offset)                                                                   \
    SLOT(SENDER, is_finished)                                                                      \
    SLOT(SENDER, is_orderly)                                                                       \
    SLOT(SENDER, label)                                                                            \
    SLOT(SENDER, stream)                                                                           \
    CLASS(STREAM)                                                                                  \
    SLOT(STREAM, max_stream_data_local_sent)                                                       \
    SLOT(STREAM, is_blocked)                                                                       \
    SLOT(STREAM, max_stream_data_local)                                                            \
    SLOT(STREAM, max_stream_data_remote)                                                           \
    SLOT(STREAM, receiver)                                                                         \
    SLOT(STREAM, sender)                                                                           \
    SLOT(STREAM, stream_id)                                                                        \
    CLASS(SHARED)                                                                                  \
    CLASS(RECEIVER)                                                                                \
    SLOT(RECEIVER, _buffer_start)                                                                  \
    SLOT(RECEIVER, _final_size)                                                                    \
    SLOT(RECEIVER, highest_offset)                                                                 \
    SLOT(RECEIVER, is_finished)                                                                    \
    SLOT(RECEIVER, stop_pending)                                                                   \
    CLASS(CONTROL)                                                                                 \
    SLOT(CONTROL, _congestion_recovery_start_time)                                                 \
    SLOT(CONTROL, _congestion_stash)                                                               \
    SLOT(CONTROL, _enough)                                                                         \
    SLOT(CONTROL, _max_datagram_size)                                                              \
    SLOT(CONTROL, _peak)                                                                           \
    SLOT(CONTROL, _period_ends)                                                                    \
    SLOT(CONTROL, _rtt_monitor)                                                                    \
    SLOT(CONTROL, bytes_in_flight)                                                                 \
    SLOT(CONTROL, congestion_window)                                                               \
    SLOT(CONTROL, ssthresh)                                                                        \
    CLASS(PACER)                                                                                   \
    SLOT(PACER, _max_datagram_size)                                                                \
    SLOT(PACER, bucket_max)                                                                        \
    SLOT(PACER, bucket_time)                                                                       \
    SLOT(PACER, evaluation_time)                                                                   \
    SLOT(PACER, packet_time)                                                                       \
    CLASS(MONITOR)                                                                                 \
    SLOT(MONITOR, _filtered_min)                                                                   \
    SLOT(MONITOR, _increases)                                                                      \
    SLOT(MONITOR, _ready)                                                                          \
    SLOT(MONITOR, _sample_idx)                                                                     \
    SLOT(MONITOR, _sample_time)                                                                    \
    SLOT(MONITOR, _samples)                                                                        \
    SLOT(MONITOR, _size)                                                                           \
    CLASS(MTU)                                                                                     \
    SLOT(MTU, gone)                                                                                \
    SLOT(MTU, size)                                                                                \
    CLASS(REORDERING)                                                                              \
    SLOT(REORDERING, gone)                                                                         \
    CLASS(WINDOW)                                                                                  \
    SLOT(WINDOW, _came)                                                                            \
    SLOT(WINDOW, _lower)                                                                           \
    CLASS(KEYS)                                                                                    \
    SLOT(KEYS, opener)                                                                             \
    SLOT(KEYS, phase)                                                                              \
    SLOT(KEYS, sealer)                                                                             \
    CLASS(HEARD)                                                                                   \
    SLOT(HEARD, chunks)                                                                            \
    SLOT(HEARD, data)                                                                              \
    SLOT(HEARD, end_stream)                                                                        \
    SLOT(HEARD, stream_id)

#define AS_CLASS(class) class,
#define AS_NOTHING(...)
#define AS_SLOT(class, name) class##_##name,

enum book { BOOKS(AS_CLASS, AS_NOTHING) KINDS };
enum slot { BOOKS(AS_NOTHING, AS_SLOT) SLOTS };

#pragma GCC visibility push(hidden)

extern PyTypeObject *books_types[KINDS];
extern Py_ssize_t books_places[SLOTS];

/* Learn the classes, given in their order, and where their slots lie. 0 with an exception where one
 * has not what it should. */
int books_bind(PyObject *const *classes, Py_ssize_t given);

/* Whether an object is of exactly this class: what others decide is not known here. */
static inline int is_a(PyObject *object, enum book book) {
    return object != NULL && Py_IS_TYPE(object, books_types[book]);
}

/* Whether it is one, or of a kind that goes beyond it. */
static inline int is_kind(PyObject *object, enum book book) {
    return object != NULL && PyObject_TypeCheck(object, books_types[book]);
}

/* What may be in a slot, or given: NULL is none of them. */
static inline int is_list(PyObject *object) {
    return object != NULL && PyList_CheckExact(object);
}

static inline int is_tuple(PyObject *object) {
    return object != NULL && PyTuple_CheckExact(object);
}

static inline int is_bytes(PyObject *object) {
    return object != NULL && PyBytes_CheckExact(object);
}

static inline int is_dict(PyObject *object) {
    return object != NULL && PyDict_CheckExact(object);
}

/* A dictionary, or of a kind that goes beyond it. */
static inline int is_table(PyObject *object) {
    return object != NULL && PyDict_Check(object);
}

static inline PyObject **slot_of(PyObject *object, enum slot slot) {
    return (PyObject **)((char *)object + books_places[slot]);
}

/* What is in a slot, borrowed; NULL when nothing is. */
static inline PyObject *get(PyObject *object, enum slot slot) {
    return *slot_of(object, slot);
}

static inline int is_true(PyObject *object, enum slot slot) {
    return get(object, slot) == Py_True;
}

static inline int is_none(PyObject *object, enum slot slot) {
    return get(object, slot) == Py_None;
}

/* Put something in a slot; a new reference, which is kept. 0 with an exception when it is NULL. */
int put(PyObject *object, enum slot slot, PyObject *value);

static inline int put_shared(PyObject *object, enum slot slot, PyObject *value) {
    return put(object, slot, Py_XNewRef(value));
}

static inline int put_flag(PyObject *object, enum slot slot, int value) {
    return put_shared(object, slot, value ? Py_True : Py_False);
}

static inline int put_number(PyObject *object, enum slot slot, long long value) {
    return put(object, slot, PyLong_FromLongLong(value));
}

static inline int put_time(PyObject *object, enum slot slot, double value) {
    return put(object, slot, PyFloat_FromDouble(value));
}

/* The number in a slot; 0 with an exception when there is none that fits. */
int number_in(PyObject *object, enum slot slot, long long *value);
int time_in(PyObject *object, enum slot slot, double *value);

/* The same of any object, which may be NULL. */
int as_number(PyObject *object, long long *value);
int as_time(PyObject *object, double *value);

#pragma GCC visibility pop

#endif
