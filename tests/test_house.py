"""The house: every room has its place, arrows point down, and a stage imports no other but where it is said here."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src/dysconnect"
STAGES = {rules.stem for rules in (ROOT / "workflow/rules").glob("*.smk")} - {"common"}
ALLOWED = {
    ("attribute", "localize"), ("predict", "localize"), ("quality", "localize"), ("stimulate", "localize"),
    ("validate", "localize"), ("report", "localize"), ("report", "quality"), ("tracking", "predict"),
    ("tracking", "report"),
}  # fmt: skip


def lint(folder: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(folder / "src")})


@pytest.fixture
def house(tmp_path):
    """A copy of the library and its contracts, to build in."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(LIBRARY, tmp_path / "src/dysconnect", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def room(name: str) -> str:
    """Room of the library that a module lies in."""
    return name.split(".")[1]


def stage_imports() -> set[tuple[str, str]]:
    """Pairs of stages of which the first imports the second."""
    pairs = set()
    for path in LIBRARY.rglob("*.py"):
        stage = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dysconnect."):
                pairs.add((stage, room(node.module)))
    return {(one, other) for one, other in pairs if one != other and {one, other} <= STAGES}


def test_stages_import_only_what_is_said_here():
    assert stage_imports() <= ALLOWED
    assert len(ALLOWED) <= 9


@pytest.mark.slow
def test_a_room_that_nobody_placed_fails_lint(house):
    assert lint(house).returncode == 0
    (house / "src/dysconnect/attic").mkdir()
    (house / "src/dysconnect/attic/__init__.py").write_text("")
    broken = lint(house)
    assert broken.returncode != 0
    assert "attic" in broken.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "module, line",
    [
        ("data/memory.py", "from dysconnect.learning import seeds"),
        ("preprocess/engine.py", "from dysconnect.acquire import local"),
        ("localize/power.py", "import matplotlib"),
        ("evaluate/power.py", "import mlflow"),
        ("acquire/local.py", "import snakemake"),
        ("learning/estimators.py", "from dysconnect.learning import saved"),
    ],
)
def test_an_arrow_that_points_up_fails_lint(house, module, line):
    path = house / "src/dysconnect" / module
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    assert lint(house).returncode != 0
