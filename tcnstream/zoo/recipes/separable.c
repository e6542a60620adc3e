/* One step of training for a residual network of depthwise separable convolutions, in float32 on one thread.
 *
 *   stem    1x1 convolution of the input channels, batch norm, relu6
 *   units   depthwise convolution, batch norm, relu6, 1x1 convolution, batch norm, relu6 (+ the input of an earlier unit)
 *   head    1x1 convolution with bias to CLASSES logits: the last MARKS of them are yes-or-no questions of their own, with
 *           logistic cross-entropy; the others exclude each other, with softmax cross-entropy
 *
 * Everything is laid out [lane][frame][channel]. CHANNELS (a multiple of 16), INPUTS, CLASSES and MARKS are fixed when this file is
 * compiled, so that a frame is a few vector registers. Batch norm needs sums over all frames before the next operation can start;
 * between two such sums everything is done while the frames are in cache, which is where the speed comes from.
 *
 * Parameters, in order:  stem w[INPUTS][C] gamma[C] beta[C];  per unit: depthwise [taps][C] gamma beta, pointwise [C in][C out]
 * gamma beta;  head w[C][CLASSES] b[CLASSES].  Statistics: mean[C] var[C] of every batch norm in the same order. */
#include <math.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

#define C CHANNELS
#define VECTORS (C / 16)
#define TILE 32
#define MAX_TAPS 9
#define MAX_UNITS 64
#define EPSILON 1e-3f
/* Frames that a matrix product takes at a time: so many sums as there are registers for. */
#ifdef __AVX512F__
#define BLOCK 8
#else
#define BLOCK 2
#endif
#define LABELS (CLASSES - MARKS)
#define NOINLINE __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(64), aligned(4)));
typedef int mask __attribute__((vector_size(64), aligned(4)));

/* Tap k reads frame t - past + k * dilation. skip: the unit whose input is added to the output, or -1. */
typedef struct { int taps, dilation, past, skip; } Unit;
enum { TRAIN, INFER, STATISTICS };

typedef struct { const float *gamma, *beta; float *mean, *var; float scale[C], shift[C]; } Norm;

INLINE vec load(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, vec v) { memcpy(p, &v, sizeof v); }
INLINE vec splat(float f) { return (vec){0} + f; }
INLINE vec keep(vec a, mask m) { return (vec)((mask)a & m); }
INLINE vec choose(vec a, vec b, mask m) { return (vec)(((mask)a & m) | ((mask)b & ~m)); }
INLINE vec relu6(vec a) { a = choose(a, splat(0), a > splat(0)); return choose(a, splat(6), a < splat(6)); }
INLINE vec normed(const Norm *b, vec z, int v) { return z * load(b->scale + v * 16) + load(b->shift + v * 16); }
/* The gradient that passes relu6 behind a batch norm. */
INLINE vec passed(const Norm *b, vec z, vec d, int v) { vec y = normed(b, z, v); return keep(d, (y > splat(0)) & (y < splat(6))); }

static void add_lanes(double *sum, const vec *part) {
    for (int v = 0; v < VECTORS; v++) for (int j = 0; j < 16; j++) sum[v * 16 + j] += part[v][j];
}

static NOINLINE void add_moments(const float *z, long frames, double *sum, double *square) {
    for (long from = 0; from < frames; from += 256) {
        vec a[VECTORS], b[VECTORS];
        for (int v = 0; v < VECTORS; v++) a[v] = b[v] = splat(0);
        for (long f = from; f < frames && f < from + 256; f++)
            for (int v = 0; v < VECTORS; v++) { vec x = load(z + f * C + v * 16); a[v] += x; b[v] += x * x; }
        add_lanes(sum, a); add_lanes(square, b);
    }
}

static void set_moments(Norm *b, const double *sum, const double *square, long frames) {
    for (int c = 0; c < C; c++) {
        double mean = sum[c] / frames, var = square[c] / frames - mean * mean;
        b->mean[c] = mean; b->var[c] = var > 0 ? var : 0;
    }
}

static void set_scale(Norm *b) {
    for (int c = 0; c < C; c++) {
        b->scale[c] = b->gamma[c] / sqrtf(b->var[c] + EPSILON);
        b->shift[c] = b->beta[c] - b->mean[c] * b->scale[c];
    }
}

