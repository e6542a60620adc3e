/* binding.c - the core for Python: memory, buffers and errors, no arithmetic. Stable ABI of CPython 3.11. */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdlib.h>
#include <string.h>

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

static PyTypeObject *plan_type, *stream_type;

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
static int borrow(PlanObject *self, uint32_t lanes, tcn_work *work)
{
    uint32_t k;
    size_t size;
    void *memory;
    int error;
    for (k = 0; k < self->n_idle; k++)
        if (self->idle[k].lanes >= lanes) {
            *work = self->idle[k];
            self->idle[k] = self->idle[--self->n_idle];
            return 0;
        }
    size = tcn_scratch_size(self->plan, self->block, lanes);
    memory = claim(size);
    if (!memory) {
        PyErr_NoMemory();
        return -1;
    }
    error = tcn_prepare(work, memory, size, self->plan, self->block, lanes, self->isa);
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
    if (borrow(self, 1, &work))
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

/* A dense array (n, *frame) of the port's type; its pointer and n. */
static int view_frames(PyObject *object, const tcn_tensor_facts *port, const char *what, int writable, Py_buffer *view)
{
    Py_ssize_t elements = 1;
    int d;
    if (PyObject_GetBuffer(object, view, (writable ? PyBUF_WRITABLE : 0) | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) {
        PyErr_Clear();
        PyErr_Format(stream_error, "%s `%s` takes a %scontiguous array; pass numpy.ascontiguousarray(x)", what,
                     port->name, writable ? "writable " : "");
        return -1;
    }
    if (!dtype_matches(view->format, view->itemsize, port->dtype)) {
        PyErr_Format(stream_error, "%s `%s` takes %s and got format '%s'; convert the array", what, port->name,
                     dtype_name(port->dtype), view->format ? view->format : "B");
        PyBuffer_Release(view);
        return -1;
    }
    for (d = 1; d < view->ndim; d++)
        elements *= view->shape[d];
    if (view->ndim < 1 || elements != (Py_ssize_t)port->frame_elements ||
        ((uintptr_t)view->buf % (uintptr_t)(view->itemsize < 4 ? view->itemsize : 4)) != 0) {
        PyErr_Format(stream_error, "%s `%s` takes (frames, *frame_shape) with %u values per frame and got %zd", what,
                     port->name, port->frame_elements, view->ndim < 1 ? (Py_ssize_t)0 : elements);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

typedef struct {
    Py_buffer in[TCN_MAX_PORTS], out[TCN_MAX_PORTS];
    uint32_t n_in, n_out; /* views held */
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    int64_t n;
} call_views;

static void release_views(call_views *v)
{
    while (v->n_in)
        PyBuffer_Release(&v->in[--v->n_in]);
    while (v->n_out)
        PyBuffer_Release(&v->out[--v->n_out]);
}

/* One object, or a tuple of as many as there are ports. */
static PyObject *port_object(PyObject *given, uint32_t ports, uint32_t i)
{
    if (!PyTuple_Check(given))
        return ports == 1 ? given : NULL;
    return PyTuple_Size(given) == (Py_ssize_t)ports ? PyTuple_GetItem(given, i) : NULL;
}

static int view_inputs(const PlanObject *plan, PyObject *given, call_views *v)
{
    uint32_t ports = tcn_inputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "push takes %u chunks, one per input", ports);
            return -1;
        }
        if (view_frames(object, &plan->in[i], "input", 0, &v->in[i]))
            return -1;
        v->n_in++;
        v->from[i] = v->in[i].buf;
        if (i && v->in[i].shape[0] != v->n) {
            PyErr_SetString(stream_error, "the chunks have different numbers of frames; all inputs advance together");
            return -1;
        }
        v->n = v->in[i].shape[0];
    }
    return 0;
}

static int view_outputs(const PlanObject *plan, PyObject *given, call_views *v)
{
    uint32_t ports = tcn_outputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "%u output arrays are needed, one per output", ports);
            return -1;
        }
        if (view_frames(object, &plan->out[i], "output", 1, &v->out[i]))
            return -1;
        v->n_out++;
        v->to[i] = v->out[i].buf;
        v->room[i] = v->out[i].shape[0];
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
    if (borrow(self->plan, 1, &work))
        return NULL;
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
    if (!view_inputs(self->plan, args[0], &v) && !view_outputs(self->plan, args[1], &v))
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
    if (!view_outputs(self->plan, out, &v))
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
    if (borrow(self->plan, 1, &work))
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
    if (borrow(self->plan, 1, &work)) {
        PyBuffer_Release(&view);
        return NULL;
    }
    error = tcn_restore(&work, self->state, view.buf, (size_t)view.len);
    give_back(self->plan, &work);
    PyBuffer_Release(&view);
    if (error)
        return raise_code(error);
    Py_RETURN_NONE;
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

/* Module ------------------------------------------------------------------------------------------- */

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
    if (!plan_type || !stream_type || PyModule_AddType(module, plan_type) || PyModule_AddType(module, stream_type))
        return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The native core of tcnstream.", 0, NULL, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
