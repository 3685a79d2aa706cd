"""Which outputs of a network, and which of its layers and directions, are ever wrong; by their tensors alone.

Below the first layer everything hangs on what is above it: an error made forward in a layer is in every gradient below
and beside it. The outputs tell more then, for those of the layers before it are right.
"""

from collections.abc import Iterator, Sequence, Set

from lstm_checks.cases import Case
from lstm_checks.contract import Target
from lstm_checks.diagnosis.places import FEW, of_tensors, wrong_in_cases
from lstm_checks.diagnosis.work import Spare
from lstm_checks.words import series

MOST = 4
"""How many outputs, or layers and directions, are named at most: more is no place."""


def locate_in_network(target: Target, failing: Case, spare: Spare, evidence: Sequence[Set[str]] = ()) -> list[str]:
    """Return which tensors, outputs, layers and directions of a network are ever wrong, a line each.

    Parameters
    ----------
    target : Target
        Of a network.
    failing : Case
        A case that fails.
    spare : Spare
        Whether more may be tried.
    evidence : sequence of sets of str
        The tensors that are wrong in each example of the run; none where it is right.
    """
    if not spare():
        return []
    failed, tried = wrong_in_cases(target, failing, evidence)
    lines = list(of_tensors(target, failed, tried))
    if lines and len(set().union(*failed)) <= FEW:
        # Where the tensors are named nothing more is known of them.
        return lines
    return [*lines, *_of_outputs(target, failed, tried), *_of_layers(target, failed, tried)]


def _of_outputs(target: Target, failed: Sequence[Set[str]], tried: str) -> Iterator[str]:
    """Yield which outputs are ever wrong, where some are and some are not, by those that are fewer."""
    ever = set().union(*failed)
    judged = [name for name in target.cell.outputs if name not in target.lacks]
    wrong = [name for name in judged if name in ever]
    right = [name for name in judged if name not in ever]
    if not wrong or not right or min(len(wrong), len(right)) > MOST:
        return
    if len(wrong) <= len(right):
        yield f"of the outputs only {series(wrong)} {'is' if len(wrong) == 1 else 'are'} ever wrong {tried}"
    else:
        yield f"of the outputs only {series(right)} {'is' if len(right) == 1 else 'are'} right {tried}"


def _of_layers(target: Target, failed: Sequence[Set[str]], tried: str) -> Iterator[str]:
    """Yield of which layers and directions tensors are ever wrong, where those of others are not."""
    places = target.cell.places
    # What is said of a second bias, "dbf_l0 of bias_hh_l0", is of the place of the first.
    names = [{name.partition(" ")[0] for name in wrong} for wrong in failed]
    of = [{place.words for place in places if any(name.endswith(place.suffix) for name in wrong)} for wrong in names]
    ever = set().union(*of)
    words = [place.words for place in places if place.words in ever]
    # Where some failing cases are wrong in other places than others are, there may be more of them for other values.
    if not 0 < len(words) <= MOST or len(words) == len(places) or any(one and one != ever for one in of):
        return
    shared = [name for name in ("h", "dX") if any(name in wrong for wrong in failed)]
    beside = f"beside {series(shared)} " if shared else ""
    yield f"{beside}only tensors of {series([f'({one})' for one in words])} are ever wrong {tried}"
