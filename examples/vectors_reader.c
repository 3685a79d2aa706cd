/* Run an LSTM in C on the certified vectors.
 *
 *     cc -std=c99 -O2 -o vectors_reader vectors_reader.c lstm.c -lm && ./vectors_reader vectors.json
 *
 * Put your own LSTM behind `lstm` of lstm.h. Compiled with -DREAL=float it computes in single precision and runs the
 * float32 vectors alone; in double precision it runs all. Exit code: 0 all pass, 1 something failed, 2 nothing could be
 * judged. It trusts the file's sums: `lstm-checks vectors run` checks them. */
#include "lstm.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON: objects and arrays are lists of nodes, numbers stay text; all of it stays until the program ends ---- */

typedef enum { OBJECT, ARRAY, STRING, WORD } kind; /* WORD: a number, true, false or null */

typedef struct node {
    kind kind;
    char *key, *text;
    struct node *child, *next;
} node;

static const char *start, *at;

static void die(const char *reason) {
    fprintf(stderr, "vectors_reader: %s", reason);
    if (at) fprintf(stderr, ", at byte %ld", (long)(at - start));
    fprintf(stderr, "\n");
    exit(2);
}

static void *get(size_t size) {
    void *memory = calloc(size ? size : 1, 1);
    if (!memory) die("memory is short");
    return memory;
}

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

static node *member(const node *object, const char *key, kind kind) {
    for (node *n = object->child; n; n = n->next)
        if (n->key && !strcmp(n->key, key) && n->kind == kind) return n;
    fprintf(stderr, "vectors_reader: %s is missing, or not what it should be\n", key);
    exit(2);
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
            fprintf(stderr, "vectors_reader: %s[%lu] is not a number, or one too many\n", key, (unsigned long)k);
            exit(2);
        }
    }
    if (k != count) {
        fprintf(stderr, "vectors_reader: %s has %lu numbers, expected %lu\n", key, (unsigned long)k, (unsigned long)count);
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
        fprintf(stderr, "vectors_reader: the size %s is %ld\n", key, n);
        exit(2);
    }
    return (int)n;
}

/* ---- One vector ---- */

static int compare(const char *id, const node *group, const char *name, const real *came, size_t count) {
    const node *due = member(group, name, OBJECT);
    double *value = numbers(due, "value", count), *tolerance = numbers(due, "tolerance", count), worst = -1;
    size_t where = 0;
    for (size_t k = 0; k < count; k++) {
        double deviation = fabs((double)came[k] - value[k]);
        double use = deviation <= tolerance[k] ? 0 : deviation / tolerance[k]; /* NaN is not <= */
        if (use != use) use = INFINITY;
        if (use > worst) worst = use, where = k;
    }
    if (worst > 0)
        printf("FAIL %s: %s[%lu] = %.17g, should be %.17g +- %.2g\n", id, name, (unsigned long)where,
               (double)came[where], value[where], tolerance[where]);
    free(value), free(tolerance);
    return worst <= 0;
}

static const char *const GATE[GATES] = {"f", "i", "g", "o"};

static const char *named(const char *prefix, const char *suffix) {
    static char name[16];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    return name;
}