/* Sums over frames of the gradient d behind relu6 and of d * z. */
static NOINLINE void add_gradients(const Norm *b, const float *d, const float *z, long frames, double *sum, double *product) {
    for (long from = 0; from < frames; from += 256) {
        vec s[VECTORS], p[VECTORS];
        for (int v = 0; v < VECTORS; v++) s[v] = p[v] = splat(0);
        for (long f = from; f < frames && f < from + 256; f++)
            for (int v = 0; v < VECTORS; v++) {
                vec x = load(z + f * C + v * 16), g = passed(b, x, load(d + f * C + v * 16), v);
                s[v] += g; p[v] += g * x;
            }
        add_lanes(sum, s); add_lanes(product, p);
    }
}

/* The gradient in front of the norm is a * d + b * z + c, channel by channel (Ioffe & Szegedy, arXiv:1502.03167). */
typedef struct { float a[C], b[C], c[C]; } Affine;

static void norm_gradient(const Norm *n, const double *sum, const double *product, long frames, float *dgamma, float *dbeta, Affine *out) {
    for (int c = 0; c < C; c++) {
        double r = 1.0 / sqrt(n->var[c] + EPSILON), along = (product[c] - n->mean[c] * sum[c]) * r;
        dgamma[c] = along; dbeta[c] = sum[c];
        out->a[c] = n->gamma[c] * r;
        out->b[c] = -n->gamma[c] * r * r * along / frames;
        out->c[c] = -n->gamma[c] * r * sum[c] / frames - out->b[c] * n->mean[c];
    }
}

static NOINLINE void before_norm(const Norm *n, const Affine *g, const float *d, const float *z, float *out, long frames) {
    for (long f = 0; f < frames; f++)
        for (int v = 0; v < VECTORS; v++) {
            vec x = load(z + f * C + v * 16), y = passed(n, x, load(d + f * C + v * 16), v);
            store(out + f * C + v * 16, y * load(g->a + v * 16) + x * load(g->b + v * 16) + load(g->c + v * 16));
        }
}

static NOINLINE void activate(const Norm *n, const float *z, const float *skip, float *out, long frames) {
    for (long f = 0; f < frames; f++)
        for (int v = 0; v < VECTORS; v++) {
            long at = f * C + v * 16; vec y = relu6(normed(n, load(z + at), v));
            store(out + at, skip ? y + load(skip + at) : y);
        }
}

/* out[t] = sum_k w[k] x[t + first + k * step]; frames outside the lane are zero. */
INLINE void taps_of(const float *x, float *out, int frames, const float *w, const int taps, int first, int step) {
    int last = first + (taps - 1) * step;
    vec kept[MAX_TAPS][VECTORS];
    for (int k = 0; k < taps; k++) for (int v = 0; v < VECTORS; v++) kept[k][v] = load(w + k * C + v * 16);
    for (int t = 0; t < frames; t++) {
        const float *at = x + (long)(t + first) * C;
        int inside = t + first >= 0 && t + last < frames;
        for (int v = 0; v < VECTORS; v++) {
            vec sum = splat(0);
            if (inside)
                for (int k = 0; k < taps; k++) sum += load(at + (long)k * step * C + v * 16) * kept[k][v];
            else
                for (int k = 0; k < taps; k++) {
                    int s = t + first + k * step;
                    if (s >= 0 && s < frames) sum += load(x + (long)s * C + v * 16) * kept[k][v];
                }
            store(out + (long)t * C + v * 16, sum);
        }
    }
}

/* g[k] += sum_t x[t + first + k * step] d[t] */
INLINE void taps_gradient_of(const float *x, const float *d, int frames, float *g, const int taps, int first, int step) {
    int last = first + (taps - 1) * step;
    vec sum[MAX_TAPS][VECTORS];
    for (int k = 0; k < taps; k++) for (int v = 0; v < VECTORS; v++) sum[k][v] = load(g + k * C + v * 16);
    for (int t = 0; t < frames; t++) {
        int inside = t + first >= 0 && t + last < frames;
        for (int v = 0; v < VECTORS; v++) {
            vec here = load(d + (long)t * C + v * 16);
            for (int k = 0; k < taps; k++) {
                int s = t + first + k * step;
                if (inside || (s >= 0 && s < frames)) sum[k][v] += load(x + (long)s * C + v * 16) * here;
            }
        }
    }
    for (int k = 0; k < taps; k++) for (int v = 0; v < VECTORS; v++) store(g + k * C + v * 16, sum[k][v]);
}

/* A known number of taps lets the compiler keep the weights in registers. */
static NOINLINE void taps(const float *x, float *out, int frames, const float *w, int count, int first, int step) {
    switch (count) {
    case 3: taps_of(x, out, frames, w, 3, first, step); break;
    case 5: taps_of(x, out, frames, w, 5, first, step); break;
    case 7: taps_of(x, out, frames, w, 7, first, step); break;
    default: taps_of(x, out, frames, w, count, first, step);
    }
}

