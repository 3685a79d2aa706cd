"""A program for `exec:`, right in Python with `lstm_ref`, that can be told to misbehave at its nth line."""

import json
import os
import signal
import subprocess
import sys
import time


def answer(request):
    # Only now, so that what goes wrong does so at once.
    import numpy as np

    from lstm_ref import LSTM

    m, s, e, u = request["sizes"].values()
    dtype = request["dtype"]
    shapes = {"U": (e, u), "V": (u, u), "b": (1, u), "X": (m, s, e), "h": (m, u), "C": (m, u)}
    given = {
        name: np.array([float.fromhex(x) for x in numbers], dtype).reshape(shapes[name[0]])
        for name, numbers in request["inputs"].items()
    }
    layer = LSTM(u, sequences=True, dtype=dtype)
    layer.compute_shapes(given["X"])
    layer.p = {name: value for name, value in given.items() if name not in ("X", "h0", "C0")}
    found = {"h": layer.forward(given["X"], given["h0"], given["C0"]), "Cn": layer.fc["C_"][:, -1]}
    if "cotangents" in request:
        dh, dhn, dCn = (
            np.array([float.fromhex(x) for x in request["cotangents"][name]], dtype) for name in ("dh", "dhn", "dCn")
        )
        found["dX"] = layer.backward(dh.reshape(m, s, u), dhn.reshape(m, u), dCn.reshape(m, u))
        layer.compute_gradients()
        found |= {**layer.g, "dh0": layer.bc["dh0"], "dC0": layer.bc["dC0"]}
    lists = {name: [float(x).hex() for x in np.ravel(value)] for name, value in found.items()}
    result = {"id": request["id"], "outputs": {name: lists.pop(name) for name in ("h", "Cn")}}
    return result | ({"gradients": lists} if lists else {})


def misbehave(how, request):
    """Return what to write in place of the right answer."""
    if how == "exit":
        print("first words", "no weights here", sep="\n", file=sys.stderr, flush=True)
        sys.exit(3)
    if how == "end":
        sys.exit(0)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang":
        print("thinking", file=sys.stderr, flush=True)
        time.sleep(600)
    if how == "deaf":  # a child keeps the pipes open when the parent is gone
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        time.sleep(600)
    if how == "half-hang":
        sys.stdout.write('{"id": 1, "outp')
        sys.stdout.flush()
        time.sleep(600)
    result = answer(request)
    if how == "half":
        sys.stdout.write(json.dumps(result)[:30])
        sys.stdout.flush()
        sys.exit(0)
    if how == "no-float64" and request["dtype"] == "float64":
        return json.dumps({"id": request["id"], "error": "single precision only"})
    gradients, outputs = result.get("gradients", {}), result["outputs"]
    if how == "lacking":
        gradients.pop("dX", None)
        gradients |= {"dh0": None} if gradients else {}
        result["unsupported"] = ["dhn", "dCn"]
    if how == "no-states":
        result["unsupported"] = ["initial states"]
    if how == "forward":
        result.pop("gradients", None)
    if how == "decimal":
        for numbers in (*outputs.values(), *gradients.values()):
            numbers[:] = [float.fromhex(x) for x in numbers]
    if how == "greedy":
        bytearray(2**29)
    if how == "chatty":
        print("." * 2_000_000, file=sys.stderr, flush=True)
    if how == "nan":
        outputs["h"][0] = "-nan"
    if how == "short" and gradients:
        gradients["dUf"].append("0x0p+0")
    if how == "double" and gradients:
        gradients["dUf"][0] = (0.1).hex()
    if how == "reversed" and gradients:
        gradients["dVo"] = gradients["dVo"][::-1]
    texts = {
        "garbage": "loading model ...",
        "number": "17",
        "two-lines": json.dumps(result) + "\n" + json.dumps(result),
        "bytes": "\x00\udcff",
        "deep": "[" * 100_000,
        "endless": "[" + "1, " * 3_000_000,
        "other-id": json.dumps(result | {"id": 99}),
        "no-list": json.dumps(result | {"outputs": {"h": 1.0}}),
        "word": json.dumps(result | {"outputs": {"h": ["0.5"]}}),
        "huge": json.dumps(result | {"outputs": {"h": [10**400]}}),
        "other-name": json.dumps(result | {"outputs": outputs | {"hn": []}}),
        "unknown": json.dumps(result | {"unsupported": ["dW"]}),
        "error": json.dumps({"id": request["id"], "error": "u is 3, only 8 will do"}),
    }
    return texts.get(how) or json.dumps(result)


if __name__ == "__main__":
    how, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sys.stdout.reconfigure(errors="surrogateescape")
    for line in sys.stdin:
        request = json.loads(line)
        wrong = first <= request["id"] < last
        print(misbehave(how, request) if wrong else json.dumps(answer(request)), flush=True)
