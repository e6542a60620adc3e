/* errors.c - what a code of the core means, and the exceptions that say so. */
#include "binding.h"

PyObject *stream_error, *engine_error; /* classes of tcnstream.errors */

#define TEXT(code, text) [code] = text,
static const char *const reasons[] = {TCN_ERRORS(TEXT)};
#undef TEXT

int find_errors(void)
{
    PyObject *errors = PyImport_ImportModule("tcnstream.errors");
    if (!errors)
        return -1;
    stream_error = PyObject_GetAttrString(errors, "StreamError");
    engine_error = PyObject_GetAttrString(errors, "EngineError");
    Py_DECREF(errors);
    return stream_error && engine_error ? 0 : -1;
}

const char *reason_of(int code)
{
    return code > 0 && (size_t)code < sizeof reasons / sizeof *reasons ? reasons[code] : "unknown error of the core";
}

PyObject *raise_code(int code)
{
    PyErr_SetString(stream_error, reason_of(code));
    return NULL;
}
