"""The command of the museum: judges every exhibit, and writes docs/museum.md.

python -m benchmarks.museum_page                     # all of them; an hour on a busy machine
python -m benchmarks.museum_page --only mxnet        # those with that in their name
python -m benchmarks.museum_page --show mxnet-4057   # what is changed in one, as a diff
"""

import argparse
from collections.abc import Mapping
from typing import Any

from benchmarks.museum import (
    CHECK_GRAD,
    EXAMPLES,
    EXHIBITS,
    JAX,
    MAX_DIMS,
    OTHERS_EXAMPLES,
    ROOT,
    SEED,
    TORCH,
    Exhibit,
    exhibits,
    faults_named,
    is_named,
    is_placed,
    judge,
    read,
    read_said,
    save_said,
)

PAGE = ROOT / "docs" / "museum.md"

ONCE_UNSAID = {
    "directions": ("r-net-13", "paddle-27644", "tvm-15261", "onnx2c-95", "webnn-baseline-123"),
    "layers": ("pytorch-examples-167", "tensorflow-models-2878", "mxnet-17872", "pytorch-95137"),
    "lengths and masks": ("deeplearning4j-1030", "keras-4192", "opennmt-306", "ray-21392", "astnn-28"),
    "peepholes": ("lasagne-448", "convolutional_lstm_pytorch-20"),
    "other cells": ("darknet-636", "gru-d-2", "rnn-2", "onnxruntime-3893", "aidotnet-722-gru"),
    "peepholes with a projection": (),
    "low precision": ("pytorch-4611",),
    "second order": ("tensorflow-5985", "pytorch-58509"),
    "clipped memories": ("allennlp-862",),
}
"""The kinds of reports that could not be said of a plain LSTM of one layer in float64, and the exhibits of each."""

HEAD = "| year | project | form | what was wrong | seen at | `verify` says | line | fix | the others |"


def row(exhibit: Exhibit, said: Mapping[str, Any]) -> str:
    """Return the exhibit's row of the page's table."""
    named = ", ".join(f"`{fault}`" for fault in said["suspects"] if fault != "slip")
    slips = "; ".join(title for fault, title in said["suspects"].items() if fault == "slip")
    failing = ", ".join(said["failed"][:3])
    told = [line for line in (*said["sentences"], failing) if any(part in line for part in exhibit.told)]
    says = named or slips or (*told, *said["sentences"], f"wrong: {failing}")[0]
    right = "named" if is_named(exhibit, said) else "not named"
    lines = None if is_named(exhibit, said) else said.get("lines")
    line = "-" if lines is None else "none" if not lines else "true" if is_placed(exhibit, said) else "another"
    fix = "-" if lines is None else "yes" if said["fix"] else "no"
    others = ", ".join(said["others"][name] for name in (CHECK_GRAD, TORCH, JAX))
    cells = (
        str(exhibit.year),
        f"[{exhibit.project}]({exhibit.link})",
        exhibit.form,
        exhibit.title,
        f"{said['first']} of {said['examples']}",
        f"{right}: {says}".replace("|", "\\|"),
        line,
        fix,
        others,
    )
    return f"| {' | '.join(cells)} |"


def _everything() -> list[tuple[Exhibit, dict[str, Any]]]:
    """Return every exhibit with what is said of it, the oldest first."""
    said = read_said()
    return [(exhibit, said[exhibit.id]) for exhibit in exhibits() if exhibit.id in said]


def figures() -> dict[str, int]:
    """Return the counts that the page begins with."""
    every = _everything()
    asked = [said for _, said in every if set(said["others"].values()) != {"-"}]
    blind = {name: sum(said["others"][name].startswith("0 of") for said in asked) for name in (CHECK_GRAD, TORCH, JAX)}
    return {
        "total": len(every),
        "caught": sum(said["first"] > 0 for _, said in every),
        "named": sum(is_named(*one) for one in every),
        "untrue": sum(not faults_named(said) <= set(exhibit.faults) for exhibit, said in every),
        "told": sum(is_named(*one) or is_placed(*one) for one in every),
        "searched": sum("lines" in said for exhibit, said in every if not is_named(exhibit, said)),
        "placed": sum(is_placed(*one) for one in every if not is_named(*one)),
        "fixed": sum(bool(said.get("fix")) for exhibit, said in every if not is_named(exhibit, said)),
        "asked": len(asked),
        **blind,
    }


