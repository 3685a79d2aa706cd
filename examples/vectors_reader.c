/* Run an LSTM in C on the certified vectors.
 *
 *     cc -std=c99 -O2 -o vectors_reader vectors_reader.c lstm.c -lm && ./vectors_reader vectors.json
 *
 * Put your own LSTM behind `lstm` of lstm.h. Compiled with -DREAL=float it computes in single precision and runs the
 * float32 vectors alone; in double precision it runs all. Exit code: 0 all pass, 1 something failed, 2 nothing could be
 * judged. It trusts the file's sums: `lstm-checks vectors run` checks them. */
#define PROGRAM "vectors_reader"
#include "vectors.h"

#include <math.h>

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

static int run(const node *vector) {
    const char *id = member(vector, "id", STRING)->text;
    const node *outputs = member(vector, "outputs", OBJECT), *gradients = member(vector, "gradients", OBJECT);
    problem p = read_problem(vector);
    int passed = 1;

    if (lstm(p.n, &p.in, &p.d, &p.out, &p.g)) die("memory is short");
    passed &= compare(id, outputs, "h", p.out.h, p.h);
    passed &= compare(id, outputs, "Cn", p.out.Cn, p.states);
    for (int k = 0; k < GATES; k++) {
        passed &= compare(id, gradients, named("dU", GATE[k]), p.g.dU[k], p.U);
        passed &= compare(id, gradients, named("dV", GATE[k]), p.g.dV[k], p.V);
        passed &= compare(id, gradients, named("db", GATE[k]), p.g.db[k], (size_t)p.n.u);
    }
    passed &= compare(id, gradients, "dX", p.g.dX, p.X);
    passed &= compare(id, gradients, "dh0", p.g.dh0, p.states);
    passed &= compare(id, gradients, "dC0", p.g.dC0, p.states);
    free_problem(&p);
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
    node *content = parse(file(argv[1]));
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
    free_node(content);
    printf("%d of %d vectors pass, %d not run\n", ran - failed, ran, skipped);
    return !ran ? 2 : failed ? 1 : 0;
}
