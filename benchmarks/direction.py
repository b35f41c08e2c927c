"""Accuracy of direction by length, repetition time, size and response, and by the penalty of the ridge.

python benchmarks/direction.py [--networks 20]
Prints a table: correlation with the truth and share of pairs with the right direction (chance 0.50). One CPU, a minute.
"""

import argparse

from dysconnect.dynamics.direction import direction_accuracy
from dysconnect.dynamics.lagged import PENALTY

SCANS = [(20, 400, 0.9), (20, 360, 2.0), (20, 4000, 0.9), (60, 400, 0.9), (60, 360, 2.0), (60, 4000, 0.9)]
RESPONSES = {"none": None, "equal": 0.0, "sd 0.5 s": 0.5, "sd 1 s": 1.0}
PENALTIES = (0.0, 0.02, 0.1, PENALTY, 0.5, 1.0)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=20)
    networks = parser.parse_args().networks
    print(f"| regions | volumes, TR | response | correlation | direction |\n|{'---|' * 5}")
    for regions, volumes, seconds in SCANS:
        for name, spread in RESPONSES.items():
            seen = direction_accuracy(regions, volumes, seconds, spread, networks=networks)
            accuracy = f"{seen.correlation:.2f} ± {seen.correlation_error:.2f} | {seen.direction:.2f} ± "
            print(f"| {regions} | {volumes}, {seconds} s | {name} | {accuracy}{seen.direction_error:.2f} |", flush=True)
    print(f"\n| penalty | 10 regions | 20 regions |\n|{'---|' * 3}")
    for penalty in PENALTIES:
        cells = [direction_accuracy(n, 400, 0.9, 1.0, networks=networks, penalty=penalty) for n in (10, 20)]
        print(f"| {penalty} | " + " | ".join(f"{seen.correlation:.2f}, {seen.direction:.2f}" for seen in cells) + " |")


if __name__ == "__main__":
    main()
