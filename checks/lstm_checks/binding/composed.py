"""A layer of one step, or of one sample, as one of whole batches: in the vjp form, which composes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

VJP = Callable[..., Any]


def by_step(one: VJP) -> VJP:
    """Return the function in the vjp form that runs one of a single step over all steps.

    Parameters
    ----------
    one : callable
        ``(h, Cn), pullback = one(p, X, h0, C0)``, of X (m, 1, e); what the pullback gives for the states goes on to
        the step before, and the parameters' gradients are added.
    """

    def function(p: Mapping[str, Any], X: Any, h0: Any, C0: Any) -> Any:
        h, C, hs, pulls = h0, C0, [], []
        for t in range(X.shape[1]):
            (h_t, C), pull = one(p, X[:, t : t + 1], h, C)
            h = h_t[:, -1]
            hs.append(h_t)
            pulls.append(pull)

        def pullback(dh: Any, dCn: Any) -> dict[str, Any]:
            dh_next, dC, dX, sums = np.zeros_like(h0), dCn, list[Any](), dict[str, Any]()
            for t in reversed(range(len(pulls))):
                found = dict(pulls[t]((dh[:, t] + dh_next)[:, None], dC))
                if not found:
                    return {}  # it goes forward only
                dX.insert(0, found.pop("dX", None))
                dh_next, dC = found.pop("dh0"), found.pop("dC0")
                sums = {name: sums[name] + value if name in sums else value for name, value in found.items()}
            whole = {} if any(part is None for part in dX) else {"dX": np.concatenate(dX, axis=1)}
            return {**sums, **whole, "dh0": dh_next, "dC0": dC}

        return (np.concatenate(hs, axis=1), C), pullback

    return function


def by_sample(one: VJP) -> VJP:
    """Return the function in the vjp form that runs one of a single sample on each sample of a batch.

    Parameters
    ----------
    one : callable
        As a function in the vjp form, of X (1, s, e); it may take h0 and C0, or none, and give no Cn. Whether its
        pullback can do without dCn is whether the whole one can.
    """

    def function(p: Mapping[str, Any], X: Any, *states: Any) -> Any:
        each = [one(p, X[k : k + 1], *(state[k : k + 1] for state in states)) for k in range(len(X))]
        outputs = [found for found, _ in each]
        finals = [Cn for _, Cn in outputs]
        Cn = None if any(value is None for value in finals) else np.concatenate(finals)

        def pulled(dh: Any, dCn: Any) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for k, (_, pull) in enumerate(each):
                given = () if dCn is None else (dCn[k : k + 1],)
                for name, value in pull(dh[k : k + 1], *given).items():
                    if name in ("dX", "dh0", "dC0"):
                        found[name] = [*found.get(name, []), value]
                    else:
                        found[name] = found[name] + value if name in found else value
            return {name: np.concatenate(value) if isinstance(value, list) else value for name, value in found.items()}

        def pullback(dh: Any, dCn: Any) -> dict[str, Any]:
            return pulled(dh, dCn)

        def without(dh: Any, dCn: Any = None) -> dict[str, Any]:
            return pulled(dh, dCn)

        whole = without if all(_can_do_without(pull) for _, pull in each) else pullback
        return (np.concatenate([h for h, _ in outputs]), Cn), whole

    return function


def _can_do_without(pullback: Callable[..., Any]) -> bool:
    """Return whether a pullback can be called with dh alone."""
    try:
        inspect.signature(pullback).bind(None)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
