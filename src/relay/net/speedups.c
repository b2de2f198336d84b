/* Everyday packets, protected: what `relay.net.protection` does, in C (RFC 9001, 5).
 *
 * The ciphers are OpenSSL's. Nothing is decided here: a train to seal comes with its numbers, and
 * opening ends before a packet that cannot be opened. Nothing here keeps a reference
 * to what it was given, and every length is checked before it is used.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "datagrams.h"
#include "frames.h"
#include "steps.h"

/* To be counted up, here and in `relay.net.built`, whenever a call changes. */
enum { INTERFACE = 11 };

enum {
    TAG = 16,
    NONCE = 12,
    SAMPLE = 16,
    SAMPLE_AFTER = 4, /* bytes between the beginning of the number and the sample (5.4.2) */
    NUMBER = 2,       /* bytes of a packet number that is sent */
    CID = 20,         /* bytes of the longest connection id (RFC 9000, 17.2) */
    OFFSET = 4,       /* bytes of a stream's offset in a run */
    HEAD = 16,        /* bytes of a frame's head before the offset: kind and stream id */
    LARGEST = 65535,  /* bytes of a UDP datagram */
    AT_ONCE = 64,     /* headers hidden with one call */
    SPIN = 0x20,      /* bit of a header's first byte (17.4) */
    LAST = 0x01,      /* bit of a STREAM frame's type that ends the stream (19.8) */
};

static const uint64_t MAX_NUMBER = (UINT64_C(1) << 62) - 1;
static const Py_ssize_t MAX_OFFSET = (1 << 30) - 1; /* of four bytes (RFC 9000, 16) */

static const struct suite {
    long id; /* of TLS (RFC 8446, B.4) */
    Py_ssize_t key;
    const EVP_CIPHER *(*aead)(void);
    const EVP_CIPHER *(*hide)(void);
} SUITES[] = {
    {0x1301, 16, EVP_aes_128_gcm, EVP_aes_128_ecb},
    {0x1302, 32, EVP_aes_256_gcm, EVP_aes_256_ecb},
    {0x1303, 32, EVP_chacha20_poly1305, EVP_chacha20},
};

/* The keys of one direction; what a Sealer and an Opener have. */
typedef struct {
    PyObject_HEAD
    EVP_CIPHER_CTX *aead, *hide;
    int is_chacha;
    unsigned char iv[NONCE];
} Keys;

static PyObject *refused(void) {
    ERR_clear_error();
    PyErr_SetString(PyExc_RuntimeError, "OpenSSL refused");
    return NULL;
}

static int read_size(PyObject *number, Py_ssize_t *size) {
    *size = PyLong_AsSsize_t(number);
    return *size != -1 || !PyErr_Occurred();
}

