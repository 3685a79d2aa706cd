"""PyTorch differentiated forwards, twice, sample by sample, in training: what is wrong in one fails by it."""

from dataclasses import replace

import pytest
from asking_cases import CASE, OF_DERIVED, claim

from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.hints import find_hints

torch = pytest.importorskip("torch")
adapter = pytest.importorskip("lstm_checks.targets.torch")
pytestmark = pytest.mark.peer


class Tanh(torch.autograd.Function):
    """tanh, whose parts may go wrong, each by the name of the fault."""

    fault = ""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        ctx.y = y.detach()
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        if Tanh.fault == "detached":
            y = ctx.y
        return dy * (1 - y * y)

    @staticmethod
    def jvp(ctx, tx):
        return tx * (1 - ctx.y * (1 if Tanh.fault == "jvp" else ctx.y))


class Once(torch.autograd.Function):
    """tanh that can be differentiated once."""

    @staticmethod
    def forward(ctx, x):
        ctx.y = torch.tanh(x)
        return ctx.y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        return dy * (1 - ctx.y * ctx.y)


def lstm_of(tanh, seen=lambda p: p):
    """An LSTM of tensors, with a tanh for the memory, and parameters as something sees them."""

    def lstm(p, X, h, C):
        p, every = seen(p), []
        for s in range(X.shape[1]):
            f, i, g, o = (X[:, s] @ p[f"U{k}"] + h @ p[f"V{k}"] + p[f"b{k}"] for k in "figo")
            C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * tanh(C)
            every.append(h)
        return torch.stack(every, 1), C

    return adapter.function_target(lstm, "lstm", 4)


def test_what_is_right_answers_all_that_torch_has():
    target = lstm_of(torch.tanh)
    report = verify_case(target, CASE, properties=tuple(OF_DERIVED.values()))
    assert not report.failures
    asked = {name: report.claim(name).verdict for name in OF_DERIVED.values()}
    assert asked.pop("several threads") is Verdict.UNSUPPORTED
    assert {*asked.values()} == {Verdict.PASS}


@pytest.mark.parametrize(("fault", "question"), [("", ""), ("detached", "second order"), ("jvp", "forward mode")])
def test_a_function_of_autograd_fails_by_what_is_wrong_in_it(monkeypatch, fault, question):
    monkeypatch.setattr(Tanh, "fault", fault)
    report = verify_case(lstm_of(Tanh.apply), CASE, properties=("forward mode", "second order", "training"))
    assert {one.name for one in report.failures} == {question} - {""}
    assert report.claim("training").verdict is Verdict.PASS
    said = find_hints(lstm_of(Tanh.apply), report)
    assert ("once_differentiable above that backward says so" in "".join(said)) is (fault == "detached")


class Shifted(torch.autograd.Function):
    """k + b, with a rule for `vmap` that may take the first sample's b for everybody's."""

    fault = ""

    @staticmethod
    def forward(k, b):
        return k + b

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, dy):
        return dy, dy.sum(0, keepdim=True)

    @staticmethod
    def vmap(info, in_dims, k, b):
        k = k if in_dims[0] is None else k.movedim(in_dims[0], 0)
        if in_dims[1] is not None:
            b = b.movedim(in_dims[1], 0)
            b = b[:1] if Shifted.fault else b
        return k + b, 0


@pytest.mark.parametrize("fault", ["", "first"])
def test_a_rule_for_vmap_that_forgets_parameters_fails_where_samples_have_their_own(monkeypatch, fault):
    monkeypatch.setattr(Shifted, "fault", fault)

    def lstm(p, X, h, C):
        every = []
        for s in range(X.shape[1]):
            f, i, g, o = (Shifted.apply(X[:, s] @ p[f"U{k}"] + h @ p[f"V{k}"], p[f"b{k}"]) for k in "figo")
            C = torch.sigmoid(f) * C + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(C)
            every.append(h)
        return torch.stack(every, 1), C

    target = adapter.function_target(lstm, "lstm", 4)
    found = claim(target, "samples apart")
    assert found.verdict is (Verdict.FAIL if fault else Verdict.PASS)
    assert not fault or "each with parameters of its own, of sample 1 by itself, " in found.discrepancy.message


