/* labels.c - which label a frame belongs to and how likely that is, for signal/segments.py.
 *
 * All is IEEE arithmetic in one order, the exponential too, so that every machine gives the bits of the NumPy there. */
#include <math.h>

#include "binding.h"

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

static int64_t in_parts(double likely, double parts)
{
    if (likely != likely)
        likely = 0;
    likely = likely < -MOST_LIKELY ? -MOST_LIKELY : likely > MOST_LIKELY ? MOST_LIKELY : likely;
    return (int64_t)((likely * parts + ROUNDS) - ROUNDS);
}

static double softmax_at(const float *x, int n, int best)
{
    double total = 0;
    int k;
    for (k = 0; k < n; k++) {
        const double less = (double)x[k] - (double)x[best];
        total += less == 0 ? 1.0 : exponential(less); /* which is 1 there, bit for bit */
    }
    return 1.0 / total;
}

/* What a frame of `label` adds to a run's sums: how likely the label is, then how likely each mark. */
static void add_frame(const float *x, const label_rules *r, int label, int64_t *sums)
{
    int k;
    sums[0] += in_parts(r->are_likely ? x[label] : softmax_at(x, r->labels, label), r->parts);
    for (k = r->labels; k < r->values; k++)
        sums[1 + k - r->labels] += in_parts(r->are_likely ? x[k] : 1.0 / (1.0 + exponential(-(double)x[k])), r->parts);
}

/* Appends (label, frames, sums...). */
static int append_run(PyObject *runs, long label, int64_t frames, const int64_t *sums, int n)
{
    PyObject *run = PyTuple_New(2 + n);
    int k, failed;
    for (k = 0; run && k < 2 + n; k++) {
        PyObject *number = PyLong_FromLongLong(k == 0 ? label : k == 1 ? frames : sums[k - 2]);
        if (!number || PyTuple_SetItem(run, k, number))
            Py_CLEAR(run);
    }
    if (!run)
        return -1;
    failed = PyList_Append(runs, run);
    Py_DECREF(run);
    return failed;
}

int sound_rules(const label_rules *r)
{
    return r->labels >= 1 && r->values >= r->labels && r->values <= MOST_VALUES && r->values - r->labels <= MOST_MARKS &&
           r->longest >= 1;
}

PyObject *runs_of(const float *frames, Py_ssize_t n, const label_rules *r)
{
    int64_t sums[1 + MOST_MARKS];
    PyObject *runs = PyList_New(0);
    Py_ssize_t frame = 0;
    while (runs && frame < n) {
        const float *at = frames + frame * r->values;
        const Py_ssize_t begin = frame;
        const int label = largest_of(at, r->labels);
        memset(sums, 0, sizeof sums);
        do {
            if (label != r->background)
                add_frame(at, r, label, sums);
            at += r->values;
        } while (++frame < n && frame - begin < r->longest && largest_of(at, r->labels) == label);
        if (append_run(runs, label, frame - begin, sums, 1 + r->values - r->labels))
            Py_CLEAR(runs);
    }
    return runs;
}

/* runs(frames, labels, background, probabilities, parts, longest) -> [(label, frames, sums...)], or None. */
PyObject *real_runs(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    const NumpyArray *x = n_args == 6 ? plain_array(args[0], TCN_F32) : NULL;
    label_rules rules;
    (void)module;
    if (!x || x->rank != 2 || x->shape[1] > MOST_VALUES)
        Py_RETURN_NONE;
    rules.values = (int)x->shape[1];
    rules.labels = (int)PyLong_AsLong(args[1]);
    rules.background = (int)PyLong_AsLong(args[2]);
    rules.are_likely = PyObject_IsTrue(args[3]);
    rules.parts = PyFloat_AsDouble(args[4]);
    rules.longest = PyLong_AsSsize_t(args[5]);
    if (PyErr_Occurred())
        return NULL;
    if (!sound_rules(&rules))
        Py_RETURN_NONE;
    return runs_of((const float *)(const void *)x->data, x->shape[0], &rules);
}