static PyObject *keys_new(PyTypeObject *type, PyObject *args, int is_sealing) {
    long id;
    const char *key, *iv, *hp;
    Py_ssize_t key_size, iv_size, hp_size;
    const struct suite *suite = NULL;

    if (!PyArg_ParseTuple(args, "ly#y#y#", &id, &key, &key_size, &iv, &iv_size, &hp, &hp_size)) {
        return NULL;
    }
    for (size_t index = 0; index < sizeof SUITES / sizeof *SUITES; index++) {
        if (SUITES[index].id == id) {
            suite = &SUITES[index];
        }
    }
    if (suite == NULL) {
        return PyErr_Format(PyExc_ValueError, "unknown cipher suite %ld", id);
    }
    if (key_size != suite->key || hp_size != suite->key || iv_size != NONCE) {
        PyErr_SetString(PyExc_ValueError, "a key or iv has the wrong length");
        return NULL;
    }
    Keys *self = (Keys *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    memcpy(self->iv, iv, NONCE);
    self->is_chacha = suite->hide == EVP_chacha20;
    self->aead = EVP_CIPHER_CTX_new();
    self->hide = EVP_CIPHER_CTX_new();
    const unsigned char *aead_key = (const unsigned char *)key;
    const unsigned char *hide_key = (const unsigned char *)hp;
    if (self->aead == NULL || self->hide == NULL ||
        EVP_CipherInit_ex(self->aead, suite->aead(), NULL, aead_key, NULL, is_sealing) != 1 ||
        EVP_EncryptInit_ex(self->hide, suite->hide(), NULL, hide_key, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(self->hide, 0) != 1) {
        Py_DECREF(self);
        return refused();
    }
    return (PyObject *)self;
}

static void keys_dealloc(Keys *self) {
    PyTypeObject *type = Py_TYPE(self);
    EVP_CIPHER_CTX_free(self->aead);
    EVP_CIPHER_CTX_free(self->hide);
    type->tp_free(self);
    Py_DECREF(type);
}

static void nonce_of(const Keys *self, uint64_t number, unsigned char *nonce) {
    memcpy(nonce, self->iv, NONCE);
    for (int index = 0; index < 8; index++) {
        nonce[NONCE - 1 - index] ^= (unsigned char)(number >> 8 * index);
    }
}

/* The masks of these samples (RFC 9001, 5.4.3 and 5.4.4), SAMPLE bytes for each. */
static int mask(Keys *self, const unsigned char *samples, int count, unsigned char *masks) {
    static const unsigned char zeros[5];
    int size;

    if (!self->is_chacha) {
        return EVP_EncryptUpdate(self->hide, masks, &size, samples, count * SAMPLE) == 1;
    }
    for (int at = 0; at < count * SAMPLE; at += SAMPLE) {
        if (EVP_EncryptInit_ex(self->hide, NULL, NULL, NULL, samples + at) != 1 ||
            EVP_EncryptUpdate(self->hide, masks + at, &size, zeros, sizeof zeros) != 1) {
            return 0;
        }
    }
    return 1;
}

/* Protect the payload of a packet in place; its header is `head` bytes. */
static int seal_payload(
    Keys *self, unsigned char *packet, Py_ssize_t head, Py_ssize_t size, uint64_t number) {
    unsigned char nonce[NONCE], *payload = packet + head;
    int written;

    nonce_of(self, number, nonce);
    return EVP_EncryptInit_ex(self->aead, NULL, NULL, NULL, nonce) == 1 &&
           EVP_EncryptUpdate(self->aead, NULL, &written, packet, (int)head) == 1 &&
           EVP_EncryptUpdate(self->aead, payload, &written, payload, (int)size) == 1 &&
           EVP_EncryptFinal_ex(self->aead, payload + size, &written) == 1 &&
           EVP_CIPHER_CTX_ctrl(self->aead, EVP_CTRL_AEAD_GET_TAG, TAG, payload + size) == 1;
}

/* Hide the headers of sealed packets that follow each other; their numbers begin at `at`. */
static int hide_headers(
    Keys *self, unsigned char *packets, Py_ssize_t count, Py_ssize_t apart, Py_ssize_t at) {
    unsigned char samples[AT_ONCE * SAMPLE], masks[AT_ONCE * SAMPLE];

    for (Py_ssize_t from = 0; from < count; from += AT_ONCE) {
        unsigned char *packet = packets + from * apart;
        int some = count - from < AT_ONCE ? (int)(count - from) : AT_ONCE;
        for (int index = 0; index < some; index++) {
            memcpy(samples + index * SAMPLE, packet + index * apart + at + SAMPLE_AFTER, SAMPLE);
        }
        if (!mask(self, samples, some, masks)) {
            return 0;
        }
        for (int index = 0; index < some; index++, packet += apart) {
            packet[0] ^= masks[index * SAMPLE] & 0x1F;
            packet[at] ^= masks[index * SAMPLE + 1];
            packet[at + 1] ^= masks[index * SAMPLE + 2];
        }
    }
    return 1;
}

/* What the headers of a train have in common. */
struct header {
    unsigned char first;
    const char *cid;
    Py_ssize_t cid_size, size;
    uint64_t number;
};

/* Read `first`, `cid` and `number` of a call that seals `count` packets. */
static int read_header(PyObject *const *args, Py_ssize_t count, struct header *header) {
    long first = PyLong_AsLong(args[0]);
    if (first == -1 && PyErr_Occurred()) {
        return 0;
    }
    header->number = PyLong_AsUnsignedLongLong(args[2]);
    if (header->number == (uint64_t)-1 && PyErr_Occurred()) {
        return 0;
    }
    if (!PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "a connection id is bytes");
        return 0;
    }
    header->cid = PyBytes_AS_STRING(args[1]);
    header->cid_size = PyBytes_GET_SIZE(args[1]);
    header->size = 1 + header->cid_size + NUMBER;
    if (first < 0 || first > 0xFF || header->cid_size > CID ||
        header->number > MAX_NUMBER - (uint64_t)count) {
        PyErr_SetString(PyExc_ValueError, "no header of a packet");
        return 0;
    }
    header->first = (unsigned char)first;
    return 1;
}

/* Write the header of a packet; answers where its payload begins. */
static unsigned char *write_header(
    const struct header *header, uint64_t number, unsigned char *to) {
    *to++ = header->first;
    memcpy(to, header->cid, (size_t)header->cid_size);
    to += header->cid_size;
    *to++ = (unsigned char)(number >> 8);
    *to++ = (unsigned char)number;
    return to;
}

PyDoc_STRVAR(seal_doc, "seal(payload, first, cid, number)\n--\n\nA packet of this payload.");

static PyObject *sealer_seal(Keys *self, PyObject *const *args, Py_ssize_t given) {
    struct header header;
    if (given != 4 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "seal() takes a payload and a header");
        return NULL;
    }
    if (!read_header(args + 1, 1, &header)) {
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    if (size < SAMPLE_AFTER - NUMBER || header.size + size + TAG > LARGEST) {
        PyErr_SetString(PyExc_ValueError, "no payload of a packet");
        return NULL;
    }
    PyObject *packet = PyBytes_FromStringAndSize(NULL, header.size + size + TAG);
    if (packet == NULL) {
        return NULL;
    }
    unsigned char *start = (unsigned char *)PyBytes_AS_STRING(packet);
    unsigned char *to = write_header(&header, header.number, start);
    memcpy(to, PyBytes_AS_STRING(args[0]), (size_t)size);
    if (!seal_payload(self, start, header.size, size, header.number) ||
        !hide_headers(self, start, 1, 0, header.size - NUMBER)) {
        Py_DECREF(packet);
        return refused();
    }
    return packet;
}

PyDoc_STRVAR(
    seal_run_doc,
    "seal_run(data, step, head, offset, fin, first, cid, number)\n--\n\n"
    "Packets of a stream's bytes, joined.");

static PyObject *sealer_seal_run(Keys *self, PyObject *const *args, Py_ssize_t given) {
    struct header header;
    if (given != 8 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "seal_run() takes bytes, their frame and a header");
        return NULL;
    }
    Py_ssize_t step, offset;
    int fin;
    if (!read_size(args[1], &step) || !read_size(args[3], &offset) ||
        (fin = PyObject_IsTrue(args[4])) < 0) {
        return NULL;
    }
    const char *data = PyBytes_AS_STRING(args[0]), *frame = PyBytes_AS_STRING(args[2]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]), frame_size = PyBytes_GET_SIZE(args[2]);
    if (step < 1 || offset < 0 || size > MAX_OFFSET || offset > MAX_OFFSET - size ||
        frame_size < 1 || frame_size > HEAD) {
        PyErr_SetString(PyExc_ValueError, "no run of a stream");
        return NULL;
    }
    Py_ssize_t count = size ? (size - 1) / step + 1 : 1;
    if (!read_header(args + 5, count, &header)) {
        return NULL;
    }
    Py_ssize_t around = header.size + frame_size + OFFSET + TAG;
    if (step > LARGEST - around) {
        PyErr_SetString(PyExc_ValueError, "no payload of a packet");
        return NULL;
    }
    Py_ssize_t apart = around + step;
    PyObject *packets = PyBytes_FromStringAndSize(NULL, count * around + size);
    if (packets == NULL) {
        return NULL;
    }
    unsigned char *start = (unsigned char *)PyBytes_AS_STRING(packets);
    for (Py_ssize_t index = 0, at = 0; index < count; index++, at += step) {
        uint64_t number = header.number + (uint64_t)index;
        Py_ssize_t part = size - at < step ? size - at : step;
        uint32_t mark = (uint32_t)(offset + at) | UINT32_C(2) << 30; /* a varint of four bytes */
        unsigned char *packet = start + index * apart, *to = write_header(&header, number, packet);
        memcpy(to, frame, (size_t)frame_size);
        if (fin && index == count - 1) {
            to[0] |= 1;
        }
        to += frame_size;
        for (int shift = 24; shift >= 0; shift -= 8) {
            *to++ = (unsigned char)(mark >> shift);
        }
        memcpy(to, data + at, (size_t)part);
        if (!seal_payload(self, packet, header.size, frame_size + OFFSET + part, number)) {
            Py_DECREF(packets);
            return refused();
        }
    }
    if (!hide_headers(self, start, count, apart, header.size - NUMBER)) {
        Py_DECREF(packets);
        return refused();
    }
    return packets;
}

