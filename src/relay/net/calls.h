/* Asking Python: its methods and members by name. */

#ifndef RELAY_NET_CALLS_H
#define RELAY_NET_CALLS_H

#include "books.h"

#pragma GCC visibility push(hidden)

/* Every name that is asked for. */
#define WORDS(WORD)                                                                                \
    WORD(_RangeSet__ranges) WORD(_capacity) WORD(_depart_long) WORD(_departures)                   \
    WORD(_detect_loss) WORD(_discard) WORD(_extras) WORD(_is_ample) WORD(_left)                    \
    WORD(_limit_frame) WORD(_next_event) WORD(_offer) WORD(_open_stream) WORD(_receive_long)       \
    WORD(_refuse) WORD(_reset_frame) WORD(_send_mixed) WORD(_send_run) WORD(_stop_frame)           \
    WORD(_stream_frame) WORD(_take_in) WORD(add) WORD(append) WORD(arrived)                        \
    WORD(buffer_is_empty) WORD(cid) WORD(every) WORD(is_blocked) WORD(is_finished) WORD(join)      \
    WORD(now) WORD(open) WORD(popleft) WORD(seal) WORD(seal_run) WORD(sender) WORD(sent)           \
    WORD(sent_whole) WORD(space) WORD(start) WORD(stop) WORD(used) WORD(value)

#define AS_WORD(text) word_##text,

enum word { WORDS(AS_WORD) WORD_COUNT };
extern PyObject *words[WORD_COUNT];

/* Make the names; 0 with an exception. */
int words_make(void);

/* Call a method; a new reference, or NULL with an exception, also where what is given is NULL. */
PyObject *call(PyObject *object, enum word word, PyObject *const *given, size_t count);

#define CALL(object, word, ...)                                                                    \
    call(object, word_##word, (PyObject *[]){__VA_ARGS__},                                         \
        sizeof((PyObject *[]){__VA_ARGS__}) / sizeof(PyObject *))

/* Whether a call succeeded whose answer nobody needs. */
int done(PyObject *answer);

/* Whether a call answered yes; -1 with an exception. */
int told(PyObject *answer);

/* What an object has by this name; a new reference, or NULL with an exception, also where there is
 * no object. */
PyObject *member(PyObject *object, enum word word);

/* The number that an object has by this name; 0 with an exception. */
int number_of(PyObject *object, enum word word, long long *value);
int set_number(PyObject *object, enum word word, long long value);

/* Add to a list what is a new reference; 0 when it is NULL. */
int append(PyObject *list, PyObject *item);

#pragma GCC visibility pop

#endif
