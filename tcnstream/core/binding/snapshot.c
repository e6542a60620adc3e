/* snapshot.c - what a stream remembers, as bytes. */
#include "stream.h"

PyObject *stream_snapshot(PyObject *object, PyObject *unused)
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

PyObject *stream_snapshot_into(PyObject *object, PyObject *room)
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

PyObject *stream_restore(PyObject *object, PyObject *blob)
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
