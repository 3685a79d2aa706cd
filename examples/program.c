/* An LSTM in C as a target of `lstm-checks verify`: a case a line comes in, an answer a line goes out.
 *
 *     cc -std=c99 -O2 -o program program.c lstm.c -lm
 *     lstm-checks verify exec:./program
 *
 * Put your own LSTM behind `lstm` of lstm.h. Compiled with -DREAL=float it computes in single precision; with -DBROKEN the
 * backward pass drops a term. docs/exec.md describes the lines. */
#define PROGRAM "program"
#include "vectors.h"

static char *read_line(void) { /* NULL at the end of the input */
    size_t room = 65536, length = 0;
    char *line = get(room);
    while (fgets(line + length, (int)(room - length), stdin)) {
        length += strlen(line + length);
        if (length && line[length - 1] == '\n') return line;
        if (length + 1 == room) {
            line = realloc(line, room *= 2);
            if (!line) die("memory is short");
        }
    }
    free(line);
    return NULL;
}

static void print(const char *before, const char *name, const real *values, size_t count) {
    printf("%s\"%s\": [", before, name);
    for (size_t k = 0; k < count; k++) printf("%s\"%a\"", k ? ", " : "", (double)values[k]);
    printf("]");
}

/* Have lstm keep its intermediates, too. */
static void give_room(problem *p) {
    for (int k = 0; k < GATES; k++) {
        p->all.gate[k] = get(sizeof(real) * p->h);
        p->all.dk_[k] = get(sizeof(real) * p->h);
    }
    p->all.C_ = get(sizeof(real) * p->h);
    p->all.dC_ = get(sizeof(real) * p->h);
    p->out.all = &p->all;
}

static void answer(const node *request, const char *id) {
    char dk_[8];
    problem p = read_problem(request);
    const node *asked = find(request, "intermediates", WORD);
    const int all = asked && !strcmp(asked->text, "true");
    if (all) give_room(&p);
    if (lstm(p.n, &p.in, &p.d, &p.out, &p.g)) die("memory is short");
    printf("{\"id\": %s, \"outputs\": {", id);
    print("", "h", p.out.h, p.h);
    print(", ", "Cn", p.out.Cn, p.states);
    printf("}");
    if (find(request, "cotangents", OBJECT)) {
        printf(", \"gradients\": {");
        for (int k = 0; k < GATES; k++) {
            print(k ? ", " : "", named("dU", GATE[k]), p.g.dU[k], p.U);
            print(", ", named("dV", GATE[k]), p.g.dV[k], p.V);
            print(", ", named("db", GATE[k]), p.g.db[k], (size_t)p.n.u);
        }
        print(", ", "dX", p.g.dX, p.X);
        print(", ", "dh0", p.g.dh0, p.states);
        print(", ", "dC0", p.g.dC0, p.states);
        printf("}");
    }
    if (all) { /* by the reference's names: with them the first that departs is told */
        printf(", \"intermediates\": {");
        for (int k = 0; k < GATES; k++) {
            print(k ? ", " : "", GATE[k], p.all.gate[k], p.h);
            snprintf(dk_, sizeof dk_, "d%s_", GATE[k]);
            print(", ", dk_, p.all.dk_[k], p.h);
        }
        print(", ", "C_", p.all.C_, p.h);
        print(", ", "dC_", p.all.dC_, p.h);
        printf("}");
    }
    printf("}\n");
    free_problem(&p);
}

int main(void) {
    const char *dtype = sizeof(real) < sizeof(double) ? "float32" : "float64";
    for (char *line; (line = read_line()); free(line)) {
        node *request = parse(line);
        const char *id = member(request, "id", WORD)->text;
        if (strcmp(member(request, "dtype", STRING)->text, dtype))
            printf("{\"id\": %s, \"error\": \"this program computes in %s\"}\n", id, dtype);
        else
            answer(request, id);
        fflush(stdout); /* the other side waits for this line */
        free_node(request);
    }
    return 0;
}
