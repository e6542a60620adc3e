/* stream.h - what the parts of a stream share: who may use it now, and the methods that are not in stream.c. */
#ifndef TCN_BINDING_STREAM_H
#define TCN_BINDING_STREAM_H

#include "binding.h"

/* stream.c: with an exception where that is so */
int in_use(const StreamObject *self);
int unfit(const StreamObject *self);

/* beside.c: NULL for a stream that has its rings to itself */
void leave_rings(shared_rings *rings);

/* snapshot.c */
PyObject *stream_snapshot(PyObject *object, PyObject *unused);
PyObject *stream_snapshot_into(PyObject *object, PyObject *room);
PyObject *stream_restore(PyObject *object, PyObject *blob);

/* watch.c */
PyObject *stream_watch(PyObject *object, PyObject *args);
PyObject *stream_tap(PyObject *object, PyObject *unused);
PyObject *stream_count_ns(PyObject *object, PyObject *wanted);
PyObject *stream_counted_ns(PyObject *object, PyObject *unused);

#endif
