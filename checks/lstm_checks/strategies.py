"""Hypothesis strategies for cases, and the two ways the harness runs them: exploring and shrinking.

A stratum is a property of a case that some bug needs to show. `cases(stratum)` draws mostly from inside the stratum and
sometimes from everywhere: the simplest draw is the unconstrained one, so a failing example shrinks to what matters
even when it was found under a constraint.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import HypothesisProvider

from lstm_checks import tolerance
from lstm_checks.cases import (
    BLOCK_EDGES,
    COMPARED,
    CUT_OFF,
    EDGES,
    LARGE_REGIME,
    LENGTHS,
    LONG,
    OF_NETWORKS,
    REGIMES,
    SIZES,
    STRATA,
    TURNED,
    Case,
    cotangents_of,
    falls_in,
    shows_past,
    strata_of,
)
from lstm_checks.contract import ANY_SIZES, PLAIN, STATES, SizeLimits, Target
from lstm_checks.formats import format_named, is_low
from lstm_ref.cell import Cell

MAX_DIMS = (9, 60, 9, 9)
"""Largest sizes where none are said, but for those past the edges of blocks, which are in `EDGES`."""
MAX_FURTHER = 9
"""Largest of a size that only some cell has."""
NETWORK_DIMS = (4, 7, 6, 3)
"""The same of networks, of which each place takes as long as a cell: e up to 2u, what two directions hand on."""
USUAL_STEPS = 12
SMALL = 3
"""Largest of the other sizes where one is past a block's edge: the time goes with their product."""
EDGE_REGIMES = {"normal": "init", "x1e-3": "x1e-3"}
"""The regimes of such an example, by those drawn. There is but one for every edge, and it has to show what is wrong
there: nothing is zero in these, and no sum is so large that the gates saturate or the problem is chaotic."""
LOW_REGIMES = {"x1e-3": "init", "x10": "normal", "x100": "init"}
"""What is drawn in low precision in place of a regime, but where its own stratum asks for it: much that is wrong is
less than rounding at weights of 1e-3, and many examples at x10 and x100 are chaotic."""
LOW_GATES_REGIMES = LOW_REGIMES | {"mixed": "normal"}
"""The same where gates are short, too: at one array of a hundred they make most examples chaotic."""
COMPILED_EDGES = ((129, 2, 17, 2), (33, 1, 2, 65), (2, 1, 129, 17), (2, 2, 33, 33), (17, 1, 2, 129), (65, 2, 65, 2))
"""The sizes past edges for which a compiling target is asked."""
LARGE_SIZES = ((257, 256, 4), (4097, 17, 5), (513, 129, 4), (65537, 1, 4))
"""Samples, steps and elements of the examples of the regime "large", more than `LARGE_ROWS` rows by little. With four
elements a sample and step there are more gradient entries than `tolerance.LARGE`: they are judged along directions."""
SHRINK_SECONDS = 10.0
ROUNDS = 50
SEEDS = 2**20
COMPILED_STEPS = 16


Dims = tuple[int, ...]
"""Sizes (m, s, e, u), and those that only the cell has."""


def largest_dims(max_dims: Dims | None, cell: Cell) -> Dims:
    """Return the largest sizes of a cell, those that are not said as they are by default."""
    said = max_dims or MAX_DIMS
    return (*said, *(MAX_FURTHER,) * len(cell.letters))[: len(cell.letters)]


