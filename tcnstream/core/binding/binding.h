/* binding.h - the core for Python: memory, buffers and errors, and the arithmetic around a plan. Stable ABI of CPython
 * 3.11. */
#ifndef TCN_BINDING_H
#define TCN_BINDING_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <string.h>

#include "../tcn.h"

/* errors.c */
extern PyObject *stream_error, *engine_error; /* classes of tcnstream.errors */
int find_errors(void);
const char *reason_of(int code);
PyObject *raise_code(int code);

/* crc32.c: before the first tcn_crc32 */
void fill_crc32(void);
PyObject *crc32_of(PyObject *module, PyObject *args);

/* memory.c: at a multiple of 64 */
void *claim(size_t size);
void release(void *aligned);

/* plan.c */
enum { KEPT_WORKS = 8 };

typedef struct {
    PyObject_HEAD
    tcn_plan *plan;
    size_t size;
    uint32_t block;
    int isa;
    tcn_work idle[KEPT_WORKS]; /* scratch that no call uses right now */
    uint32_t n_idle;
    tcn_settled *settled; /* NULL, or what all works of the plan use */
    tcn_tensor_facts in[TCN_MAX_PORTS], out[TCN_MAX_PORTS];
} PlanObject;

extern PyTypeObject *plan_type;
extern PyType_Spec plan_spec;

/* Scratch for one call, taken and given back with the GIL held. */
int borrow(PlanObject *self, uint32_t block, uint32_t lanes, tcn_work *work);
void give_back(PlanObject *self, tcn_work *work);

/* stream.c */
/* Where the rings of several streams stand side by side; gone with the last of them. */
typedef struct {
    void *memory;
    uint32_t streams;
} shared_rings;

typedef struct {
    PyObject_HEAD
    PlanObject *plan;
    tcn_state *state;
    shared_rings *beside;    /* NULL: the state has its rings to itself */
    Py_ssize_t release_from; /* frames from which a push lets other threads run */
    Py_ssize_t piece;        /* frames of a long push between two looks for Ctrl-C */
    int busy;                /* between enter and leave */
    int spoiled;             /* a push ended midway: only reset and restore go on */
    tcn_hooks hooks;         /* what is watched; in use while `watching` */
    int watching;
    uint32_t tap_bytes;      /* of a frame of the watched tensor */
} StreamObject;

/* Around what may let other threads run; the GIL is held here. */
static inline void enter(StreamObject *stream) { stream->busy = 1; }
static inline void leave(StreamObject *stream) { stream->busy = 0; }

/* beside.c: moves the rings of streams of one plan, which nobody uses now, side by side. Without memory for it they stay where they are. */
void stand_side_by_side(StreamObject *const *streams, uint32_t n);

extern PyTypeObject *stream_type;
extern PyType_Spec stream_spec;

/* pool.c */
extern PyTypeObject *pool_type;
extern PyType_Spec pool_spec;

/* pool_push.c */
extern PyTypeObject *pool_push_type;
extern PyType_Spec pool_push_spec;

/* views.c: the arrays of a call */
/* A dense array (leads..., *frame): its memory and its leading lengths. */
typedef struct {
    Py_buffer buffer;
    int held; /* whether `buffer` is to be released */
    uint8_t *data;
    Py_ssize_t lead[2];
} frames_view;

typedef struct {
    frames_view in[TCN_MAX_PORTS], out[TCN_MAX_PORTS];
    uint32_t n_in, n_out; /* views held */
    const void *from[TCN_MAX_PORTS];
    void *to[TCN_MAX_PORTS];
    int64_t room[TCN_MAX_PORTS], made[TCN_MAX_PORTS];
    int64_t n;
} call_views;

/* `leads` is 1 for (frames, *frame), 2 for (lanes, frames, *frame). */
int view_inputs(const PlanObject *plan, PyObject *given, int leads, call_views *v);
int view_outputs(const PlanObject *plan, PyObject *given, int leads, call_views *v);
void release_views(call_views *v);

/* Whether an output of `rows` lanes stands where an input does, which is said: what goes out with the first frames or
 * lanes would then take the place of those that are still to come. */
