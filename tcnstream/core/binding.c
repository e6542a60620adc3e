/* binding.c - the core for Python: memory, buffers and errors, no arithmetic. Stable ABI of CPython 3.11. */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tcn.h"

static PyObject *stream_error, *engine_error; /* classes of tcnstream.errors */

static const char *const reasons[] = {
    "no error", "the plan is cut short", "these bytes are no plan of this version", "the plan is damaged",
    "the plan points outside of itself", "the plan holds a value that no writer makes",
    "the plan has an operation that this core lacks", "memory is not aligned", "the state memory is too small",
    "the scratch memory is too small", "the output buffer is too small", "the signal has ended; call reset() first",
    "the signal ended before a mirrored edge had the frames that it mirrors", "the state was never initialised",
    "the snapshot is damaged or belongs to another model", "this processor lacks the instructions asked for",
    "the state belongs to another plan"};

static PyObject *raise_code(int code)
{
    PyErr_SetString(stream_error, code > 0 && code <= TCN_PLAN ? reasons[code] : "unknown error of the core");
    return NULL;
}

/* Memory at a multiple of 64. */
static void *claim(size_t size)
{
    uint8_t *raw = PyMem_Malloc(size + 64 + sizeof(void *)), *aligned;
    if (!raw)
        return NULL;
    aligned = (uint8_t *)(((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63);
    memcpy(aligned - sizeof(void *), &raw, sizeof raw);
    return aligned;
}

static void release(void *aligned)
{
    void *raw;
    if (!aligned)
        return;
    memcpy(&raw, (uint8_t *)aligned - sizeof(void *), sizeof raw);
    PyMem_Free(raw);
}

/* Plan --------------------------------------------------------------------------------------------- */

enum { KEPT_WORKS = 8 };

typedef struct {
    PyObject_HEAD
    tcn_plan *plan;
    size_t size;
    uint32_t block;
    int isa;
    tcn_work idle[KEPT_WORKS]; /* scratch that no call uses right now */
    uint32_t n_idle;
    tcn_tensor_facts in[TCN_MAX_PORTS], out[TCN_MAX_PORTS];
} PlanObject;

static PyTypeObject *plan_type, *stream_type, *pool_type;

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"content", "block", "isa", NULL};
    Py_buffer content;
    unsigned int block = 64, i;
    int isa = TCN_ISA_BEST, error;
    size_t position = 0;
    PlanObject *self;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*|Ii", names, &content, &block, &isa))
        return NULL;
    self = (PlanObject *)alloc(type, 0);
    if (!self) {
        PyBuffer_Release(&content);
        return NULL;
    }
    self->size = (size_t)content.len;
    self->block = block ? block : 1;
    self->isa = isa;
    self->plan = claim(self->size ? self->size : 1);
    if (self->plan)
        memcpy(self->plan, content.buf, self->size);
    PyBuffer_Release(&content);
    if (!self->plan) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    error = tcn_check(self->plan, self->size, &position);
    if (error) {
        PyErr_Format(engine_error, "%s (byte %zu); export the model again", reasons[error], position);
        release(self->plan);
        self->plan = NULL;
        Py_DECREF(self);
        return NULL;
    }
    for (i = 0; i < tcn_inputs(self->plan); i++)
        tcn_describe_tensor(self->plan, tcn_input_tensor(self->plan, i), &self->in[i]);
    for (i = 0; i < tcn_outputs(self->plan); i++)
        tcn_describe_tensor(self->plan, tcn_output_tensor(self->plan, i), &self->out[i]);
    return (PyObject *)self;
}

