/* module.c - tcnstream._native: the types Plan, Stream, Pool, Push and Chain, and the arithmetic around a plan. */
#include "../layout.h"
#include "binding.h"

static int module_exec(PyObject *module)
{
    PyObject *layout = PyLong_FromUnsignedLong(TCN_LAYOUT), *chain_type;
    int failed = !layout || PyModule_AddObjectRef(module, "LAYOUT", layout);
    Py_XDECREF(layout);
    if (failed || find_errors())
        return -1;
    fill_crc32();
    plan_type = (PyTypeObject *)PyType_FromSpec(&plan_spec);
    stream_type = (PyTypeObject *)PyType_FromSpec(&stream_spec);
    pool_type = (PyTypeObject *)PyType_FromSpec(&pool_spec);
    pool_push_type = (PyTypeObject *)PyType_FromSpec(&pool_push_spec);
    push_type = (PyTypeObject *)PyType_FromSpec(&push_spec);
    if (!plan_type || !stream_type || !pool_type || !pool_push_type || !push_type || PyModule_AddType(module, plan_type) ||
        PyModule_AddType(module, stream_type) || PyModule_AddType(module, pool_type) ||
        PyModule_AddType(module, push_type))
        return -1;
    chain_type = PyType_FromSpec(&chain_spec);
    failed = !chain_type || PyModule_AddType(module, (PyTypeObject *)chain_type);
    Py_XDECREF(chain_type);
    if (failed)
        return -1;
    try_numpy();
    return 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "The native core of tcnstream.", 0, real_methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