def _kinds() -> str:
    """Return the kinds that could not be said of one plain cell, each with its exhibits."""
    held = [kind for kind, names in ONCE_UNSAID.items() if names]
    rows = [f"| {kind} | {', '.join(names) or 'none'} |" for kind, names in ONCE_UNSAID.items()]
    total = sum(map(len, ONCE_UNSAID.values()))
    return "\n".join(
        (
            f"{total} exhibits are of what cannot be said of a plain LSTM of one layer and direction, in float64 and "
            "once differentiated;",
            f"of {len(held)} of these {len(ONCE_UNSAID)} kinds there is one:",
            "",
            "| kind | exhibits |",
            "|---|---|",
            *rows,
        )
    )


def page() -> str:
    """Return the page, of the exhibits and of what was said of them."""
    every, count = _everything(), figures()
    share = round(100 * count["told"] / max(count["total"], 1))
    rows = [HEAD, "|---|---|---|---|---|---|---|---|---|", *(row(*one) for one in every)]
    labels = [
        "\n".join(
            (
                f"### {exhibit.id}",
                "",
                f"{exhibit.wrong}",
                "",
                f"- How long: {exhibit.lived}.",
                f"- Why their tests did not see it: {exhibit.unseen}.",
                f"- Planted in `{exhibit.base}`; `python -m benchmarks.museum_page --show {exhibit.id}` shows how.",
            )
        )
        for exhibit, _ in every
    ]
    return PREFACE.format(share=share, **count, **_SETTINGS) + "\n".join(
        ["", _kinds(), "", *rows, "", "## The exhibits", "", "\n\n".join(labels), ""]
    )


_SETTINGS = {"examples": EXAMPLES, "dims": ",".join(map(str, MAX_DIMS)), "others": OTHERS_EXAMPLES, "seed": SEED}

PREFACE = """# A museum of real bugs

{total} bugs of public record, from trackers and commits, each planted again in code of our own, in the form that it
had: a class or function of NumPy, a torch module or `autograd.Function`, a function of JAX arrays, a C program, an ONNX
model, a Keras layer. No line is anybody else's. An exhibit is a small file in `tests/museum/exhibits`: the changes to a
right layer of that form, which passes where the exhibit fails. `tests/museum/test_museum.py` holds every row.

This page is written by a command, from what lies in `tests/museum/said.json`:

```sh
python -m benchmarks.museum_page
```

## What came of it

- **{caught} of {total} are caught.**
- {named} are named: a fault of the catalogue that the exhibit has is said to be there, with certainty, or an experiment
  of the diagnosis says the same in words. A fault that an exhibit has not is named in {untrue}. {told} of {total}
  ({share} %) are named, or have the line that was changed named first. The line was looked for where nothing is named
  and the source is Python: of {searched}, a line that was changed is named first in {placed}, and an edit that makes
  all examples right is found in {fixed} (on a machine with much else to do, which its seconds do not favour).
- The other ways see less. Of the {asked} that have a gradient in float64, {check_grad} pass
  `scipy.optimize.check_grad` at 1e-5 in all of {others} small examples, {gradcheck} the rules of torch's gradcheck,
  {check_grads} those of JAX's check_grads: where forward and backward pass agree there is nothing for them to see, and
  what lives between calls, or in the way in which a gradient is asked for, they do not ask.
- What a project's own suite of the time said is in its entry below, as far as its report tells; else it is not known.

*Seen at* is the first of the {examples} examples that fails (`--examples {examples} --seed {seed} --max-dims {dims}`;
of 100 where none of these does). *Line*, where it was looked for, is `true` where the line named first was changed,
`another` where it was not, `none` where none is named. *The others* are check_grad, gradcheck and check_grads: in how
many of {others} small float64 examples they reject the gradient, imitated by their steps, directions and tolerances.
"""


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="exhibits with that in their name")
    parser.add_argument("--show", metavar="NAME", help="what is changed in an exhibit, as a diff")
    parser.add_argument("--missing", action="store_true", help="those alone of which nothing has been said yet")
    parser.add_argument("--page", action="store_true", help="judge nothing; write the page from what has been said")
    options = parser.parse_args()
    if options.show:
        print(read(EXHIBITS / f"{options.show}.toml").diff)
        return
    for exhibit in [] if options.page else exhibits(options.only):
        if options.missing and exhibit.id in read_said():
            continue
        said = judge(exhibit)
        save_said(exhibit.id, said)
        told = "named" if is_named(exhibit, said) else "placed" if is_placed(exhibit, said) else "not named"
        print(f"{exhibit.id:28} example {said['first'] or 'none'}  {told}  {said['others']}", flush=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