static void plan_dealloc(PyObject *object)
{
    PlanObject *self = (PlanObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    while (self->n_idle)
        release(self->idle[--self->n_idle].program);
    release(self->plan);
    free_object(object);
    Py_DECREF(type);
}

/* Scratch for one call, taken and given back with the GIL held. */
static int borrow(PlanObject *self, uint32_t block, uint32_t lanes, tcn_work *work)
{
    uint32_t k;
    size_t size;
    void *memory;
    int error;
    for (k = 0; k < self->n_idle; k++)
        if (self->idle[k].lanes == lanes && self->idle[k].block == block) {
            *work = self->idle[k];
            self->idle[k] = self->idle[--self->n_idle];
            return 0;
        }
    size = tcn_scratch_size(self->plan, block, lanes);
    memory = claim(size);
    if (!memory) {
        PyErr_NoMemory();
        return -1;
    }
    error = tcn_prepare(work, memory, size, self->plan, block, lanes, self->isa);
    if (error) {
        release(memory);
        raise_code(error);
        return -1;
    }
    return 0;
}

static void give_back(PlanObject *self, tcn_work *work)
{
    work->hooks = NULL;
    if (self->n_idle == KEPT_WORKS)
        release(work->program);
    else
        self->idle[self->n_idle++] = *work;
}

static PyObject *plan_facts(PyObject *object, PyObject *unused)
{
    PlanObject *self = (PlanObject *)object;
    tcn_work work;
    int isa;
    (void)unused;
    if (borrow(self, self->block, 1, &work))
        return NULL;
    isa = work.isa;
    give_back(self, &work);
    return Py_BuildValue("{s:n,s:n,s:i,s:I}", "state_bytes", (Py_ssize_t)tcn_state_size(self->plan), "scratch_bytes",
                         (Py_ssize_t)tcn_scratch_size(self->plan, self->block, 1), "isa", isa, "block", self->block);
}

static PyMethodDef plan_methods[] = {
    {"facts", plan_facts, METH_NOARGS, "Sizes in bytes, the instruction set in use, the block in frames."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot plan_slots[] = {
    {Py_tp_new, plan_new}, {Py_tp_dealloc, plan_dealloc}, {Py_tp_methods, plan_methods},
    {Py_tp_doc, "Plan(content, block=64, isa=0): a checked plan file, shared by streams."}, {0, NULL}};

static PyType_Spec plan_spec = {"tcnstream._native.Plan", sizeof(PlanObject), 0, Py_TPFLAGS_DEFAULT, plan_slots};

/* Stream ------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PlanObject *plan;
    tcn_state *state;
    Py_ssize_t release_from; /* frames from which a push lets other threads run */
    int busy;
    tcn_hooks hooks;         /* what is watched; in use while `watching` */
    int watching;
    uint32_t tap_bytes;      /* of a frame of the watched tensor */
} StreamObject;

static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"plan", "release_from", NULL};
    PyObject *plan;
    Py_ssize_t release_from = 1;
    StreamObject *self;
    size_t size;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!|n", names, plan_type, &plan, &release_from))
        return NULL;
    self = (StreamObject *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(plan);
    self->plan = (PlanObject *)plan;
    self->release_from = release_from;
    size = tcn_state_size(self->plan->plan);
    self->state = claim(size);
    if (!self->state) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    tcn_init(self->state, size, self->plan->plan);
    return (PyObject *)self;
}

static void stream_dealloc(PyObject *object)
{
    StreamObject *self = (StreamObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyMem_Free(self->hooks.ticks);
    release(self->hooks.tap_frames);
    release(self->state);
    Py_XDECREF((PyObject *)self->plan);
    free_object(object);
    Py_DECREF(type);
}

static int enter(StreamObject *self)
{
    if (self->busy) {
        PyErr_SetString(stream_error,
                        "two threads use one stream at the same time; give each thread its own, or lock around it");
        return -1;
    }
    self->busy = 1;
    return 0;
}

/* NumPy arrays are looked at directly, which costs a tenth of the buffer protocol: their struct is part of
 * NumPy's stable ABI. `numpy_array` stays NULL where a trial at import finds another layout. */
typedef struct {
    PyObject_HEAD
    char *data;
    int rank;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *dtype;
    int flags;
} NumpyArray;

typedef struct {
    PyObject_HEAD
    PyTypeObject *scalar;
    char kind, type, byte_order, more;
    int number;
} NumpyType;

enum { NUMPY_C_CONTIGUOUS = 0x0001, NUMPY_ALIGNED = 0x0100, NUMPY_WRITEABLE = 0x0400 };

static PyTypeObject *numpy_array;

static int numpy_number_matches(int number, int dtype)
{
    switch (dtype) {
    case TCN_F32:
        return number == 11;
    case TCN_I8:
        return number == 1;
    case TCN_I16:
        return number == 3;
    case TCN_BOOL:
        return number == 0;
    default:
        return 0; /* 32 and 64 bits have several numbers: the buffer protocol tells */
    }
}

/* A dense array (leads..., *frame): its memory and its leading lengths. */
typedef struct {
    Py_buffer buffer;
    int held; /* whether `buffer` is to be released */
    uint8_t *data;
    Py_ssize_t lead[2];
} frames_view;

static void release_view(frames_view *v)
{
    if (v->held)
        PyBuffer_Release(&v->buffer);
    v->held = 0;
}

static int dtype_matches(const char *format, Py_ssize_t item, int dtype)
{
    static const char *const codes[] = {"f", "b", "h", "i", "l", "?"};
    static const Py_ssize_t bytes[] = {4, 1, 2, 4, 8, 1};
    if (item != bytes[dtype])
        return 0;
    if (!format)
        return dtype == TCN_BOOL;
    if (*format == '<' || *format == '=' || *format == '@')
        format++;
    if (dtype == TCN_I64)
        return strcmp(format, "l") == 0 || strcmp(format, "q") == 0;
    if (dtype == TCN_I32)
        return strcmp(format, "i") == 0 || strcmp(format, "l") == 0;
    return strcmp(format, codes[dtype]) == 0;
}

static const char *dtype_name(int dtype)
{
    static const char *const names[] = {"float32", "int8", "int16", "int32", "int64", "bool"};
    return names[dtype];
}

/* Whether the lengths after the leading ones are those of the port's frame, or one length that holds it all. */
static int shape_matches(const Py_ssize_t *shape, int rank, int leads, const tcn_tensor_facts *port)
{
    Py_ssize_t elements = 1;
    int d;
    if (rank < leads)
        return 0;
    for (d = leads; d < rank; d++)
        elements *= shape[d];
    return elements == (Py_ssize_t)port->frame_elements;
}

static int view_frames(PyObject *object, const tcn_tensor_facts *port, const char *what, int writable, int leads,
                       frames_view *v)
{
    Py_buffer *b = &v->buffer;
    v->held = 0;
    if (Py_TYPE(object) == numpy_array) {
        const NumpyArray *array = (const NumpyArray *)object;
        const NumpyType *type = (const NumpyType *)array->dtype;
        int wanted = NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | (writable ? NUMPY_WRITEABLE : 0);
        if ((array->flags & wanted) == wanted && numpy_number_matches(type->number, port->dtype) &&
            (type->byte_order == '=' || type->byte_order == '|') &&
            shape_matches(array->shape, array->rank, leads, port)) {
            v->data = (uint8_t *)array->data;
            v->lead[0] = array->shape[0];
            v->lead[1] = leads > 1 ? array->shape[1] : 0;
            return 0;
        }
        /* what is wrong is said below */
    }
    if (PyObject_GetBuffer(object, b, (writable ? PyBUF_WRITABLE : 0) | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) {
        PyErr_Clear();
        PyErr_Format(stream_error, "%s `%s` takes a %scontiguous array; pass numpy.ascontiguousarray(x)", what,
                     port->name, writable ? "writable " : "");
        return -1;
    }
    v->held = 1;
    if (!dtype_matches(b->format, b->itemsize, port->dtype)) {
        PyErr_Format(stream_error, "%s `%s` takes %s and got format '%s'; convert the array", what, port->name,
                     dtype_name(port->dtype), b->format ? b->format : "B");
    } else if (!shape_matches(b->shape, b->ndim, leads, port)) {
        PyErr_Format(stream_error, "%s `%s` takes (%sframes, *frame_shape) with %u values per frame; reshape the array",
                     what, port->name, leads > 1 ? "lanes, " : "", port->frame_elements);
    } else if (((uintptr_t)b->buf % (uintptr_t)(b->itemsize < 4 ? b->itemsize : 4)) != 0) {
        PyErr_Format(stream_error, "%s `%s` stands at an odd address; copy the array", what, port->name);
    } else {
        v->data = b->buf;
        v->lead[0] = b->shape[0];
        v->lead[1] = leads > 1 ? b->shape[1] : 0;
        return 0;
    }
    release_view(v);
    return -1;
}

typedef struct {
    frames_view in[TCN_MAX_PORTS], out[TCN_MAX_PORTS];
    uint32_t n_in, n_out; /* views held */
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    int64_t n;
} call_views;

static void release_views(call_views *v)
{
    while (v->n_in)
        release_view(&v->in[--v->n_in]);
    while (v->n_out)
        release_view(&v->out[--v->n_out]);
}

/* One object, or a tuple of as many as there are ports. */
static PyObject *port_object(PyObject *given, uint32_t ports, uint32_t i)
{
    if (!PyTuple_Check(given))
        return ports == 1 ? given : NULL;
    return PyTuple_Size(given) == (Py_ssize_t)ports ? PyTuple_GetItem(given, i) : NULL;
}

/* `leads` is 1 for (frames, *frame), 2 for (lanes, frames, *frame). */
static int view_inputs(const PlanObject *plan, PyObject *given, int leads, call_views *v)
{
    uint32_t ports = tcn_inputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "push takes %u chunks, one per input", ports);
            return -1;
        }
        if (view_frames(object, &plan->in[i], "input", 0, leads, &v->in[i]))
            return -1;
        v->n_in++;
        v->from[i] = v->in[i].data;
        if (i && v->in[i].lead[leads - 1] != v->n) {
            PyErr_SetString(stream_error, "the chunks have different numbers of frames; all inputs advance together");
            return -1;
        }
        v->n = v->in[i].lead[leads - 1];
    }
    return 0;
}