@st.composite
def dims(
    draw: st.DrawFn,
    max_dims: Dims | None = None,
    stratum: str = "",
    cell: Cell = PLAIN,
    limits: SizeLimits = ANY_SIZES,
) -> Any:
    """Draw (m, s, e, u), each from 1 to its maximum; s mostly to 12, and at times to its maximum.

    In a stratum past a block's edge one or two are as it says, and the others small. Then come those sizes that only
    the cell has, and all become such as the `limits` let through.
    """
    most = dict(zip(cell.letters, largest_dims(max_dims, cell), strict=True))
    if stratum in EDGES:
        wanted = edge_sizes(stratum, max_dims, cell)
        drawn = {
            name: draw(_at_edge(wanted[name]) if name in wanted else st.integers(1, min(SMALL, size)))
            for name, size in most.items()
        }
        return tuple(limits.fit(drawn).values())
    m, s, e, u = draw(_usual_dims(tuple(most.values())[:4], stratum))
    sizes = {"m": m, "s": s, "e": e, "u": u}
    for letter in cell.further:
        how = COMPARED[stratum][1] if COMPARED.get(stratum, ("",))[0] == letter else ""
        if how == "< u":
            sizes["u"] = max(sizes["u"], min(2, most["u"]))
        low, high = {
            "= 1": (1, 1),
            "= u": (sizes["u"],) * 2,
            "= e": (sizes["e"],) * 2,
            "< u": (1, sizes["u"] - 1),
            "> u": (sizes["u"] + 1, most[letter]),
        }.get(how, (1, most[letter]))
        sizes[letter] = draw(st.integers(min(low, most[letter]), max(min(low, most[letter]), min(high, most[letter]))))
    return tuple(limits.fit(sizes).values())