/* A packet that was opened: its number, first byte and the bytes of its payload. */
struct opened {
    uint64_t number;
    int first;
    Py_ssize_t size;
};

/* Open a 1-RTT packet whose number begins at `at`, into `plain`, and say what it is. 0 when it is
 * not one under these keys and this key phase, has reserved bits set or nothing in it. */
static int open_packet(
    Keys *self, const unsigned char *data, Py_ssize_t size, Py_ssize_t at, Py_ssize_t phase,
    uint64_t expected, unsigned char *plain, struct opened *opened) {
    unsigned char with[SAMPLE], header[1 + CID + 4], nonce[NONCE], tag[TAG];

    if (size < at + SAMPLE_AFTER + SAMPLE || size > LARGEST ||
        !mask(self, data + at + SAMPLE_AFTER, 1, with)) {
        return 0;
    }
    memcpy(header, data, (size_t)at);
    header[0] ^= with[0] & 0x1F;
    if ((header[0] >> 2 & 1) != phase || header[0] & 0x18) {
        return 0;
    }
    int length = (header[0] & 3) + 1;
    uint64_t truncated = 0;
    for (int index = 0; index < length; index++) {
        header[at + index] = data[at + index] ^ with[1 + index];
        truncated = truncated << 8 | header[at + index];
    }
    /* The number nearest to the one expected (RFC 9000, A.3). */
    uint64_t whole = UINT64_C(1) << 8 * length, ahead = (truncated - expected) & (whole - 1);
    uint64_t number = expected + ahead;
    if (ahead > whole >> 1) {
        if (number < whole) {
            return 0;
        }
        number -= whole;
    }
    Py_ssize_t sealed = size - at - length - TAG;
    int read;
    if (sealed < 1) {
        return 0;
    }
    nonce_of(self, number, nonce);
    memcpy(tag, data + size - TAG, TAG);
    if (EVP_DecryptInit_ex(self->aead, NULL, NULL, NULL, nonce) != 1 ||
        EVP_CIPHER_CTX_ctrl(self->aead, EVP_CTRL_AEAD_SET_TAG, TAG, tag) != 1 ||
        EVP_DecryptUpdate(self->aead, NULL, &read, header, (int)at + length) != 1 ||
        EVP_DecryptUpdate(self->aead, plain, &read, data + at + length, (int)sealed) != 1 ||
        EVP_DecryptFinal_ex(self->aead, plain + sealed, &read) != 1) {
        return 0;
    }
    *opened = (struct opened){number, header[0], sealed};
    return 1;
}

