/* pool.c - many streams of one plan in one call. */
#include "binding.h"

PyTypeObject *pool_type;

enum {
    GROUP = 64,         /* lanes that go through a node together, their rings side by side */
    GROUP_OF_CHUNKS = 32, /* the same where each has several frames to fill the caches with */
    FEWEST_BESIDE = 8,  /* lanes whose rings are worth a place side by side */
    MOST_BESIDE = 4,    /* frames of a push up to which it is: long chunks read long runs of a ring of their own */
};

typedef struct {
    PyObject_HEAD
    PlanObject *plan;
    Py_ssize_t n;
    StreamObject **lanes;
    int stopped; /* pushes of other threads end at their next look */
} PoolObject;

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

/* The rows of a call and the lanes that they belong to: `number` per row, or NULL for all lanes in order. */
typedef struct {
    const int64_t *number;
    Py_ssize_t n;
} row_lanes;

static uint32_t group_of(int64_t frames) { return frames <= MOST_BESIDE ? GROUP : GROUP_OF_CHUNKS; }

static Py_ssize_t lane_of(const row_lanes *rows, Py_ssize_t row) { return rows->number ? (Py_ssize_t)rows->number[row] : row; }

/* Groups of lanes, one after the other, without the GIL but for a look for Ctrl-C now and then. TCN_..., or -1: ended
 * midway, with an exception set. */
static int push_groups(const PoolObject *self, const tcn_work *work, const call_views *v, const row_lanes *rows,
                       int64_t *counts, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t *bad, PyThreadState **released)
{
    uint32_t inputs = tcn_inputs(self->plan->plan), outputs = tcn_outputs(self->plan->plan), i, l;
    const int64_t piece = self->lanes[lane_of(rows, begin)]->piece;
    const Py_ssize_t group = group_of(v->n);
    tcn_lane lanes[GROUP];
    int64_t unseen = 0; /* frames since the last look */
    Py_ssize_t k;
    memset(counts + (size_t)begin * outputs, 0, (size_t)(end - begin) * outputs * sizeof *counts);
    for (k = begin; k < end; k += group) {
        uint32_t n = (uint32_t)(end - k < group ? end - k : group), which = 0;
        int64_t at, step, longest = piece / n > self->plan->block ? piece / n : self->plan->block;
        int error;
        for (l = 0; l < n; l++) {
            size_t row = (size_t)(k + l);
            lanes[l].state = self->lanes[lane_of(rows, k + l)]->state;
            for (i = 0; i < inputs; i++)
                lanes[l].in[i] = (const uint8_t *)v->from[i] + row * (size_t)v->n * self->plan->in[i].frame_bytes;
            for (i = 0; i < outputs; i++) {
                lanes[l].out[i] = (uint8_t *)v->to[i] + row * (size_t)v->room[i] * self->plan->out[i].frame_bytes;
                lanes[l].room[i] = v->room[i];
            }
        }
        for (at = 0; at < v->n; at += step) {
            step = v->n - at < longest ? v->n - at : longest;
            for (l = 0; l < n; l++)
                lanes[l].n = step;
            error = tcn_push_lanes(work, lanes, n, &which);
            if (error) {
                *bad = lane_of(rows, k + which);
                return error;
            }
            for (l = 0; l < n; l++) {
                for (i = 0; i < inputs; i++)
                    lanes[l].in[i] = (const uint8_t *)lanes[l].in[i] + (size_t)step * self->plan->in[i].frame_bytes;
                for (i = 0; i < outputs; i++) {
                    counts[(size_t)(k + l) * outputs + i] += lanes[l].made[i];
                    lanes[l].out[i] = (uint8_t *)lanes[l].out[i] + (size_t)lanes[l].made[i] * self->plan->out[i].frame_bytes;
                    lanes[l].room[i] -= lanes[l].made[i];
                }
            }
            if ((unseen += step * n) >= piece) {
                int ended;
                unseen = 0;
                PyEval_RestoreThread(*released);
                if (!(ended = PyErr_CheckSignals()) && (ended = self->stopped))
                    PyErr_SetString(stream_error, "the push was interrupted in another thread");
                *released = PyEval_SaveThread();
                if (ended)
                    return -1;
            }
        }
    }
    return TCN_OK;
}

/* Before their first short push together, lanes of a group that have their rings to themselves get a place side by side. */
static void find_places(const PoolObject *self, const row_lanes *rows, Py_ssize_t begin, Py_ssize_t end)
{
    Py_ssize_t k, l;
    for (k = begin; k < end; k += GROUP) {
        StreamObject *alone[GROUP];
        uint32_t n = 0;
        for (l = k; l < end && l < k + GROUP; l++)
            if (!self->lanes[lane_of(rows, l)]->beside)
                alone[n++] = self->lanes[lane_of(rows, l)];
        if (n >= FEWEST_BESIDE)
            stand_side_by_side(alone, n);
    }
}

/* Nothing moves before every lane is known to take its frames. */
static int all_ready(const PoolObject *self, const tcn_work *work, const call_views *v, const row_lanes *rows,
                     Py_ssize_t begin, Py_ssize_t end, Py_ssize_t *bad)
{
    uint32_t outputs = tcn_outputs(self->plan->plan), o;
    Py_ssize_t k;
    for (k = begin; k < end; k++) {
        int64_t frames[TCN_MAX_PORTS];
        int error;
        *bad = lane_of(rows, k);
        error = tcn_ready(work, self->lanes[*bad]->state, v->n, frames);
        if (error)
            return error;
        for (o = 0; o < outputs; o++)
            if (frames[o] > v->room[o])
                return TCN_ROOM;
    }
    return TCN_OK;
}

