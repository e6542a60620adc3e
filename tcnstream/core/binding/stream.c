/* stream.c - one signal through a plan: begun, pushed, flushed. */
#include "stream.h"

PyTypeObject *stream_type;

static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"plan", "release_from", "piece", NULL};
    PyObject *plan;
    Py_ssize_t release_from = 1, piece = 1 << 14;
    StreamObject *self;
    size_t size;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!|nn", names, plan_type, &plan, &release_from, &piece))
        return NULL;
    self = (StreamObject *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(plan);
    self->plan = (PlanObject *)plan;
    self->release_from = release_from;
    self->piece = piece > 0 ? piece : 1;
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
    leave_rings(self->beside);
    Py_XDECREF((PyObject *)self->plan);
    free_object(object);
    Py_DECREF(type);
}

/* While a push of another thread runs without the GIL, nobody else may use its stream. */
int in_use(const StreamObject *self)
{
    if (self->busy)
        PyErr_SetString(stream_error,
                        "two threads use one stream at the same time; give each thread its own, or lock around it");
    return self->busy;
}

/* As in_use, for what needs all that the stream remembers. */
int unfit(const StreamObject *self)
{
    if (in_use(self))
        return 1;
    if (self->spoiled)
        PyErr_SetString(stream_error, "an earlier call failed midway; call reset() or restore() before going on");
    return self->spoiled;
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

/* A push of any length, piece by piece: Ctrl-C is heard in between, and the stream is then spoiled. TCN_..., or -1 with an
 * exception set. Nothing moves if there is no room for all. */
static int push_pieces(StreamObject *self, tcn_work *work, call_views *v)
{
    const PlanObject *plan = self->plan;
    uint32_t inputs = tcn_inputs(plan->plan), outputs = tcn_outputs(plan->plan), i;
    int64_t total[TCN_MAX_PORTS] = {0}, at = 0, n;
    int error = tcn_ready(work, self->state, v->n, v->made);
    for (i = 0; !error && i < outputs; i++)
        if (v->made[i] > v->room[i])
            error = TCN_ROOM;
    if (error)
        return error;
    for (; at < v->n; at += n) {
        n = v->n - at < self->piece ? v->n - at : self->piece;
        Py_BEGIN_ALLOW_THREADS
        error = tcn_push(work, self->state, v->from, n, v->to, v->room, v->made);
        Py_END_ALLOW_THREADS
        if (error || PyErr_CheckSignals()) {
            self->spoiled = 1;
            return error ? error : -1;
        }
        for (i = 0; i < inputs; i++)
            v->from[i] = (const uint8_t *)v->from[i] + (size_t)n * plan->in[i].frame_bytes;
        for (i = 0; i < outputs; i++) {
            v->to[i] = (uint8_t *)v->to[i] + (size_t)v->made[i] * plan->out[i].frame_bytes;
            v->room[i] -= v->made[i];
            total[i] += v->made[i];
        }
    }
    memcpy(v->made, total, sizeof total);
    return TCN_OK;
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
    } else if (v->n > self->piece) {
        error = push_pieces(self, &work, v);
    } else if (v->n >= self->release_from) {
        Py_BEGIN_ALLOW_THREADS
        error = tcn_push(&work, self->state, v->from, v->n, v->to, v->room, v->made);
        Py_END_ALLOW_THREADS
    } else {
        error = tcn_push(&work, self->state, v->from, v->n, v->to, v->room, v->made);
    }
    if (error == TCN_ROOM)
        raise_room(self, &work, flush ? -1 : v->n);
    else if (error > 0)
        raise_code(error);
    else if (!error)
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
    if (unfit(self))
        return NULL;
    enter(self);
    v.n_in = v.n_out = 0;
    if (!view_inputs(self->plan, args[0], 1, &v) && !view_outputs(self->plan, args[1], 1, &v) &&
        !(v.n > (int64_t)self->plan->block && overlapping(self->plan, &v, 1)))
        result = run(self, &v, 0);
    release_views(&v);
    leave(self);
    return result;
}

static PyObject *stream_flush_into(PyObject *object, PyObject *out)
{
    StreamObject *self = (StreamObject *)object;
    call_views v;
    PyObject *result = NULL;
    if (unfit(self))
        return NULL;
    enter(self);
    v.n_in = v.n_out = 0;
    if (!view_outputs(self->plan, out, 1, &v))
        result = run(self, &v, 1);
    release_views(&v);
    leave(self);
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
    if (unfit(self))
        return NULL;
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
    if (in_use(self))
        return NULL;
    self->hooks.tap_count = 0;
    tcn_reset(self->state);
    self->spoiled = 0;
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
    {"snapshot_into", stream_snapshot_into, METH_O, "The same into a buffer of as many bytes."},
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
    {Py_tp_doc, "Stream(plan, release_from=1, piece=16384): one signal through a plan."}, {0, NULL}};

PyType_Spec stream_spec = {"tcnstream._native.Stream", sizeof(StreamObject), 0, Py_TPFLAGS_DEFAULT, stream_slots};
