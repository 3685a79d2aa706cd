/* A small LSTM in plain C, to be tried on the certified vectors. Arrays are flat, last axis fastest. */
#ifndef LSTM_H
#define LSTM_H

#ifndef REAL
#define REAL double /* compile with -DREAL=float for single precision */
#endif
typedef REAL real;

enum { F, I, G, O, GATES }; /* forget, input, candidate, output */

typedef struct {
    int m, s, e, u; /* samples, steps, elements a step, units */
} lstm_sizes;

typedef struct {
    const real *U[GATES], *V[GATES], *b[GATES]; /* (e, u), (u, u), (u) */
    const real *X, *h0, *C0;                    /* (m, s, e), (m, u), (m, u) */
} lstm_inputs;

typedef struct {
    const real *dh, *dCn; /* (m, s, u), (m, u) */
} lstm_cotangents;

typedef struct { /* what lstm comes to on its way, (m, s, u) each; dk_ are the cotangents of the gates' linear parts */
    real *gate[GATES], *C_, *dC_, *dk_[GATES];
} lstm_intermediates;

typedef struct {
    real *h, *Cn;            /* (m, s, u), (m, u) */
    lstm_intermediates *all; /* NULL where nobody asks for them */
} lstm_outputs;

typedef struct {
    real *dU[GATES], *dV[GATES], *db[GATES], *dX, *dh0, *dC0; /* shaped like the inputs */
} lstm_gradients;

/* Compute the outputs, and the gradient of sum(dh * h) + sum(dCn * Cn). Return 0, or -1 when memory is short. */
int lstm(lstm_sizes n, const lstm_inputs *in, const lstm_cotangents *d, lstm_outputs *out, lstm_gradients *g);

#endif
