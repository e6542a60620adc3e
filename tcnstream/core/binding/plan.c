/* plan.c - a checked plan file, shared by streams, and the scratch memory that its calls borrow. */
#include "binding.h"

PyTypeObject *plan_type;

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"content", "block", "isa", NULL};
    Py_buffer content;
    unsigned int block = 64, i;
    int isa = TCN_ISA_BEST, error;
    size_t position = 0, settled_size;
    PlanObject *self;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*|Ii", names, &content, &block, &isa))
        return NULL;
    self = (PlanObject *)alloc(type, 0);
    if (!self) {
        PyBuffer_Release(&content);
        return NULL;
    }
    self->size = (size_t)content.len;
    self->block = block ? block : 1;
    self->isa = isa;
    self->plan = claim(self->size ? self->size : 1);
    if (self->plan)
        memcpy(self->plan, content.buf, self->size);
    PyBuffer_Release(&content);
    if (!self->plan) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    error = tcn_check(self->plan, self->size, &position);
    if (error == TCN_FAMILY)
        PyErr_Format(engine_error, "the plan is packed for %s and this core runs %s plans; export the model again for those",
                     tcn_family(self->plan), tcn_own_family());
    else if (error)
        PyErr_Format(engine_error, "%s (byte %zu); export the model again", reason_of(error), position);
    if (error) {
        release(self->plan);
        self->plan = NULL;
        Py_DECREF(self);
        return NULL;
    }
    settled_size = tcn_settled_size(self->plan, isa);
    if (settled_size && !(self->settled = claim(settled_size))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (self->settled)
        tcn_settle(self->settled, self->plan, isa);
    for (i = 0; i < tcn_inputs(self->plan); i++)
        tcn_describe_tensor(self->plan, tcn_input_tensor(self->plan, i), &self->in[i]);
    for (i = 0; i < tcn_outputs(self->plan); i++)
        tcn_describe_tensor(self->plan, tcn_output_tensor(self->plan, i), &self->out[i]);
    return (PyObject *)self;
}

static void plan_dealloc(PyObject *object)
{
    PlanObject *self = (PlanObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    while (self->n_idle)
        release(self->idle[--self->n_idle].program);
    release(self->settled);
    release(self->plan);
    free_object(object);
    Py_DECREF(type);
}

int borrow(PlanObject *self, uint32_t block, uint32_t lanes, tcn_work *work)
{
    uint32_t k;
    size_t size;
    void *memory;
    int error;
    for (k = 0; k < self->n_idle; k++)
        if (self->idle[k].lanes == lanes && self->idle[k].block == block) {
            *work = self->idle[k];
            self->idle[k] = self->idle[--self->n_idle];
            return 0;
        }
    size = tcn_scratch_size(self->plan, block, lanes);
    memory = claim(size);
    if (!memory) {
        PyErr_NoMemory();
        return -1;
    }
    error = tcn_prepare(work, memory, size, self->plan, block, lanes, self->isa);
    if (!error && self->settled)
        error = tcn_use_settled(work, self->settled);
    if (error) {
        release(memory);
        raise_code(error);
        return -1;
    }
    return 0;
}

void give_back(PlanObject *self, tcn_work *work)
{
    work->hooks = NULL;
    if (self->n_idle == KEPT_WORKS)
        release(work->program);
    else
        self->idle[self->n_idle++] = *work;
}

static PyObject *plan_facts(PyObject *object, PyObject *unused)
{
    PlanObject *self = (PlanObject *)object;
    tcn_work work;
    int isa;
    (void)unused;
    if (borrow(self, self->block, 1, &work))
        return NULL;
    isa = work.isa;
    give_back(self, &work);
    return Py_BuildValue("{s:n,s:n,s:i,s:I}", "state_bytes", (Py_ssize_t)tcn_state_size(self->plan), "scratch_bytes",
                         (Py_ssize_t)tcn_scratch_size(self->plan, self->block, 1), "isa", isa, "block", self->block);
}

static PyMethodDef plan_methods[] = {
    {"facts", plan_facts, METH_NOARGS, "Sizes in bytes, the instruction set in use, the block in frames."},
    {NULL, NULL, 0, NULL}};

static PyType_Slot plan_slots[] = {
    {Py_tp_new, plan_new}, {Py_tp_dealloc, plan_dealloc}, {Py_tp_methods, plan_methods},
    {Py_tp_doc, "Plan(content, block=64, isa=0): a checked plan file, shared by streams."}, {0, NULL}};

PyType_Spec plan_spec = {"tcnstream._native.Plan", sizeof(PlanObject), 0, Py_TPFLAGS_DEFAULT, plan_slots};
