/* chain.c - all that a Pipeline does with a chunk, in one call: scale, filter, quantize, push, then real numbers or labels.
 *
 * None is returned, and nothing has moved, for all that it does not take; Pipeline.push then does it step by step. */
#include "binding.h"

enum { ON_STACK = 4096 };

typedef struct {
    PyObject_HEAD
    PushObject *push;
    Py_ssize_t channels;
    float factor;
    Py_buffer table, memory; /* of the filters; the memory moves on */
    filter_steps steps;
    real_scale out; /* of the answer */
    PyObject *real; /* the dtype float32 */
    label_rules rules;
    int labels_frames; /* runs come out, else real numbers */
} ChainObject;

static PyObject *chain_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"push",   "channels",   "factor",        "steps", "memory",  "real", "scale", "zero_point",
                            "labels", "background", "probabilities", "parts", "longest", NULL};
    PyObject *push, *table, *memory, *real;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ChainObject *self = (ChainObject *)alloc(type, 0);
    const tcn_tensor_facts *in, *out;
    int d;
    if (!self)
        return NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!nfOOOfi|iiidn", names, push_type, &push, &self->channels,
                                     &self->factor, &table, &memory, &real, &self->out.scale, &self->out.zero_point,
                                     &self->rules.labels, &self->rules.background, &self->rules.are_likely,
                                     &self->rules.parts, &self->rules.longest))
        goto refused;
    Py_INCREF(push);
    Py_INCREF(real);
    self->push = (PushObject *)push;
    self->real = real;
    if (PyObject_GetBuffer(table, &self->table, PyBUF_C_CONTIGUOUS) ||
        PyObject_GetBuffer(memory, &self->memory, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE))
        goto refused;
    self->steps = read_steps(&self->table);
    in = &self->push->stream->plan->in[0];
    out = &self->push->stream->plan->out[0];
    self->out.dtype = out->dtype;
    self->rules.values = 1;
    for (d = 1; d < self->push->out_rank; d++)
        self->rules.values *= (int)self->push->out_shape[d];
    self->labels_frames = self->rules.labels > 0;
    if (self->channels < 1 || self->memory.len != self->steps.sections * self->channels * 2 * (Py_ssize_t)sizeof(double) ||
        !(self->push->quantizes || (in->dtype == TCN_F32 && in->frame_bytes == (size_t)self->channels * sizeof(float))) ||
        !((is_integer(out->dtype) && has_integers(&self->out)) || out->dtype == TCN_F32) ||
        (self->labels_frames && !sound_rules(&self->rules))) {
        PyErr_SetString(PyExc_ValueError, "such numbers are not chained");
        goto refused;
    }
    return (PyObject *)self;
refused:
    Py_DECREF(self);
    return NULL;
}