/* Packets in a row that carry one stream's bytes in a row. */
struct run {
    PyObject *data; /* bytes, of which `size` are filled; NULL when there is no run */
    Py_ssize_t size, count;
    uint64_t stream, offset, last;
    int kind, first;
};

/* Add a run that is over, if there is one, to what was opened; 0 with an exception. */
static int end_run(struct run *run, PyObject *found) {
    PyObject *data = run->data;
    if (data == NULL) {
        return 1;
    }
    run->data = NULL;
    if (_PyBytes_Resize(&data, run->size) < 0) {
        return 0;
    }
    PyObject *one = Py_BuildValue(
        "nKi[(iKKN)]y", run->count, (unsigned long long)run->last, run->first, run->kind,
        (unsigned long long)run->stream, (unsigned long long)run->offset, data, "");
    int failed = one == NULL || PyList_Append(found, one) < 0;
    Py_XDECREF(one);
    return !failed;
}

/* Add what is in a packet's payload; answers the bytes that are not read, or -1. */
static Py_ssize_t add_frames(
    const unsigned char *plain, const struct opened *opened, PyObject *found) {
    PyObject *frames = PyList_New(0);
    if (frames == NULL) {
        return -1;
    }
    const unsigned char *end = plain + opened->size, *rest = frames_read(plain, end, frames);
    if (rest == NULL) {
        Py_DECREF(frames);
        return -1;
    }
    PyObject *one = Py_BuildValue(
        "iKiNy#", 1, (unsigned long long)opened->number, opened->first, frames,
        (const char *)rest, (Py_ssize_t)(end - rest));
    int failed = one == NULL || PyList_Append(found, one) < 0;
    Py_XDECREF(one);
    return failed ? -1 : end - rest;
}

