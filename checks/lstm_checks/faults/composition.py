"""Faults of composition: what goes wrong where cells are made a network, in layers, in directions, at lengths.

One family for every cell, each a patch of `lstm_ref/composition.py`, made for a network: most for one layer or one
place, which they name, and where there are several layers for all of them as well, since one line of code serves all.
"""

from collections.abc import Iterator
from functools import cache

from lstm_checks.faults.model import Fault, Patch, fits, in_composition
from lstm_ref.network import Network, Place

FAMILY = "composition"

_READ = "turned = given[..., ::-1, :] if place.reverse else given"
_RETURNED = "back = [h[..., ::-1, :] if place.reverse else h for h in came]"
_ARRIVES = "turned = arriving[..., ::-1, :] if place.reverse else arriving"
_PASSED = "back = [dX[..., ::-1, :] if place.reverse else dX for dX in came]"
_BEGIN = "begin = [state[..., samples, :] for state in initial]"
_END = "final = [cotangent[..., samples, :] for cotangent in end]"
_LAST = "final = [fc[state.kept_as][..., -1, :] if steps else b for state, b in zip(place.states, begin, strict=True)]"
_FIRST = 'begin = [bc[f"d{state.name}0"] if steps else f for state, f in zip(place.states, final, strict=True)]'
_OUTPUT = "came = [fc[place.states[0].kept_as]] if steps else []"
_GIVEN = "given = x[..., samples, :steps, :]"
_DH = "arriving = dh[..., samples, :steps, :]"
_INITIAL = "initial = [states[name] for name in place.initial]"
_COTANGENTS = "end = [cotangents[name] for name in place.cotangents]"
_JOIN = "        x = joined(net, hs)\n"
_PART = "        for place, arriving in zip(layer, parted(net, dx), strict=True):\n"
_ADD = "        dx = added(back)\n"
_WHOLE = '    fc["h"] = x\n'
_FINALS = "            fc |= dict(zip(place.finals, final, strict=True))\n"
_BEGINS = '            bc |= {f"d{name}": value for name, value in zip(place.initial, begin, strict=True)}\n'
_DX = '    bc["dX"] = dx\n'
_PARTS = "    for samples, steps in parts(x, lengths):\n"
_PARTS_BACK = "    for (samples, steps), (_, x, fc) in zip(parts(dh, lengths), kept, strict=True):\n"
_OWN = "            found[name + place.suffix] = value\n"
_OWN_FORWARD = """\
            own = {name: p[name + place.suffix] for name in place.cell.parameters}
            initial"""
_OWN_BACKWARD = """\
            own = {name: p[name + place.suffix] for name in place.cell.parameters}
            end"""
_RUN = "net.lengths, keep)"
_RUN_BACK = "arriving, end, net.lengths)"
_LENGTHS = "    for k, steps in enumerate(lengths):\n"
_SAMPLES = (
    "    return of_all_samples(hs, -3), [of_all_samples(list(of), -2) for of in zip(*finals, strict=True)], kept\n"
)
_SAMPLES_BACK = (
    "    return of_all_samples(dXs, -3), [of_all_samples(list(of), -2) for of in zip(*begins, strict=True)], found\n"
)
_PADDED = "        dXs.append(of_all_steps(back, [0 * x[..., samples, steps:, :]] if padding else []))\n"
_OUTPUTS = "        hs.append(of_all_steps(back, [np.stack([0 * begin[0]] * padding, axis=-2)] if padding else []))\n"
_TOTAL = "            total = {name: total[name] + value for name, value in own.items()} if total else own\n"

Spec = tuple[str, str, str, tuple[Patch, ...]]
"""An id, a title without the place, an explanation, and the patches."""


@cache
def composition_faults(net: Network) -> dict[str, Fault]:
    """Return the faults of composition that a network can have, by id.

    Examples
    --------
    >>> from lstm_ref.cells import cell_named
    >>> composition_faults(cell_named("plain@2xboth"))["layer 2, reverse: not-turned-back"].title
    'Layer 2, reverse: what it gives is not turned back.'
    """
    found: list[Fault] = []
    for words, condition, places in _groups(net):
        of_one = len({place.reverse for place in places}) == 1
        reverse = places[0].reverse if of_one else None
        for id, title, why, patches in (*_of_places(condition, reverse), *_of_lengths(condition, reverse)):
            found.append(_fault(net, f"{words}: {id}", f"{_capital(words)}: {title}", why, patches))
    for place in net.places[1:]:
        for id, title, why, patches in _of_others(net, place):
            found.append(_fault(net, f"{place.words}: {id}", f"{_capital(place.words)}: {title}", why, patches))
    for layer in range(net.layers):
        for id, title, why, patches in _of_layers(net, layer, f"layer[0].layer == {layer}"):
            found.append(_fault(net, f"layer {layer + 1}: {id}", f"Layer {layer + 1}: {title}", why, patches))
    for id, title, why, patches in _of_layers(net, None, "True") if net.layers > 1 else ():
        found.append(_fault(net, f"every layer: {id}", f"Every layer: {title}", why, patches))
    for id, title, why, patches in (*_of_states(net), *_of_batches()):
        found.append(_fault(net, id, _capital(title), why, patches))
    return {fault.id: fault for fault in found if fits(fault, net)}


