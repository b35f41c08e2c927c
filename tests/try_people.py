"""Damage a participants table in thousands of ways: it is refused by name, or whoever is kept has values in range.

Run before a release (`python tests/try_people.py 3000`, about a minute); `test_people_tables.py` takes a sample.
"""

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from dysconnect.acquire.people import read_people
from dysconnect.reading.cells import is_missing

SPEC = {
    "name": "study", "kind": "local", "contrast": {"cases": ["P"], "controls": ["C"]},
    "covariates": ["age", "sex", "site", "mean_fd", "moca"],
}  # fmt: skip
NAMES = ["participant_id", "group", "age", "sex", "site", "mean_fd", "moca", "notes"]
CELLS = [
    "", "n/a", "-9999", "999", "1971", "55-60", "34,5", "M ", "Mixed", "1", "true", "1e400", '"', "''", "dito",
    "CLINIC", "p", "None", "0", "-1", "nan", "a\u00a0b", "#N/A", "inf", "34y", "89+",
]  # fmt: skip


def damaged(rng: random.Random) -> tuple[str, bool]:
    """A table with one to three cells replaced; in some a tab is doubled, which shifts a row."""
    rows = [
        [f"sub-{k:02d}", "PC"[k % 2], str(30 + k), "MF"[k // 2 % 2], "clinic", "0.1", str(20 + k), "ok"]
        for k in range(1, 13)
    ]
    for _ in range(rng.randint(1, 3)):
        rng.choice(rows)[rng.randrange(len(NAMES))] = rng.choice(CELLS)
    lines = ["\t".join(cells) for cells in [NAMES, *rows]]
    shifted = rng.random() < 0.1
    if shifted:
        place = rng.randrange(1, len(lines))
        lines[place] = lines[place].replace("\t", "\t\t", 1)
    return rng.choice(["\n", "\r\n"]).join([*lines, ""]), shifted


def judge(seed: int, folder: Path) -> str:
    """Read one damaged table; say what became of it."""
    text, shifted = damaged(random.Random(seed))
    (folder / "participants.tsv").write_bytes(text.encode())
    try:
        table = read_people(SPEC, folder).table
    except ValueError as error:
        assert f"{folder / 'participants.tsv'}" in str(error), (seed, error)
        return "refused"
    kept = table[table["exclusion_reason"] == ""]
    assert not shifted and len(table) == 12, seed
    assert kept["age"].between(0, 120).all() and kept["sex"].isin(["F", "M"]).all() and kept["moca"].notna().all(), seed
    assert (kept["mean_fd"].isna() | kept["mean_fd"].between(0, 50)).all() and kept["group"].isin(["P", "C"]).all(), (
        seed
    )
    assert not kept["site"].map(is_missing).any() and table["exclusion_reason"].str.len().max() <= 300, seed
    return f"{12 - len(kept)} left out"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(Counter(judge(seed, Path(place)) for seed in range(int(sys.argv[1]))).most_common())
