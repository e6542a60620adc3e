/* pool_push.c - frames into many lanes of a pool, by as many threads as take part.
 *
 * Lanes go in groups, and a thread takes the next group when it is done with one: who comes late, or is held up by the
 * rest of the machine, does fewer of them. */
#include "pool.h"

PyTypeObject *pool_push_type;

enum {
    GROUP = 64,         /* lanes that go through a node together, their rings side by side */
    GROUP_OF_CHUNKS = 32, /* the same where each has several frames to fill the caches with */
    FEWEST_BESIDE = 8,  /* lanes whose rings are worth a place side by side */
    MOST_BESIDE = 4,    /* frames of a push up to which it is: long chunks read long runs of a ring of their own */
};

/* The rows of a push and the lanes that they belong to: `number` per row, or NULL for all lanes in order. */
typedef struct {
    const int64_t *number;
    Py_ssize_t n;
} row_lanes;

enum { GIVEN = 4 }; /* arrays of a push */

typedef struct {
    PyObject_HEAD
    PoolObject *pool;
    PyObject *given[GIVEN]; /* what `v`, `counts` and `numbers` look at */
    call_views v;
    row_lanes rows;
    Py_buffer counts, numbers;
    Py_ssize_t entered; /* rows whose lanes are in use for it */
    Py_ssize_t next;    /* the first row that no thread has taken */
    int running;        /* threads */
    int stopped;        /* threads end at their next look */
    int midway;         /* some lanes have moved and some not */
    int ended;          /* nothing is held any more once no thread runs */
} PoolPushObject;

static uint32_t group_of(int64_t frames) { return frames <= MOST_BESIDE ? GROUP : GROUP_OF_CHUNKS; }

static Py_ssize_t number_of(const PoolPushObject *self, Py_ssize_t row)
{
    return self->rows.number ? (Py_ssize_t)self->rows.number[row] : row;
}

static StreamObject *lane_of(const PoolPushObject *self, Py_ssize_t row)
{
    return self->pool->lanes[number_of(self, row)];
}

/* Gives back what a push holds. */
static void let_go(PoolPushObject *self)
{
    Py_ssize_t k;
    for (k = 0; k < self->entered; k++) {
        lane_of(self, k)->spoiled |= self->midway;
        leave(lane_of(self, k));
    }
    self->entered = 0;
    release_views(&self->v);
    self->v.n_in = self->v.n_out = 0;
    if (self->counts.obj)
        PyBuffer_Release(&self->counts);
    if (self->numbers.obj)
        PyBuffer_Release(&self->numbers);
    for (k = 0; k < GIVEN; k++)
        Py_CLEAR(self->given[k]);
}