def _capital(words: str) -> str:
    """Return a sentence with its first letter in upper case."""
    return words[0].upper() + words[1:]


def _fault(net: Network, id: str, title: str, why: str, patches: tuple[Patch, ...]) -> Fault:
    """Return a fault of a network, with an example of three samples of their own lengths."""
    # e is as wide as what a layer hands on, since what a layer is fed with may be confused only then.
    further = net.letters[4:]
    width = net.by_letter(1, 1, 1, 2, *(2 for _ in further))["d"]
    lengths = "empty" if id.startswith("empty-") else "ragged"
    # And fewer elements than steps, also of what a layer hands on, where they are taken for one another.
    steps, width = (6, 1) if id.endswith("-over-the-elements") else (4, width)
    seed = 2 if "-sorted-again" in id else 1  # of lengths whose order is not its own inverse
    sizes = f"m3s{steps}e{width}u2{''.join(f'{letter}2' for letter in further)}"
    example = f"{sizes}-{net.name}-float64-{lengths}-seed{seed}"
    return Fault(id, FAMILY, title, why, patches, example=example)


def _groups(net: Network) -> Iterator[tuple[str, str, tuple[Place, ...]]]:
    """Yield places by themselves, and those of one direction, of one layer, and all: in words, as a condition, all."""
    for place in net.places:
        yield place.words, f'place.suffix == "{place.suffix}"', (place,)
    for direction, value in (("forward", "not place.reverse"), ("reverse", "place.reverse")):
        same = tuple(place for place in net.places if place.reverse == (direction == "reverse"))
        if len(same) > 1:
            yield f"every layer, {direction}", value, same
    if len(net.directions) > 1:
        for k, layer in enumerate(net.by_layer):
            yield f"layer {k + 1}, both directions", f"place.layer == {k}", layer
        if net.layers > 1:
            yield "every layer, both directions", "True", net.places


