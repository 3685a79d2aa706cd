"""Targets that misbehave: what they do, times where they do it, times what kind of target they are.

Each has the verdict that it must get: a failure, a pass where it is right all the same, or that it cannot be had, said
in a plain sentence. What misbehaves inside a call is planted in an LSTM that is right, so that nothing else fails it.

    python -m benchmarks.hostile            # all of them, some 1,300, in one process; prints what is not as it must be
    python -m benchmarks.hostile --every 20 --command
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lstm_checks import cli
from lstm_checks.cases import Case
from lstm_checks.compare import Verdict
from lstm_checks.judging.case import verify_case
from lstm_checks.targets.load import TargetError
from lstm_checks.workers.remote import Loading

PASS, FAIL, REFUSED = 0, 1, 2
CASES = (Case(2, 2, 1, 3, seed=1), Case(1, 3, 2, 2, cotangents="h+C", seed=2))
SECONDS = 1.5
"""Time limit of a call: of those that hang; the others take milliseconds."""


@dataclass(frozen=True)
class Hostile:
    """One target: its name, its source, and the exit code that judging it must end in."""

    name: str
    source: str
    due: int

    @property
    def hangs(self) -> bool:
        """Whether it must be given a time limit, since it hangs; one that does not may be slow on a busy machine."""
        return any(f"        {what}\n" in self.source or f"\n{what}\n" in self.source for what in HANGS.values())


HEAD = """
import asyncio, atexit, ctypes, enum, os, re, signal, sys, threading, time, warnings
import numpy as np
from collections.abc import Mapping
from lstm_ref import LSTM as Right, lstm_forward

COUNT = 0

def misbehave(**given):
    global COUNT
    COUNT += 1
    if COUNT {when}:
        {what}

class OddText(Exception):
    def __str__(self): raise ValueError("no text")
class OddBase(BaseException):
    def __str__(self): return self.args[5]
class Unpickled(Exception):
    def __reduce__(self): return (os.system, ("touch CANARY",))
class Meta(type):
    @property
    def __name__(cls): raise ValueError("no name")
class OddName(Exception, metaclass=Meta): pass
class Color(enum.Enum):
    RED = "red"
class OddKey:
    def __hash__(self): return 7
    def __str__(self): raise ValueError("no key")
class Name(str): pass
class OddArray:
    shape, ndim = (1, 2), 2
    def __array__(self, *a, **k): raise RuntimeError("no array")
class OddShape:
    @property
    def shape(self): raise SystemExit(0)
class OddLength:
    def __len__(self): return 3
    def __getitem__(self, k): raise RuntimeError("no item")
class Endless(Mapping):
    def __getitem__(self, k): return 0.0
    def __len__(self): return 1
    def __iter__(self):
        while True: yield "dUf"
class Raising(Mapping):
    def __getitem__(self, k): raise KeyError(k)
    def __len__(self): return 1
    def __iter__(self): raise SystemExit(0)
def deep(n=0): return deep(n + 1)
def forked():
    if os.fork(): os._exit(0)
def both():
    os.fork()
"""

LAYER = """
class target(Right):
    def forward(self, X, h0=None, C0=None):
        {forward}
        A = super().forward(X, h0, C0)
        h, Cn = A, self.fc["C_"][:, -1]
        {returned}
        return h
    def backward(self, dA, dhn=None, dCn=None):
        {backward}
        return super().backward(dA, dhn, dCn)
    def compute_gradients(self):
        super().compute_gradients()
        gradients = self.g
        {gradients}
        self.g = gradients