static void chain_dealloc(PyObject *object)
{
    ChainObject *self = (ChainObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (self->table.obj)
        PyBuffer_Release(&self->table);
    if (self->memory.obj)
        PyBuffer_Release(&self->memory);
    Py_XDECREF((PyObject *)self->push);
    Py_XDECREF(self->real);
    free_object(object);
    Py_DECREF(type);
}

/* Memory of one call, that is on the stack where it is little. */
typedef struct {
    double on_stack[ON_STACK / sizeof(double)];
    void *more;
} scratch;

static void *claimed(scratch *s, size_t bytes)
{
    s->more = bytes > ON_STACK ? PyMem_Malloc(bytes) : NULL;
    return bytes > ON_STACK ? s->more : s->on_stack;
}

typedef struct {
    const ChainObject *chain;
    scratch raw;
    const void *frames;
} answer;

static void *place_aside(void *context, int64_t frames)
{
    answer *to = context;
    void *room = claimed(&to->raw, (size_t)frames * to->chain->push->stream->plan->out[0].frame_bytes + 1);
    to->frames = room;
    return room;
}

/* The chunk -> input frames of the plan, the filters' memory in `moved`. NULL for a NaN that has no integer, and for want
 * of memory. */
static const void *prepare(const ChainObject *self, const NumpyArray *x, int begins, double *moved, scratch *filtered,
                           scratch *quantized)
{
    const float *from = (const float *)(const void *)x->data;
    const Py_ssize_t n = x->shape[0] * self->channels;
    Py_ssize_t k;
    memcpy(moved, self->memory.buf, (size_t)self->memory.len);
    if (self->factor != 1 || self->steps.n_steps) {
        float *to = claimed(filtered, (size_t)n * sizeof *to);
        if (!to)
            return NULL;
        for (k = 0; k < n; k++)
            to[k] = self->factor == 1 ? from[k] : from[k] * self->factor;
        if (self->steps.n_steps)
            filter(&self->steps, to, x->shape[0], self->channels, moved, begins, to);
        from = to;
    }
    if (self->push->quantizes) {
        void *to = claimed(quantized, (size_t)x->shape[0] * self->push->stream->plan->in[0].frame_bytes);
        return to && !quantize(from, n, &self->push->scale, to) ? to : NULL;
    }
    return from;
}

static PyObject *said(const ChainObject *self, const void *raw, Py_ssize_t frames)
{
    const Py_ssize_t values = self->rules.values, n = frames * values;
    const Py_ssize_t shape[2] = {frames, values};
    PyObject *made = NULL;
    scratch real;
    float *numbers;
    if (!self->labels_frames) {
        made = new_array(2, shape, self->real);
        numbers = made ? (float *)(void *)((NumpyArray *)made)->data : NULL;
        real.more = NULL;
    } else {
        numbers = claimed(&real, (size_t)n * sizeof *numbers + 1);
        if (!numbers)
            PyErr_NoMemory();
    }
    if (numbers && is_integer(self->out.dtype))
        dequantize(raw, n, &self->out, numbers);
    else if (numbers)
        memcpy(numbers, raw, (size_t)n * sizeof *numbers);
    if (numbers && self->labels_frames)
        made = runs_of(numbers, frames, &self->rules);
    PyMem_Free(real.more);
    return made;
}

static PyObject *chain_push(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    ChainObject *self = (ChainObject *)object;
    const NumpyArray *x = n_args == 2 ? plain_array(args[0], TCN_F32) : NULL;
    const int begins = x ? PyObject_IsTrue(args[1]) : 0;
    scratch filtered, quantized, memory;
    const void *frames;
    double *moved;
    answer to;
    int64_t made = -1;
    PyObject *result = NULL;
    if (PyErr_Occurred())
        return NULL;
    if (!x || x->rank != 2 || x->shape[1] != self->channels || !x->shape[0] || !takes(self->push, x->shape[0]) ||
        !all_finite((const float *)(const void *)x->data, x->shape[0] * self->channels))
        Py_RETURN_NONE;
    to.chain = self;
    to.raw.more = filtered.more = quantized.more = NULL;
    moved = claimed(&memory, (size_t)self->memory.len + 1);
    frames = moved ? prepare(self, x, begins, moved, &filtered, &quantized) : NULL;
    if (frames)
        made = advance(self->push, frames, x->shape[0], place_aside, &to);
    if (made >= 0) {
        memcpy(self->memory.buf, moved, (size_t)self->memory.len);
        result = said(self, to.frames, (Py_ssize_t)made);
        self->push->stream->spoiled |= !result;
    }
    PyMem_Free(filtered.more);
    PyMem_Free(quantized.more);
    PyMem_Free(memory.more);
    PyMem_Free(to.raw.more);
    if (result || PyErr_Occurred())
        return result;
    Py_RETURN_NONE;
}

/* How many frames the plan has had, the newest of them that rebuild it (as `Tail.frames` of compiler/tails.py counts
 * them), and the memory of the filters. None where those frames were not kept, or the signal is over. */
static PyObject *chain_kept(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    const ChainObject *self = (ChainObject *)object;
    const PushObject *push = self->push;
    const StreamObject *stream = push->stream;
    const int64_t least = n_args == 2 ? PyLong_AsLongLong(args[0]) : -1;
    const int64_t period = n_args == 2 ? PyLong_AsLongLong(args[1]) : 0;
    int64_t pushed, wanted;
    if (PyErr_Occurred())
        return NULL;
    if (least < 0 || period < 1 || stream->busy || stream->spoiled || tcn_ended(stream->state))
        Py_RETURN_NONE;
    pushed = tcn_frames_in(stream->state);
    wanted = (pushed < least ? pushed : least + (pushed - least) % period) * (int64_t)stream->plan->in[0].frame_bytes;
    if ((uint64_t)wanted > push->kept_end)
        Py_RETURN_NONE;
    return Py_BuildValue(
        "(LNN)", (long long)pushed,
        PyBytes_FromStringAndSize((const char *)push->kept + push->kept_end - wanted, (Py_ssize_t)wanted),
        PyBytes_FromStringAndSize(self->memory.buf, self->memory.len));
}

static PyMethodDef chain_methods[] = {
    {"kept", (PyCFunction)(void (*)(void))chain_kept, METH_FASTCALL,
     "kept(least, period): the frames so far, the newest of them as bytes, the filters' memory; None of what is not kept."},
    {"push", (PyCFunction)(void (*)(void))chain_push, METH_FASTCALL,
     "push(x, begins): the runs, or the real numbers, that x makes possible; None for what is not taken here."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot chain_slots[] = {
    {Py_tp_new, chain_new}, {Py_tp_dealloc, chain_dealloc}, {Py_tp_methods, chain_methods},
    {Py_tp_doc, "Chain(push, channels, factor, steps, memory, real, scale, zero_point, labels=0, background=0,"
                " probabilities=0, parts=0, longest=0): samples of a source through one stream."},
    {0, NULL}};

PyType_Spec chain_spec = {"tcnstream._native.Chain", sizeof(ChainObject), 0, Py_TPFLAGS_DEFAULT, chain_slots};
