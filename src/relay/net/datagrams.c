/* Datagrams read and sent; `datagrams.h` says what for. Several are read with one system call, whose
 * end is no exception: `recvmmsg` answers fewer than were asked for when there are no more. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "datagrams.h"

#ifdef RELAY_DATAGRAMS

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    AT_ONCE = 4,     /* messages of one system call */
    LARGEST = 65535, /* bytes of a message: a datagram, or what the kernel joined */
    LARGE = 2048,    /* as `relay.net.udp.LARGE` */
    SEGMENT = 103,   /* UDP_SEGMENT (linux/udp.h) */
    GRO = 104,       /* UDP_GRO */
    MARK = 32,       /* bytes of a datagram's beginning that are compared, at most */
    TRAIN = 64,      /* datagrams sent with one system call (UDP_MAX_SEGMENTS of the kernel) */
    TRAIN_BYTES = 65000, /* so that a train with its headers fits an IP packet's length field */
};

const char datagrams_receive_doc[] =
    "receive(sock, limit, alike)\n--\n\n"
    "Read about so many datagrams that are there already, as `relay.net.udp.receive`.";

/* Where messages are read to, for as long as a call holds the interpreter's lock. */
static unsigned char buffers[AT_ONCE][LARGEST];

/* An address as Python's sockets show it. */
static PyObject *shown(const struct sockaddr_storage *address, socklen_t size) {
    char host[INET6_ADDRSTRLEN];

    if (size >= sizeof(struct sockaddr_in) && address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        if (inet_ntop(AF_INET, &four->sin_addr, host, sizeof host) != NULL) {
            return Py_BuildValue("si", host, (int)ntohs(four->sin_port));
        }
    } else if (size >= sizeof(struct sockaddr_in6) && address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        if (inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host) != NULL) {
            return Py_BuildValue(
                "siII", host, (int)ntohs(six->sin6_port), (unsigned)ntohl(six->sin6_flowinfo),
                (unsigned)six->sin6_scope_id);
        }
    }
    Py_RETURN_NONE;
}

/* The size of the datagrams that the kernel joined, 0 when it did not. */
static Py_ssize_t segment_size(struct msghdr *message) {
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL;
         each = CMSG_NXTHDR(message, each)) {
        int size;
        if (each->cmsg_level == IPPROTO_UDP && each->cmsg_type == GRO &&
            each->cmsg_len >= CMSG_LEN(sizeof size)) {
            memcpy(&size, CMSG_DATA(each), sizeof size);
            return size;
        }
    }
    return 0;
}

/* What was read: runs, as `relay.net.udp.Run` says, and how many datagrams they are. */
struct found {
    PyObject *runs; /* list */
    PyObject *from; /* the latest address, borrowed from the run that has it */
    PyObject *row;  /* the datagrams of the latest run, borrowed likewise */
    unsigned char mark[MARK];
    Py_ssize_t alike, count;
};

/* Begin a run with a datagram; 0 with an exception. */
static int begin_run(struct found *found, PyObject *from, PyObject *data) {
    PyObject *row = PyList_New(1);
    if (row == NULL) {
        return 0;
    }
    Py_INCREF(data);
    PyList_SET_ITEM(row, 0, data);
    PyObject *run = PyTuple_Pack(2, from, row);
    Py_DECREF(row); /* the run has it */
    if (run == NULL) {
        return 0;
    }
    int failed = PyList_Append(found->runs, run);
    Py_DECREF(run); /* the list has it */
    found->from = from;
    found->row = row;
    return failed == 0;
}

/* Add the datagrams of a message; 0 with an exception. */
static int add_message(
    struct found *found, const unsigned char *data, Py_ssize_t size, Py_ssize_t step,
    PyObject *from) {
    Py_ssize_t at = 0;
    do {
        Py_ssize_t part = step > 0 && step < size - at ? step : size - at;
        PyObject *one = PyBytes_FromStringAndSize((const char *)data + at, part);
        int done = 0;
        if (one != NULL && part > found->alike) {
            unsigned char mark[MARK] = {0};
            memcpy(mark, data + at, (size_t)found->alike + 1);
            mark[0] &= 0x80;
            if (found->row != NULL && found->from == from &&
                memcmp(mark, found->mark, (size_t)found->alike + 1) == 0) {
                done = PyList_Append(found->row, one) == 0;
            } else {
                done = begin_run(found, from, one);
                memcpy(found->mark, mark, sizeof mark);
            }
        } else if (one != NULL) {
            done = begin_run(found, from, one);
            found->row = NULL; /* too short for others to be like it */
        }
        Py_XDECREF(one);
        if (!done) {
            return 0;
        }
        found->count += 1 + part / LARGE;
        at += part;
    } while (at < size);
    return 1;
}