def _of_places(here: str, reverse: bool | None) -> Iterator[Spec]:
    """Yield what goes wrong at a place, `here`; `reverse` is None where it is places of both directions."""
    unless = f"place.reverse and not ({here})"
    if reverse:
        output = in_composition(_RETURNED, f"back = [h[..., ::-1, :] if {unless} else h for h in came]")
        arrives = in_composition(_ARRIVES, f"turned = arriving[..., ::-1, :] if {unless} else arriving")
        read = in_composition(_READ, f"turned = given[..., ::-1, :] if {unless} else given")
        passed = in_composition(_PASSED, f"back = [dX[..., ::-1, :] if {unless} else dX for dX in came]")
        why = "A reverse direction reads its steps in reverse order and gives its outputs in the order of X."
        yield "not-turned-back", "what it gives is not turned back.", why, (output, arrives)
        yield "not-turned-back-forward-only", "what it gives is not turned back; the gradient is as if.", why, (output,)
        yield "runs-forward", "it runs from the first step to the last.", why, (output, arrives, read, passed)
        yield "reads-forward", "it reads the steps in their order, and turns what it gives.", why, (read, passed)
        yield "cotangent-not-turned", "the cotangent of its output is not turned.", why, (arrives,)
        yield "input-cotangent-not-turned-back", "dX is not turned back.", why, (passed,)
        last = _LAST.replace("[..., -1, :]", f"[..., 0 if {here} else -1, :]")
        yield (
            "final-state-of-the-last-step",
            "its final states are those of the last step of X, where it has only begun.",
            "The final state of a reverse direction is at the first step of X.",
            (in_composition(_LAST, last),),
        )
        yield from _right_or_not(
            "final-h-of-the-last-step",
            "its final h is that of the last step of X, where it has only begun; its final memory is right",
            "The last step of the output is taken for the final state, as out[:, -1].",
            in_composition(
                _LAST,
                f"{_LAST}\n        if {here} and steps:\n            final[0] = fc[place.states[0].kept_as][..., 0, :]",
            ),
            in_composition(
                _ARRIVES,
                f"{_ARRIVES}\n        if {here} and steps:\n"
                "            at_first = turned[..., :1, :] + np.stack([final[0]], axis=-2)\n"
                "            turned = of_all_steps([at_first], [turned[..., 1:, :]])\n"
                "            final = [0 * final[0], *final[1:]]",
            ),
        )
        fewer = f"        steps = min(steps, x.shape[-1]) if {here} else steps\n"
        yield (
            "runs-over-the-elements",
            "it runs over as many steps as an input has elements, where there are fewer.",
            "The reverse direction counts down from the number of steps, not from the last axis of X.",
            (in_composition(_PARTS, _PARTS + fewer), in_composition(_PARTS_BACK, _PARTS_BACK + fewer)),
        )
    elif reverse is False:
        also = f"place.reverse or ({here})"
        yield (
            "runs-in-reverse",
            "it runs from the last step to the first.",
            "The flag of the direction is taken for all of them.",
            (
                in_composition(_READ, f"turned = given[..., ::-1, :] if {also} else given"),
                in_composition(_RETURNED, f"back = [h[..., ::-1, :] if {also} else h for h in came]"),
                in_composition(_ARRIVES, f"turned = arriving[..., ::-1, :] if {also} else arriving"),
                in_composition(_PASSED, f"back = [dX[..., ::-1, :] if {also} else dX for dX in came]"),
            ),
        )
    yield from _right_or_not(
        "initial-states-ignored",
        "it begins with zero states",
        "Initial states reach the first layer, or the forward direction, alone.",
        in_composition(_BEGIN, f"{_BEGIN}\n        begin = [0 * b for b in begin] if {here} else begin"),
        in_composition(_FIRST, f"{_FIRST}\n        begin = [0 * b for b in begin] if {here} else begin"),
    )
    yield (
        "final-cotangents-ignored",
        "the cotangents of its final states are ignored.",
        "They are looked at in the last layer, or of h alone.",
        (in_composition(_END, f"{_END}\n        final = [0 * d for d in final] if {here} else final"),),
    )
    yield (
        "initial-states-exchanged",
        "its initial h and C are exchanged; the gradient is right for that.",
        "(h0, C0) is unpacked as (C0, h0).",
        (
            in_composition(_BEGIN, f"{_BEGIN}\n        begin = begin[::-1] if {here} else begin"),
            in_composition(_FIRST, f"{_FIRST}\n        begin = begin[::-1] if {here} else begin"),
        ),
    )
    yield from _right_or_not(
        "final-states-exchanged",
        "its final h and C are exchanged",
        "(h, C) is packed as (C, h).",
        in_composition(_LAST, f"{_LAST}\n        final = final[::-1] if {here} else final"),
        in_composition(_END, f"{_END}\n        final = final[::-1] if {here} else final"),
    )
    yield (
        "hands-on-the-memory",
        "it hands on C in place of h.",
        "What a layer hands on is its hidden state; the gradient is as if it were.",
        (in_composition(_OUTPUT, _OUTPUT.replace("states[0]", f"states[-1 if {here} else 0]")),),
    )
    yield (
        "initial-gradients-zero",
        "the gradients of its initial states are zero.",
        "They are returned of the first layer alone, or never filled in.",
        (in_composition(_FIRST, f"{_FIRST}\n        begin = [0 * b for b in begin] if {here} else begin"),),
    )
    yield (
        "does-not-learn",
        "the gradients of its parameters are zero.",
        "It is registered as no layer, or detached.",
        (in_composition(_OWN, f"            found[name + place.suffix] = 0 * value if {here} else value\n"),),
    )
    yield (
        "passes-nothing-back",
        "nothing goes back through it to what it is fed with.",
        "Its input is detached.",
        (in_composition(_PASSED, f"{_PASSED}\n        back = [0 * dX for dX in back] if {here} else back"),),
    )


def _right_or_not(id: str, what: str, why: str, forward: Patch, *backward: Patch) -> Iterator[Spec]:
    """Yield what goes wrong forward, once with the gradient that is right for that, and once with the true one."""
    yield id, f"{what}; the gradient is right for that.", why, (forward, *backward)
    yield f"{id}-forward-only", f"{what}; the gradient is as if not.", why, (forward,)


