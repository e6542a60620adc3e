/* push.c - Stream.push as it is used most: one array into the one input, float32 or the tensor's own type.
 *
 * None is returned, and nothing has moved, for all that it does not take, what is wrong among it; Stream.push then does
 * it the long way, and says what is wrong. */
#include "binding.h"

enum { MOST_RANK = 8, ON_STACK = 2048 };

typedef struct {
    PyObject_HEAD
    StreamObject *stream;
    int in_rank, out_rank; /* of a chunk: frames, *frame */
    Py_ssize_t in_shape[MOST_RANK], out_shape[MOST_RANK];
    PyObject *out_dtype;
    real_scale scale;
    int quantizes;
} PushObject;

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
    static char *names[] = {"stream", "in_shape", "out_shape", "out_dtype", "scale", "zero_point", NULL};
    PyObject *stream, *in_shape, *out_shape, *out_dtype;
    PushObject *self;
    float scale = 0;
    int zero_point = 0, dtype;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O!O!O|fi", names, stream_type, &stream, &PyTuple_Type, &in_shape,
                                     &PyTuple_Type, &out_shape, &out_dtype, &scale, &zero_point))
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
    self->quantizes = has_integers(&self->scale) && (dtype == TCN_I8 || dtype == TCN_U8 || dtype == TCN_I16);
    if (read_shape(in_shape, &self->in_rank, self->in_shape) || read_shape(out_shape, &self->out_rank, self->out_shape)) {
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
    free_object(object);
    Py_DECREF(type);
}

static int fits(const NumpyArray *x, const PushObject *self)
{
    int d;
    if (x->rank != self->in_rank || x->shape[0] > self->stream->piece)
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

/* Frames into the stream, what comes out into a new array; NULL without an exception where the core refuses. */
static PyObject *pushed(PushObject *self, const void *frames, int64_t n)
{
    StreamObject *stream = self->stream;
    PlanObject *plan = stream->plan;
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    const void *in[1] = {frames};
    void *out[1];
    PyObject *array = NULL;
    tcn_work work;
    int error;
    if (borrow(plan, plan->block, 1, &work))
        return NULL;
    if (stream->watching)
        work.hooks = &stream->hooks;
    error = tcn_ready(&work, stream->state, n, room);
    if (!error) {
        self->out_shape[0] = (Py_ssize_t)room[0];
        array = new_array(self->out_rank, self->out_shape, self->out_dtype);
    }
    if (array) {
        out[0] = ((NumpyArray *)array)->data;
        if (n >= stream->release_from) {
            Py_BEGIN_ALLOW_THREADS
            error = tcn_push(&work, stream->state, in, n, out, room, made);
            Py_END_ALLOW_THREADS
        } else {
            error = tcn_push(&work, stream->state, in, n, out, room, made);
        }
        if (error)
            Py_CLEAR(array);
    }
    give_back(plan, &work);
    return array;
}

static PyObject *push_push(PyObject *object, PyObject *chunk)
{
    PushObject *self = (PushObject *)object;
    StreamObject *stream = self->stream;
    const NumpyArray *x = self->quantizes ? plain_array(chunk, TCN_F32) : NULL;
    const int is_real = x != NULL;
    uint8_t on_stack[ON_STACK], *room = on_stack;
    const void *frames;
    PyObject *made = NULL;
    size_t bytes;
    if (!x)
        x = plain_array(chunk, stream->plan->in[0].dtype);
    if (!x || !fits(x, self) || stream->busy || stream->spoiled || tcn_ended(stream->state))
        Py_RETURN_NONE;
    bytes = (size_t)x->shape[0] * stream->plan->in[0].frame_bytes;
    if (is_real && bytes > ON_STACK)
        room = PyMem_Malloc(bytes);
    frames = taken(self, x, is_real, room);
    if (frames) {
        enter(stream);
        made = pushed(self, frames, x->shape[0]);
        leave(stream);
    }
    if (room != on_stack)
        PyMem_Free(room);
    if (made || PyErr_Occurred())
        return made;
    Py_RETURN_NONE;
}

static PyMethodDef push_methods[] = {
    {"push", push_push, METH_O, "push(x): the frames that x makes possible, or None for what is not taken here."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot push_slots[] = {
    {Py_tp_new, push_new}, {Py_tp_dealloc, push_dealloc}, {Py_tp_methods, push_methods},
    {Py_tp_doc, "Push(stream, in_shape, out_shape, out_dtype, scale=0, zero_point=0): whole frames into one stream."},
    {0, NULL}};

PyType_Spec push_spec = {"tcnstream._native.Push", sizeof(PushObject), 0, Py_TPFLAGS_DEFAULT, push_slots};