/* Read what is there; answers the last error that the kernel told of, 0 without any, or -1 with an
 * exception. */
static int read_all(int fd, Py_ssize_t limit, struct found *found) {
    struct mmsghdr messages[AT_ONCE];
    struct iovec places[AT_ONCE];
    struct sockaddr_storage names[AT_ONCE];
    _Alignas(struct cmsghdr) unsigned char notes[AT_ONCE][CMSG_SPACE(sizeof(int))];
    int trouble = 0;

    for (Py_ssize_t tries = 0; tries < limit && found->count < limit; tries++) {
        Py_ssize_t wanted = limit - found->count;
        unsigned count = wanted < AT_ONCE ? (unsigned)wanted : AT_ONCE;
        for (unsigned index = 0; index < count; index++) {
            places[index] = (struct iovec){buffers[index], LARGEST};
            messages[index].msg_hdr = (struct msghdr){
                .msg_name = &names[index],
                .msg_namelen = sizeof names[index],
                .msg_iov = &places[index],
                .msg_iovlen = 1,
                .msg_control = notes[index],
                .msg_controllen = sizeof notes[index],
            };
        }
        int got = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
        if (got < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
                break;
            }
            trouble = errno; /* has cost one datagram */
            continue;
        }
        PyObject *from = NULL;
        int failed = 0;
        for (int index = 0; index < got && !failed; index++) {
            struct msghdr *message = &messages[index].msg_hdr;
            socklen_t size = message->msg_namelen;
            if (index == 0 || size != messages[index - 1].msg_hdr.msg_namelen ||
                memcmp(&names[index], &names[index - 1], size) != 0) {
                Py_XSETREF(from, shown(&names[index], size));
            }
            failed = from == NULL ||
                     !add_message(found, buffers[index], (Py_ssize_t)messages[index].msg_len,
                         segment_size(message), from);
        }
        Py_XDECREF(from);
        if (failed) {
            return -1;
        }
        if ((unsigned)got < count) {
            break;
        }
    }
    return trouble;
}

/* A socket's descriptor; below 0, without an exception, when it is closed. */
static int descriptor(PyObject *sock) {
    int fd = PyObject_AsFileDescriptor(sock);
    if (fd < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
    }
    return fd;
}

PyObject *datagrams_receive(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (given != 3) {
        PyErr_SetString(PyExc_TypeError, "receive() takes a socket and two numbers");
        return NULL;
    }
    int fd = descriptor(args[0]);
    if (fd < 0 && PyErr_Occurred()) {
        return NULL;
    }
    Py_ssize_t limit = PyLong_AsSsize_t(args[1]), alike = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (alike < 0 || alike >= MARK) {
        PyErr_SetString(PyExc_ValueError, "no number of bytes to compare");
        return NULL;
    }
    struct found found = {.runs = PyList_New(0), .alike = alike};
    if (found.runs == NULL) {
        return NULL;
    }
    int trouble = read_all(fd, limit, &found);
    if (trouble < 0) {
        Py_DECREF(found.runs);
        return NULL;
    }
    return Py_BuildValue("Ni", found.runs, trouble);
}

const char datagrams_send_doc[] =
    "send(sock, data, size, address)\n--\n\n"
    "Send datagrams of this size, joined, to one address, as `relay.net.udp.send`.";

/* Read an address as Python's sockets show it; answers its size, 0 when it is not one of a host. */
static socklen_t read_address(PyObject *shown, struct sockaddr_storage *address) {
    unsigned long numbers[3] = {0}; /* port, flow and scope */

    memset(address, 0, sizeof *address);
    Py_ssize_t count = PyTuple_Check(shown) ? PyTuple_GET_SIZE(shown) : 0;
    if (count < 2 || count > 4 || !PyUnicode_Check(PyTuple_GET_ITEM(shown, 0))) {
        return 0;
    }
    Py_ssize_t length;
    const char *host = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(shown, 0), &length);
    for (Py_ssize_t index = 1; host != NULL && index < count; index++) {
        numbers[index - 1] = PyLong_AsUnsignedLong(PyTuple_GET_ITEM(shown, index));
    }
    if (PyErr_Occurred() || strlen(host) != (size_t)length || numbers[0] > 65535) {
        PyErr_Clear();
        return 0;
    }
    in_port_t port = htons((uint16_t)numbers[0]);
    if (count == 2) {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_family = AF_INET;
        four->sin_port = port;
        return inet_pton(AF_INET, host, &four->sin_addr) == 1 ? sizeof *four : 0;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    six->sin6_family = AF_INET6;
    six->sin6_port = port;
    six->sin6_flowinfo = htonl((uint32_t)numbers[1]);
    six->sin6_scope_id = (uint32_t)numbers[2];
    return inet_pton(AF_INET6, host, &six->sin6_addr) == 1 ? sizeof *six : 0;
}

