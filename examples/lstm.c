/* A small LSTM in plain C: forward, then backpropagation through time, one sample after the other.
 *
 * Compiled with -DBROKEN the backward pass forgets that dC carries on to the step before: a common bug, which
 * with one step only dC0 shows. */
#include "lstm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static real sigmoid(real x) {
    return (real)0.5 * (1 + (real)tanh(0.5 * x)); /* never overflows */
}

int lstm(lstm_sizes n, const lstm_inputs *in, const lstm_cotangents *d, lstm_outputs *out, lstm_gradients *g) {
    const int m = n.m, s = n.s, e = n.e, u = n.u;
    real *gates = malloc(sizeof(real) * (size_t)s * GATES * u); /* of one sample, every step */
    real *memory = malloc(sizeof(real) * (size_t)(s + 1) * u);  /* row t is C before step t */
    real *dh = malloc(sizeof(real) * u), *dC = malloc(sizeof(real) * u);
    real *dhp = malloc(sizeof(real) * u), *dk = malloc(sizeof(real) * GATES * u);
    int result = -1;

    if (!gates || !memory || !dh || !dC || !dhp || !dk) goto done;
    for (int k = 0; k < GATES; k++) {
        memset(g->dU[k], 0, sizeof(real) * (size_t)e * u);
        memset(g->dV[k], 0, sizeof(real) * (size_t)u * u);
        memset(g->db[k], 0, sizeof(real) * u);
    }
    for (int j = 0; j < m; j++) {
        const real *X = in->X + (size_t)j * s * e, *h0 = in->h0 + (size_t)j * u;
        real *h = out->h + (size_t)j * s * u, *dX = g->dX + (size_t)j * s * e;

        memcpy(memory, in->C0 + (size_t)j * u, sizeof(real) * u);
        for (int t = 0; t < s; t++) {
            const real *hp = t ? h + (t - 1) * u : h0, *Cp = memory + t * u;
            real *C = memory + (t + 1) * u, *gate = gates + t * GATES * u;
            for (int a = 0; a < u; a++) {
                for (int k = 0; k < GATES; k++) {
                    real sum = in->b[k][a];
                    for (int c = 0; c < e; c++) sum += X[t * e + c] * in->U[k][c * u + a];
                    for (int c = 0; c < u; c++) sum += hp[c] * in->V[k][c * u + a];
                    gate[k * u + a] = k == G ? (real)tanh(sum) : sigmoid(sum);
                }
                C[a] = gate[F * u + a] * Cp[a] + gate[I * u + a] * gate[G * u + a];
                h[t * u + a] = gate[O * u + a] * (real)tanh(C[a]);
                if (out->all) {
                    const size_t at = ((size_t)j * s + t) * u + a;
                    for (int k = 0; k < GATES; k++) out->all->gate[k][at] = gate[k * u + a];
                    out->all->C_[at] = C[a];
                }
            }
        }
        memcpy(out->Cn + (size_t)j * u, memory + s * u, sizeof(real) * u);

        memset(dh, 0, sizeof(real) * u);
        memcpy(dC, d->dCn + (size_t)j * u, sizeof(real) * u);
        for (int t = s - 1; t >= 0; t--) {
            const real *hp = t ? h + (t - 1) * u : h0, *Cp = memory + t * u, *C = memory + (t + 1) * u;
            const real *gate = gates + t * GATES * u;
            for (int a = 0; a < u; a++) {
                real f = gate[F * u + a], i = gate[I * u + a], c = gate[G * u + a], o = gate[O * u + a];
                real y = (real)tanh(C[a]), dh_a = d->dh[((size_t)j * s + t) * u + a] + dh[a];
                real dC_a = dh_a * o * (1 - y * y) + dC[a];
                dk[F * u + a] = dC_a * Cp[a] * f * (1 - f);
                dk[I * u + a] = dC_a * c * i * (1 - i);
                dk[G * u + a] = dC_a * i * (1 - c * c);
                dk[O * u + a] = dh_a * y * o * (1 - o);
                if (out->all) {
                    const size_t at = ((size_t)j * s + t) * u + a;
                    for (int k = 0; k < GATES; k++) out->all->dk_[k][at] = dk[k * u + a];
                    out->all->dC_[at] = dC_a;
                }
#ifdef BROKEN
                dC[a] = 0;
#else
                dC[a] = dC_a * f;
#endif
            }
            memset(dhp, 0, sizeof(real) * u);
            memset(dX + t * e, 0, sizeof(real) * e);
            for (int k = 0; k < GATES; k++) {
                for (int a = 0; a < u; a++) {
                    real da = dk[k * u + a];
                    g->db[k][a] += da;
                    for (int c = 0; c < e; c++) {
                        g->dU[k][c * u + a] += X[t * e + c] * da;
                        dX[t * e + c] += in->U[k][c * u + a] * da;
                    }
                    for (int c = 0; c < u; c++) {
                        g->dV[k][c * u + a] += hp[c] * da;
                        dhp[c] += in->V[k][c * u + a] * da;
                    }
                }
            }
            memcpy(dh, dhp, sizeof(real) * u);
        }
        memcpy(g->dh0 + (size_t)j * u, dh, sizeof(real) * u);
        memcpy(g->dC0 + (size_t)j * u, dC, sizeof(real) * u);
    }
    result = 0;
done:
    free(gates), free(memory), free(dh), free(dC), free(dhp), free(dk);
    return result;
}