"""

FUNCTION = """
def target(p, X, h0, C0):
    {forward}
    layer = Right(p["Vf"].shape[-1], sequences=True)
    layer.compute_shapes(X)
    layer.initialize_parameters()
    for name in layer.p: layer.p[name][...] = p[name]
    h = layer.forward(X, h0, C0)
    Cn = layer.fc["C_"][:, -1].copy()
    {returned}
    def pullback(dh, dCn):
        {backward}
        dX = layer.backward(dh, np.zeros_like(dCn), dCn)
        layer.compute_gradients()
        gradients = {{**layer.g, "dX": dX, "dh0": layer.bc["dh0"], "dC0": layer.bc["dC0"]}}
        {gradients}
        return gradients
    return (h, Cn), pullback
"""

TORCH = """
import torch
class target(torch.nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.inner = torch.nn.LSTM(input_size, hidden_size, batch_first=True)
    def forward(self, X, states):
        {forward}
        h, states = self.inner(X, states)
        {returned}
        return h, states
"""

# What is raised or done inside a call, and what must be said: whatever ends a call or its process is a failure.
ENDS = {
    "exception": "raise RuntimeError('no memory')",
    "exit 0": "sys.exit()",
    "exit text": "sys.exit('bye')",
    "interrupt": "raise KeyboardInterrupt",
    "generator exit": "raise GeneratorExit",
    "cancelled": "raise asyncio.CancelledError",
    "stop iteration": "raise StopIteration",
    "pytest skip": "import pytest; pytest.skip('not today')",
    "pytest exit": "import pytest; pytest.exit('done', 0)",
    "pytest xfail": "import pytest; pytest.xfail('known')",
    "unittest skip": "import unittest; raise unittest.SkipTest",
    "text raises": "raise OddText",
    "base text raises": "raise OddBase('x')",
    "reduce": "raise Unpickled",
    "name raises": "raise OddName",
    "long text": "raise ValueError('x' * 10**6)",
    "escapes": "raise ValueError(chr(27) + '[2J' + chr(0xd800))",
    "lines": "raise ValueError(chr(10) * 3 + 'late' + chr(10) + 'PASS')",
    "group": "raise ExceptionGroup('many', [ValueError('one')])",
    "assertion": "assert False",
    "recursion": "deep()",
    "no memory": "raise MemoryError",
    "huge array": "np.zeros((10**9, 10**9))",
    "contract": "from lstm_checks.contract import ContractError; raise ContractError('mine')",
    "time limit": "from lstm_checks.contract import TimeLimitError; raise TimeLimitError('mine')",
    "mistrust": "from lstm_checks.properties.noise import BrokenAnswerError; raise BrokenAnswerError('h', 'mine')",
    "hypothesis": "import hypothesis; hypothesis.reject()",
    "input": "input()",
    "os exit 0": "os._exit(0)",
    "os exit 1": "os._exit(1)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminate": "os.kill(os.getpid(), signal.SIGTERM)",
    "segmentation fault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "exec true": "os.execv('/bin/true', ['true'])",
    "forked parent ends": "forked()",
    "all descriptors closed": "os.closerange(0, 256)",
    "answers garbled": "[os.write(k, b'x' * 99) for k in range(3, 9) if os.path.exists(f'/proc/self/fd/{k}')]",
    "deleted name": "nothing_here",
}  # fmt: skip

HANGS = {
    "sleep": "time.sleep(10**6)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "alarm blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 30)); time.sleep(10**6)",
    "in C": "re.match(r'(a|a)*b', 'a' * 40)",
    "exec sleep": "os.execv('/bin/sleep', ['sleep', '1000'])",
    "swallowed": "exec('while True:\\n try:\\n  time.sleep(0.2)\\n except BaseException: pass')",
}

# What a right LSTM may do to the interpreter and remain right.
QUIET = {
    "recursion limit": "sys.setrecursionlimit(120)",
    "seterr": "np.seterr(all='raise')",
    "print options": "np.set_printoptions(legacy='1.13', precision=1)",
    "warnings": "warnings.simplefilter('error')",
    "prints": "print('PASS  all is well')",
    "prints much": "print('x' * 10**5)",
    "prints bytes": "os.write(1, bytes(range(128, 256)))",
    "stderr": "sys.stderr.write('lstm-checks: nothing was judged')",
    "stdout closed": "sys.stdout.close() if sys.stdout is not sys.__stderr__ else None",
    "first stdout closed": "sys.__stdout__.close()",
    "descriptor 1 closed": "os.close(1) if os.path.exists('/proc/self/fd/1') else None",
    "stdin closed": "os.close(0) if os.path.exists('/proc/self/fd/0') else None",
    "atexit": "atexit.register(os._exit, 0)",
    "atexit raises": "atexit.register(deep)",
    "handlers": "[signal.signal(k, signal.SIG_IGN) for k in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)]",
    "alarm": "signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.alarm(1)",
    "seed": "np.random.seed(0)",
    "np.dot": "np.dot = lambda *a: 0",
    "np.max": "np.max = np.all = np.abs = lambda *a, **k: True",
    "folder": "os.chdir('/')",
    "environment": "os.environ.clear()",
    "module path": "sys.path.clear()",
    "thread": "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    "child": "import subprocess; subprocess.Popen(['sleep', '5'], start_new_session=True)",
    "both forks": "both() if COUNT < 3 else None",
    "verdict": "import lstm_checks.compare as c; c.Verdict = None",
    "exit codes": "sys.exit = os._exit = lambda *a: None",
    "trace": "sys.settrace(lambda *a: None)",
    "print": "import builtins; builtins.print = None",
}

# What a call is given, and what may be done to it: locking is allowed, writing is not.
INPUTS = {
    "X locked": ("X.setflags(write=False)", PASS),
    "p gets a key": ("p['seen'] = 1", PASS),
    "X written": ("X[...] = X + 1; X -= 0", FAIL),
    "X flattened": ("KEEP = X.copy(); X.shape = (X.size,); X = KEEP", FAIL),
    "X of bytes": ("KEEP = X.copy(); X.dtype = np.uint8; X = KEEP", FAIL),
    "X grown": ("KEEP = X.copy(); X.resize((99,), refcheck=False); X = KEEP", FAIL),
    "h0 written": ("h0 += 1", FAIL),
}  # fmt: skip

# What is returned as one tensor, in place of what is due.
VALUES = {
    "None": "None", "list": "{}.tolist()", "string": "'zero'", "number": "0.0", "scalar": "np.float64(0)",
    "empty list": "[]", "ragged": "[[1], [1, 2]]", "dict": "{{}}", "type": "int", "function": "print",
    "raising array": "OddArray()", "raising shape": "OddShape()", "raising length": "OddLength()",
    "object array": "np.array([None])", "object array of its shape": "{}.astype(object)", "complex": "{} + 0j",
    "whole numbers": "{}.astype(int)", "half": "{}.astype('f2')", "single": "{}.astype('f4')",
    "other bytes": "{}.astype('>f8')", "text array": "{}.astype(str)", "bytes": "{}.tobytes()", "0-d": "np.array(0.0)",
    "flat": "{}.ravel()", "one more": "{}[None]", "NaN": "{} * np.nan", "infinite": "{} / 0",
    "of no memory": "np.broadcast_to(0.0, (10**7, 10**7))", "times": "{}.astype('M8[s]')",
    "records": "np.zeros(2, 'i4,f8')", "generator": "(x for x in {})", "memory": "memoryview({}.copy())",
}  # fmt: skip
RIGHT_VALUES = {
    "masked": "np.ma.masked_all_like({0}) if False else np.ma.array({0}, mask=True)",
    "matrix": "np.asmatrix({0}) if {0}.ndim == 2 else {0}",
    "column order": "np.asfortranarray({0})",
    "reversed memory": "{0}[::-1].copy()[::-1]",
    "locked": "(lambda a: (a.setflags(write=False), a)[1])({0}.copy())",
}

KEYS = {
    "number": "0", "None as key": "None", "tuple": "('dUf', 1)", "enum": "Color.RED", "raising key": "OddKey()",
    "bytes as key": "b'dUf'", "empty name": "''", "long name": "'x' * 10**5",
    **{f"claim {name}": repr(name) for name in (
        "lstm_ref against complex step", "lstm_ref against check_grad", "check_grad", "second call", "form",
        "inputs kept", "outputs kept", "causality", "nothing else")},
}  # fmt: skip

MAPS = {
    "no gradients": "None", "a list of gradients": "list(gradients.values())", "no gradient at all": "{{}}",
    "raising mapping": "Raising()", "pairs": "list(gradients.items())", "a string": "'dUf'",
    "lacks one": "{{k: v for k, v in gradients.items() if k != 'dUf'}}",
}  # fmt: skip

# Wrong, and out to hide it from whoever judges in the same process.
CHEATS = {
    "report": "import lstm_checks.judging.verify as v; v.CaseReport.failures = property(lambda self: ())",
    "verdict": "import lstm_checks.judging.verify as v; v.CaseReport.verdict = v.Verdict.PASS",
    "compare": "import lstm_checks.judging.verify as v; v.compare = lambda *a: []",
    "accepted": "import lstm_checks.tolerance as t; t.accepted = lambda sd, *a: np.full(sd.shape, np.inf)",
    "exit code": "import lstm_checks.judging.verify as v; v.Report.exit_code = 0",
    "at exit": "atexit.register(os._exit, 0)",
    "stack": "f = sys._getframe(); [f.f_locals.update(expected=None) for _ in range(3)]",
    "later": "sys.exit() if COUNT == 12 else None",
    "modules": "sys.modules['lstm_checks.compare'] = None",
}


def hostile() -> Iterator[Hostile]:
    """Yield all of them."""
    kinds = {"layer": LAYER, "function": FUNCTION}
    # The first few are those that find out what the target is, whose outcome says nothing.
    calls = {"first": "== 1", "seventh": "== 7", "each": ">= 1", "from the eighth on": ">= 8"}
    for kind, template in kinds.items():
        for passed in ("forward", "backward"):
            for when, condition in calls.items():
                for name, what in ENDS.items():
                    if when != "first":
                        yield _made(f"{kind} {passed} {when} {name}", template, FAIL, what, condition, passed)
            for name, what in HANGS.items():
                yield _made(f"{kind} {passed} hangs {name}", template, FAIL, what, "== 7", passed)
            for when in ("first", "each"):
                for name, what in QUIET.items():
                    yield _made(f"{kind} {passed} {when} quiet {name}", template, PASS, what, calls[when], passed)
        for name, what in {**ENDS, **HANGS}.items():
            yield _made(f"{kind} import {name}", template, REFUSED, top=what)
        for name, what in QUIET.items():
            yield _made(f"{kind} import quiet {name}", template, PASS, top=what)
        for name, (what, due) in INPUTS.items():
            if kind == "function" or "p[" not in what:
                yield _made(f"{kind} inputs {name}", template, due, forward=what)
        for name, value in {**VALUES, **RIGHT_VALUES}.items():
            due = PASS if name in RIGHT_VALUES else FAIL
            # A layer's dict is read as NumPy reads it; a gradient that a function says to be None is unsupported.
            kept = PASS if name in (("list", "memory") if kind == "layer" else ("None",)) else due
            for tensor in ("dVi", "dbo") if kind == "layer" else ("dVi", "dX", "dC0"):
                expression = value.format(f"gradients['{tensor}']")
                line = f"gradients['{tensor}'] = {expression}"
                yield _made(f"{kind} {tensor} {name}", template, kept, gradients=line)
            outputs = ("h",) if kind == "layer" else ("h", "Cn")
            for tensor in outputs:
                if not (tensor == "Cn" and name == "None"):  # allowed: it has none
                    line = f"{tensor} = {value.format(tensor)}"
                    yield _made(f"{kind} {tensor} {name}", template, due, returned=line)
        for name, key in KEYS.items():
            line = f"gradients = {{**gradients, {key}: gradients['dVi']}}"
            yield _made(f"{kind} key {name}", template, FAIL, gradients=line)
        for name, value in MAPS.items():
            # A function without gradients goes forward only, and that is said.
            due = PASS if (kind, name) == ("function", "no gradient at all") else FAIL
            yield _made(f"{kind} map {name}", template, due, gradients=f"gradients = {value.format()}")
        for name, what in CHEATS.items():
            wrong = "gradients['dVi'] = gradients['dVi'] * 1.5; "
            yield _made(f"{kind} cheat {name}", template, FAIL, what, ">= 1", "forward", gradients=wrong)
            if name != "later":
                yield _made(f"{kind} cheat {name} at import", template, FAIL, top=what, gradients=wrong)
    for name, what in ENDS.items():
        yield _made(f"torch {name}", TORCH, FAIL, what, "== 30", "forward")


def _made(
    name: str,
    template: str,
    due: int,
    what: str = "pass",
    when: str = "< 0",
    passed: str = "",
    top: str = "",
    **at: str,
) -> Hostile:
    """Return a target from its parts; `what` is done in one of the passes, `top` when it is imported."""
    places = dict.fromkeys(("forward", "returned", "backward", "gradients"), "pass") | at
    if passed:
        places[passed] = "misbehave()"
    head = HEAD.replace("{when}", when).replace("{what}", what)
    return Hostile(name, f"{head}\n{top}\n{template.format(**places)}", due)


def judge(one: Hostile, folder: Path) -> tuple[int, str]:
    """Return the exit code that a target comes to on two small cases, and a sentence."""
    path = folder / "hostile_target.py"
    path.write_text(one.source, errors="surrogatepass")
    said: list[str] = []
    with Loading(f"{path}:target", SECONDS if one.hangs else None, say=said.append) as loading:
        try:
            target = loading.target()
        except TargetError as error:
            return REFUSED, str(error)
        for case in CASES:
            report = verify_case(target, case)
            if report.mistrusted:
                return REFUSED, "the harness is mistrusted"
            if report.failures:
                return FAIL, report.failures[0].discrepancy.message  # type: ignore[union-attr]
            if report.verdict is Verdict.UNSUPPORTED:
                return REFUSED, f"{case.descriptor} is unsupported"
        return PASS, ""


def judge_by_command(one: Hostile, folder: Path) -> tuple[int, str]:
    """Return the exit code of the command, and what it printed."""
    path = folder / "hostile_target.py"
    path.write_text(one.source, errors="surrogatepass")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        arguments = ["verify", f"{path}:target", "--examples", "3", "--max-dims", "2,3,2,3"]
        arguments += ["--timeout", str(SECONDS)] if one.hangs else []
        code = cli.main(arguments)
    said = printed.getvalue()
    # What is of another form at every size is said before any example is drawn.
    return (FAIL if code == REFUSED and "is not in the form of" in said else code), said


def main() -> int:
    """Return 0 if each got the verdict that it must get."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="from the Nth on")
    parser.add_argument("--command", action="store_true", help="by the whole command, diagnosis and report included")
    options = parser.parse_args()
    chosen = list(hostile())[options.start :: options.every]
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(chosen, options.start):
            begun = time.perf_counter()
            code, said = (judge_by_command if options.command else judge)(one, Path(folder))
            seconds = time.perf_counter() - begun
            right = code == one.due and "fault of lstm-checks" not in said and "Traceback" not in said
            counts["as it must be" if right else f"{one.due} due, {code} came"] += 1
            if not right or seconds > 60:
                print(f"{number} {one.name}: {code}, due {one.due}, {seconds:.1f} s; {said[-300:]}", flush=True)
    print(f"{len(chosen)} targets, {time.perf_counter() - start:.0f} s: {dict(counts)}")
    return 0 if set(counts) == {"as it must be"} else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
