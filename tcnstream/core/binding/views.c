/* views.c - the arrays that come with a call: type, shape and memory, without a copy. */
#include "binding.h"

static PyTypeObject *numpy_array; /* NULL where a trial at import finds another layout of NumPy's arrays */
static PyObject *numpy_empty;

static int numpy_number_matches(int number, int dtype)
{
    switch (dtype) {
    case TCN_F32:
        return number == 11;
    case TCN_I8:
        return number == 1;
    case TCN_I16:
        return number == 3;
    case TCN_BOOL:
        return number == 0;
    case TCN_U8:
        return number == 2;
    default:
        return 0; /* 32 and 64 bits have several numbers: the buffer protocol tells */
    }
}

const NumpyArray *plain_array(PyObject *object, int dtype)
{
    const NumpyArray *array = (const NumpyArray *)object;
    const NumpyType *type;
    if (!numpy_array || Py_TYPE(object) != numpy_array ||
        (array->flags & (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED)) != (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED))
        return NULL;
    type = (const NumpyType *)array->dtype;
    if (type->byte_order != '=' && type->byte_order != '|')
        return NULL;
    return numpy_number_matches(type->number, dtype) ? array : NULL;
}

Py_ssize_t array_elements(const NumpyArray *array)
{
    Py_ssize_t elements = 1;
    int d;
    for (d = 0; d < array->rank; d++)
        elements *= array->shape[d];
    return elements;
}

PyObject *new_array(int rank, const Py_ssize_t *shape, PyObject *dtype)
{
    PyObject *lengths = PyTuple_New(rank), *made;
    int d;
    for (d = 0; lengths && d < rank; d++) {
        PyObject *length = PyLong_FromSsize_t(shape[d]);
        if (!length || PyTuple_SetItem(lengths, d, length))
            Py_CLEAR(lengths);
    }
    if (!lengths)
        return NULL;
    made = PyObject_CallFunctionObjArgs(numpy_empty, lengths, dtype, NULL);
    Py_DECREF(lengths);
    return made;
}

static void release_view(frames_view *v)
{
    if (v->held)
        PyBuffer_Release(&v->buffer);
    v->held = 0;
}

static int dtype_matches(const char *format, Py_ssize_t item, int dtype)
{
    static const char *const codes[] = {"f", "b", "h", "i", "l", "?", "B"};
    static const Py_ssize_t bytes[] = {4, 1, 2, 4, 8, 1, 1};
    if (item != bytes[dtype])
        return 0;
    if (!format)
        return dtype == TCN_BOOL;
    if (*format == '<' || *format == '=' || *format == '@')
        format++;
    if (dtype == TCN_I64)
        return strcmp(format, "l") == 0 || strcmp(format, "q") == 0;
    if (dtype == TCN_I32)
        return strcmp(format, "i") == 0 || strcmp(format, "l") == 0;
    return strcmp(format, codes[dtype]) == 0;
}

static const char *dtype_name(int dtype)
{
    static const char *const names[] = {"float32", "int8", "int16", "int32", "int64", "bool", "uint8"};
    return names[dtype];
}

/* Whether the lengths after the leading ones are those of the port's frame, or one length that holds it all. */
static int shape_matches(const Py_ssize_t *shape, int rank, int leads, const tcn_tensor_facts *port)
{
    Py_ssize_t elements = 1;
    int d;
    if (rank < leads)
        return 0;
    for (d = leads; d < rank; d++)
        elements *= shape[d];
    return elements == (Py_ssize_t)port->frame_elements;
}

static int view_frames(PyObject *object, const tcn_tensor_facts *port, const char *what, int writable, int leads,
                       frames_view *v)
{
    Py_buffer *b = &v->buffer;
    v->held = 0;
    if (Py_TYPE(object) == numpy_array) {
        const NumpyArray *array = (const NumpyArray *)object;
        const NumpyType *type = (const NumpyType *)array->dtype;
        int wanted = NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | (writable ? NUMPY_WRITEABLE : 0);
        if ((array->flags & wanted) == wanted && numpy_number_matches(type->number, port->dtype) &&
            (type->byte_order == '=' || type->byte_order == '|') &&
            shape_matches(array->shape, array->rank, leads, port)) {
            v->data = (uint8_t *)array->data;
            v->lead[0] = array->shape[0];
            v->lead[1] = leads > 1 ? array->shape[1] : 0;
            return 0;
        }
        /* what is wrong is said below */
    }
    if (PyObject_GetBuffer(object, b, (writable ? PyBUF_WRITABLE : 0) | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS)) {
        PyErr_Clear();
        PyErr_Format(stream_error, "%s `%s` takes a %scontiguous array; pass numpy.ascontiguousarray(x)", what,
                     port->name, writable ? "writable " : "");
        return -1;
    }
    v->held = 1;
    if (!dtype_matches(b->format, b->itemsize, port->dtype)) {
        PyErr_Format(stream_error, "%s `%s` takes %s and got format '%s'; convert the array", what, port->name,
                     dtype_name(port->dtype), b->format ? b->format : "B");
    } else if (!shape_matches(b->shape, b->ndim, leads, port)) {
        PyErr_Format(stream_error, "%s `%s` takes (%sframes, *frame_shape) with %u values per frame; reshape the array",
                     what, port->name, leads > 1 ? "lanes, " : "", port->frame_elements);
    } else if (((uintptr_t)b->buf % (uintptr_t)(b->itemsize < 4 ? b->itemsize : 4)) != 0) {
        PyErr_Format(stream_error, "%s `%s` stands at an odd address; copy the array", what, port->name);
    } else {
        v->data = b->buf;
        v->lead[0] = b->shape[0];
        v->lead[1] = leads > 1 ? b->shape[1] : 0;
        return 0;
    }
    release_view(v);
    return -1;
}