static int view_outputs(const PlanObject *plan, PyObject *given, int leads, call_views *v)
{
    uint32_t ports = tcn_outputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "%u output arrays are needed, one per output", ports);
            return -1;
        }
        if (view_frames(object, &plan->out[i], "output", 1, leads, &v->out[i]))
            return -1;
        v->n_out++;
        v->to[i] = v->out[i].data;
        v->room[i] = v->out[i].lead[leads - 1];
    }
    return 0;
}

static PyObject *counts_result(const int64_t *counts, uint32_t n)
{
    PyObject *made;
    uint32_t i;
    if (n == 1)
        return PyLong_FromLongLong(counts[0]);
    made = PyTuple_New(n);
    for (i = 0; made && i < n; i++) {
        PyObject *count = PyLong_FromLongLong(counts[i]);
        if (!count || PyTuple_SetItem(made, i, count))
            Py_CLEAR(made);
    }
    return made;
}

static PyObject *raise_room(StreamObject *self, tcn_work *work, int64_t n)
{
    int64_t frames[TCN_MAX_PORTS] = {0};
    tcn_ready(work, self->state, n, frames);
    PyErr_Format(stream_error,
                 "%lld frames would come out and the output array holds fewer; give it room for them (nothing was lost)",
                 (long long)frames[0]);
    return NULL;
}