/* Which lanes the rows are for; 0 if that makes sense. */
static int view_rows(const PoolObject *self, PyObject *numbers, Py_buffer *view, row_lanes *rows)
{
    Py_ssize_t k;
    rows->number = NULL;
    rows->n = self->n;
    if (numbers == Py_None)
        return 0;
    if (PyObject_GetBuffer(numbers, view, PyBUF_C_CONTIGUOUS))
        return -1;
    rows->number = view->buf;
    rows->n = view->len / 8;
    for (k = 0; k < rows->n; k++)
        if (rows->number[k] < 0 || rows->number[k] >= self->n) {
            PyErr_Format(stream_error, "there is no lane %lld: the pool has %zd", (long long)rows->number[k], self->n);
            return -1;
        }
    return 0;
}

/* One array each for all rows; the message says how many there are. */
static int have_rows(const frames_view *views, uint32_t n, const row_lanes *rows)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        if (views[i].lead[0] != rows->n) {
            PyErr_Format(stream_error, "%zd lanes are pushed; the arrays must have as many rows, not %zd", rows->n,
                         views[i].lead[0]);
            return 0;
        }
    return 1;
}

static PyObject *pool_push_into(PyObject *object, PyObject *const *args, Py_ssize_t n_args)
{
    PoolObject *self = (PoolObject *)object;
    Py_ssize_t begin, end, k, bad = 0, entered;
    uint32_t outputs = tcn_outputs(self->plan->plan), block;
    call_views v;
    row_lanes rows;
    Py_buffer counts, numbers = {0};
    tcn_work work;
    int error = -1, check, midway = 0;
    if (n_args != 7) {
        PyErr_SetString(PyExc_TypeError, "push_into(x, out, counts, lanes, begin, end, check)");
        return NULL;
    }
    begin = PyLong_AsSsize_t(args[4]);
    end = PyLong_AsSsize_t(args[5]);
    check = PyObject_IsTrue(args[6]);
    if (PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[2], &counts, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS))
        return NULL;
    v.n_in = v.n_out = 0;
    if (view_rows(self, args[3], &numbers, &rows) || view_inputs(self->plan, args[0], 2, &v) ||
        view_outputs(self->plan, args[1], 2, &v) || !have_rows(v.in, v.n_in, &rows) || !have_rows(v.out, v.n_out, &rows) ||
        overlapping(self->plan, &v, rows.n))
        goto done;
    if (begin < 0 || end < begin || end > rows.n || counts.len != rows.n * (Py_ssize_t)outputs * 8) {
        PyErr_Format(stream_error, "rows %zd to %zd of %zd, or the array of counts, make no sense", begin, end, rows.n);
        goto done;
    }
    for (entered = begin; entered < end && !self->lanes[lane_of(&rows, entered)]->busy; entered++) {
        if (self->lanes[lane_of(&rows, entered)]->spoiled)
            break;
        enter(self->lanes[lane_of(&rows, entered)]);
    }
    if (entered < end && self->lanes[lane_of(&rows, entered)]->spoiled) {
        PyErr_Format(stream_error,
                     "lane %zd: an earlier call failed midway; call reset() or restore() before going on",
                     lane_of(&rows, entered));
    } else if (entered < end) {
        PyErr_Format(stream_error,
                     "lane %zd: two threads use one stream at the same time, or two rows are for this lane; give each"
                     " thread its own, or lock around it",
                     lane_of(&rows, entered));
    } else {
        if (v.n > 0 && v.n <= MOST_BESIDE)
            find_places(self, &rows, begin, end);
        block = v.n < 1 ? 1 : v.n < (int64_t)self->plan->block ? (uint32_t)v.n : self->plan->block;
        if (!borrow(self->plan, block, group_of(v.n), &work)) {
            PyThreadState *released = PyEval_SaveThread();
            error = check ? all_ready(self, &work, &v, &rows, begin, end, &bad) : TCN_OK;
            if (!error && v.n > 0 && begin < end) {
                error = push_groups(self, &work, &v, &rows, counts.buf, begin, end, &bad, &released);
                midway = error != 0;
            }
            PyEval_RestoreThread(released);
            give_back(self->plan, &work);
            if (error > 0)
                PyErr_Format(stream_error, "lane %zd: %s", bad, reason_of(error));
        }
    }
    for (k = begin; k < entered; k++) {
        self->lanes[lane_of(&rows, k)]->spoiled |= midway;
        leave(self->lanes[lane_of(&rows, k)]);
    }
done:
    release_views(&v);
    PyBuffer_Release(&counts);
    if (numbers.obj)
        PyBuffer_Release(&numbers);
    if (error)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pool_stop(PyObject *object, PyObject *wanted)
{
    int on = PyObject_IsTrue(wanted);
    if (on < 0)
        return NULL;
    ((PoolObject *)object)->stopped = on;
    Py_RETURN_NONE;
}

static PyMethodDef pool_methods[] = {
    {"push_into", (PyCFunction)(void (*)(void))pool_push_into, METH_FASTCALL,
     "push_into(x, out, counts, lanes, begin, end, check): rows begin to end of x (rows, n, *frame) into the lanes that"
     " int64 `lanes` names, None for all; counts (rows, outputs)."},
    {"stop", pool_stop, METH_O, "stop(on): pushes that run in other threads end midway; stop(False) lets new ones run."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot pool_slots[] = {
    {Py_tp_new, pool_new}, {Py_tp_dealloc, pool_dealloc}, {Py_tp_methods, pool_methods},
    {Py_tp_doc, "Pool(plan, streams): many streams of one plan in one call."}, {0, NULL}};

PyType_Spec pool_spec = {"tcnstream._native.Pool", sizeof(PoolObject), 0, Py_TPFLAGS_DEFAULT, pool_slots};