void release_views(call_views *v)
{
    while (v->n_in)
        release_view(&v->in[--v->n_in]);
    while (v->n_out)
        release_view(&v->out[--v->n_out]);
}

/* One object, or a tuple of as many as there are ports. */
static PyObject *port_object(PyObject *given, uint32_t ports, uint32_t i)
{
    if (!PyTuple_Check(given))
        return ports == 1 ? given : NULL;
    return PyTuple_Size(given) == (Py_ssize_t)ports ? PyTuple_GetItem(given, i) : NULL;
}

int view_inputs(const PlanObject *plan, PyObject *given, int leads, call_views *v)
{
    uint32_t ports = tcn_inputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "push takes %u chunks, one per input", ports);
            return -1;
        }
        if (view_frames(object, &plan->in[i], "input", 0, leads, &v->in[i]))
            return -1;
        v->n_in++;
        v->from[i] = v->in[i].data;
        if (i && v->in[i].lead[leads - 1] != v->n) {
            PyErr_SetString(stream_error, "the chunks have different numbers of frames; all inputs advance together");
            return -1;
        }
        v->n = v->in[i].lead[leads - 1];
    }
    return 0;
}

int view_outputs(const PlanObject *plan, PyObject *given, int leads, call_views *v)
{
    uint32_t ports = tcn_outputs(plan->plan), i;
    for (i = 0; i < ports; i++) {
        PyObject *object = port_object(given, ports, i);
        if (!object) {
            PyErr_Clear();
            PyErr_Format(stream_error, "%u output arrays are needed, one per output", ports);
            return -1;
        }
        if (view_frames(object, &plan->out[i], "output", 1, leads, &v->out[i]))
            return -1;
        v->n_out++;
        v->to[i] = v->out[i].data;
        v->room[i] = v->out[i].lead[leads - 1];
    }
    return 0;
}

int overlapping(const PlanObject *plan, const call_views *v, Py_ssize_t rows)
{
    uint32_t i, o;
    for (i = 0; i < v->n_in; i++)
        for (o = 0; o < v->n_out; o++) {
            uintptr_t from = (uintptr_t)v->from[i], to = (uintptr_t)v->to[o];
            size_t in_bytes = (size_t)rows * (size_t)v->n * plan->in[i].frame_bytes;
            size_t out_bytes = (size_t)rows * (size_t)v->room[o] * plan->out[o].frame_bytes;
            if (in_bytes && out_bytes && from < to + out_bytes && to < from + in_bytes) {
                PyErr_Format(stream_error, "output `%s` overlaps input `%s` in memory; give it an array of its own",
                             plan->out[o].name, plan->in[i].name);
                return 1;
            }
        }
    return 0;
}

/* Looks at an array whose layout is known; NumPy arrays go through the buffer protocol if it is not as expected. */
void try_numpy(void)
{
    PyObject *numpy = PyImport_ImportModule("numpy"), *array = NULL, *interface = NULL, *pair = NULL, *address = NULL;
    numpy_array = NULL;
    if (numpy)
        array = PyObject_CallMethod(numpy, "zeros", "((ii)s)", 3, 5, "int16");
    if (array)
        interface = PyObject_GetAttrString(array, "__array_interface__");
    if (interface && PyDict_Check(interface))
        pair = PyDict_GetItemString(interface, "data"); /* borrowed */
    if (pair && PyTuple_Check(pair))
        address = PyTuple_GetItem(pair, 0); /* borrowed */
    if (address) {
        const NumpyArray *known = (const NumpyArray *)array;
        void *data = PyLong_AsVoidPtr(address);
        if (data && known->data == data && known->rank == 2 && known->shape[0] == 3 && known->shape[1] == 5 &&
            known->strides[0] == 10 && ((const NumpyType *)known->dtype)->number == 3 &&
            ((const NumpyType *)known->dtype)->kind == 'i' && ((const NumpyType *)known->dtype)->byte_order == '=' &&
            (known->flags & (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | NUMPY_WRITEABLE)) ==
                (NUMPY_C_CONTIGUOUS | NUMPY_ALIGNED | NUMPY_WRITEABLE))
            numpy_array = Py_TYPE(array);
    }
    if (numpy_array && !numpy_empty && !(numpy_empty = PyObject_GetAttrString(numpy, "empty")))
        numpy_array = NULL;
    Py_XDECREF(interface);
    Py_XDECREF(array);
    Py_XDECREF(numpy);
    PyErr_Clear();
}