static NOINLINE void taps_gradient(const float *x, const float *d, int frames, float *g, int count, int first, int step) {
    switch (count) {
    case 3: taps_gradient_of(x, d, frames, g, 3, first, step); break;
    case 5: taps_gradient_of(x, d, frames, g, 5, first, step); break;
    case 7: taps_gradient_of(x, d, frames, g, 7, first, step); break;
    default: taps_gradient_of(x, d, frames, g, count, first, step);
    }
}

/* out[f] = a[f] w, for w[C in][C out]. */
INLINE void multiply_block(const float *a, const float *w, float *out, const int frames) {
    vec sum[BLOCK][VECTORS];
    for (int i = 0; i < frames; i++) for (int v = 0; v < VECTORS; v++) sum[i][v] = splat(0);
    for (int c = 0; c < C; c++)
        for (int v = 0; v < VECTORS; v++) {
            vec row = load(w + c * C + v * 16);
            for (int i = 0; i < frames; i++) sum[i][v] += splat(a[i * C + c]) * row;
        }
    for (int i = 0; i < frames; i++) for (int v = 0; v < VECTORS; v++) store(out + i * C + v * 16, sum[i][v]);
}

static NOINLINE void multiply(const float *a, const float *w, float *out, int frames) {
    int f = 0;
    for (; f + BLOCK <= frames; f += BLOCK) multiply_block(a + f * C, w, out + f * C, BLOCK);
    for (; f < frames; f++) multiply_block(a + f * C, w, out + f * C, 1);
}

/* g[c][o] += sum_f a[f][c] d[f][o] */
static NOINLINE void add_outer(const float *a, const float *d, float *g, int frames) {
    for (int c = 0; c < C; c += 4) {
        vec sum[4][VECTORS];
        for (int i = 0; i < 4; i++) for (int v = 0; v < VECTORS; v++) sum[i][v] = load(g + (c + i) * C + v * 16);
        for (int f = 0; f < frames; f++)
            for (int v = 0; v < VECTORS; v++) {
                vec row = load(d + f * C + v * 16);
                for (int i = 0; i < 4; i++) sum[i][v] += splat(a[f * C + c + i]) * row;
            }
        for (int i = 0; i < 4; i++) for (int v = 0; v < VECTORS; v++) store(g + (c + i) * C + v * 16, sum[i][v]);
    }
}

typedef struct { const float *depthwise, *pointwise; Norm first, second; } Weights;

static const float *take_norm(Norm *n, const float *p, float **statistics) {
    n->gamma = p; n->beta = p + C; n->mean = *statistics; n->var = *statistics + C;
    *statistics += 2 * C;
    return p + 2 * C;
}

/* The logits of one frame. */
INLINE void classify(const float *y, const float *head, const float *bias, float *logits) {
    for (int k = 0; k < CLASSES; k++) logits[k] = bias[k];
    for (int c = 0; c < C; c++) for (int k = 0; k < CLASSES; k++) logits[k] += y[c] * head[c * CLASSES + k];
}

/* Floats of scratch memory that a step needs. */
long separable_memory(int lanes, int frames, int units) {
    return (long)lanes * frames * C * (5 + 3L * units);
}

/* x [lanes][frames][INPUTS]; target [lanes][frames][CLASSES] probabilities; weight [lanes][frames][1 + MARKS], of the softmax and of each mark.
 * TRAIN fills gradient and statistics and returns the weighted mean loss, the sum over softmax and marks; STATISTICS fills statistics; INFER uses them.
 * logits may be null. */
