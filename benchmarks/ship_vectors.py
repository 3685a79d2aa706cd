"""Write the certified vectors of every cell but the plain one, and of networks, where they ship; print their digests.

``python -m benchmarks.ship_vectors`` (`pip install -e '.[certify]'`), some minutes. The digests belong into `SHIPPED`
of `lstm_checks/certified/read.py`: what lies in the package and has another is refused.
"""

import hashlib
from pathlib import Path

from lstm_checks.certified.read import NETWORKS
from lstm_checks.certified.write import SHIPPED_NETWORKS, cases_of_cell, write_vectors
from lstm_ref.cells import CELLS, cell_named

DATA = Path(__file__).resolve().parents[1] / "checks" / "lstm_checks" / "data"


def main() -> None:
    """Write them all."""
    of_cells = {name: cases_of_cell(cell) for name, cell in CELLS.items() if name != "plain"}
    of_networks = tuple(case for name in SHIPPED_NETWORKS for case in cases_of_cell(cell_named(name)))
    for name, cases in (of_cells | {NETWORKS: of_networks}).items():
        path = DATA / f"vectors-{name}.json"
        write_vectors(path, cases)
        data = path.read_bytes()
        print(f'    "{name}": ("{path.name}", "{hashlib.sha256(data).hexdigest()}"),  # {len(data) / 1e3:.0f} kB')


if __name__ == "__main__":
    main()