static PyObject *run(StreamObject *self, call_views *v, int flush)
{
    tcn_work work;
    PyObject *result = NULL;
    int error;
    if (borrow(self->plan, self->plan->block, 1, &work))
        return NULL;
    if (self->watching)
        work.hooks = &self->hooks;
    if (flush) {
        error = tcn_flush(&work, self->state, v->to, v->room, v->made);
    } else if (v->n >= self->release_from) {
        Py_BEGIN_ALLOW_THREADS
        error = tcn_push(&work, self->state, v->from, v->n, v->to, v->room, v->made);
        Py_END_ALLOW_THREADS
    } else {
        error = tcn_push(&work, self->state, v->from, v->n, v->to, v->room, v->made);
    }
    if (error == TCN_ROOM)
        raise_room(self, &work, flush ? -1 : v->n);
    else if (error)
        raise_code(error);
    else
        result = counts_result(v->made, tcn_outputs(self->plan->plan));
    give_back(self->plan, &work);
    return result;
}

static PyObject *stream_push_into(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    StreamObject *self = (StreamObject *)object;
    call_views v;
    PyObject *result = NULL;
    if (n_args != 2) {
        PyErr_SetString(PyExc_TypeError, "push_into(x, out)");
        return NULL;
    }
    if (enter(self))
        return NULL;
    v.n_in = v.n_out = 0;
    if (!view_inputs(self->plan, args[0], 1, &v) && !view_outputs(self->plan, args[1], 1, &v))
        result = run(self, &v, 0);
    release_views(&v);
    self->busy = 0;
    return result;
}

static PyObject *stream_flush_into(PyObject *object, PyObject *out)
{
    StreamObject *self = (StreamObject *)object;
    call_views v;
    PyObject *result = NULL;
    if (enter(self))
        return NULL;
    v.n_in = v.n_out = 0;
    if (!view_outputs(self->plan, out, 1, &v))
        result = run(self, &v, 1);
    release_views(&v);
    self->busy = 0;
    return result;
}

static PyObject *stream_ready(PyObject *object, PyObject *frames)
{
    StreamObject *self = (StreamObject *)object;
    int64_t counts[TCN_MAX_PORTS];
    long long n = PyLong_AsLongLong(frames);
    tcn_work work;
    int error;
    if (n == -1 && PyErr_Occurred())
        return NULL;
    if (enter(self))
        return NULL;
    self->busy = 0;
    if (borrow(self->plan, self->plan->block, 1, &work))
        return NULL;
    error = tcn_ready(&work, self->state, n, counts);
    give_back(self->plan, &work);
    return error ? raise_code(error) : counts_result(counts, tcn_outputs(self->plan->plan));
}

static PyObject *stream_reset(PyObject *object, PyObject *unused)
{
    StreamObject *self = (StreamObject *)object;
    (void)unused;
    if (enter(self))
        return NULL;
    self->busy = 0;
    self->hooks.tap_count = 0;
    tcn_reset(self->state);
    Py_RETURN_NONE;
}