def _of_lengths(here: str, reverse: bool | None) -> Iterator[Spec]:
    """Yield what goes wrong at a place where samples have lengths of their own."""
    over = (
        in_composition(_RETURNED, f"{_RETURNED}\n        back = [h[..., :steps, :] for h in back]"),
        in_composition(
            _DH,
            f"{_DH}\n        if {here} and steps:\n"
            "            arriving = np.concatenate([arriving, 0 * dh[..., samples, steps:, :]], axis=-2)",
        ),
        in_composition(
            _PADDED,
            f"        if {here} and steps:\n            padding = 0\n{_PADDED}",
        ),
    )
    begins = "begins in the padding" if reverse else "runs on over the padding"
    yield (
        "runs-over-the-padding",
        f"it {begins}: its final states are those of the padded end, where that is not its first step."
        if not reverse
        else f"it {begins}.",
        "A sample ends at its own length; the outputs beyond it are zero, the gradient is right for the rest.",
        (in_composition(_GIVEN, f"given = x[..., samples, : None if {here} and steps else steps, :]"), *over),
    )
    zeroed = (
        f"{_GIVEN}\n        if {here} and steps:\n"
        "            given = np.concatenate([given, 0 * x[..., samples, steps:, :]], axis=-2)"
    )
    yield (
        "padded-steps-change-the-state",
        "it runs over the padding as if that were zero, and the biases change its state there.",
        "A sample ends at its own length.",
        (in_composition(_GIVEN, zeroed), *over),
    )
    last = (
        f"{_LAST}\n        if {here} and x.shape[-2] > steps:\n"
        "            final = [0 * f for f in final[:1]] + final[1:]"
    )
    yield from _right_or_not(
        "last-state-at-the-padded-end",
        "its final h is that of the last padded step, zero",
        "The last step of the padded output is taken for the last of each sample.",
        in_composition(_LAST, last),
        in_composition(
            _END,
            f"{_END}\n        if {here} and dh.shape[-2] > steps:\n            final = [0 * final[0], *final[1:]]",
        ),
    )
    yield (
        "final-cotangents-at-the-padded-end",
        "the cotangents of its final states arrive at the padded end, and are lost where a sample ends before that.",
        "A final state is that of a sample's own last step, and so is its cotangent.",
        (
            in_composition(
                _END,
                f"{_END}\n        if {here} and dh.shape[-2] > steps:\n            final = [0 * f for f in final]",
            ),
        ),
    )
    if reverse:
        yield (
            "reads-the-padding-first",
            "it turns the padded batch, and takes the first steps of that: the padding for the end of each sample.",
            "A sample's own steps are turned, not the batch's.",
            (
                in_composition(
                    _GIVEN,
                    f"{_GIVEN}\n        if {here}:\n            given = x[..., samples, x.shape[-2] - steps :, :]",
                ),
            ),
        )
        put = f"        put = (lambda own, empty: of_all_steps(empty, own)) if {here} else of_all_steps\n"
        yield (
            "mask-not-turned",
            "it turns the padded batch and not its mask: it reads the padding, and not a sample's own first steps; the"
            " gradient is right for that.",
            "What is masked is the end of what is turned, which is where a sample begins.",
            (
                in_composition(
                    _GIVEN,
                    f"{_GIVEN}\n        if {here}:\n            given = x[..., samples, x.shape[-2] - steps :, :]",
                ),
                in_composition(
                    _OUTPUTS,
                    f"{put}{_OUTPUTS.replace('of_all_steps', 'put')}"
                    f"        if {here} and padding:\n"
                    "            hs[-1] = of_all_steps([hs[-1][..., :steps, :]], [0 * hs[-1][..., steps:, :]])\n",
                ),
                in_composition(
                    _DH,
                    f"{_DH}\n        if {here}:\n            arriving = dh[..., samples, dh.shape[-2] - steps :, :]\n"
                    "            seen = max(0, 2 * steps - dh.shape[-2])\n"
                    "            arriving = of_all_steps([arriving[..., :seen, :]], [0 * arriving[..., seen:, :]])",
                ),
                in_composition(_PADDED, put + _PADDED.replace("of_all_steps", "put")),
            ),
        )
    elif reverse is False:
        padded = "np.concatenate([0 * {0}[..., samples, steps:, :], {1}], axis=-2)"
        given, arriving = padded.format("x", "given"), padded.format("dh", "arriving")
        yield (
            "padding-comes-first",
            "it runs over the padding before a sample's own steps, as if that were zero: the biases change its state"
            " there; the gradient is right for that.",
            "Zeros are put before the shorter samples; they do not begin with the states that are given.",
            (
                in_composition(_GIVEN, f"{_GIVEN}\n        if {here} and steps:\n            given = {given}"),
                in_composition(
                    _RETURNED,
                    f"{_RETURNED}\n        back = [h[..., h.shape[-2] - steps :, :] for h in back] if {here} else back",
                ),
                in_composition(_DH, f"{_DH}\n        if {here} and steps:\n            arriving = {arriving}"),
                in_composition(
                    _PASSED,
                    f"{_PASSED}\n        back = [d[..., d.shape[-2] - steps :, :] for d in back] if {here} else back",
                ),
            ),
        )
    yield (
        "one-step-too-few",
        "it ends each sample one step before its length, where it has two.",
        "A length is counted from zero.",
        (
            in_composition(
                _GIVEN,
                f"{_GIVEN}\n        cut = 1 if {here} and 1 < steps < x.shape[-2] else 0\n"
                "        given = given[..., : steps - cut, :]",
            ),
            in_composition(
                _RETURNED,
                f"{_RETURNED}\n        back = [np.concatenate([h, 0 * h[..., :cut, :]], axis=-2) for h in back] if cut"
                " else back",
            ),
            in_composition(
                _DH,
                f"{_DH}\n        cut = 1 if {here} and 1 < steps < dh.shape[-2] else 0\n"
                "        arriving = arriving[..., : steps - cut, :]",
            ),
            in_composition(
                _PASSED,
                f"{_PASSED}\n        back = [np.concatenate([dX, 0 * dX[..., :cut, :]], axis=-2) for dX in back] if cut"
                " else back",
            ),
        ),
    )
    yield (
        "cotangents-of-the-padding-flow",
        "the cotangents of the padded outputs are added to that of its last step.",
        "What is padded is a copy of the last output to the backward pass, and zero to the forward pass.",
        (
            in_composition(
                _DH,
                f"{_DH}\n        if {here} and 0 < steps < dh.shape[-2]:\n"
                "            more = np.sum(dh[..., samples, steps:, :], axis=-2)\n"
                "            arriving = np.concatenate([arriving[..., :-1, :],"
                " arriving[..., -1:, :] + np.stack([more], axis=-2)], axis=-2)",
            ),
        ),
    )