def test_what_can_be_differentiated_once_is_unsupported_in_its_own_words():
    target = lstm_of(Once.apply)
    second, forwards = (claim(target, name) for name in ("second order", "forward mode"))
    assert (second.verdict, forwards.verdict) == (Verdict.UNSUPPORTED, Verdict.UNSUPPORTED)
    assert "once_differentiable" in second.reason
    assert "jvp" in forwards.reason


def test_what_is_kept_of_weights_is_stale_after_a_step():
    kept = {}

    def seen(p):
        # As a buffer packed once for the tensor that it was made of.
        if kept.get("of") is not p["Vf"]:
            kept.update(of=p["Vf"], V=p["Vf"].detach().clone())
        return {**p, "Vf": p["Vf"] + (kept["V"] - p["Vf"]).detach()}

    found = claim(lstm_of(torch.tanh, seen), "training")
    assert found.verdict is Verdict.FAIL
    assert "after an optimizer's step, " in found.discrepancy.message


class Step(torch.autograd.Function):
    """What a step does with the gates' linear activations and the memory; autograd hands it only what there is."""

    fault = ""

    @staticmethod
    def forward(ctx, k, C):
        ctx.set_materialize_grads(False)
        f, i, g, o = k.chunk(4, 1)
        f, i, g, o = f.sigmoid(), i.sigmoid(), g.tanh(), o.sigmoid()
        ctx.save_for_backward(f, i, g, o, C)
        C = f * C + i * g
        return o * C.tanh(), C

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dh, dCn):
        f, i, g, o, Cp = ctx.saved_tensors
        C = (f * Cp + i * g).tanh()
        missing = torch.ones_like if Step.fault == "None" else torch.zeros_like
        dh = torch.zeros_like(C) if dh is None else dh
        dC = (missing(C) if dCn is None else dCn) + dh * o * (1 - C * C)
        if Step.fault == "needs_input_grad" and not ctx.needs_input_grad[1]:
            dC = dh * o * (1 - C * C)
        dk = dC * Cp * f * (1 - f), dC * g * i * (1 - i), dC * i * (1 - g * g), dh * C * o * (1 - o)
        if Step.fault == "in place":
            Cp.mul_(f)
        return torch.cat(dk, 1), dC * f


@pytest.mark.parametrize("fault", ["", "in place"])
def test_a_backward_that_writes_to_what_it_is_given_fails_at_the_second_pullback(monkeypatch, fault):
    monkeypatch.setattr(Step, "fault", fault)

    def lstm(p, X, h, C):
        every = []
        for s in range(X.shape[1]):
            h, C = Step.apply(torch.cat([X[:, s] @ p[f"U{k}"] + h @ p[f"V{k}"] + p[f"b{k}"] for k in "figo"], 1), C)
            every.append(h)
        return torch.stack(every, 1), C

    found = claim(adapter.function_target(lstm, "lstm", 4), "second pullback")
    assert found.verdict is (Verdict.FAIL if fault else Verdict.PASS)
    assert not fault or "modified by an inplace operation" in found.discrepancy.message


@pytest.mark.parametrize(
    ("fault", "question"),
    [("", ""), ("None", "absent cotangents"), ("needs_input_grad", "inputs without gradient")],
)
def test_a_function_of_autograd_that_is_asked_in_part_fails_by_it(monkeypatch, fault, question):
    monkeypatch.setattr(Step, "fault", fault)

    def lstm(p, X, h, C):
        every = []
        for s in range(X.shape[1]):
            k = torch.cat([X[:, s] @ p[f"U{k}"] + h @ p[f"V{k}"] + p[f"b{k}"] for k in "figo"], 1)
            h, C = Step.apply(k, C)
            every.append(h)
        return torch.stack(every, 1), C

    target = adapter.function_target(lstm, "lstm", 4)
    asked = ("absent cotangents", "inputs without gradient")
    # At a single step the memory before it is C0, which no gradient may be required of.
    cases = [replace(CASE, s=1, cotangents=kind, seed=seed) for kind in ("every", "every+C") for seed in range(3)]
    reports = [verify_case(target, case, properties=asked) for case in cases]
    assert {one.name for report in reports for one in report.failures} == {question} - {""}