static PyObject *stream_snapshot(PyObject *object, PyObject *unused)
{
    StreamObject *self = (StreamObject *)object;
    PyObject *made;
    (void)unused;
    if (enter(self))
        return NULL;
    self->busy = 0;
    made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)tcn_snapshot_size(self->plan->plan));
    if (made)
        tcn_snapshot(self->state, PyBytes_AsString(made));
    return made;
}

static PyObject *stream_restore(PyObject *object, PyObject *blob)
{
    StreamObject *self = (StreamObject *)object;
    Py_buffer view;
    tcn_work work;
    int error;
    if (PyObject_GetBuffer(blob, &view, PyBUF_SIMPLE))
        return NULL;
    if (enter(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    self->busy = 0;
    if (borrow(self->plan, self->plan->block, 1, &work)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    error = tcn_restore(&work, self->state, view.buf, (size_t)view.len);
    give_back(self->plan, &work);
    PyBuffer_Release(&view);
    if (error)
        return raise_code(error);
    self->hooks.tap_count = 0;
    Py_RETURN_NONE;
}

static uint32_t nanoseconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

static void watch_what_is_wanted(StreamObject *self)
{
    self->watching = self->hooks.tap_frames || self->hooks.ticks;
    self->hooks.clock = self->hooks.ticks ? nanoseconds : NULL;
}

static PyObject *stream_watch(PyObject *object, PyObject *args)
{
    StreamObject *self = (StreamObject *)object;
    tcn_tensor_facts facts;
    long tensor, frames;
    void *kept = NULL;
    if (!PyArg_ParseTuple(args, "ll", &tensor, &frames) || enter(self))
        return NULL;
    self->busy = 0;
    if (tensor < 0 || tensor >= (long)tcn_tensors(self->plan->plan)) {
        PyErr_Format(stream_error, "the plan has no tensor %ld; they are numbered 0 to %ld", tensor,
                     (long)tcn_tensors(self->plan->plan) - 1);
        return NULL;
    }
    tcn_describe_tensor(self->plan->plan, (uint32_t)tensor, &facts);
    if (facts.frame_bytes == 0 || frames < 0 || frames > (1 << 30) / (long)facts.frame_bytes) {
        PyErr_Format(stream_error, facts.frame_bytes ? "`%s`: %ld frames are not a number that can be kept"
                                                     : "`%s` is a constant: it has no frames (%ld wanted)",
                     facts.name, frames);
        return NULL;
    }
    if (frames && !(kept = claim((size_t)frames * facts.frame_bytes)))
        return PyErr_NoMemory();
    release(self->hooks.tap_frames);
    self->hooks.tap_frames = kept;
    self->hooks.tap_tensor = (uint32_t)tensor;
    self->hooks.tap_room = (uint32_t)frames;
    self->hooks.tap_count = 0;
    self->hooks.tap_first = 0;
    self->tap_bytes = facts.frame_bytes;
    watch_what_is_wanted(self);
    Py_RETURN_NONE;
}

static PyObject *stream_tap(PyObject *object, PyObject *unused)
{
    StreamObject *self = (StreamObject *)object;
    (void)unused;
    if (enter(self))
        return NULL;
    self->busy = 0;
    if (!self->hooks.tap_frames) {
        PyErr_SetString(stream_error, "no tensor is watched; call watch(tensor, frames) before the push");
        return NULL;
    }
    return Py_BuildValue("Ly#", (long long)self->hooks.tap_first, self->hooks.tap_frames,
                         (Py_ssize_t)((size_t)self->hooks.tap_count * self->tap_bytes));
}

static PyObject *stream_count_ns(PyObject *object, PyObject *wanted)
{
    StreamObject *self = (StreamObject *)object;
    uint64_t *ticks = NULL;
    int on = PyObject_IsTrue(wanted);
    if (on < 0 || enter(self))
        return NULL;
    self->busy = 0;
    if (on && !(ticks = PyMem_Calloc(tcn_nodes(self->plan->plan) + 1, sizeof *ticks)))
        return PyErr_NoMemory();
    PyMem_Free(self->hooks.ticks);
    self->hooks.ticks = ticks;
    watch_what_is_wanted(self);
    Py_RETURN_NONE;
}

static PyObject *stream_counted_ns(PyObject *object, PyObject *unused)
{
    StreamObject *self = (StreamObject *)object;
    uint32_t n = tcn_nodes(self->plan->plan), k;
    PyObject *made;
    (void)unused;
    if (enter(self))
        return NULL;
    self->busy = 0;
    made = PyTuple_New(n);
    for (k = 0; made && k < n; k++) {
        PyObject *sum = PyLong_FromUnsignedLongLong(self->hooks.ticks ? self->hooks.ticks[k] : 0);
        if (!sum || PyTuple_SetItem(made, k, sum))
            Py_CLEAR(made);
    }
    return made;
}

static PyObject *stream_frames_in(PyObject *object, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(tcn_frames_in(((StreamObject *)object)->state));
}

static PyObject *stream_ended(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(tcn_ended(((StreamObject *)object)->state));
}

static PyMethodDef stream_methods[] = {
    {"push_into", (PyCFunction)(void (*)(void))stream_push_into, METH_FASTCALL,
     "push_into(x, out): frames of x in, what they make possible into out; returns how many frames came out."},
    {"flush_into", stream_flush_into, METH_O, "flush_into(out): the tail into out; returns how many frames came out."},
    {"ready", stream_ready, METH_O, "ready(n): frames that a push of n (n < 0: a flush) would return now."},
    {"reset", stream_reset, METH_NOARGS, "Back to the start."},
    {"snapshot", stream_snapshot, METH_NOARGS, "The state as bytes."},
    {"restore", stream_restore, METH_O, "The inverse of snapshot."},
    {"watch", stream_watch, METH_VARARGS, "watch(tensor, frames): keep its newest frames from now on; 0 frames: no more."},
    {"tap", stream_tap, METH_NOARGS, "(number of the first kept frame, bytes of the kept frames, oldest first)."},
    {"count_ns", stream_count_ns, METH_O, "count_ns(on): sum up the time of every operation from now on."},
    {"counted_ns", stream_counted_ns, METH_NOARGS, "Nanoseconds per operation since count_ns(True)."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef stream_getters[] = {
    {"frames_in", stream_frames_in, NULL, "Input frames since the start.", NULL},
    {"ended", stream_ended, NULL, "Whether the signal was flushed.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new}, {Py_tp_dealloc, stream_dealloc}, {Py_tp_methods, stream_methods},
    {Py_tp_getset, stream_getters},
    {Py_tp_doc, "Stream(plan, release_from=1): one signal through a plan."}, {0, NULL}};

static PyType_Spec stream_spec = {"tcnstream._native.Stream", sizeof(StreamObject), 0, Py_TPFLAGS_DEFAULT, stream_slots};

/* Pool --------------------------------------------------------------------------------------------- */

enum { GROUP = 32 }; /* lanes that go through a node together */

typedef struct {
    PyObject_HEAD
    PlanObject *plan;
    Py_ssize_t n;
    StreamObject **lanes;
} PoolObject;

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"plan", "streams", NULL};
    PyObject *plan, *streams;
    PoolObject *self;
    Py_ssize_t k, n;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O!", names, plan_type, &plan, &PyTuple_Type, &streams))
        return NULL;
    n = PyTuple_Size(streams);
    for (k = 0; k < n; k++) {
        PyObject *stream = PyTuple_GetItem(streams, k);
        if (Py_TYPE(stream) != stream_type || ((StreamObject *)stream)->plan != (PlanObject *)plan) {
            PyErr_SetString(PyExc_TypeError, "a pool takes streams of its own plan");
            return NULL;
        }
    }
    self = (PoolObject *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(plan);
    self->plan = (PlanObject *)plan;
    self->lanes = PyMem_Malloc((size_t)(n ? n : 1) * sizeof *self->lanes);
    if (!self->lanes) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (k = 0; k < n; k++) {
        self->lanes[k] = (StreamObject *)PyTuple_GetItem(streams, k);
        Py_INCREF((PyObject *)self->lanes[k]);
    }
    self->n = n;
    return (PyObject *)self;
}

static void pool_dealloc(PyObject *object)
{
    PoolObject *self = (PoolObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    while (self->n)
        Py_DECREF((PyObject *)self->lanes[--self->n]);
    PyMem_Free(self->lanes);
    Py_XDECREF((PyObject *)self->plan);
    free_object(object);
    Py_DECREF(type);
}

/* The rows of a call and the lanes that they belong to: `number` per row, or NULL for all lanes in order. */
typedef struct {
    const int64_t *number;
    Py_ssize_t n;
} row_lanes;

static Py_ssize_t lane_of(const row_lanes *rows, Py_ssize_t row) { return rows->number ? (Py_ssize_t)rows->number[row] : row; }

/* Groups of lanes, one after the other; runs without the GIL. */
static int push_groups(const PoolObject *self, const tcn_work *work, const call_views *v, const row_lanes *rows,
                       int64_t *counts, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t *bad)
{
    uint32_t inputs = tcn_inputs(self->plan->plan), outputs = tcn_outputs(self->plan->plan), i, l;
    tcn_lane lanes[GROUP];
    Py_ssize_t k;
    for (k = begin; k < end; k += GROUP) {
        uint32_t n = (uint32_t)(end - k < GROUP ? end - k : GROUP), which = 0;
        int error;
        for (l = 0; l < n; l++) {
            size_t row = (size_t)(k + l);
            lanes[l].state = self->lanes[lane_of(rows, k + l)]->state;
            lanes[l].n = v->n;
            for (i = 0; i < inputs; i++)
                lanes[l].in[i] = (const uint8_t *)v->from[i] + row * (size_t)v->n * self->plan->in[i].frame_bytes;
            for (i = 0; i < outputs; i++) {
                lanes[l].out[i] = (uint8_t *)v->to[i] + row * (size_t)v->room[i] * self->plan->out[i].frame_bytes;
                lanes[l].room[i] = v->room[i];
            }
        }
        error = tcn_push_lanes(work, lanes, n, &which);
        if (error) {
            *bad = lane_of(rows, k + which);
            return error;
        }
        for (l = 0; l < n; l++)
            for (i = 0; i < outputs; i++)
                counts[(size_t)(k + l) * outputs + i] = lanes[l].made[i];
    }
    return TCN_OK;
}

/* Nothing moves before every lane is known to take its frames. */
static int all_ready(const PoolObject *self, const tcn_work *work, const call_views *v, const row_lanes *rows,
                     Py_ssize_t begin, Py_ssize_t end, Py_ssize_t *bad)
{
    uint32_t outputs = tcn_outputs(self->plan->plan), o;
    Py_ssize_t k;
    for (k = begin; k < end; k++) {
        int64_t frames[TCN_MAX_PORTS];
        int error;
        *bad = lane_of(rows, k);
        error = tcn_ready(work, self->lanes[*bad]->state, v->n, frames);
        if (error)
            return error;
        for (o = 0; o < outputs; o++)
            if (frames[o] > v->room[o])
                return TCN_ROOM;
    }
    return TCN_OK;
}

/* Which lanes the rows are for; 0 if that makes sense. */
static int view_rows(const PoolObject *self, PyObject *numbers, Py_buffer *view, row_lanes *rows)
{
    Py_ssize_t k;
    rows->number = NULL;
    rows->n = self->n;
    if (numbers == Py_None)
        return 0;
    if (PyObject_GetBuffer(numbers, view, PyBUF_C_CONTIGUOUS))
        return -1;
    rows->number = view->buf;
    rows->n = view->len / 8;
    for (k = 0; k < rows->n; k++)
        if (rows->number[k] < 0 || rows->number[k] >= self->n) {
            PyErr_Format(stream_error, "there is no lane %lld: the pool has %zd", (long long)rows->number[k], self->n);
            return -1;
        }
    return 0;
}

/* One array each for all rows; the message says how many there are. */
static int have_rows(const frames_view *views, uint32_t n, const row_lanes *rows)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        if (views[i].lead[0] != rows->n) {
            PyErr_Format(stream_error, "%zd lanes are pushed; the arrays must have as many rows, not %zd", rows->n,
                         views[i].lead[0]);
            return 0;
        }
    return 1;
}

static PyObject *pool_push_into(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    PoolObject *self = (PoolObject *)object;
    Py_ssize_t begin, end, k, bad = 0, entered;
    uint32_t outputs = tcn_outputs(self->plan->plan), block;
    call_views v;
    row_lanes rows;
    Py_buffer counts, numbers = {0};
    tcn_work work;
    int error = -1, check;
    if (n_args != 7) {
        PyErr_SetString(PyExc_TypeError, "push_into(x, out, counts, lanes, begin, end, check)");
        return NULL;
    }
    begin = PyLong_AsSsize_t(args[4]);
    end = PyLong_AsSsize_t(args[5]);
    check = PyObject_IsTrue(args[6]);
    if (PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[2], &counts, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS))
        return NULL;
    v.n_in = v.n_out = 0;
    if (view_rows(self, args[3], &numbers, &rows) || view_inputs(self->plan, args[0], 2, &v) ||
        view_outputs(self->plan, args[1], 2, &v) || !have_rows(v.in, v.n_in, &rows) || !have_rows(v.out, v.n_out, &rows))
        goto done;
    if (begin < 0 || end < begin || end > rows.n || counts.len != rows.n * (Py_ssize_t)outputs * 8) {
        PyErr_Format(stream_error, "rows %zd to %zd of %zd, or the array of counts, make no sense", begin, end, rows.n);
        goto done;
    }
    for (entered = begin; entered < end && !self->lanes[lane_of(&rows, entered)]->busy; entered++)
        self->lanes[lane_of(&rows, entered)]->busy = 1;
    if (entered < end) {
        PyErr_Format(stream_error,
                     "lane %zd: two threads use one stream at the same time, or two rows are for this lane; give each"
                     " thread its own, or lock around it",
                     lane_of(&rows, entered));
    } else {
        block = v.n < 1 ? 1 : v.n < (int64_t)self->plan->block ? (uint32_t)v.n : self->plan->block;
        if (!borrow(self->plan, block, GROUP, &work)) {
            Py_BEGIN_ALLOW_THREADS
            error = check ? all_ready(self, &work, &v, &rows, begin, end, &bad) : TCN_OK;
            if (!error && v.n > 0)
                error = push_groups(self, &work, &v, &rows, counts.buf, begin, end, &bad);
            Py_END_ALLOW_THREADS
            give_back(self->plan, &work);
            if (error)
                PyErr_Format(stream_error, "lane %zd: %s", bad, reasons[error]);
        }
    }
    for (k = begin; k < entered; k++)
        self->lanes[lane_of(&rows, k)]->busy = 0;
done:
    release_views(&v);
    PyBuffer_Release(&counts);
    if (numbers.obj)
        PyBuffer_Release(&numbers);
    if (error)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef pool_methods[] = {
    {"push_into", (PyCFunction)(void (*)(void))pool_push_into, METH_FASTCALL,
     "push_into(x, out, counts, lanes, begin, end, check): rows begin to end of x (rows, n, *frame) into the lanes that"
     " int64 `lanes` names, None for all; counts (rows, outputs)."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new}, {Py_tp_dealloc, pool_dealloc}, {Py_tp_methods, pool_methods},
    {Py_tp_doc, "Pool(plan, streams): many streams of one plan in one call."}, {0, NULL}};

static PyType_Spec pool_spec = {"tcnstream._native.Pool", sizeof(PoolObject), 0, Py_TPFLAGS_DEFAULT, pool_slots};

/* Module ------------------------------------------------------------------------------------------- */

/* Looks at an array whose layout is known; NumPy arrays go through the buffer protocol if it is not as expected. */
static int try_numpy(void)
{
    PyObject *numpy = PyImport_ImportModule("numpy"), *array = NULL, *interface = NULL, *pair = NULL, *address = NULL;
    numpy_array = NULL;
    if (numpy)
        array = PyObject_CallMethod(numpy, "zeros", "((ii)s)", 3, 5, "int16");
    if (array)
        interface = PyObject_GetAttrString(array, "__array_interface__");
    if (interface && PyDict_Check(interface))
        pair = PyDict_GetItemString(interface, "data"); /* borrowed */
    if (pair && PyTuple_Check(pair))
        address = PyTuple_GetItem(pair, 0); /* borrowed */
    if (address) {
        const NumpyArray *known = (const NumpyArray *)array;
        void *data = PyLong_AsVoidPtr(address);
        if (data && known->data == data && known->rank == 2 && known->shape[0] == 3 && known->shape[1] == 5 &&
            known->strides[0] == 10 && ((const NumpyType *)known->dtype)->number == 3 &&
            ((const NumpyType *)known->dtype)->kind == 'i' && ((const NumpyType *)known->dtype)->byte_order == '=' &&
            (known->flags & (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | NUMPY_WRITEABLE)) ==
                (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | NUMPY_WRITEABLE))
            numpy_array = Py_TYPE(array);
    }
    Py_XDECREF(interface);
    Py_XDECREF(array);
    Py_XDECREF(numpy);
    PyErr_Clear();
    return 0;
}

static int module_exec(PyObject *module)
{
    PyObject *errors = PyImport_ImportModule("tcnstream.errors");
    if (!errors)
        return -1;
    stream_error = PyObject_GetAttrString(errors, "StreamError");
    engine_error = PyObject_GetAttrString(errors, "EngineError");
    Py_DECREF(errors);
    if (!stream_error || !engine_error)
        return -1;
    plan_type = (PyTypeObject *)PyType_FromSpec(&plan_spec);
    stream_type = (PyTypeObject *)PyType_FromSpec(&stream_spec);
    pool_type = (PyTypeObject *)PyType_FromSpec(&pool_spec);
    if (!plan_type || !stream_type || !pool_type || PyModule_AddType(module, plan_type) ||
        PyModule_AddType(module, stream_type) || PyModule_AddType(module, pool_type))
        return -1;
    return try_numpy();
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The native core of tcnstream.", 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
