"""`lstm-checks convert`: carry the weights of recurrent layers from one framework's layout to another's."""

import argparse
import sys
from typing import Any

from lstm_checks.commands import common
from lstm_checks.commands.common import OK, UsageError


def add(commands: Any) -> None:
    """Add the command."""
    parser = common.add_command(
        commands,
        "convert",
        run,
        help="carry weights from one framework's layout to another's",
        description=(
            "Carry the weights of the LSTMs, GRUs and RNNs in a file, in layers and directions, with projections and "
            "peepholes, from one framework's layout to another's."
        ),
        epilog="exit code: 0 converted; 2 nothing was written",
    )
    parser.add_argument("--layouts", action=_Layouts, nargs=0, help="list the layouts, and stop")
    parser.add_argument("source", metavar="IN", help="a file .npz or .safetensors")
    parser.add_argument("destination", metavar="OUT", help="a file .npz or .safetensors, replaced in one step")
    parser.add_argument("--from", dest="from_layout", required=True, metavar="LAYOUT", help="the layout it is in")
    parser.add_argument("--to", dest="to_layout", required=True, metavar="LAYOUT", help="the layout wanted")
    parser.add_argument("--module", metavar="NAME", help="convert this module alone, e.g. encoder.lstm")
    parser.add_argument("--no-bias", action="store_true", help="take biases that are missing as zero")
    parser.add_argument("--units", type=common.positive, metavar="U", help="units, where the layout does not tell")
    parser.add_argument("--cell", metavar="NAME", help="gru or gru_reset_after, where the arrays do not tell")
    parser.add_argument("--quiet", action="store_true", help="print nothing unless something is wrong")


def run(options: argparse.Namespace) -> int:
    """Return the exit code of `convert`."""
    common.expect_apart(
        [("the converted weights", options.destination)], read=[("the file they come from", options.source)]
    )
    from lstm_checks.weights.files import WeightsError, convert, read_arrays, write_arrays
    from lstm_checks.weights.layouts import LayoutError, find_layout

    try:
        source, target = find_layout(options.from_layout), find_layout(options.to_layout)
        arrays, told = convert(
            read_arrays(options.source),
            source,
            target,
            module=options.module,
            bias=not options.no_bias,
            units=options.units,
            cell=options.cell,
        )
        write_arrays(options.destination, arrays)
    except (LayoutError, WeightsError) as error:
        raise UsageError(str(error)) from error
    if not options.quiet:
        told += [f"  {name} {array.shape}" for name, array in arrays.items()]
        told.append(f"{source.name} ({source.evidence}) -> {target.name} ({target.evidence}): {options.destination}")
        common.emit("\n".join(told), sys.stdout)
    return OK


class _Layouts(argparse.Action):
    """Prints what layouts there are."""

    def __call__(self, parser: argparse.ArgumentParser, *ignored: object) -> None:
        from lstm_checks.weights.layouts import LAYOUTS

        told = []
        for layout in LAYOUTS.values():
            by_name = layout.gates == "by name"
            told.append(f"{layout.name} ({layout.evidence}): {layout.of}")
            told += [f"    {block.name} {block.formula}" for block in layout.blocks if not by_name]
            added = f"; {layout.forget_bias:g} is added to f at run time" if layout.forget_bias else ""
            told.append(f"    gates {'by name' if by_name else ' '.join(layout.gates)}{added}")
            told.append(f"    biases {layout.biases}; {layout.activations}; state {layout.state}")
        common.emit("\n".join(told), sys.stdout)
        parser.exit(0)
