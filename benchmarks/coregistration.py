"""BOLD to T1w on simulated heads: error at region centres and at the edge of the brain, and CPU time.

python benchmarks/coregistration.py [--cases 12] [--first 0]
Each case is another head, displaced by up to 20 mm and 20 degrees, with noise and a bias of brightness; by chance with
little contrast, a slab of 70 mm instead of the whole brain, signal lost above the sinuses and the ear canals. Nothing
is written: a case takes about 5 CPU-s, most of it the making.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_coregistration import anatomy_of, bold, far

from dysconnect.anatomy.registration import register_bold


def drawn(rng: np.random.Generator) -> dict[str, float]:
    """What is wrong with a case."""
    return {
        "mm": rng.uniform(0, 20),
        "degrees": rng.uniform(0, 20),
        "contrast": rng.choice([1, 0.5, 0.25]),
        "noise": rng.uniform(0.01, 0.05),
        "bias": rng.uniform(0, 0.5),
        "slices": int(rng.choice([36, 14])),
        "loss": rng.choice([0, 0.9]),
    }


def main() -> None:
    """Run the cases, print each and all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    options = parser.parse_args()
    means = []
    for seed in range(options.first, options.first + options.cases):
        case, person = drawn(np.random.default_rng(seed)), anatomy_of(1000 + seed)
        scan = bold(person, **case)
        start = time.process_time()
        matrix, _ = register_bold(scan.image, scan.affine, scan.mask, person.anatomy)
        took, error = time.process_time() - start, far(person, scan, matrix)
        means.append(error.mean())
        print(f"{seed}: mean {means[-1]:.2f}, most {error.max():.2f} mm, {took:.1f} CPU-s;", end=" ")
        print(", ".join(f"{name} {value:.3g}" for name, value in case.items()), flush=True)
    print(f"{len(means)} cases: mean {np.mean(means):.2f}, worst mean {np.max(means):.2f} mm")


if __name__ == "__main__":
    main()
