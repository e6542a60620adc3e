/* pool.h - what a pool and its pushes share. */
#ifndef TCN_BINDING_POOL_H
#define TCN_BINDING_POOL_H

#include "binding.h"

typedef struct {
    PyObject_HEAD
    PlanObject *plan;
    Py_ssize_t n;
    StreamObject **lanes;
} PoolObject;

/* pool_push.c */
PyObject *pool_push(PyObject *pool, PyObject *const *args, Py_ssize_t n_args);

#endif
