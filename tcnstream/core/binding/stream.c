/* stream.c - one signal through a plan. */
#include <time.h>

#include "binding.h"

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

static void leave_rings(shared_rings *rings)
{
    if (!rings || --rings->streams)
        return;
    release(rings->memory);
    PyMem_Free(rings);
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

void stand_side_by_side(StreamObject *const *streams, uint32_t n)
{
    const tcn_plan *plan = streams[0]->plan->plan;
    const size_t size = tcn_rings_size(plan, n);
    shared_rings *rings = size ? PyMem_Malloc(sizeof *rings) : NULL;
    uint32_t k;
    if (!rings)
        return;
    rings->streams = 1; /* this call, until it ends */
    rings->memory = claim(size);
    for (k = 0; rings->memory && k < n; k++) {
        tcn_state *to = claim(tcn_beside_size(plan));
        if (!to || tcn_move_beside(to, streams[k]->state, rings->memory, k, n)) {
            release(to);
            break;
        }
        release(streams[k]->state);
        streams[k]->state = to;
        streams[k]->beside = rings;
        rings->streams++;
    }
    leave_rings(rings);
}

/* While a push of another thread runs without the GIL, nobody else may use its stream. */
static int in_use(const StreamObject *self)
{
    if (self->busy)
        PyErr_SetString(stream_error,
                        "two threads use one stream at the same time; give each thread its own, or lock around it");
    return self->busy;
}

/* As in_use, for what needs all that the stream remembers. */
static int unfit(const StreamObject *self)
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

static PyObject *stream_snapshot(PyObject *object, PyObject *unused)
{
    StreamObject *self = (StreamObject *)object;
    PyObject *made;
    (void)unused;
    if (unfit(self))
        return NULL;
    made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)tcn_snapshot_size(self->plan->plan));
    if (made)
        tcn_snapshot(self->state, PyBytes_AsString(made));
    return made;
}

static PyObject *stream_snapshot_into(PyObject *object, PyObject *room)
{
    StreamObject *self = (StreamObject *)object;
    Py_buffer view;
    int fits;
    if (unfit(self) || PyObject_GetBuffer(room, &view, PyBUF_WRITABLE))
        return NULL;
    fits = (size_t)view.len == tcn_snapshot_size(self->plan->plan);
    if (fits)
        tcn_snapshot(self->state, view.buf);
    PyBuffer_Release(&view);
    if (!fits)
        return raise_code(TCN_SNAPSHOT);
    Py_RETURN_NONE;
}

static PyObject *stream_spoil(PyObject *object, PyObject *unused)
{
    (void)unused;
    ((StreamObject *)object)->spoiled = 1;
    Py_RETURN_NONE;
}

static PyObject *stream_restore(PyObject *object, PyObject *blob)
{
    StreamObject *self = (StreamObject *)object;
    Py_buffer view;
    tcn_work work;
    int error;
    if (PyObject_GetBuffer(blob, &view, PyBUF_SIMPLE))
        return NULL;
    if (in_use(self)) {
        PyBuffer_Release(&view);
        return NULL;
    }
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
    self->spoiled = 0;
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
    if (!PyArg_ParseTuple(args, "ll", &tensor, &frames) || in_use(self))
        return NULL;
    if (tensor < 0 || tensor >= (long)tcn_tensors(self->plan->plan)) {
        PyErr_Format(stream_error, "the plan has no tensor %ld; they are numbered 0 to %ld", tensor,
                     (long)tcn_tensors(self->plan->plan) - 1);
        return NULL;
    }
    tcn_describe_tensor(self->plan->plan, (uint32_t)tensor, &facts);
    if (frames < 0 || frames > (1 << 30) / (long)facts.frame_bytes) {
        PyErr_Format(stream_error, "`%s`: %ld frames are not a number that can be kept", facts.name, frames);
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
    if (in_use(self))
        return NULL;
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
    if (on < 0 || in_use(self))
        return NULL;
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
    if (in_use(self))
        return NULL;
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
    {"spoil", stream_spoil, METH_NOARGS, "A push around it failed midway: from now on only reset and restore go on."},
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
