/* watch.c - what is kept of a stream beside its outputs: frames of a tensor, nanoseconds of each operation. */
#include "stream.h"

#include <time.h>

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

PyObject *stream_watch(PyObject *object, PyObject *args)
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

PyObject *stream_tap(PyObject *object, PyObject *unused)
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

PyObject *stream_count_ns(PyObject *object, PyObject *wanted)
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

PyObject *stream_counted_ns(PyObject *object, PyObject *unused)
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