/* Send datagrams of `size` bytes, joined, with one system call; 0, or what went wrong. */
static int send_train(int fd, struct msghdr *message, uint16_t size) {
    _Alignas(struct cmsghdr) unsigned char note[CMSG_SPACE(sizeof size)] = {0};

    message->msg_control = NULL;
    message->msg_controllen = 0;
    if (message->msg_iov->iov_len > size) {
        message->msg_control = note;
        message->msg_controllen = sizeof note;
        struct cmsghdr *head = CMSG_FIRSTHDR(message);
        head->cmsg_level = IPPROTO_UDP;
        head->cmsg_type = SEGMENT;
        head->cmsg_len = CMSG_LEN(sizeof size);
        memcpy(CMSG_DATA(head), &size, sizeof size);
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, message, MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

/* Whether a socket's kernel takes many datagrams in one call; below 0 with an exception. */
static int takes_trains(PyObject *sock) {
    PyObject *said = PyObject_GetAttrString(sock, "in_trains");
    int is_so = said == NULL ? -1 : PyObject_IsTrue(said);
    Py_XDECREF(said);
    return is_so;
}

/* Leave what follows the first bytes of a call to `relay.net.udp.send`. */
static PyObject *leave(PyObject *const *args, Py_ssize_t at) {
    PyObject *udp = PyImport_ImportModule("relay.net.udp"), *done = NULL;
    if (udp != NULL) {
        done = PyObject_CallMethod(
            udp, "send", "Oy#OO", args[0], PyBytes_AS_STRING(args[1]) + at,
            PyBytes_GET_SIZE(args[1]) - at, args[2], args[3]);
        Py_DECREF(udp);
    }
    if (done == NULL) {
        return NULL;
    }
    Py_ssize_t more = PyLong_AsSsize_t(done);
    Py_DECREF(done);
    return more == -1 && PyErr_Occurred() ? NULL : PyLong_FromSsize_t(at + more);
}

PyObject *datagrams_send(PyObject *module, PyObject *const *args, Py_ssize_t given) {
    (void)module;
    if (given != 4 || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "send() takes a socket, bytes, a size and an address");
        return NULL;
    }
    int fd = descriptor(args[0]), in_trains = takes_trains(args[0]);
    if (in_trains < 0) {
        return NULL;
    }
    Py_ssize_t size = PyLong_AsSsize_t(args[2]), end = PyBytes_GET_SIZE(args[1]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (size < 1 || size > LARGEST) {
        PyErr_SetString(PyExc_ValueError, "no size of a datagram");
        return NULL;
    }
    struct sockaddr_storage address;
    socklen_t named = args[3] == Py_None ? 0 : read_address(args[3], &address);
    if (named == 0 && args[3] != Py_None) {
        return leave(args, 0); /* to be looked up */
    }
    Py_ssize_t most = size, fitting = TRAIN_BYTES / size;
    if (in_trains && fitting > 1) {
        most *= fitting < TRAIN ? fitting : TRAIN;
    }
    for (Py_ssize_t at = 0, part; at < end; at += part) {
        part = end - at < most ? end - at : most;
        struct iovec place = {PyBytes_AS_STRING(args[1]) + at, (size_t)part};
        struct msghdr message = {
            .msg_name = named ? &address : NULL,
            .msg_namelen = named,
            .msg_iov = &place,
            .msg_iovlen = 1,
        };
        int error = send_train(fd, &message, (uint16_t)size);
        if (error == EAGAIN || error == EWOULDBLOCK) {
            return PyLong_FromSsize_t(at);
        }
        if (part > size &&
            (error == EINVAL || error == EMSGSIZE || error == EIO || error == EOPNOTSUPP)) {
            return leave(args, at); /* not in trains */
        }
    }
    return PyLong_FromSsize_t(end);
}

#endif
