/* labels.c - which label a frame belongs to and how likely that is, for signal/segments.py.
 *
 * All is IEEE arithmetic in one order, the exponential too, so that every machine gives the bits of the NumPy there. */
#include <math.h>

#include "binding.h"

enum { MOST_VALUES = 4096 };

#define LARGEST_EXPONENT 700.0
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10 /* fdlibm's two parts of ln 2: k times the first is exact */
#define ROUNDS 6755399441055744.0          /* 1.5 * 2^52: adding it leaves an integer, halves to even */
#define MOST_LIKELY 256.0

static const double series[] = {1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0,
                                1 / 40320.0,      1 / 5040.0,      1 / 720.0,      1 / 120.0,     1 / 24.0,
                                1 / 6.0,          1 / 2.0,         1.0,            1.0};

/* The Taylor series to the 13th power over half of ln 2 on both sides, times a power of two. */
static double exponential(double x)
{
    double k, r, sum = 0;
    union {
        double value;
        uint64_t bits;
    } power;
    size_t n;
    x = x < -LARGEST_EXPONENT ? -LARGEST_EXPONENT : x > LARGEST_EXPONENT ? LARGEST_EXPONENT : x;
    if (x != x)
        return x;
    k = (x * LOG2_E + ROUNDS) - ROUNDS;
    r = (x - k * LN2_HIGH) - k * LN2_LOW;
    for (n = 0; n < sizeof series / sizeof *series; n++)
        sum = sum * r + series[n];
    power.bits = (uint64_t)((int64_t)k + 1023) << 52;
    return sum * power.value;
}

/* The first one of the largest, or the first NaN, as NumPy's argmax. */
static int largest_of(const float *x, int n)
{
    int best = 0, k;
    for (k = 0; k < n; k++) {
        if (x[k] != x[k])
            return k;
        if (x[k] > x[best])
            best = k;
    }
    return best;
}

static PyObject *in_parts(double likely, double parts)
{
    if (likely != likely)
        likely = 0;
    likely = likely < -MOST_LIKELY ? -MOST_LIKELY : likely > MOST_LIKELY ? MOST_LIKELY : likely;
    return PyLong_FromLongLong((long long)((likely * parts + ROUNDS) - ROUNDS));
}

static double softmax_at(const float *x, int n, int best)
{
    double total = 0;
    int k;
    for (k = 0; k < n; k++)
        total += exponential((double)x[k] - (double)x[best]);
    return 1.0 / total;
}

/* labels(frames, labels, background, probabilities, parts) -> [labels of frames, likely, marks ...], or None. */
PyObject *real_labels(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const NumpyArray *x = n_args == 5 ? plain_array(args[0], TCN_F32) : NULL;
    Py_ssize_t frame, column, n;
    long values, labels, background, are_likely;
    double parts;
    PyObject *columns;
    (void)module;
    if (!x || x->rank != 2)
        Py_RETURN_NONE;
    labels = PyLong_AsLong(args[1]);
    background = PyLong_AsLong(args[2]);
    are_likely = PyObject_IsTrue(args[3]);
    parts = PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred())
        return NULL;
    n = x->shape[0];
    if (labels < 1 || labels > x->shape[1] || x->shape[1] > MOST_VALUES)
        Py_RETURN_NONE;
    values = (long)x->shape[1];
    columns = PyList_New(2 + values - labels);
    for (column = 0; columns && column < 2 + values - labels; column++) {
        PyObject *list = PyList_New(n);
        if (!list)
            Py_CLEAR(columns);
        else
            PyList_SetItem(columns, column, list);
    }
    for (frame = 0; columns && frame < n; frame++) {
        const float *at = (const float *)(const void *)x->data + frame * values;
        const int best = largest_of(at, (int)labels);
        for (column = 0; columns && column < 2 + values - labels; column++) {
            PyObject *number;
            if (column == 0) {
                number = PyLong_FromLong(best);
            } else if (column == 1) {
                const double likely = best == background ? 0
                                      : are_likely       ? at[best]
                                                         : softmax_at(at, (int)labels, best);
                number = in_parts(likely, parts);
            } else {
                const double mark = at[labels + column - 2];
                number = in_parts(are_likely ? mark : 1.0 / (1.0 + exponential(-mark)), parts);
            }
            if (!number)
                Py_CLEAR(columns);
            else
                PyList_SetItem(PyList_GetItem(columns, column), frame, number);
        }
    }
    return columns;
}