static void pool_push_dealloc(PyObject *object)
{
    PoolPushObject *self = (PoolPushObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    let_go(self);
    Py_DECREF((PyObject *)self->pool);
    free_object(object);
    Py_DECREF(type);
}

/* Lanes of row `k` on. */
static void find_lanes(const PoolPushObject *self, Py_ssize_t k, uint32_t n, tcn_lane *lanes)
{
    const PlanObject *plan = self->pool->plan;
    const call_views *v = &self->v;
    const uint32_t inputs = tcn_inputs(plan->plan), outputs = tcn_outputs(plan->plan);
    uint32_t l, i;
    for (l = 0; l < n; l++) {
        const size_t row = (size_t)(k + l);
        lanes[l].state = lane_of(self, k + l)->state;
        for (i = 0; i < inputs; i++)
            lanes[l].in[i] = (const uint8_t *)v->from[i] + row * (size_t)v->n * plan->in[i].frame_bytes;
        for (i = 0; i < outputs; i++) {
            lanes[l].out[i] = (uint8_t *)v->to[i] + row * (size_t)v->room[i] * plan->out[i].frame_bytes;
            lanes[l].room[i] = v->room[i];
        }
    }
}

/* `step` frames of each lane are through; counts begin at the first lane's. */
static void move_on(const PoolPushObject *self, tcn_lane *lanes, uint32_t n, int64_t step, int64_t *counts)
{
    const PlanObject *plan = self->pool->plan;
    const uint32_t inputs = tcn_inputs(plan->plan), outputs = tcn_outputs(plan->plan);
    uint32_t l, i;
    for (l = 0; l < n; l++) {
        for (i = 0; i < inputs; i++)
            lanes[l].in[i] = (const uint8_t *)lanes[l].in[i] + (size_t)step * plan->in[i].frame_bytes;
        for (i = 0; i < outputs; i++) {
            *counts++ += lanes[l].made[i];
            lanes[l].out[i] = (uint8_t *)lanes[l].out[i] + (size_t)lanes[l].made[i] * plan->out[i].frame_bytes;
            lanes[l].room[i] -= lanes[l].made[i];
        }
    }
}

/* Groups of lanes, one after the other, without the GIL but for a look for Ctrl-C now and then. TCN_..., or -1: ended
 * midway, with an exception set. */
static int push_groups(PoolPushObject *self, const tcn_work *work, Py_ssize_t *bad, PyThreadState **released)
{
    const PlanObject *plan = self->pool->plan;
    const call_views *v = &self->v;
    const int64_t piece = lane_of(self, 0)->piece;
    const Py_ssize_t group = group_of(v->n), end = self->rows.n;
    int64_t *counts = self->counts.buf, unseen = 0; /* frames since the last look */
    tcn_lane lanes[GROUP];
    Py_ssize_t k;
    while ((k = __atomic_fetch_add(&self->next, group, __ATOMIC_RELAXED)) < end) {
        const uint32_t n = (uint32_t)(end - k < group ? end - k : group);
        const int64_t longest = piece / n > plan->block ? piece / n : plan->block;
        uint32_t which = 0, l;
        int64_t at, step;
        find_lanes(self, k, n, lanes);
        for (at = 0; at < v->n; at += step) {
            int error;
            step = v->n - at < longest ? v->n - at : longest;
            for (l = 0; l < n; l++)
                lanes[l].n = step;
            error = tcn_push_lanes(work, lanes, n, &which);
            if (error) {
                *bad = number_of(self, k + which);
                return error;
            }
            move_on(self, lanes, n, step, counts + (size_t)k * tcn_outputs(plan->plan));
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

/* Scratch for a group, of which each has so many frames. */
static int borrow_for(const PoolPushObject *self, tcn_work *work)
{
    PlanObject *plan = self->pool->plan;
    const int64_t n = self->v.n;
    return borrow(plan, n < 1 ? 1 : n < (int64_t)plan->block ? (uint32_t)n : plan->block, group_of(n), work);
}

static PyObject *pool_push_run(PyObject *object, PyObject *unused)
{
    PoolPushObject *self = (PoolPushObject *)object;
    Py_ssize_t bad = 0;
    tcn_work work;
    int error = TCN_OK;
    (void)unused;
    if (!self->ended && !self->stopped && self->v.n > 0 && self->rows.n > 0) {
        PyThreadState *released;
        if (borrow_for(self, &work))
            return NULL;
        self->running++;
        released = PyEval_SaveThread();
        error = push_groups(self, &work, &bad, &released);
        PyEval_RestoreThread(released);
        give_back(self->pool->plan, &work);
        self->midway |= error != 0;
        if (--self->running == 0 && self->ended)
            let_go(self);
    }
    if (error > 0)
        PyErr_Format(stream_error, "lane %zd: %s", bad, reason_of(error));
    if (error)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *pool_push_stop(PyObject *object, PyObject *unused)
{
    PoolPushObject *self = (PoolPushObject *)object;
    (void)unused;
    self->stopped = self->midway = 1;
    Py_RETURN_NONE;
}

static PyObject *pool_push_end(PyObject *object, PyObject *unused)
{
    PoolPushObject *self = (PoolPushObject *)object;
    (void)unused;
    self->ended = 1;
    if (!self->running)
        let_go(self);
    Py_RETURN_NONE;
}

/* Before their first short push together, lanes of a group that have their rings to themselves get a place side by side. */
static void find_places(const PoolPushObject *self)
{
    Py_ssize_t k, l;
    for (k = 0; k < self->rows.n; k += GROUP) {
        StreamObject *alone[GROUP];
        uint32_t n = 0;
        for (l = k; l < self->rows.n && l < k + GROUP; l++)
            if (!lane_of(self, l)->beside)
                alone[n++] = lane_of(self, l);
        if (n >= FEWEST_BESIDE)
            stand_side_by_side(alone, n);
    }
}

/* Nothing moves before every lane is known to take its frames. */
static int all_ready(const PoolPushObject *self, const tcn_work *work, Py_ssize_t *bad)
{
    uint32_t outputs = tcn_outputs(self->pool->plan->plan), o;
    Py_ssize_t k;
    for (k = 0; k < self->rows.n; k++) {
        int64_t frames[TCN_MAX_PORTS];
        int error;
        *bad = number_of(self, k);
        error = tcn_ready(work, lane_of(self, k)->state, self->v.n, frames);
        if (error)
            return error;
        for (o = 0; o < outputs; o++)
            if (frames[o] > self->v.room[o])
                return TCN_ROOM;
    }
    return TCN_OK;
}

/* Which lanes the rows are for; 0 if that makes sense. */
static int view_rows(PoolPushObject *self, PyObject *numbers)
{
    Py_ssize_t k;
    row_lanes *rows = &self->rows;
    rows->n = self->pool->n;
    if (numbers == Py_None)
        return 0;
    if (PyObject_GetBuffer(numbers, &self->numbers, PyBUF_C_CONTIGUOUS))
        return -1;
    rows->number = self->numbers.buf;
    rows->n = self->numbers.len / 8;
    for (k = 0; k < rows->n; k++)
        if (rows->number[k] < 0 || rows->number[k] >= self->pool->n) {
            PyErr_Format(stream_error, "there is no lane %lld: the pool has %zd", (long long)rows->number[k], self->pool->n);
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

/* Whether each lane is free, and then it is for this push. */
static int enter_lanes(PoolPushObject *self)
{
    for (; self->entered < self->rows.n; self->entered++) {
        StreamObject *lane = lane_of(self, self->entered);
        if (lane->busy) {
            PyErr_Format(stream_error,
                         "lane %zd: two threads use one stream at the same time, or two rows are for this lane; give each"
                         " thread its own, or lock around it",
                         number_of(self, self->entered));
            return 0;
        }
        if (lane->spoiled) {
            PyErr_Format(stream_error, "lane %zd: an earlier call failed midway; call reset() or restore() before going on",
                         number_of(self, self->entered));
            return 0;
        }
        enter(lane);
    }
    return 1;
}

/* Whether all lanes take their frames. */
static int is_ready(PoolPushObject *self)
{
    PyThreadState *released;
    Py_ssize_t bad = 0;
    tcn_work work;
    int error;
    if (borrow_for(self, &work))
        return 0;
    released = PyEval_SaveThread();
    error = all_ready(self, &work, &bad);
    PyEval_RestoreThread(released);
    give_back(self->pool->plan, &work);
    if (error)
        PyErr_Format(stream_error, "lane %zd: %s", bad, reason_of(error));
    return !error;
}

/* Whether what is given fits together. */
static int view_given(PoolPushObject *self)
{
    const PlanObject *plan = self->pool->plan;
    if (PyObject_GetBuffer(self->given[2], &self->counts, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) || view_rows(self, self->given[3]) ||
        view_inputs(plan, self->given[0], 2, &self->v) || view_outputs(plan, self->given[1], 2, &self->v) ||
        !have_rows(self->v.in, self->v.n_in, &self->rows) || !have_rows(self->v.out, self->v.n_out, &self->rows) ||
        overlapping(plan, &self->v, self->rows.n))
        return 0;
    if (self->counts.len != self->rows.n * (Py_ssize_t)tcn_outputs(plan->plan) * 8) {
        PyErr_Format(stream_error, "the array of counts does not fit %zd rows", self->rows.n);
        return 0;
    }
    return 1;
}

PyObject *pool_push(PyObject *pool, PyObject *const *args, Py_ssize_t n_args)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(pool_push_type, Py_tp_alloc);
    PoolPushObject *self;
    int k;
    if (n_args != GIVEN) {
        PyErr_SetString(PyExc_TypeError, "push(x, out, counts, lanes)");
        return NULL;
    }
    self = (PoolPushObject *)alloc(pool_push_type, 0);
    if (!self)
        return NULL;
    Py_INCREF(pool);
    self->pool = (PoolObject *)pool;
    for (k = 0; k < GIVEN; k++) {
        Py_INCREF(args[k]);
        self->given[k] = args[k];
    }
    if (!view_given(self) || !enter_lanes(self)) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    if (self->v.n > 0 && self->v.n <= MOST_BESIDE)
        find_places(self);
    if (!is_ready(self)) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    memset(self->counts.buf, 0, (size_t)self->counts.len);
    return (PyObject *)self;
}

static PyMethodDef pool_push_methods[] = {
    {"run", pool_push_run, METH_NOARGS, "Takes part until all lanes are taken, in any number of threads."},
    {"stop", pool_push_stop, METH_NOARGS, "Threads that take part end midway, and no lane goes on before reset or restore."},
    {"end", pool_push_end, METH_NOARGS, "Once no thread takes part, lanes and arrays are given back."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot pool_push_slots[] = {
    {Py_tp_dealloc, pool_push_dealloc}, {Py_tp_methods, pool_push_methods},
    {Py_tp_doc, "A push into lanes of a pool; Pool.push makes it."}, {0, NULL}};

PyType_Spec pool_push_spec = {"tcnstream._native.PoolPush", sizeof(PoolPushObject), 0,
                              Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, pool_push_slots};
