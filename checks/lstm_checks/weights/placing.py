"""Where arrays of a framework belong by their names: which module of a model, which layer, which direction."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lstm_checks.weights.layouts import Layout
from lstm_checks.weights.namespace import namespace


@dataclass(frozen=True, order=True)
class Place:
    """Which cell of a file: the module's prefix, the layer, and whether it runs backwards."""

    prefix: str = ""
    layer: int = 0
    reverse: bool = False

    @property
    def suffix(self) -> str:
        """What the names of a network's tensors end in there: "_l0", "_l1_reverse"."""
        return f"_l{self.layer}{'_reverse' if self.reverse else ''}"


_TORCH = re.compile(r"(?P<base>.+)_l(?P<layer>\d+)(?P<reverse>_reverse)?")
_OTHER = re.compile(r"(?P<prefix>(?:.*[./])?)l(?P<layer>\d+)(?P<reverse>_reverse)?[./]")


def _says_places(names: Collection[str]) -> bool:
    """Return whether the arrays' own names end in their place, as PyTorch's do."""
    return any(name.endswith("_l0") for name in names)


def locate(name: str, names: Collection[str]) -> tuple[Place, str | None]:
    """Return where an array belongs, and its name among those of a layout, None if it has none there.

    Parameters
    ----------
    name : str
        "encoder.lstm.weight_ih_l1_reverse", or "encoder/l1_reverse.kernel" where names do not say their place.
    names : collection of str
        The names that arrays of the layout may have.
    """
    place, wanted = Place(), name
    if _says_places(names):
        match = re.fullmatch(r"(?P<prefix>(?:.*[./])?)" + _TORCH.pattern, name)
        if match:
            place = Place(match["prefix"], int(match["layer"]), bool(match["reverse"]))
            wanted = f"{match['prefix']}{match['base']}_l0"
    # The longest first: recurrent_kernel ends in kernel.
    for own in sorted(names, key=len, reverse=True):
        prefix = wanted.removesuffix(own)
        if wanted.endswith(own) and (not prefix or prefix[-1] in "./"):
            match = _OTHER.fullmatch(prefix)
            if match and not _says_places(names):
                return Place(match["prefix"], int(match["layer"]), bool(match["reverse"])), own
            return Place(prefix, place.layer, place.reverse), own
    return Place(), None


def full_name(place: Place, name: str) -> str:
    """Return the name of an array at a place."""
    tag = place.suffix[1:]
    if _says_places([name]):
        return f"{place.prefix}{name.removesuffix('_l0')}_{tag}"
    separator = "/" if place.prefix.endswith("/") else "."
    return f"{place.prefix}{name if tag == 'l0' else tag + separator + name}"


def apart(place: Place, named: Mapping[str, Any], has_directions: bool) -> list[tuple[Place, dict[str, Any]]]:
    """Return the arrays of each direction, where their first axis holds two."""
    counts = {array.shape[0] for array in named.values() if len(array.shape)}
    if not has_directions or counts != {2}:
        return [(place, dict(named))]
    return [
        (Place(place.prefix, place.layer, reverse), {name: array[k : k + 1] for name, array in named.items()})
        for k, reverse in enumerate((False, True))
    ]


def joined(placed: Mapping[Place, Mapping[str, Any]], layout: Layout) -> dict[str, Any]:
    """Return the arrays of all places by their full names, two directions in one where the layout holds both."""
    named: dict[str, Any] = {}
    for prefix, layer in sorted({(place.prefix, place.layer) for place in placed}):
        here = [place for place in sorted(placed) if (place.prefix, place.layer) == (prefix, layer)]
        if layout.directions and len(here) == 2:
            for name in layout.names:
                both = [placed[place][name] for place in here]
                named[full_name(here[0], name)] = namespace(both[0]).concatenate(both, axis=0)
        else:
            named |= {full_name(place, name): array for place in here for name, array in placed[place].items()}
    return named