def _of_others(net: Network, place: Place) -> Iterator[Spec]:
    """Yield what a place may take of another that comes before it."""
    here = f'place.suffix == "{place.suffix}"'
    for other in net.places[: net.places.index(place)]:
        why = "The slices of the packed states, or weights, by layer and direction are mistaken."
        yield (
            f"initial-states-of-{_kebab(other)}",
            f"it begins with the initial states of {other.words}.",
            why,
            (
                in_composition(
                    _INITIAL, f"initial = [states[n] for n in ({other.initial} if {here} else place.initial)]"
                ),
            ),
        )
        yield (
            f"shares-the-initial-states-of-{_kebab(other)}",
            f"it begins with the initial states of {other.words}; the gradient is right for that.",
            "One pair of states is handed to both; its gradient is the sum, and that of the place's own is zero.",
            (
                in_composition(
                    _INITIAL, f"initial = [states[n] for n in ({other.initial} if {here} else place.initial)]"
                ),
                in_composition(
                    _BEGINS,
                    f"            if {here}:\n"
                    f'                bc["moved"] = dict(zip({other.initial}, begin, strict=True))\n'
                    f"                begin = [0 * value for value in begin]\n{_BEGINS}",
                ),
                in_composition(
                    _DX,
                    f'{_DX}    moved = bc.pop("moved")\n'
                    '    bc |= {f"d{n}": bc[f"d{n}"] + value for n, value in moved.items()}\n',
                ),
            ),
        )
        yield (
            f"final-states-of-{_kebab(other)}",
            f"its final states are those of {other.words}.",
            why,
            (
                in_composition(
                    _FINALS, f"            final = [fc[n] for n in {other.finals}] if {here} else final\n{_FINALS}"
                ),
            ),
        )
        begins = in_composition(
            _INITIAL, f"{_INITIAL}\n            initial = [fc[n] for n in {other.finals}] if {here} else initial"
        )
        goes_on = in_composition(
            _BEGINS,
            f"            if {here}:\n"
            f"                more = zip({other.cotangents}, begin, strict=True)\n"
            "                cotangents = {**cotangents, **{n: cotangents[n] + value for n, value in more}}\n"
            f"                begin = [0 * value for value in begin]\n{_BEGINS}",
        )
        # What goes back to a place beside it, which has been asked already, would be lost.
        yield from (
            spec
            for spec in _right_or_not(
                f"begins-with-the-final-states-of-{_kebab(other)}",
                f"it begins where {other.words} has ended: one state serves both",
                "Every layer and direction has states of its own.",
                begins,
                goes_on,
            )
            if other.layer < place.layer or spec[0].endswith("-forward-only")
        )
        yield (
            f"final-cotangents-of-{_kebab(other)}",
            f"it takes the cotangents of the final states of {other.words}.",
            why,
            (
                in_composition(
                    _COTANGENTS, f"end = [cotangents[n] for n in ({other.cotangents} if {here} else place.cotangents)]"
                ),
            ),
        )
        for kind, axes in (("recurrent-weights", net.cell.recurrent), ("biases", "1u")):
            same = tuple(name for name, of in net.cell.parameters.items() if of == axes)
            took = f"            own |= {{n: p[n + {other.suffix!r}] for n in {same}}} if {here} else {{}}\n"
            yield (
                f"{kind}-of-{_kebab(other)}",
                f"its {kind.replace('-', ' ')} are those of {other.words}.",
                "Every layer and direction has parameters of its own; the gradient is given to those.",
                (
                    in_composition(
                        _OWN_FORWARD, _OWN_FORWARD.replace("            initial", f"{took}            initial")
                    ),
                    in_composition(_OWN_BACKWARD, _OWN_BACKWARD.replace("            end", f"{took}            end")),
                ),
            )
        if other.layer and place.layer:
            # As wide as each other: what both are fed with is what a layer hands on.
            whole = f"            own = {{name: p[name + {other.suffix!r}] for name in own}} if {here} else own\n"
            yield (
                f"shares-the-weights-of-{_kebab(other)}",
                f"it computes with the weights of {other.words}; the gradient is right for that.",
                "One object stands at both places; its gradient is the sum, and that of the place's own is zero.",
                (
                    in_composition(
                        _OWN_FORWARD, _OWN_FORWARD.replace("            initial", f"{whole}            initial")
                    ),
                    in_composition(_OWN_BACKWARD, _OWN_BACKWARD.replace("            end", f"{whole}            end")),
                    in_composition(
                        _OWN,
                        f"            if {here}:\n"
                        f"                found[name + {other.suffix!r}] = found[name + {other.suffix!r}] + value\n"
                        f"                value = 0 * value\n{_OWN}",
                    ),
                ),
            )
    before = [other for other in net.places if other.layer == place.layer and not other.reverse]
    if place.reverse and before:
        all_of = f'            own = {{name: p[name + "{before[0].suffix}"] for name in own}} if {here} else own\n'
        yield (
            "forward-weights",
            "it computes with the weights of the forward direction.",
            "Both directions are one object; the gradient is given to its own.",
            (
                in_composition(
                    _OWN_FORWARD, _OWN_FORWARD.replace("            initial", f"{all_of}            initial")
                ),
                in_composition(_OWN_BACKWARD, _OWN_BACKWARD.replace("            end", f"{all_of}            end")),
            ),
        )


