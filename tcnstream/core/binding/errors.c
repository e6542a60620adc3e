/* errors.c - what a code of the core means, and the exceptions that say so. */
#include "binding.h"

PyObject *stream_error, *engine_error; /* classes of tcnstream.errors */

static const char *const reasons[] = {
    "no error", "the plan is cut short", "these bytes are no plan of this version", "the plan is damaged",
    "the plan points outside of itself", "the plan holds a value that no writer makes",
    "the plan has an operation that this core lacks", "memory is not aligned", "the state memory is too small",
    "the scratch memory is too small", "the output buffer is too small", "the signal has ended; call reset() first",
    "the signal ended before a mirrored edge had the frames that it mirrors", "the state was never initialised",
    "the snapshot is damaged or belongs to another model", "this processor lacks the instructions asked for",
    "the state belongs to another plan"};

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
    return code > 0 && code <= TCN_PLAN ? reasons[code] : "unknown error of the core";
}

PyObject *raise_code(int code)
{
    PyErr_SetString(stream_error, reason_of(code));
    return NULL;
}
