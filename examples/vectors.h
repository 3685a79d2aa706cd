/* Reading the vectors' format in plain C: JSON, hexadecimal floats, and one problem with room for its answer.
 *
 * vectors_reader.c and program.c include it, each with its own name as PROGRAM. What cannot be read ends the program with
 * the reason and exit code 2. */
#ifndef VECTORS_H
#define VECTORS_H

#include "lstm.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *start, *at; /* the text that is being read, and where */

static void die(const char *reason) {
    fprintf(stderr, PROGRAM ": %s", reason);
    if (at) fprintf(stderr, ", at byte %ld", (long)(at - start));
    fprintf(stderr, "\n");
    exit(2);
}

static void *get(size_t size) {
    void *memory = calloc(size ? size : 1, 1);
    if (!memory) die("memory is short");
    return memory;
}

/* ---- JSON: objects and arrays are lists of nodes, numbers stay text ---- */

typedef enum { OBJECT, ARRAY, STRING, WORD } kind; /* WORD: a number, true, false or null */

typedef struct node {
    kind kind;
    char *key, *text;
    struct node *child, *next;
} node;

static char skip(void) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
    return *at;
}

static char *copy(const char *from, const char *to) {
    char *text = get((size_t)(to - from) + 1);
    memcpy(text, from, (size_t)(to - from));
    return text;
}

static char *string(void) { /* escapes are left as they stand: only notes have any */
    const char *from = ++at;
    for (; *at != '"'; at++) {
        if (*at == '\\') at++;
        if ((unsigned char)*at < ' ') die("the file ends, or a line, within a string");
    }
    return copy(from, at++);
}

static node *value(int depth) {
    node *result = get(sizeof(node)), **last = &result->child;
    char open = skip(), close = open == '{' ? '}' : ']';
    if (depth > 32) die("too deep");
    if (open == '"') {
        result->kind = STRING;
        result->text = string();
    } else if (open == '{' || open == '[') {
        result->kind = open == '{' ? OBJECT : ARRAY;
        at++;
        if (skip() == close) return at++, result;
        for (;;) {
            char *key = NULL;
            if (open == '{') {
                if (skip() != '"') die("a key is expected");
                key = string();
                if (skip() != ':') die("a colon is expected");
                at++;
            }
            *last = value(depth + 1);
            (*last)->key = key;
            last = &(*last)->next;
            if (skip() == close) return at++, result;
            if (*at++ != ',') die("a comma or the end of a list is expected");
        }
    } else {
        const char *from = at;
        result->kind = WORD;
        while (isalnum((unsigned char)*at) || *at == '+' || *at == '-' || *at == '.') at++;
        if (at == from) die("a value is expected");
        result->text = copy(from, at);
    }
    return result;
}

static node *parse(const char *text) { /* the whole of a text */
    start = at = text;
    node *content = value(0);
    if (skip()) die("something follows the end");
    at = NULL;
    return content;
}

static void free_node(node *n) {
    while (n) {
        node *next = n->next;
        free_node(n->child);
        free(n->key), free(n->text), free(n);
        n = next;
    }
}

static node *find(const node *object, const char *key, kind kind) {
    for (node *n = object->child; n; n = n->next)
        if (n->key && !strcmp(n->key, key) && n->kind == kind) return n;
    return NULL;
}

static node *member(const node *object, const char *key, kind kind) {
    node *found = find(object, key, kind);
    if (!found) {
        fprintf(stderr, PROGRAM ": %s is missing, or not what it should be\n", key);
        exit(2);
    }
    return found;
}

/* ---- Numbers ---- */

static double *numbers(const node *object, const char *key, size_t count) {
    const node *list = member(object, key, ARRAY);
    double *values = get(sizeof(double) * count);
    size_t k = 0;
    for (node *n = list->child; n; n = n->next, k++) {
        char *end = NULL;
        if (k < count && n->kind == STRING) values[k] = strtod(n->text, &end);
        if (!end || end == n->text || *end) {
            fprintf(stderr, PROGRAM ": %s[%lu] is not a number, or one too many\n", key, (unsigned long)k);
            exit(2);
        }
    }
    if (k != count) {
        fprintf(stderr, PROGRAM ": %s has %lu numbers, expected %lu\n", key, (unsigned long)k, (unsigned long)count);
        exit(2);
    }
    return values;
}