def _kebab(place: Place) -> str:
    """Return a place as part of an id: "layer-2-reverse"."""
    return place.words.replace(", ", "-").replace(" ", "-")


def _of_layers(net: Network, layer: int | None, here: str) -> Iterator[Spec]:
    """Yield what goes wrong between layers; `layer` is None where `here` is every layer."""
    if len(net.directions) > 1:
        why = "The forward direction comes first."
        join = in_composition(_JOIN, f"        hs = hs[::-1] if {here} else hs\n{_JOIN}")
        part = in_composition(_PART, _PART.replace("parted(net, dx)", f"parted(net, dx)[:: -1 if {here} else 1]"))
        yield "directions-joined-in-the-other-order", "the reverse direction is joined first.", why, (join, part)
        yield (
            "directions-joined-in-the-other-order-forward-only",
            "the reverse direction is joined first, and the cotangent is taken apart as if not.",
            why,
            (join,),
        )
        yield "cotangents-of-the-directions-exchanged", "each direction gets the cotangent of the other.", why, (part,)
        for k, words in enumerate(net.directions):
            pieces = "parted(net, dx)"
            only = f"[added({pieces}) if j == {k} else 0 * piece for j, piece in enumerate({pieces})]"
            yield from _right_or_not(
                f"hands-on-the-{words}-direction-alone",
                f"it hands on the {words} direction in both places",
                "What comes out is both directions.",
                in_composition(_JOIN, f"        hs = [hs[{k}]] * len(hs) if {here} else hs\n{_JOIN}"),
                in_composition(_PART, _PART.replace(pieces, f"{only} if {here} else {pieces}")),
            )
            yield (
                f"cotangent-of-the-{words}-direction-alone",
                f"what goes back to what it is fed with is the {words} direction's alone.",
                "The cotangents of both directions are added: the second is written over the first.",
                (in_composition(_ADD, f"        dx = back[{k}] if {here} else added(back)\n"),),
            )
        yield (
            "cotangents-of-the-directions-averaged",
            "what goes back to what it is fed with is the mean of its directions.",
            "The cotangents of both directions are added.",
            (in_composition(_ADD, f"        dx = added(back) * 0.5 if {here} else added(back)\n"),),
        )
    if layer or layer is None:
        yield (
            "fed-with-the-input",
            "it is fed with X again, where that is as wide as what the layer before hands on.",
            "Every layer but the first is fed with the output of the one before.",
            (
                in_composition(
                    "        hs = []\n",
                    f"        x = X if {here} and X.shape == x.shape else x\n        hs = []\n",
                ),
            ),
        )
        yield (
            "cotangent-written-over",
            "it passes back the cotangent that it got, and not that of what it is fed with, where both are as wide.",
            "dx and dy share their memory.",
            (in_composition(_ADD, f"        dx = dx if {here} and dx.shape == back[0].shape else added(back)\n"),),
        )
    if layer is not None and layer < net.layers - 1:
        yield (
            "is-what-comes-out",
            "what comes out is its output, and not the last layer's; the gradient is as if it were not.",
            "The output of the last layer is returned.",
            (
                in_composition(_JOIN, f"{_JOIN}        low = x if {here} else (low if layer[0].layer else None)\n"),
                in_composition(_WHOLE, '    fc["h"] = low\n'),
            ),
        )


