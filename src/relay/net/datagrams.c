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

/* What a message says beside its bytes. */
struct notes {
    int size;             /* of the datagrams that the kernel joined, 0 when it did not */
    int kind;             /* AF_INET or AF_INET6 where `host` is told, else 0 */
    struct in6_addr host; /* of this machine, to which it was sent or from which it is to leave */
};

/* An address as Python's sockets show it, and behind it the host that the message was sent to. */
static PyObject *shown(
    const struct sockaddr_storage *address, socklen_t size, const struct notes *notes) {
    char host[INET6_ADDRSTRLEN], here[INET6_ADDRSTRLEN];
    int is_told = notes->kind && inet_ntop(notes->kind, &notes->host, here, sizeof here) != NULL;

    if (size >= sizeof(struct sockaddr_in) && address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        if (inet_ntop(AF_INET, &four->sin_addr, host, sizeof host) != NULL) {
            return Py_BuildValue(is_told ? "sis" : "si", host, (int)ntohs(four->sin_port), here);
        }
    } else if (size >= sizeof(struct sockaddr_in6) && address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        if (inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host) != NULL) {
            return Py_BuildValue(
                is_told ? "siIIs" : "siII", host, (int)ntohs(six->sin6_port),
                (unsigned)ntohl(six->sin6_flowinfo), (unsigned)six->sin6_scope_id, here);
        }
    }
    Py_RETURN_NONE;
}

static struct notes read_notes(struct msghdr *message) {
    struct notes notes = {0};

    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL;
         each = CMSG_NXTHDR(message, each)) {
        struct in_pktinfo four;
        if (each->cmsg_level == IPPROTO_UDP && each->cmsg_type == GRO &&
            each->cmsg_len >= CMSG_LEN(sizeof notes.size)) {
            memcpy(&notes.size, CMSG_DATA(each), sizeof notes.size);
        } else if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO &&
                   each->cmsg_len >= CMSG_LEN(sizeof four)) {
            memcpy(&four, CMSG_DATA(each), sizeof four);
            notes.kind = AF_INET;
            memcpy(&notes.host, &four.ipi_spec_dst, sizeof four.ipi_spec_dst);
        } else if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO &&
                   each->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
            notes.kind = AF_INET6;
            memcpy(&notes.host, CMSG_DATA(each), sizeof notes.host); /* which is its beginning */
        }
    }
    return notes;
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

/* Whether the system has no such call as the one that failed, or a sandbox allows none. */
static int is_forbidden(int error) {
    return error == ENOSYS || error == EPERM;
}

/* Read what is there; answers the last error that the kernel told of, 0 without any, or -1 with an
 * exception. */
static int read_all(int fd, Py_ssize_t limit, struct found *found) {
    struct mmsghdr messages[AT_ONCE];
    struct iovec places[AT_ONCE];
    struct sockaddr_storage names[AT_ONCE];
    _Alignas(struct cmsghdr) unsigned char
        notes[AT_ONCE][CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
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
            if (is_forbidden(trouble)) {
                break;
            }
            continue;
        }
        PyObject *from = NULL;
        struct notes said, before = {0};
        int failed = 0;
        for (int index = 0; index < got && !failed; index++, before = said) {
            struct msghdr *message = &messages[index].msg_hdr;
            socklen_t size = message->msg_namelen;
            said = read_notes(message);
            if (index == 0 || size != messages[index - 1].msg_hdr.msg_namelen ||
                memcmp(&names[index], &names[index - 1], size) != 0 || said.kind != before.kind ||
                memcmp(&said.host, &before.host, sizeof said.host) != 0) {
                Py_XSETREF(from, shown(&names[index], size, &said));
            }
            failed = from == NULL ||
                     !add_message(found, buffers[index], (Py_ssize_t)messages[index].msg_len,
                         said.size, from);
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

/* Read without the call that there is not. */
static PyObject *receive_singly(PyObject *const *args) {
    PyObject *udp = PyImport_ImportModule("relay.net.udp"), *found = NULL;
    if (udp != NULL) {
        found = PyObject_CallMethod(udp, "receive", "OOO", args[0], args[1], args[2]);
        Py_DECREF(udp);
    }
    return found;
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
    if (trouble < 0 || (is_forbidden(trouble) && found.count == 0)) {
        Py_DECREF(found.runs);
        return trouble < 0 ? NULL : receive_singly(args);
    }
    return Py_BuildValue("Ni", found.runs, trouble);
}

const char datagrams_send_doc[] =
    "send(sock, data, size, address)\n--\n\n"
    "Send datagrams of this size, joined, to one address, as `relay.net.udp.send`.";

/* Read an address as `shown` makes it, `here` too; answers its size, 0 when it is not one of a
 * host. */
static socklen_t read_address(
    PyObject *shown, struct sockaddr_storage *address, struct notes *here) {
    unsigned long numbers[3] = {0}; /* port, flow and scope */

    memset(address, 0, sizeof *address);
    Py_ssize_t count = PyTuple_Check(shown) ? PyTuple_GET_SIZE(shown) : 0;
    if ((count == 3 || count == 5) && PyUnicode_Check(PyTuple_GET_ITEM(shown, count - 1))) {
        const char *told = PyUnicode_AsUTF8(PyTuple_GET_ITEM(shown, --count));
        here->kind = count == 2 ? AF_INET : AF_INET6;
        if (told == NULL || inet_pton(here->kind, told, &here->host) != 1) {
            PyErr_Clear();
            return 0;
        }
    }
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

/* Add a note to a message whose `msg_control` has room for it. */
static void add_note(
    struct msghdr *message, int level, int type, const void *value, size_t size) {
    struct cmsghdr *note =
        (struct cmsghdr *)((unsigned char *)message->msg_control + message->msg_controllen);
    note->cmsg_level = level;
    note->cmsg_type = type;
    note->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(note), value, size);
    message->msg_controllen += CMSG_SPACE(size);
}

/* Send datagrams of `size` bytes, joined, with one system call; 0, or what went wrong. */
static int send_train(int fd, struct msghdr *message, uint16_t size, const struct notes *here) {
    _Alignas(struct cmsghdr) unsigned char
        notes[CMSG_SPACE(sizeof size) + CMSG_SPACE(sizeof(struct in6_pktinfo))] = {0};

    message->msg_control = notes;
    message->msg_controllen = 0;
    if (message->msg_iov->iov_len > size) {
        add_note(message, IPPROTO_UDP, SEGMENT, &size, sizeof size);
    }
    if (here->kind == AF_INET) {
        struct in_pktinfo four = {0};
        memcpy(&four.ipi_spec_dst, &here->host, sizeof four.ipi_spec_dst);
        add_note(message, IPPROTO_IP, IP_PKTINFO, &four, sizeof four);
    } else if (here->kind) {
        struct in6_pktinfo six = {.ipi6_addr = here->host};
        add_note(message, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof six);
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
    struct notes here = {0};
    socklen_t named = args[3] == Py_None ? 0 : read_address(args[3], &address, &here);
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
        int error = send_train(fd, &message, (uint16_t)size, &here);
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