static real *reals(const node *object, const char *key, size_t count) {
    double *values = numbers(object, key, count);
    real *result = get(sizeof(real) * count);
    for (size_t k = 0; k < count; k++) result[k] = (real)values[k];
    free(values);
    return result;
}

static int size(const node *vector, const char *key) {
    long n = strtol(member(member(vector, "sizes", OBJECT), key, WORD)->text, NULL, 10);
    if (n < 1 || n > 100000) {
        fprintf(stderr, PROGRAM ": the size %s is %ld\n", key, n);
        exit(2);
    }
    return (int)n;
}

/* ---- One problem, with room for its answer ---- */

static const char *const GATE[GATES] = {"f", "i", "g", "o"};

static const char *named(const char *prefix, const char *suffix) {
    static char name[16];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    return name;
}

typedef struct {
    lstm_sizes n;
    size_t U, V, X, h, states; /* numbers in one U, one V, X, h and a state */
    lstm_inputs in;
    lstm_cotangents d;
    lstm_outputs out;
    lstm_gradients g;
    lstm_intermediates all; /* without room, where nobody asks for them */
} problem;

/* Without cotangents, which a request for outputs alone lacks, they are zero. */
static problem read_problem(const node *vector) {
    const node *inputs = member(vector, "inputs", OBJECT), *cotangents = find(vector, "cotangents", OBJECT);
    lstm_sizes n = {size(vector, "m"), size(vector, "s"), size(vector, "e"), size(vector, "u")};
    size_t m = n.m, s = n.s, e = n.e, u = n.u;
    problem p = {.n = n, .U = e * u, .V = u * u, .X = m * s * e, .h = m * s * u, .states = m * u};

    for (int k = 0; k < GATES; k++) {
        p.in.U[k] = reals(inputs, named("U", GATE[k]), p.U);
        p.in.V[k] = reals(inputs, named("V", GATE[k]), p.V);
        p.in.b[k] = reals(inputs, named("b", GATE[k]), u);
        p.g.dU[k] = get(sizeof(real) * p.U);
        p.g.dV[k] = get(sizeof(real) * p.V);
        p.g.db[k] = get(sizeof(real) * u);
    }
    p.in.X = reals(inputs, "X", p.X);
    p.in.h0 = reals(inputs, "h0", p.states);
    p.in.C0 = reals(inputs, "C0", p.states);
    p.out.h = get(sizeof(real) * p.h);
    p.out.Cn = get(sizeof(real) * p.states);
    p.g.dX = get(sizeof(real) * p.X);
    p.g.dh0 = get(sizeof(real) * p.states);
    p.g.dC0 = get(sizeof(real) * p.states);
    if (!cotangents) {
        p.d.dh = get(sizeof(real) * p.h);
        p.d.dCn = get(sizeof(real) * p.states);
        return p;
    }

    /* The final hidden state's own cotangent goes to the last step: their sum is exact. */
    real *dh = reals(cotangents, "dh", p.h), *dhn = reals(cotangents, "dhn", p.states);
    for (size_t j = 0; j < m; j++)
        for (size_t a = 0; a < u; a++) dh[(j * s + s - 1) * u + a] += dhn[j * u + a];
    free(dhn);
    p.d.dh = dh;
    p.d.dCn = reals(cotangents, "dCn", p.states);
    return p;
}

static void free_problem(problem *p) {
    for (int k = 0; k < GATES; k++) {
        free((void *)p->in.U[k]), free((void *)p->in.V[k]), free((void *)p->in.b[k]);
        free(p->g.dU[k]), free(p->g.dV[k]), free(p->g.db[k]);
        free(p->all.gate[k]), free(p->all.dk_[k]);
    }
    free(p->all.C_), free(p->all.dC_);
    free((void *)p->in.X), free((void *)p->in.h0), free((void *)p->in.C0), free((void *)p->d.dh), free((void *)p->d.dCn);
    free(p->out.h), free(p->out.Cn), free(p->g.dX), free(p->g.dh0), free(p->g.dC0);
}

#endif