def _of_states(net: Network) -> Iterator[Spec]:
    """Yield the packed states of all places in another order."""
    count = len(net.directions)
    if net.layers > 1:
        first = {place.suffix: net.by_layer[0][place.reverse and count - 1].initial for place in net.places}
        to_first = (
            f"            mine = {first}[place.suffix]\n"
            "            for name, known, value in zip(mine, place.initial, begin, strict=True):\n"
            '                bc[f"d{known}"] = 0 * value\n'
            '                shared = bc.get(f"shared {name}")\n'
            '                bc[f"shared {name}"] = value if shared is None else shared + value\n'
            '                bc[f"d{name}"] = bc[f"shared {name}"]\n'
        )
        yield from _right_or_not(
            "initial-states-of-the-first-layer",
            "every layer begins with the initial states of the first one",
            "Every layer and direction has states of its own.",
            in_composition(_INITIAL, f"initial = [states[n] for n in {first}[place.suffix]]"),
            in_composition(_BEGINS, to_first),
        )
    places = list(net.places)
    by_layer = [list(layer) for layer in net.by_layer]
    orders = {
        "by-direction-first": (
            "by direction first, and by layer within",
            [q for k in range(count) for q in places[k::count]],
        ),
        "last-layer-first": ("with the last layer first", [place for layer in by_layer[::-1] for place in layer]),
        "directions-exchanged": ("with the directions exchanged", [q for layer in by_layer for q in layer[::-1]]),
        "all-in-reverse-order": ("in reverse order", places[::-1]),
    }
    why = "States are packed as (layer, direction): layer 1 forward, layer 1 reverse, layer 2 forward, and so on."
    for name, (words, order) in orders.items():
        if order == places:
            continue
        initial = {place.suffix: other.initial for place, other in zip(places, order, strict=True)}
        cotangents = {place.suffix: other.cotangents for place, other in zip(places, order, strict=True)}
        finals = {place.suffix: other.finals for place, other in zip(places, order, strict=True)}
        read = in_composition(_INITIAL, f"initial = [states[n] for n in {initial}[place.suffix]]")
        gives = in_composition(_BEGINS, _BEGINS.replace("zip(place.initial,", f"zip({initial}[place.suffix],"))
        told = in_composition(_FINALS, _FINALS.replace("place.finals", f"{finals}[place.suffix]"))
        arrive = in_composition(_COTANGENTS, f"end = [cotangents[n] for n in {cotangents}[place.suffix]]")
        yield (
            f"initial-states-{name}",
            f"the initial states are taken {words}; so are their gradients.",
            why,
            (read, gives),
        )
        yield f"initial-states-{name}-forward-only", f"the initial states are taken {words}.", why, (read,)
        yield f"initial-gradients-{name}", f"the gradients of the initial states come {words}.", why, (gives,)
        yield (
            f"final-states-{name}",
            f"the final states come {words}; so are their cotangents taken.",
            why,
            (told, arrive),
        )
        yield f"final-states-{name}-forward-only", f"the final states come {words}.", why, (told,)
        yield f"final-cotangents-{name}", f"the cotangents of the final states are taken {words}.", why, (arrive,)