static int run(const node *vector) {
    const char *id = member(vector, "id", STRING)->text;
    const node *inputs = member(vector, "inputs", OBJECT), *cotangents = member(vector, "cotangents", OBJECT);
    const node *outputs = member(vector, "outputs", OBJECT), *gradients = member(vector, "gradients", OBJECT);
    lstm_sizes n = {size(vector, "m"), size(vector, "s"), size(vector, "e"), size(vector, "u")};
    size_t m = n.m, s = n.s, e = n.e, u = n.u, states = m * u, U = e * u, V = u * u;
    lstm_inputs in;
    lstm_outputs out = {get(sizeof(real) * m * s * u), get(sizeof(real) * states)};
    lstm_gradients g;
    int passed = 1;

    for (int k = 0; k < GATES; k++) {
        in.U[k] = reals(inputs, named("U", GATE[k]), U);
        in.V[k] = reals(inputs, named("V", GATE[k]), V);
        in.b[k] = reals(inputs, named("b", GATE[k]), u);
        g.dU[k] = get(sizeof(real) * U);
        g.dV[k] = get(sizeof(real) * V);
        g.db[k] = get(sizeof(real) * u);
    }
    in.X = reals(inputs, "X", m * s * e);
    in.h0 = reals(inputs, "h0", states);
    in.C0 = reals(inputs, "C0", states);
    g.dX = get(sizeof(real) * m * s * e);
    g.dh0 = get(sizeof(real) * states);
    g.dC0 = get(sizeof(real) * states);

    /* The final hidden state's own cotangent goes to the last step: their sum is exact. */
    real *dh = reals(cotangents, "dh", m * s * u), *dhn = reals(cotangents, "dhn", states);
    lstm_cotangents d = {dh, reals(cotangents, "dCn", states)};
    for (size_t j = 0; j < m; j++)
        for (size_t a = 0; a < u; a++) dh[(j * s + s - 1) * u + a] += dhn[j * u + a];

    if (lstm(n, &in, &d, &out, &g)) die("memory is short");

    passed &= compare(id, outputs, "h", out.h, m * s * u);
    passed &= compare(id, outputs, "Cn", out.Cn, states);
    for (int k = 0; k < GATES; k++) {
        passed &= compare(id, gradients, named("dU", GATE[k]), g.dU[k], U);
        passed &= compare(id, gradients, named("dV", GATE[k]), g.dV[k], V);
        passed &= compare(id, gradients, named("db", GATE[k]), g.db[k], u);
    }
    passed &= compare(id, gradients, "dX", g.dX, m * s * e);
    passed &= compare(id, gradients, "dh0", g.dh0, states);
    passed &= compare(id, gradients, "dC0", g.dC0, states);

    for (int k = 0; k < GATES; k++) {
        free((void *)in.U[k]), free((void *)in.V[k]), free((void *)in.b[k]);
        free(g.dU[k]), free(g.dV[k]), free(g.db[k]);
    }
    free((void *)in.X), free((void *)in.h0), free((void *)in.C0), free(g.dX), free(g.dh0), free(g.dC0);
    free(out.h), free(out.Cn), free(dh), free(dhn), free((void *)d.dCn);
    return passed;
}

/* ---- All of them, and what failed by flag ---- */

static char *file(const char *path) {
    FILE *stream = fopen(path, "rb");
    long length;
    char *text;
    if (!stream || fseek(stream, 0, SEEK_END) || (length = ftell(stream)) < 0) die("the file cannot be read");
    rewind(stream);
    text = get((size_t)length + 1);
    if (fread(text, 1, (size_t)length, stream) != (size_t)length) die("the file cannot be read");
    fclose(stream);
    return text;
}

int main(int argc, char **argv) {
    enum { FLAGS = 64 };
    const char *flags[FLAGS];
    int of_flag[FLAGS] = {0}, failed_of_flag[FLAGS] = {0}, known = 0, ran = 0, failed = 0, skipped = 0;

    if (argc != 2) die("usage: vectors_reader vectors.json");
    start = at = file(argv[1]);
    node *content = value(0);
    if (skip()) die("something follows the end");
    at = NULL;
    if (content->kind != OBJECT || strcmp(member(content, "format", STRING)->text, "lstm-checks certified vectors 1"))
        die("the format is not 'lstm-checks certified vectors 1'");

    for (node *vector = member(content, "vectors", ARRAY)->child; vector; vector = vector->next) {
        if (sizeof(real) < sizeof(double) && strcmp(member(vector, "dtype", STRING)->text, "float32")) {
            skipped++;
            continue;
        }
        int passed = run(vector);
        ran++, failed += !passed;
        for (node *flag = member(vector, "flags", ARRAY)->child; flag; flag = flag->next) {
            int k = 0;
            while (k < known && strcmp(flags[k], flag->text)) k++;
            if (k == FLAGS) continue;
            if (k == known) flags[known++] = flag->text;
            of_flag[k]++, failed_of_flag[k] += !passed;
        }
    }
    for (int k = 0; k < known; k++)
        if (failed_of_flag[k]) printf("%-20s %3d of %3d failed\n", flags[k], failed_of_flag[k], of_flag[k]);
    printf("%d of %d vectors pass, %d not run\n", ran - failed, ran, skipped);
    return !ran ? 2 : failed ? 1 : 0;
}
