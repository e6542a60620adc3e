/* real.c - the arithmetic around a plan: real numbers and a tensor's integers, and the filters of a card.
 *
 * A function returns None for arrays that it does not take; Python then does the same in NumPy, with the same bits. */
#include <math.h>

#include "binding.h"

static inline float beside(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

/* Far beyond every limit of 16 bits, and exact in float32. */
#define FAR 1e6f

/* Half away from zero: the quotient and the sum are float32's, the rest is exact. */
static inline int32_t rounded(float x, const real_scale *s)
{
    const float scaled = x / s->scale;
    return (int32_t)beside(scaled + copysignf(0.5f, scaled), -FAR, FAR) + s->zero_point;
}

#define QUANTIZE(type, low, high)                                                                                      \
    for (k = 0; k < n; k++) {                                                                                          \
        const int32_t q = rounded(from[k], s);                                                                         \
        ((type *)to)[k] = (type)(q < (low) ? (low) : q > (high) ? (high) : q);                                         \
    }

int quantize(const float *from, Py_ssize_t n, const real_scale *s, void *to)
{
    Py_ssize_t k;
    int missing = 0;
    for (k = 0; k < n; k++)
        missing |= from[k] != from[k];
    if (missing)
        return -1;
    switch (s->dtype) {
    case TCN_I8:
        QUANTIZE(int8_t, -128, 127)
        break;
    case TCN_U8:
        QUANTIZE(uint8_t, 0, 255)
        break;
    default:
        QUANTIZE(int16_t, -32768, 32767)
        break;
    }
    return 0;
}

#define DEQUANTIZE(type)                                                                                               \
    for (k = 0; k < n; k++)                                                                                            \
        to[k] = ((float)((const type *)from)[k] - zero) * s->scale;

void dequantize(const void *from, Py_ssize_t n, const real_scale *s, float *to)
{
    const float zero = (float)s->zero_point;
    Py_ssize_t k;
    switch (s->dtype) {
    case TCN_I8:
        DEQUANTIZE(int8_t)
        break;
    case TCN_U8:
        DEQUANTIZE(uint8_t)
        break;
    default:
        DEQUANTIZE(int16_t)
        break;
    }
}

static const NumpyArray *integers(PyObject *object, real_scale *s)
{
    static const int dtypes[] = {TCN_I8, TCN_I16, TCN_U8};
    const NumpyArray *array = NULL;
    int k;
    for (k = 0; k < 3 && !array; k++)
        array = plain_array(object, s->dtype = dtypes[k]);
    return array;
}

int is_integer(int dtype) { return dtype == TCN_I8 || dtype == TCN_U8 || dtype == TCN_I16; }

int has_integers(const real_scale *s) { return s->scale > 0 && s->zero_point >= -65536 && s->zero_point <= 65536; }

static PyObject *real_quantize(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const NumpyArray *x = n_args == 4 ? plain_array(args[0], TCN_F32) : NULL;
    real_scale s;
    PyObject *made;
    (void)module;
    if (!x)
        Py_RETURN_NONE;
    s.scale = (float)PyFloat_AsDouble(args[2]);
    s.zero_point = (int32_t)PyLong_AsLong(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (!has_integers(&s))
        Py_RETURN_NONE;
    if (!(made = new_array(x->rank, x->shape, args[1])))
        return NULL;
    if (!integers(made, &s) || quantize((const float *)(const void *)x->data, array_elements(x), &s,
                                        ((NumpyArray *)made)->data)) {
        Py_DECREF(made);
        Py_RETURN_NONE;
    }
    return made;
}

static PyObject *real_dequantize(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    real_scale s;
    const NumpyArray *y = n_args == 4 ? integers(args[0], &s) : NULL;
    PyObject *made;
    (void)module;
    if (!y)
        Py_RETURN_NONE;
    s.scale = (float)PyFloat_AsDouble(args[2]);
    s.zero_point = (int32_t)PyLong_AsLong(args[3]);
    if (PyErr_Occurred() || !(made = new_array(y->rank, y->shape, args[1])))
        return NULL;
    dequantize(y->data, array_elements(y), &s, (float *)(void *)((NumpyArray *)made)->data);
    return made;
}

int all_finite(const float *x, Py_ssize_t n)
{
    Py_ssize_t k;
    int all = 1;
    for (k = 0; k < n; k++)
        all &= fabsf(x[k]) < INFINITY;
    return all;
}

static PyObject *real_finite(PyObject *module, PyObject *object)
{
    const NumpyArray *x = plain_array(object, TCN_F32);
    (void)module;
    if (!x)
        Py_RETURN_NONE;
    return PyBool_FromLong(all_finite((const float *)(const void *)x->data, array_elements(x)));
}

/* The filters of a card: one record of six numbers a step, the kind first. */
enum { GAIN, OFFSET, CLIP, COMPAND, SECTION, SECTION_STEADY, STEP_NUMBERS = 6, PIECE = 128 };

/* Direct form II transposed (Oppenheim & Schafer, Discrete-Time Signal Processing, 6.3). */
static void section(double *x, Py_ssize_t n, const double *step, double *z, int begins)
{
    const double b0 = step[1], b1 = step[2], b2 = step[3], a1 = step[4], a2 = step[5];
    double z1 = z[0], z2 = z[1];
    Py_ssize_t k;
    if (begins && step[0] == SECTION_STEADY) {
        const double y = x[0] * (b0 + b1 + b2) / (1 + a1 + a2);
        z2 = b2 * x[0] - a2 * y;
        z1 = b1 * x[0] - a1 * y + z2;
    }
    for (k = 0; k < n; k++) {
        const double y = b0 * x[k] + z1;
        z1 = b1 * x[k] - a1 * y + z2;
        z2 = b2 * x[k] - a2 * y;
        x[k] = y;
    }
    z[0] = z1;
    z[1] = z2;
}

/* One channel of a piece through all steps; `memory` is (sections, channels, 2). */
static void filter_piece(double *x, Py_ssize_t n, const double *steps, Py_ssize_t n_steps, double *memory,
                         Py_ssize_t channels, int begins)
{
    Py_ssize_t at, k;
    for (at = 0; at < n_steps; at++) {
        const double *step = steps + at * STEP_NUMBERS;
        switch ((int)step[0]) {
        case GAIN:
            for (k = 0; k < n; k++)
                x[k] *= step[1];
            break;
        case OFFSET:
            for (k = 0; k < n; k++)
                x[k] += step[1];
            break;
        case CLIP:
            for (k = 0; k < n; k++)
                x[k] = x[k] < step[1] ? step[1] : step[2] < x[k] ? step[2] : x[k];
            break;
        case COMPAND:
            for (k = 0; k < n; k++)
                x[k] = x[k] / (1.0 + fabs(x[k]) / step[1]);
            break;
        default:
            section(x, n, step, memory, begins);
            memory += channels * 2;
        }
    }
}

filter_steps read_steps(const Py_buffer *steps)
{
    filter_steps read = {steps->buf, steps->len / (Py_ssize_t)(STEP_NUMBERS * sizeof(double)), 0};
    Py_ssize_t k;
    for (k = 0; k < read.n_steps; k++)
        read.sections += read.steps[k * STEP_NUMBERS] >= SECTION;
    return read;
}

/* Every sample's arithmetic is the same however the samples are cut. */
void filter(const filter_steps *steps, const float *x, Py_ssize_t n, Py_ssize_t channels, double *memory, int begins,
            float *to)
{
    double piece[PIECE];
    Py_ssize_t at, c, k;
    for (at = 0; at < n; at += PIECE) {
        const Py_ssize_t many = n - at < PIECE ? n - at : PIECE, first = at * channels;
        for (c = 0; c < channels; c++) {
            for (k = 0; k < many; k++)
                piece[k] = x[first + k * channels + c];
            filter_piece(piece, many, steps->steps, steps->n_steps, memory + c * 2, channels, begins && at == 0);
            for (k = 0; k < many; k++)
                to[first + k * channels + c] = (float)piece[k];
        }
    }
}

/* (n, channels) float32 -> a new array of them. */
static PyObject *real_filter(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const NumpyArray *x = n_args == 5 ? plain_array(args[0], TCN_F32) : NULL;
    Py_buffer table = {0}, memory = {0};
    PyObject *made = NULL;
    filter_steps steps;
    int begins = n_args == 5 ? PyObject_IsTrue(args[4]) : -1;
    (void)module;
    if (begins < 0 && PyErr_Occurred())
        return NULL;
    if (!x || x->rank != 2)
        Py_RETURN_NONE;
    if (PyObject_GetBuffer(args[1], &table, PyBUF_C_CONTIGUOUS) ||
        PyObject_GetBuffer(args[2], &memory, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE))
        goto done;
    steps = read_steps(&table);
    if (memory.len != steps.sections * x->shape[1] * 2 * (Py_ssize_t)sizeof(double))
        PyErr_SetString(PyExc_ValueError, "the memory is of other filters");
    else if ((made = new_array(2, x->shape, args[3])))
        filter(&steps, (const float *)(const void *)x->data, x->shape[0], x->shape[1], memory.buf, begins,
               (float *)(void *)((NumpyArray *)made)->data);
done:
    if (table.obj)
        PyBuffer_Release(&table);
    if (memory.obj)
        PyBuffer_Release(&memory);
    return made;
}

#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL

PyMethodDef real_methods[] = {
    {"quantize", FAST(real_quantize), "quantize(x, dtype, scale, zero_point): float32 as int8, uint8 or int16."},
    {"dequantize", FAST(real_dequantize), "dequantize(y, float32, scale, zero_point): int8, uint8 or int16 as float32."},
    {"finite", real_finite, METH_O, "finite(x): whether no float32 is infinite or missing."},
    {"filter", FAST(real_filter),
     "filter(x, steps, memory, float32, begins): (n, channels) through the steps of a card; the memory moves."},
    {"runs", FAST(real_runs),
     "runs(frames, labels, background, probabilities, parts, longest): neighbouring frames of one label, with sums."},
    {"crc32", crc32_of, METH_VARARGS, "crc32(bytes, start=0): as zlib.crc32."},
    {NULL, NULL, 0, NULL}};