/* What is being opened. */
struct source {
    PyObject *packets; /* a list of bytes */
    const char *cid;
    Py_ssize_t start, cid_size, phase;
    uint64_t expected, next;
};

static int open_all(Keys *self, struct source *source, PyObject *found, struct run *run) {
    unsigned char plain[LARGEST];
    Py_ssize_t left = 0, rest = 0, at = 1 + source->cid_size;
    Py_ssize_t count = PyList_GET_SIZE(source->packets);

    for (Py_ssize_t index = source->start; index < count; index++) {
        PyObject *packet = PyList_GET_ITEM(source->packets, index);
        if (!PyBytes_Check(packet)) {
            PyErr_SetString(PyExc_TypeError, "a packet is bytes");
            return 0;
        }
        left += PyBytes_GET_SIZE(packet);
    }
    for (Py_ssize_t index = source->start; index < count && !rest; index++) {
        PyObject *packet = PyList_GET_ITEM(source->packets, index);
        const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(packet);
        Py_ssize_t size = PyBytes_GET_SIZE(packet);
        struct opened opened;
        struct stream_frame frame;
        if (size < at || (data[0] & 0xC0) != 0x40 ||
            memcmp(data + 1, source->cid, (size_t)source->cid_size) != 0 ||
            !open_packet(self, data, size, at, source->phase, source->expected, plain, &opened)) {
            break;
        }
        int is_next = opened.number >= source->next;
        if (opened.number > source->expected) { /* as the library counts */
            source->expected = opened.number + 1;
        }
        if (is_next) {
            source->next = opened.number + 1;
        }
        int is_only = frames_only_stream(plain, plain + opened.size, &frame);
        if (run->data != NULL && is_only && opened.number == run->last + 1 &&
            !((opened.first ^ run->first) & SPIN) && frame.stream == run->stream &&
            frame.offset == run->offset + (uint64_t)run->size && !(run->kind & LAST)) {
            memcpy(PyBytes_AS_STRING(run->data) + run->size, frame.data, (size_t)frame.size);
            run->size += frame.size;
            run->count++;
            run->last = opened.number;
            run->kind |= frame.kind & LAST;
        } else if (!end_run(run, found)) {
            return 0;
        } else if (is_only && is_next && index + 1 < count) {
            *run = (struct run){PyBytes_FromStringAndSize(NULL, left), frame.size, 1,
                frame.stream, frame.offset, opened.number, frame.kind, opened.first};
            if (run->data == NULL) {
                return 0;
            }
            memcpy(PyBytes_AS_STRING(run->data), frame.data, (size_t)frame.size);
        } else if ((rest = add_frames(plain, &opened, found)) < 0) {
            return 0;
        }
        left -= size;
    }
    return end_run(run, found);
}

