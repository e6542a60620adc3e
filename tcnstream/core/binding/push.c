/* push.c - Stream.push as it is used most: one array into the one input, float32 or the tensor's own type.
 *
 * None is returned, and nothing has moved, for all that it does not take, what is wrong among it; Stream.push then does
 * it the long way, and says what is wrong. */
#include "binding.h"

PyTypeObject *push_type;

enum { ON_STACK = 2048, KEPT_TIMES = 2 }; /* so that what is kept is moved seldom */

static int read_shape(PyObject *frame, int *rank, Py_ssize_t *shape)
{
    Py_ssize_t n = PyTuple_Size(frame), d;
    if (n < 0)
        return -1;
    if (n >= MOST_RANK) {
        PyErr_SetString(PyExc_ValueError, "a frame has too many axes");
        return -1;
    }
    *rank = (int)n + 1;
    for (d = 0; d < n; d++)
        shape[d + 1] = PyLong_AsSsize_t(PyTuple_GetItem(frame, d));
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *push_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"stream", "in_shape", "out_shape", "out_dtype", "scale", "zero_point", "keep_bytes", NULL};
    PyObject *stream, *in_shape, *out_shape, *out_dtype;
    PushObject *self;
    float scale = 0;
    int zero_point = 0, dtype;
    Py_ssize_t keep_bytes = 0;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O!O!O|fin", names, stream_type, &stream, &PyTuple_Type,
                                     &in_shape, &PyTuple_Type, &out_shape, &out_dtype, &scale, &zero_point,
                                     &keep_bytes))
        return NULL;
    self = (PushObject *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(stream);
    self->stream = (StreamObject *)stream;
    Py_INCREF(out_dtype);
    self->out_dtype = out_dtype;
    dtype = self->stream->plan->in[0].dtype;
    self->scale.scale = scale;
    self->scale.zero_point = zero_point;
    self->scale.dtype = dtype;
    self->quantizes = has_integers(&self->scale) && is_integer(dtype);
    self->most_kept = keep_bytes > 0 ? (size_t)keep_bytes : 0;
    if (self->most_kept && !(self->kept = PyMem_Malloc(KEPT_TIMES * self->most_kept)))
        PyErr_NoMemory();
    if (PyErr_Occurred() || read_shape(in_shape, &self->in_rank, self->in_shape) || read_shape(out_shape, &self->out_rank, self->out_shape)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void push_dealloc(PyObject *object)
{
    PushObject *self = (PushObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF((PyObject *)self->stream);
    Py_XDECREF(self->out_dtype);
    PyMem_Free(self->kept);
    free_object(object);
    Py_DECREF(type);
}

static void keep(PushObject *self, const void *frames, size_t bytes)
{
    const uint8_t *from = frames;
    if (!self->most_kept)
        return;
    if (bytes > self->most_kept) {
        from += bytes - self->most_kept;
        bytes = self->most_kept;
    }
    if (self->kept_end + bytes > KEPT_TIMES * self->most_kept) {
        const size_t stays = self->kept_end < self->most_kept ? self->kept_end : self->most_kept;
        memmove(self->kept, self->kept + self->kept_end - stays, stays);
        self->kept_end = stays;
    }
    memcpy(self->kept + self->kept_end, from, bytes);
    self->kept_end += bytes;
}

int takes(const PushObject *self, Py_ssize_t frames)
{
    const StreamObject *stream = self->stream;
    return frames <= stream->piece && !stream->busy && !stream->spoiled && !tcn_ended(stream->state);
}

int64_t advance(PushObject *self, const void *frames, int64_t n, place to, void *context)
{
    StreamObject *stream = self->stream;
    PlanObject *plan = stream->plan;
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    const void *in[1] = {frames};
    void *out[1] = {NULL};
    tcn_work work;
    int error;
    if (borrow(plan, plan->block, 1, &work))
        return -1;
    if (stream->watching)
        work.hooks = &stream->hooks;
    enter(stream);
    error = tcn_ready(&work, stream->state, n, room);
    if (!error && (out[0] = to(context, room[0]))) {
        if (n >= stream->release_from) {
            Py_BEGIN_ALLOW_THREADS
            error = tcn_push(&work, stream->state, in, n, out, room, made);
            Py_END_ALLOW_THREADS
        } else {
            error = tcn_push(&work, stream->state, in, n, out, room, made);
        }
        if (!error)
            keep(self, frames, (size_t)n * plan->in[0].frame_bytes);
    }
    leave(stream);
    give_back(plan, &work);
    return error || !out[0] ? -1 : room[0];
}

static int fits(const NumpyArray *x, const PushObject *self)
{
    int d;
    if (x->rank != self->in_rank)
        return 0;
    for (d = 1; d < x->rank; d++)
        if (x->shape[d] != self->in_shape[d])
            return 0;
    return 1;
}

/* The chunk as the plan takes it: where it lies, or quantized to `room`, which may be NULL. */
static const void *taken(const PushObject *self, const NumpyArray *x, int is_real, void *room)
{
    if (!is_real)
        return x->data;
    return room && !quantize((const float *)(const void *)x->data, array_elements(x), &self->scale, room) ? room : NULL;
}

typedef struct {
    PushObject *push;
    PyObject *made;
} new_frames;

static void *place_in_array(void *context, int64_t frames)
{
    new_frames *into = context;
    into->push->out_shape[0] = (Py_ssize_t)frames;
    into->made = new_array(into->push->out_rank, into->push->out_shape, into->push->out_dtype);
    return into->made ? ((NumpyArray *)into->made)->data : NULL;
}

static PyObject *push_push(PyObject *object, PyObject *chunk)
{
    PushObject *self = (PushObject *)object;
    const NumpyArray *x = self->quantizes ? plain_array(chunk, TCN_F32) : NULL;
    const int is_real = x != NULL;
    uint8_t on_stack[ON_STACK], *room = on_stack;
    const void *frames;
    new_frames into = {self, NULL};
    size_t bytes;
    if (!x)
        x = plain_array(chunk, self->stream->plan->in[0].dtype);
    if (!x || !fits(x, self) || !takes(self, x->shape[0]))
        Py_RETURN_NONE;
    bytes = (size_t)x->shape[0] * self->stream->plan->in[0].frame_bytes;
    if (is_real && bytes > ON_STACK)
        room = PyMem_Malloc(bytes);
    frames = taken(self, x, is_real, room);
    if (frames && advance(self, frames, x->shape[0], place_in_array, &into) < 0)
        Py_CLEAR(into.made);
    if (room != on_stack)
        PyMem_Free(room);
    if (into.made || PyErr_Occurred())
        return into.made;
    Py_RETURN_NONE;
}

static PyObject *push_keep(PyObject *object, PyObject *frames)
{
    Py_buffer view;
    if (PyObject_GetBuffer(frames, &view, PyBUF_C_CONTIGUOUS))
        return NULL;
    keep((PushObject *)object, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *push_forget(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((PushObject *)object)->kept_end = 0;
    Py_RETURN_NONE;
}

static PyObject *push_newest(PyObject *object, PyObject *wanted)
{
    const PushObject *self = (PushObject *)object;
    const Py_ssize_t bytes = PyLong_AsSsize_t(wanted);
    if (bytes == -1 && PyErr_Occurred())
        return NULL;
    if (bytes < 0 || (size_t)bytes > self->kept_end) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are kept, and %zd are wanted", (Py_ssize_t)self->kept_end, bytes);
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)self->kept + self->kept_end - bytes, bytes);
}

static PyMethodDef push_methods[] = {
    {"push", push_push, METH_O, "push(x): the frames that x makes possible, or None for what is not taken here."},
    {"keep", push_keep, METH_O, "keep(frames): frames that went in another way are the newest now."},
    {"forget", push_forget, METH_NOARGS, "forget(): no frame is kept."},
    {"newest", push_newest, METH_O, "newest(n): the last n bytes of the frames that went in."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot push_slots[] = {
    {Py_tp_new, push_new}, {Py_tp_dealloc, push_dealloc}, {Py_tp_methods, push_methods},
    {Py_tp_doc, "Push(stream, in_shape, out_shape, out_dtype, scale=0, zero_point=0, keep_bytes=0): whole frames into one"
                " stream, the newest of which are kept."},
    {0, NULL}};

PyType_Spec push_spec = {"tcnstream._native.Push", sizeof(PushObject), 0, Py_TPFLAGS_DEFAULT, push_slots};