@st.composite
def _usual_dims(draw: st.DrawFn, max_dims: Dims, stratum: str = "") -> Any:
    """Draw (m, s, e, u) past no block's edge."""
    max_m, max_s, max_e, max_u = max_dims
    low_s, high_s = 1, min(USUAL_STEPS, max_s)
    # Drawn in every stratum, so that a long example keeps its steps when it shrinks out of the stratum.
    if draw(st.integers(9 if stratum == "s >= 13" else 0, 9)) == 9 and stratum != "s = 1":
        high_s = max_s
    if stratum == "s >= 13":
        low_s = LONG
    elif stratum == "s > 4":
        low_s = 5
    elif stratum == "s = 1":
        high_s = 1
    elif stratum == "m = s":
        low_s, high_s = 2, min(high_s, max_m)
    elif stratum.endswith(" lengths"):
        low_s = min(2, high_s)
    s = draw(st.integers(low_s, high_s))
    u = draw(st.integers(8 if stratum == "u >= 8" else 1, min(max_u, max_e - 1) if stratum == "e > u" else max_u))
    if stratum == "odd u":
        u -= 1 - u % 2
    if stratum in ("e = u", "m = u"):
        u = min(u, max_e if stratum == "e = u" else max_m)
    u = min(u, max(1, max_e // 2)) if stratum == "e = 2u" else u
    low_e, high_e = {"e = u": (u, u), "e = 2u": (2 * u, 2 * u), "e > u": (u + 1, max_e)}.get(stratum, (1, max_e))
    e = draw(st.integers(low_e, max(low_e, high_e)))
    low_m, high_m = {"m = u": (u, u), "m = s": (s, s), "m = 1": (1, 1), "m >= 5": (5, max_m)}.get(stratum, (1, max_m))
    low_m = min(3 if stratum == TURNED else 2, max_m) if stratum.endswith(" lengths") else low_m
    return draw(st.integers(low_m, high_m)), s, e, u


def edge_sizes(stratum: str, max_dims: Dims | None = None, cell: Cell = PLAIN) -> dict[str, int]:
    """Return the sizes that an example for a block's edge has, by letter, as far as they are within the maxima."""
    most = dict(zip(cell.letters, max_dims, strict=False)) if max_dims else {}
    return {name: size for name, size in EDGES[stratum].items() if size <= most.get(name, size)}


def _at_edge(size: int) -> st.SearchStrategy[int]:
    """Return the strategy of mostly one size, and at times those that it may shrink to."""
    less = [*range(1, SMALL + 1), *(edge for edge in BLOCK_EDGES if edge < size)]
    return st.sampled_from([*less, *[size] * (9 * len(less))])


@st.composite
def large_dims(draw: st.DrawFn) -> Any:
    """Draw (m, s, e, u) of more than `LARGE_ROWS` rows."""
    return *draw(st.sampled_from(LARGE_SIZES)), draw(st.integers(1, SMALL))


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    max_dims: Dims | None = None,
    dtypes: Sequence[str] = ("float64",),
    states: bool = True,
    cotangents: Sequence[str] | None = None,
    regimes: Sequence[str] = REGIMES,
    stratum: str = "",
    first_seed: int = 0,
    shapes: Sequence[Dims] = (),
    cell: Cell = PLAIN,
    limits: SizeLimits = ANY_SIZES,
    absent: tuple[str, ...] = (),
    lengths: Sequence[str] = (),
) -> Case:
    """Draw a case.

    Parameters
    ----------
    max_dims : tuple of int, optional
        Largest (m, s, e, u). Where None, `MAX_DIMS`, and at the edges of blocks those of `EDGES`.
    dtypes, cotangents, regimes : sequence of str
        Those to draw from; see `Case`. Where no cotangents are given, all that the cell has.
    states : bool
        Whether initial states may be drawn.
    stratum : str
        Name of the stratum, a key of `lstm_checks.cases.STRATA`, from which to draw mostly.
    first_seed : int
        The least seed of a case's values; the others are up to `SEEDS` above it.
    shapes : sequence of (m, s, e, u)
        If given, the sizes are drawn from these; see `few_shapes`.
    cell : Cell
        Whose tensors the case has.
    limits : SizeLimits
        Which sizes may be.
    absent : tuple of str
        The inputs that are zero; see `Case`.
    lengths : sequence of str
        The kinds of lengths to draw from, of `lstm_checks.cases.LENGTHS`, of a network; nothing is said of lengths in
        one of four examples, and in all of them where there are none.
    """
    if stratum and draw(st.integers(0, 7)) == 0:
        stratum = ""
    fitting = [d for d in shapes if stratum not in SIZES or STRATA[stratum](Case.of(d, cell=cell))]
    # Drawn in every stratum, as the states are, so that an example shrinks into no stratum draw by draw.
    regime = draw(st.sampled_from(list(regimes)))
    telling = [own for known, own in EDGE_REGIMES.items() if known in regimes] if stratum in EDGES else []
    regime = stratum if stratum in regimes else draw(st.sampled_from(telling)) if telling else regime
    if regime == LARGE_REGIME:
        large = dict(zip(cell.letters, (*draw(large_dims()), *(1,) * len(cell.further)), strict=True))
        sizes: Any = tuple(limits.fit(large).values())
        regime = "init"
    else:
        sizes = draw(st.sampled_from(fitting) if fitting else dims(max_dims, stratum, cell, limits))
    wanted = {"every": "every", "last": "last", "final h": "h", "final C": "C"}.get(stratum)
    known = cotangents_of(cell) if cotangents is None else cotangents
    kinds = [c for c in known if wanted is None or wanted in c.split("+")]
    # Where there is but one example, nothing that may be wrong is absent: neither a cotangent nor the states.
    kind = draw(st.sampled_from(kinds[:1] if stratum in EDGES else kinds))
    with_states = draw(st.integers(0, 3)) < 3 and states
    with_states = {"states": True, "no states": False}.get(stratum, with_states or (stratum in EDGES and states))
    # What compiles for each shape compiles for each dtype as well: a shape is asked in one.
    own = dtypes[shapes.index(sizes) % len(dtypes) :][:1] if fitting else dtypes
    dtype = draw(st.sampled_from(list(own)))
    if is_low(dtype) and "normal" in regimes and regime != stratum:
        regime = (LOW_GATES_REGIMES if "gates" in format_named(dtype).parts else LOW_REGIMES).get(regime, regime)
    seed = draw(st.integers(first_seed, first_seed + SEEDS - 1))
    own_lengths = ""
    if lengths and draw(st.integers(0, 3)) > 0:
        own_kind = "ragged lengths" if stratum == TURNED else stratum
        drawn = [known for known in lengths if f"{known} lengths" == own_kind] or [*lengths]
        own_lengths = draw(st.sampled_from(drawn))
    return Case.of(sizes, dtype, regime, kind, bool(with_states), seed, cell=cell, absent=absent, lengths=own_lengths)


def few_shapes(
    max_dims: Dims | None, seed: int, cell: Cell = PLAIN, limits: SizeLimits = ANY_SIZES
) -> tuple[Dims, ...]:
    """Return a dozen sizes, the smallest first, some in every stratum of sizes within the maxima.

    For targets that compile for each shape. Two are the simplest there are, the others hang on the seed, but for those
    past the edges of blocks; none has more than `COMPILED_STEPS` steps, for a loop may be unrolled.
    """
    edges: list[Dims] = [dims for dims in COMPILED_EDGES if max_dims is None or _within(dims, max_dims)]
    max_m, max_s, *others = largest_dims(max_dims, cell)
    most = (max_m, min(max_s, COMPILED_STEPS), *others)

    def whole(known: Dims) -> Dims:
        sizes = dict(zip(cell.letters, (*known, *(2,) * len(cell.further)), strict=True))
        return tuple(limits.fit(sizes).values())

    edges = [whole(known) for known in edges]
    found: set[Dims] = {whole((1, 1, 1, 1)), *(d for d in [whole((2, 2, 1, 3))] if _within(d, most))}
    reachable = reachable_strata(max_dims=most, cell=cell, limits=limits)
    for stratum in (name for name in reachable if name in SIZES and name not in EDGES):

        def visit(drawn: Any, stratum: str = stratum) -> bool:
            # The first that is new and in the stratum is taken, and ends the drawing.
            if not STRATA[stratum](Case.of(drawn, cell=cell)) or drawn in found:
                return True
            found.add(drawn)
            return False

        explore(visit, dims(most, stratum, cell, limits), 20, hash((seed, SIZES.index(stratum))))
    return tuple(sorted(found | set(edges), key=lambda d: (math.prod(d), d)))


def _within(dims: Dims, max_dims: Dims) -> bool:
    """Return whether no size is above its maximum."""
    return all(size <= most for size, most in zip(dims, max_dims, strict=False))


def reachable_strata(**options: Any) -> tuple[str, ...]:
    """Return the strata that a case under these options of `cases` can fall in."""
    max_dims, cell = options.get("max_dims"), options.get("cell", PLAIN)
    limits: SizeLimits = options.get("limits", ANY_SIZES)
    given = {letter for letter, *_ in limits.given}
    max_m, max_s, max_e, max_u, *_ = max_dims or MAX_DIMS
    states = options.get("states", True)
    cotangents = options.get("cotangents") or cotangents_of(options.get("cell", PLAIN))
    regimes = options.get("regimes", REGIMES)
    possible = {
        "s > 4": max_s > 4,
        "s >= 13": max_s >= LONG,
        "e > u": max_e > 1 and max_u > 1,
        "m = s": max_m > 1 and max_s > 1,
        "u >= 8": max_u >= 8,
        "m >= 5": max_m >= 5,
        "states": states,
        # Without an initial state it grows by less than 1 a step.
        CUT_OFF: states or all(limit < max_s for limit in cell.numbers.values()),
        **{regime: regime in regimes for regime in (*REGIMES, LARGE_REGIME)},
        "last": any("last" in c for c in cotangents),
        "final h": any("h" in c.split("+") for c in cotangents),
        "final C": any("C" in c.split("+") for c in cotangents),
        **{name: name[0] in (own := edge_sizes(name, max_dims, cell)) and not given & own.keys() for name in EDGES},
        **{
            name: (letter not in given or how == "< u")
            and (max_u > 1 or how in ("= 1", "> u"))
            and not (how in ("= u", "> u") and (letter, "u") in limits.below)
            for name, (letter, how) in COMPARED.items()
        },
        "e = 2u": max_e > 1,
        **{f"{kind} lengths": kind in options.get("lengths", ()) for kind in LENGTHS},
        TURNED: "ragged" in options.get("lengths", ()) and max_m >= 3 and max_s > 1,
    }
    if limits.least or given & set("mseu"):
        possible |= {name: possible.get(name, True) and found for name, found in _at_given(limits, max_dims).items()}
        possible[LARGE_REGIME] &= not given & set("ms")
    shapes = options.get("shapes", ())
    possible |= {name: any(STRATA[name](Case.of(d, cell=cell)) for d in shapes) for name in SIZES if shapes}
    if set(regimes) == {LARGE_REGIME}:
        possible |= dict.fromkeys((*SIZES, *REGIMES, "m = s", "every", "last"), False)
    return tuple(name for name in strata_of(cell) if possible.get(name, True))


def _at_given(limits: SizeLimits, max_dims: Dims | None) -> dict[str, bool]:
    """Return, of each stratum of sizes, whether there is a case in it where some of m, s, e, u are given."""
    fixed = limits.fit(dict.fromkeys("mseu", 1) | {letter: 1 for letter, *_ in limits.given})
    most = dict(zip("mseu", max_dims or MAX_DIMS, strict=False))
    given = {letter for letter, *_ in limits.given}
    ranges = ([fixed[z]] if z in given else range(fixed[z], max(fixed[z], min(most[z], LONG)) + 1) for z in "mseu")
    drawn = [SimpleNamespace(**dict(zip("mseu", sizes, strict=True))) for sizes in itertools.product(*ranges)]
    names = {name: STRATA[name] for name in (*SIZES, "m = s") if name not in (*EDGES, *COMPARED)}
    return {name: any(map(of, drawn)) for name, of in (names | {"e = 2u": OF_NETWORKS["e = 2u"]}).items()}


def stratified(**options: Any) -> st.SearchStrategy[Case]:
    """Return the strategy of cases that draws from every reachable stratum, and from everywhere, alike."""
    reachable = reachable_strata(**options)
    # An edge's share is that of a stratum, all edges together: they take the most time.
    edges = tuple(name for name in reachable if name in EDGES)
    others = tuple(st.just(name) for name in ("", *reachable) if name not in EDGES)
    names = st.one_of(*others, *([st.sampled_from(edges)] if edges else []))
    return names.flatmap(lambda name: cases(**options, stratum=name))


def _settings(examples: int, phases: Sequence[Phase]) -> hypothesis.settings:
    """Return settings that depend on nothing outside: no database, no deadline, no printing."""
    return hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=phases,
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def _by_seed_alone() -> Iterator[None]:
    """Have Hypothesis draw no constants: it takes those that stand in the modules loaded from outside site-packages.

    They would make the examples of a seed hang on the target's own source, on how this package is installed, and on
    what else the process has imported. A version that draws none is left as it is.
    """
    name = "_maybe_draw_constant"
    known = vars(HypothesisProvider).get(name)
    if known is None:
        yield
        return
    setattr(HypothesisProvider, name, lambda *ignored, **options: None)
    try:
        yield
    finally:
        setattr(HypothesisProvider, name, known)


def explore(visit: Callable[[Any], bool], strategy: st.SearchStrategy[Any], examples: int, seed: int) -> None:
    """Draw up to `examples` cases and visit each, until `visit` returns False.

    `visit` must not raise; the draws depend on `strategy`, `examples` and `seed` alone.
    """
    done = False

    class EnoughError(BaseException):
        """Tells Hypothesis to draw no more; no Exception, which it would take for a failure and run again."""

    @hypothesis.seed(seed)
    @_settings(examples, [Phase.generate])
    @hypothesis.given(strategy)
    def run(case: Case) -> None:
        nonlocal done
        done = done or not visit(case)
        if done:
            raise EnoughError

    with _by_seed_alone(), contextlib.suppress(EnoughError):
        run()


@dataclass(frozen=True)
class Origin:
    """Where a case came from: the stratum, and the number and the seed of the draws."""

    stratum: str
    draws: int
    seed: int


def draw_cases(examples: int, seed: int, **options: Any) -> dict[Case, Origin]:
    """Return different cases and where each came from; every reachable stratum has its share of them.

    Parameters
    ----------
    examples : int
        How many. There are fewer where so many different ones do not exist.
    seed : int
        Equal seeds and options give equal cases.
    **options
        Those of `cases`, but for the stratum.
    """
    reachable = reachable_strata(**options)
    shares = [tolerance.STRATUM_SHARES["edge" if name in EDGES else "other"] for name in reachable]
    if CUT_OFF in reachable:
        shares[reachable.index(CUT_OFF)] = sum(shares) // tolerance.OTHERS_FOR_CUT_OFF
    found: dict[Case, Origin] = {}
    # In the first round each stratum is drawn until the shares of all up to it are full, so that what one cannot give
    # the next one does. The others fill up what duplicates and strata that are hard to hit have left.
    for round_number in range(ROUNDS):
        for index, stratum in enumerate(reachable):
            due = examples * sum(shares[: index + 1]) // sum(shares) if round_number == 0 else examples
            if len(found) >= due:
                continue
            origin = Origin(stratum, 4 * (due - len(found)) + 8, hash((seed, round_number, index)))

            def visit(case: Case, origin: Origin = origin, due: int = due) -> bool:
                if case not in found and _as_wanted(case, origin.stratum, options):
                    found[case] = origin
                return len(found) < due

            explore(visit, cases(**options, stratum=stratum), origin.draws, origin.seed)
        if len(found) >= examples:
            break
    return found


def _as_wanted(case: Case, stratum: str, options: Mapping[str, Any]) -> bool:
    """Return whether a case drawn for a stratum is in it, and past an edge has all that it takes to see what is wrong.

    That is the sizes and the states wanted, and a memory that is not cut off there.
    """
    if stratum not in EDGES or options.get("shapes"):
        return falls_in(case, stratum)
    sizes = edge_sizes(stratum, options.get("max_dims"), case.cell)
    as_drawn = case.states == options.get("states", True) and all(case.sizes[k] == v for k, v in sizes.items())
    return as_drawn and shows_past(case, stratum[0])


def shrink(fails: Callable[[Case], bool], origin: Origin, found: Case, **options: Any) -> Case:
    """Return the simplest failing case that Hypothesis finds from the draws that led to `found`.

    Stops looking for a simpler one after some seconds. `options` are those of `draw_cases`.
    """
    # Hypothesis shrinks what it has drawn itself, and a case found earlier cannot be handed to it. So the draws that
    # led to `found` are repeated from the same seed, which costs nothing as long as nothing is judged; from where it
    # comes up again Hypothesis takes it for its first failure. Each case is judged once, so that the answer to a case
    # cannot change while it shrinks. What is returned has failed, always; that it is the simplest is as far as
    # Hypothesis looks, and the deadline lets it. Should `found` not come up again, it is returned as it is.
    known: dict[Case, bool] = {found: True}
    simplest, started = found, False
    deadline = time.monotonic() + SHRINK_SECONDS

    class FoundError(Exception):
        """A failing case."""

    @hypothesis.seed(origin.seed)
    @_settings(origin.draws, [Phase.generate, Phase.shrink])
    @hypothesis.given(cases(**options, stratum=origin.stratum))
    def run(case: Case) -> None:
        nonlocal simplest, started
        if case not in known:
            # The draws before `found` repeat; nothing is judged until it comes up.
            known[case] = started and time.monotonic() < deadline and fails(case)
        if known[case]:
            started, simplest = True, case
            raise FoundError

    with _by_seed_alone(), contextlib.suppress(FoundError):
        run()
    return simplest


def draw_options(target: Target, *, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return the options for drawing cases, with what the target lacks left out; few shapes if it compiles for each."""
    if target.compiles:
        options["shapes"] = few_shapes(options.get("max_dims"), seed, target.cell, target.limits)
    cotangents = [c for c in cotangents_of(target.cell) if not target.without_finals & {*c.split("+")}]
    if target.cell.places:
        options["max_dims"] = options.get("max_dims") or NETWORK_DIMS
        options["lengths"] = target.lengths
    return {
        **options,
        "states": STATES not in target.lacks,
        "cotangents": cotangents,
        "cell": target.cell,
        "limits": target.limits,
        "absent": target.absent,
    }