PyDoc_STRVAR(
    open_doc,
    "open(packets, start, cid, phase, expected, next)\n--\n\n"
    "What is in packets from one of them on, as far as they can be opened.");

static PyObject *opener_open(Keys *self, PyObject *const *args, Py_ssize_t given) {
    if (given != 6 || !PyList_Check(args[0]) || !PyBytes_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "open() takes packets, a connection id and numbers");
        return NULL;
    }
    struct source source = {
        .packets = args[0],
        .cid = PyBytes_AS_STRING(args[2]),
        .cid_size = PyBytes_GET_SIZE(args[2]),
    };
    if (!read_size(args[1], &source.start) || !read_size(args[3], &source.phase)) {
        return NULL;
    }
    source.expected = PyLong_AsUnsignedLongLong(args[4]);
    source.next = PyLong_AsUnsignedLongLong(args[5]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (source.start < 0 || source.cid_size > CID || source.expected > MAX_NUMBER + 1 ||
        source.next > MAX_NUMBER + 1) {
        PyErr_SetString(PyExc_ValueError, "no place in a packet");
        return NULL;
    }
    PyObject *found = PyList_New(0);
    struct run run = {.data = NULL};
    if (found != NULL && !open_all(self, &source, found, &run)) {
        Py_XDECREF(run.data);
        Py_CLEAR(found);
    }
    ERR_clear_error(); /* of what could not be opened */
    return found;
}

static PyObject *sealer_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named)) {
    return keys_new(type, args, 1);
}

static PyObject *opener_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named)) {
    return keys_new(type, args, 0);
}

static PyMethodDef sealer_methods[] = {
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_FASTCALL, seal_doc},
    {"seal_run", (PyCFunction)(void (*)(void))sealer_seal_run, METH_FASTCALL, seal_run_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef opener_methods[] = {
    {"open", (PyCFunction)(void (*)(void))opener_open, METH_FASTCALL, open_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sealer_slots[] = {
    {Py_tp_doc, "Sealer(suite, key, iv, hp)\n--\n\nKeys that packets are sealed under."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, keys_dealloc},
    {Py_tp_methods, sealer_methods},
    {0, NULL},
};

static PyType_Slot opener_slots[] = {
    {Py_tp_doc, "Opener(suite, key, iv, hp)\n--\n\nKeys that packets are opened with."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, keys_dealloc},
    {Py_tp_methods, opener_methods},
    {0, NULL},
};

static PyType_Spec sealer_spec = {
    "relay.net.speedups.Sealer", sizeof(Keys), 0, Py_TPFLAGS_DEFAULT, sealer_slots};

static PyType_Spec opener_spec = {
    "relay.net.speedups.Opener", sizeof(Keys), 0, Py_TPFLAGS_DEFAULT, opener_slots};

static int execute(PyObject *module) {
    if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0) {
        return -1;
    }
    PyType_Spec *specs[] = {&sealer_spec, &opener_spec};
    for (size_t index = 0; index < 2; index++) {
        PyObject *type = PyType_FromSpec(specs[index]);
        if (type == NULL) {
            return -1;
        }
        int added = PyModule_AddType(module, (PyTypeObject *)type);
        Py_DECREF(type);
        if (added < 0) {
            return -1;
        }
    }
    return 0;
}

#define FAST(name) (PyCFunction)(void (*)(void)) name, METH_FASTCALL

static PyMethodDef functions[] = {
    {"bind", FAST(steps_bind), steps_bind_doc},
    {"acknowledge", FAST(steps_acknowledge), steps_acknowledge_doc},
#ifdef RELAY_DATAGRAMS
    {"receive", (PyCFunction)(void (*)(void))datagrams_receive, METH_FASTCALL,
        datagrams_receive_doc},
    {"send", (PyCFunction)(void (*)(void))datagrams_send, METH_FASTCALL, datagrams_send_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "relay.net.speedups",
    .m_doc = "Datagrams, packets, and what a connection does with them every day, in C.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_speedups(void) {
    return PyModuleDef_Init(&definition);
}