static double step(const float *x, const float *target, const float *weight, int lanes, int frames, const Unit *units, int count,
                      const float *parameters, float *gradient, float *statistics, float *logits, int mode, float *memory) {
    const long total = (long)lanes * frames, size = total * C, lane = (long)frames * C;
    float *const stem_z = memory, *const stem_out = memory + size, *const kept = memory + 2 * size;
    Norm stem; Weights w[MAX_UNITS]; const float *inputs[MAX_UNITS];

    const float *p = parameters, *const stem_w = p;
    p = take_norm(&stem, p + INPUTS * C, &statistics);
    for (long f = 0; f < total; f++)
        for (int v = 0; v < VECTORS; v++) {
            vec sum = splat(0);
            for (int i = 0; i < INPUTS; i++) sum += splat(x[f * INPUTS + i]) * load(stem_w + i * C + v * 16);
            store(stem_z + f * C + v * 16, sum);
        }
    if (mode != INFER) {
        double sum[C] = {0}, square[C] = {0};
        add_moments(stem_z, total, sum, square);
        set_moments(&stem, sum, square, total);
    }
    set_scale(&stem);
    activate(&stem, stem_z, 0, stem_out, total);

    const float *now = stem_out;
    for (int i = 0; i < count; i++) {
        const Unit u = units[i]; Weights *m = w + i; double sum[C] = {0}, square[C] = {0};
        m->depthwise = p; p = take_norm(&m->first, p + u.taps * C, &statistics);
        m->pointwise = p; p = take_norm(&m->second, p + C * C, &statistics);
        inputs[i] = now;
        float *z1 = kept + 3 * size * i, *z2 = z1 + size, *out = z2 + size;
        for (int l = 0; l < lanes; l++) {
            taps(now + l * lane, z1 + l * lane, frames, m->depthwise, u.taps, -u.past, u.dilation);
            if (mode != INFER) add_moments(z1 + l * lane, frames, sum, square);
        }
        if (mode != INFER) set_moments(&m->first, sum, square, total);
        set_scale(&m->first);
        memset(sum, 0, sizeof sum); memset(square, 0, sizeof square);
        for (long f = 0; f < total; f += TILE) {
            int n = total - f < TILE ? total - f : TILE; float a[TILE * C];
            activate(&m->first, z1 + f * C, 0, a, n);
            multiply(a, m->pointwise, z2 + f * C, n);
            if (mode != INFER) add_moments(z2 + f * C, n, sum, square);
        }
        if (mode != INFER) set_moments(&m->second, sum, square, total);
        set_scale(&m->second);
        activate(&m->second, z2, u.skip >= 0 ? inputs[u.skip] : 0, out, total);
        now = out;
    }

    const float *const head = p, *const bias = p + C * CLASSES;
    if (logits) for (long f = 0; f < total; f++) classify(now + f * C, head, bias, logits + f * CLASSES);
    if (mode != TRAIN) return 0;

    float *const d = kept + 3 * size * count, *const d_skip = d + size, *const work = d + 2 * size;
    double loss = 0, weights[1 + MARKS] = {0};
    float *const d_head = gradient + (head - parameters), *const d_bias = gradient + (bias - parameters);
    float across[CLASSES][C], d_across[CLASSES][C] = {{0}};
    for (int c = 0; c < C; c++) for (int k = 0; k < CLASSES; k++) across[k][c] = head[c * CLASSES + k];
    memset(d_bias, 0, CLASSES * sizeof *d_bias);
    for (long f = 0; f < total; f++) for (int m = 0; m <= MARKS; m++) weights[m] += weight[f * (1 + MARKS) + m];
    for (int m = 0; m <= MARKS; m++) weights[m] = weights[m] > 0 ? weights[m] : 1;
    for (long f = 0; f < total; f++) {
        const float *const wanted = target + f * CLASSES, *const counts = weight + f * (1 + MARKS);
        float y[CLASSES], g[CLASSES], e[LABELS], top = -INFINITY, sum = 0;
        classify(now + f * C, head, bias, y);
        for (int k = 0; k < LABELS; k++) top = y[k] > top ? y[k] : top;
        for (int k = 0; k < LABELS; k++) { e[k] = expf(y[k] - top); sum += e[k]; }
        const float share = counts[0] / weights[0], log_sum = top + logf(sum);
        for (int k = 0; k < LABELS; k++) {
            g[k] = share * (e[k] / sum - wanted[k]);
            loss += share * wanted[k] * (log_sum - y[k]);
        }
        for (int m = 0; m < MARKS; m++) {
            const int k = LABELS + m;
            const float part = counts[1 + m] / weights[1 + m], small = expf(-fabsf(y[k]));
            g[k] = part * ((y[k] > 0 ? 1 : small) / (1 + small) - wanted[k]);
            loss += part * ((y[k] > 0 ? y[k] : 0) + logf(1 + small) - wanted[k] * y[k]);
        }
        vec back[VECTORS];
        for (int v = 0; v < VECTORS; v++) back[v] = splat(0);
        for (int k = 0; k < CLASSES; k++) {
            d_bias[k] += g[k];
            for (int v = 0; v < VECTORS; v++) {
                back[v] += g[k] * load(across[k] + v * 16);
                store(d_across[k] + v * 16, load(d_across[k] + v * 16) + g[k] * load(now + f * C + v * 16));
            }
        }
        for (int v = 0; v < VECTORS; v++) store(d + f * C + v * 16, back[v]);
    }
    for (int c = 0; c < C; c++) for (int k = 0; k < CLASSES; k++) d_head[c * CLASSES + k] = d_across[k][c];

    int joins = -1; /* the unit whose input the waiting d_skip belongs to */
    for (int i = count - 1; i >= 0; i--) {
        const Unit u = units[i]; const Weights *m = w + i; Affine g;
        const float *z1 = kept + 3 * size * i, *z2 = z1 + size;
        float *const d_depthwise = gradient + (m->depthwise - parameters), *const d_first = d_depthwise + u.taps * C;
        float *const d_pointwise = gradient + (m->pointwise - parameters), *const d_second = d_pointwise + C * C;
        double sum[C] = {0}, product[C] = {0};
        float turned[C * C], reversed[MAX_TAPS * C];

        if (u.skip >= 0) { memcpy(d_skip, d, size * sizeof *d); joins = u.skip; }
        add_gradients(&m->second, d, z2, total, sum, product);
        norm_gradient(&m->second, sum, product, total, d_second, d_second + C, &g);
        for (int a = 0; a < C; a++) for (int b = 0; b < C; b++) turned[b * C + a] = m->pointwise[a * C + b];
        memset(d_pointwise, 0, C * C * sizeof *d_pointwise);
        memset(sum, 0, sizeof sum); memset(product, 0, sizeof product);
        for (long f = 0; f < total; f += TILE) {
            int n = total - f < TILE ? total - f : TILE; float a[TILE * C], dz[TILE * C];
            before_norm(&m->second, &g, d + f * C, z2 + f * C, dz, n);
            activate(&m->first, z1 + f * C, 0, a, n);
            add_outer(a, dz, d_pointwise, n);
            multiply(dz, turned, work + f * C, n);
            add_gradients(&m->first, work + f * C, z1 + f * C, n, sum, product);
        }
        norm_gradient(&m->first, sum, product, total, d_first, d_first + C, &g);
        for (int k = 0; k < u.taps; k++) memcpy(reversed + k * C, m->depthwise + (u.taps - 1 - k) * C, C * sizeof *reversed);
        memset(d_depthwise, 0, u.taps * C * sizeof *d_depthwise);
        for (int l = 0; l < lanes; l++) {
            float *dz = work + l * lane, *dx = d + l * lane;
            before_norm(&m->first, &g, dz, z1 + l * lane, dz, frames);
            taps_gradient(inputs[i] + l * lane, dz, frames, d_depthwise, u.taps, -u.past, u.dilation);
            taps(dz, dx, frames, reversed, u.taps, u.past - (u.taps - 1) * u.dilation, u.dilation);
            if (joins == i) for (long j = 0; j < lane; j += 16) store(dx + j, load(dx + j) + load(d_skip + l * lane + j));
        }
        if (joins == i) joins = -1;
    }

    double sum[C] = {0}, product[C] = {0}, d_stem[INPUTS][C] = {{0}}; Affine g;
    add_gradients(&stem, d, stem_z, total, sum, product);
    norm_gradient(&stem, sum, product, total, gradient + INPUTS * C, gradient + (INPUTS + 1) * C, &g);
    before_norm(&stem, &g, d, stem_z, work, total);
    /* In double: of a single input's gradient, which is a factor in front of a norm, little but epsilon is left. */
    for (long f = 0; f < total; f++)
        for (int i = 0; i < INPUTS; i++)
            for (int c = 0; c < C; c++) d_stem[i][c] += (double)x[f * INPUTS + i] * work[f * C + c];
    for (int i = 0; i < INPUTS; i++) for (int c = 0; c < C; c++) gradient[i * C + c] = d_stem[i][c];
    return loss;
}

/* Numbers too small for a float's usual form slow a processor down, so they are taken for zero here, and here alone: a caller's own
 * arithmetic needs them. */
double separable_step(const float *x, const float *target, const float *weight, int lanes, int frames, const Unit *units, int count,
                      const float *parameters, float *gradient, float *statistics, float *logits, int mode, float *memory) {
#ifdef __SSE__
    const unsigned was = _mm_getcsr();
    _mm_setcsr(was | 0x8040);
#endif
    const double loss = step(x, target, weight, lanes, frames, units, count, parameters, gradient, statistics, logits, mode, memory);
#ifdef __SSE__
    _mm_setcsr(was);
#endif
    return loss;
}