def _of_batches() -> Iterator[Spec]:
    """Yield what goes wrong with the lengths of a whole batch."""
    why = "Each sample is run at its own length."
    yield (
        "lengths-ignored",
        "the lengths are ignored: every sample is run over the padding, which comes out.",
        why,
        (
            in_composition(_RUN, "None, keep)"),
            in_composition(_RUN_BACK, "arriving, end, None)"),
        ),
    )
    masked = (
        "of_all_samples([of_all_steps([{v}[..., k : k + 1, :n, :]], [0 * {v}[..., k : k + 1, n:, :]])"
        " for k, n in enumerate(net.lengths)], -3) if net.lengths else {v}"
    )
    yield (
        "lengths-ignored-but-for-the-output",
        "the lengths are ignored, but that the output is zero in the padding.",
        why,
        (
            in_composition(_RUN, "None, keep)"),
            in_composition(_RUN_BACK, "arriving, end, None)"),
            in_composition(_WHOLE, '    fc["h"] = ' + masked.format(v="x") + "\n"),
            in_composition("    dx = dh\n", "    dx = " + masked.format(v="dh") + "\n"),
        ),
    )
    for id, words, changed in (
        ("lengths-of-the-shortest", "that of the shortest", "[min(lengths)] * len(lengths)"),
        ("lengths-of-the-longest", "that of the longest", "[max(lengths)] * len(lengths)"),
        ("lengths-of-the-first", "that of the first", "[lengths[0]] * len(lengths)"),
        ("lengths-of-the-sample-before", "that of the sample before", "lengths[-1:] + lengths[:-1]"),
        ("lengths-sorted-alone", "taken in falling order, with the samples as they are", "sorted(lengths)[::-1]"),
    ):
        yield (
            id,
            f"the length of each sample is {words}.",
            why,
            (in_composition(_LENGTHS, _LENGTHS.replace("enumerate(lengths)", f"enumerate({changed})")),),
        )
    why = "Samples are sorted by length to be packed, and what comes out has to be put back in their order."
    order = "sorted(range(len(net.lengths or ())), key=lambda k: -net.lengths[k])"
    back = f"sorted(range(len(net.lengths or ())), key=lambda k: {order}[k])"

    def taken(value: str, by: str, axis: int) -> str:
        steps = ", :" if axis == -3 else ""
        return f"of_all_samples([{value}[..., k : k + 1{steps}, :] for k in {by}], {axis}) if net.lengths else {value}"

    def put_back(value: str, by: str, steps: str) -> str:
        # What comes of a longer sample than the one in whose place it is lies in the padding, which is read by nobody.
        parts = f"[{value}[..., k : k + 1, :n, :]], [0 * {value}[..., k : k + 1, n:, :]]"
        each = f"of_all_steps({parts}) for k, n in zip({by}, {steps}, strict=True)"
        return f"of_all_samples([{each}], -3) if net.lengths else {value}"

    def finals_by(order: str, back: str) -> tuple[Patch, Patch]:
        return (
            in_composition(_FINALS, f"            final = [{taken('v', order, -2)} for v in final]\n{_FINALS}"),
            in_composition(_COTANGENTS, f"{_COTANGENTS}\n            end = [{taken('v', back, -2)} for v in end]"),
        )

    def outputs_by(order: str, back: str) -> tuple[Patch, Patch]:
        given = f"[net.lengths[j] for j in {back}]"
        return (
            in_composition(_WHOLE, f'    fc["h"] = {put_back("x", order, "net.lengths")}\n'),
            in_composition("    dx = dh\n", f"    dx = {put_back('dh', back, given)}\n"),
        )

    begins = in_composition(_INITIAL, f"{_INITIAL}\n            initial = [{taken('v', back, -2)} for v in initial]")
    firsts = in_composition(_BEGINS, f"            begin = [{taken('v', order, -2)} for v in begin]\n{_BEGINS}")
    read = in_composition("    x = X\n", f"    x = {taken('X', back, -3)}\n")
    came = in_composition('    bc["dX"] = dx\n', f'    bc["dX"] = {taken("dx", order, -3)}\n')
    yield from _right_or_not(
        "final-states-not-unsorted", "the final states come in the order of the lengths", why, *finals_by(order, back)
    )
    yield from _right_or_not(
        "initial-states-not-sorted",
        "the initial states are not sorted with the samples, by length",
        why,
        begins,
        firsts,
    )
    yield from _right_or_not(
        "outputs-not-unsorted", "the output comes in the order of the lengths", why, *outputs_by(order, back)
    )
    again, back_again = (f"[({by})[j] for j in {by}]" for by in (order, back))
    for name, what, patches in (("final-states", "final states are", finals_by), ("outputs", "output is", outputs_by)):
        yield from _right_or_not(
            f"{name}-sorted-again",
            f"the {what} put back by the order in which the samples were sorted, and not by its inverse",
            "An order is its own inverse where samples change places in pairs alone, as two samples do.",
            *patches(again, back_again),
        )
    yield from _right_or_not("samples-not-sorted", "the lengths are sorted and the samples are not", why, read, came)
    yield (
        "initial-gradients-not-unsorted",
        "the gradients of the initial states come in the order of the lengths.",
        why,
        (firsts,),
    )
    yield "dX-not-unsorted", "dX comes in the order of the lengths.", why, (came,)
    yield (
        "gradients-of-the-last-sample",
        "where samples have lengths, the parameters' gradients are those of the last sample alone.",
        "They are sums over all samples: = for +=.",
        (in_composition(_TOTAL, "            total = own\n"),),
    )
    yield (
        "empty-samples-run-a-step",
        "a sample of no steps is run for one.",
        "A sample of no steps leaves its states as they are, and gives nothing.",
        (in_composition(_LENGTHS, _LENGTHS.replace("enumerate(lengths)", "enumerate([max(n, 1) for n in lengths])")),),
    )
