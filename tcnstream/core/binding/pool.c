/* pool.c - many streams of one plan. */
#include "pool.h"

PyTypeObject *pool_type;

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"plan", "streams", NULL};
    PyObject *plan, *streams;
    PoolObject *self;
    Py_ssize_t k, n;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!O!", names, plan_type, &plan, &PyTuple_Type, &streams))
        return NULL;
    n = PyTuple_Size(streams);
    for (k = 0; k < n; k++) {
        PyObject *stream = PyTuple_GetItem(streams, k);
        if (Py_TYPE(stream) != stream_type || ((StreamObject *)stream)->plan != (PlanObject *)plan) {
            PyErr_SetString(PyExc_TypeError, "a pool takes streams of its own plan");
            return NULL;
        }
    }
    self = (PoolObject *)alloc(type, 0);
    if (!self)
        return NULL;
    Py_INCREF(plan);
    self->plan = (PlanObject *)plan;
    self->lanes = PyMem_Malloc((size_t)(n ? n : 1) * sizeof *self->lanes);
    if (!self->lanes) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    for (k = 0; k < n; k++) {
        self->lanes[k] = (StreamObject *)PyTuple_GetItem(streams, k);
        Py_INCREF((PyObject *)self->lanes[k]);
    }
    self->n = n;
    return (PyObject *)self;
}

static void pool_dealloc(PyObject *object)
{
    PoolObject *self = (PoolObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    while (self->n)
        Py_DECREF((PyObject *)self->lanes[--self->n]);
    PyMem_Free(self->lanes);
    Py_XDECREF((PyObject *)self->plan);
    free_object(object);
    Py_DECREF(type);
}

static PyMethodDef pool_methods[] = {
    {"push", (PyCFunction)(void (*)(void))pool_push, METH_FASTCALL,
     "push(x, out, counts, lanes): a PoolPush of x (rows, n, *frame) into the lanes that int64 `lanes` names, None for all;"
     " counts (rows, outputs). All lanes are known to take their frames, and nothing has moved."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new}, {Py_tp_dealloc, pool_dealloc}, {Py_tp_methods, pool_methods},
    {Py_tp_doc, "Pool(plan, streams): many streams of one plan in one call."}, {0, NULL}};

PyType_Spec pool_spec = {"tcnstream._native.Pool", sizeof(PoolObject), 0, Py_TPFLAGS_DEFAULT, pool_slots};