int overlapping(const PlanObject *plan, const call_views *v, Py_ssize_t rows);

/* NumPy arrays are looked at directly, which costs a tenth of the buffer protocol: their struct is part of
 * NumPy's stable ABI. A trial at import looks whether it is as expected. */
typedef struct {
    PyObject_HEAD
    char *data;
    int rank;
    Py_ssize_t *shape;
    Py_ssize_t *strides;
    PyObject *base;
    PyObject *dtype;
    int flags;
} NumpyArray;

typedef struct {
    PyObject_HEAD
    PyTypeObject *scalar;
    char kind, type, byte_order, more;
    int number;
} NumpyType;

enum { NUMPY_C_CONTIGUOUS = 0x0001, NUMPY_ALIGNED = 0x0100, NUMPY_WRITEABLE = 0x0400 };

/* Finds out whether NumPy arrays may be looked at directly. */
void try_numpy(void);

/* An array of that TCN_... type as it lies in memory, dense and native; NULL for all else, without an exception. */
const NumpyArray *plain_array(PyObject *object, int dtype);
Py_ssize_t array_elements(const NumpyArray *array);

/* numpy.empty; only where plain_array has returned an array before. */
PyObject *new_array(int rank, const Py_ssize_t *shape, PyObject *dtype);

/* real.c: the integers that stand for real numbers, as TensorSpec says */
typedef struct {
    float scale;
    int32_t zero_point;
    int dtype; /* TCN_I8, TCN_U8 or TCN_I16 */
} real_scale;

/* Whether such a scale can be meant: what lies far beyond 16 bits is then beyond its limits. */
int has_integers(const real_scale *scale);
int is_integer(int dtype);

/* 0, or -1 at a NaN, which has no integer. */
int quantize(const float *from, Py_ssize_t n, const real_scale *scale, void *to);
void dequantize(const void *from, Py_ssize_t n, const real_scale *scale, float *to);
int all_finite(const float *x, Py_ssize_t n);

/* The steps of a card, records of six numbers, over (n, channels); `memory` is (sections, channels, 2) and moves on. */
typedef struct {
    const double *steps;
    Py_ssize_t n_steps, sections;
} filter_steps;
filter_steps read_steps(const Py_buffer *steps);
void filter(const filter_steps *steps, const float *x, Py_ssize_t n, Py_ssize_t channels, double *memory, int begins,
            float *to);
extern PyMethodDef real_methods[];

/* labels.c: how frames get labels, as signal/likelihood.py says */
enum { MOST_VALUES = 4096, MOST_MARKS = 16 };
typedef struct {
    int values, labels, background, are_likely;
    double parts;
    Py_ssize_t longest;
} label_rules;

/* 0 for rules that are not taken. */
int sound_rules(const label_rules *rules);

/* A list of the runs in `n` frames of `values` numbers. */
PyObject *runs_of(const float *frames, Py_ssize_t n, const label_rules *rules);
PyObject *real_runs(PyObject *module, PyObject *const *args, Py_ssize_t n_args);

/* push.c */
enum { MOST_RANK = 8 };

typedef struct {
    PyObject_HEAD
    StreamObject *stream;
    int in_rank, out_rank; /* of a chunk: frames, *frame */
    Py_ssize_t in_shape[MOST_RANK], out_shape[MOST_RANK];
    PyObject *out_dtype;
    real_scale scale;
    int quantizes;
    uint8_t *kept;           /* the newest input frames end at `kept_end` */
    size_t most_kept, kept_end;
} PushObject;

extern PyTypeObject *push_type;
extern PyType_Spec push_spec;

/* Memory for that many output frames, or NULL. */
typedef void *(*place)(void *context, int64_t frames);

/* Whether the stream takes so many frames now. */
int takes(const PushObject *self, Py_ssize_t frames);

/* Frames in the plan's own numbers into the stream; how many come out, to where `to` says. -1, with an exception or
 * without one, where nothing has moved. */
int64_t advance(PushObject *self, const void *frames, int64_t n, place to, void *context);

/* chain.c */
extern PyType_Spec chain_spec;

#endif
