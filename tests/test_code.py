"""Which code made a result: found by imports, the same in every checkout, and known to every rule."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dysconnect.commands import DOORS
from dysconnect.keeping.code import DATA, LIBRARY, digest, reached

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow/scripts"


def names(script: str) -> set[str]:
    """Files that a script reaches, as seen from the library."""
    return {str(path.relative_to(LIBRARY)) for path in reached(SCRIPTS / f"{script}.py") if LIBRARY in path.parents}


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("train", "learning/graph/fit.py"),  # by a chain of modules
        ("train", "models/graph/layers.py"),
        ("preprocess", "preprocess/ants.py"),  # inside a function
        ("train", "learning/graph/pretrain.py"),
        ("track", "predict/bundle.py"),
        ("timeseries", "data/atlas/seitzman300.tsv"),  # data beside a module that reads it
        ("report", "report/template.html"),
        ("report", "report/sections/prediction.html"),
        ("report", "report/references.bib"),
        ("report", "paper/style.css"),
        ("attribute", "attribute/measured.tsv"),
        ("splits", "learning/__init__.py"),  # runs, though nothing is taken from it
    ],
)
def test_what_a_script_uses_is_reached(script, module):
    assert module in names(script)


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("download", "learning/graph/fit.py"),  # another network is no reason to fetch 31 GB again
        ("preprocess", "report/template.html"),
        ("preprocess", "report/prediction/figures.py"),
        ("connectivity", "models/dual.py"),
        ("timeseries", "connectivity.py"),
        ("splits", "models/graph/gcn.py"),
        ("acquire", "tracking/runs.py"),
        ("evaluate", "report/prediction/scores.py"),
    ],
)
def test_what_a_script_does_not_use_is_not_reached(script, module):
    assert (LIBRARY / module).exists() and module not in names(script)


def test_the_script_and_what_lies_beside_it_count():
    assert {SCRIPTS / "splits.py", SCRIPTS / "_job.py"} <= set(reached(SCRIPTS / "splits.py"))


def test_all_data_of_the_library_are_reached_by_somebody():
    everything = {path for script in SCRIPTS.glob("*.py") for path in reached(script)}
    data = {path for path in LIBRARY.rglob("*") if path.suffix in DATA}
    doors = {path for door in DOORS for path in reached(LIBRARY / f"commands/{door}.py")}
    assert data and data <= everything | doors


def test_every_rule_with_a_script_takes_its_code_and_no_module_as_input():
    scripts = 0
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"(?m)^ *rule (?=\w+:)", file.read_text())[1:]:
            if found := re.search(r'\.\./scripts/([^"]+)\.py"', rule):
                scripts += 1
                told = re.search(r"code=code\(([^)]*)\)", rule)
                assert told, f"{file.name}: {rule.split(':')[0]}"
                assert told[1].replace("'", '"') == found[1].replace("'", '"').strip("{}") or told[1] == f'"{found[1]}"'
            assert ".py" not in rule.split("output:")[0]
    assert scripts == len(list(SCRIPTS.glob("[!_]*.py"))) - 4  # two rules choose between three scripts each


def test_a_change_is_noticed_within_a_process(tmp_path):
    script = tmp_path / "job.py"
    (tmp_path / "beside.py").write_text("A = 1\n")
    script.write_text("def run():\n    import beside\n    return beside.A\n")
    before = digest(script)
    assert digest(script) == before
    (tmp_path / "beside.py").write_text("A = 22\n")
    assert digest(script) != before


def test_what_only_type_checkers_read_does_not_count(tmp_path):
    text = "from typing import TYPE_CHECKING\n{}:\n    import beside\nelse:\n    import other\n"
    for name in ("beside", "other"):
        (tmp_path / f"{name}.py").touch()
    for condition, expected in (("if TYPE_CHECKING", {"other.py"}), ("if 1", {"beside.py", "other.py"})):
        script = tmp_path / f"{len(condition)}.py"
        script.write_text(text.format(condition))
        assert {path.name for path in reached(script)} == {script.name, *expected}


def test_imports_are_found_in_every_form(tmp_path):
    forms = (
        "import dysconnect.models.dual",
        "import dysconnect.models.dual as dual",
        "from dysconnect.models import dual",
        "try:\n    pass\nexcept ValueError:\n    from dysconnect.models.dual import DualRidge",
        "match 1:\n    case 1:\n        from dysconnect.models.dual import (\n            DualRidge,\n        )",
        "class A:\n    async def f(self):\n        with self:\n            import dysconnect.models.dual",
    )
    for number, form in enumerate(forms):
        script = tmp_path / f"{number}.py"
        script.write_text(form)
        assert LIBRARY / "models/dual.py" in reached(script), form


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Another place of the library and the scripts, with new times."""
    folder = tmp_path_factory.mktemp("a b") / "elsewhere"
    shutil.copytree(
        LIBRARY, folder / "src/dysconnect", ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
    )
    shutil.copytree(SCRIPTS, folder / "workflow/scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def there(checkout: Path, *scripts: str) -> list[str]:
    """Digests in a checkout, seen by a fresh process."""
    code = "import sys; from dysconnect.keeping.code import digest; print(*(digest(path) for path in sys.argv[1:]))"
    paths = [str(checkout / f"workflow/scripts/{script}.py") for script in scripts]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_digest_is_the_same_in_another_checkout(checkout):
    assert there(checkout, "train", "report") == [digest(SCRIPTS / f"{name}.py") for name in ("train", "report")]


def test_a_change_in_one_module_changes_who_reaches_it(checkout):
    before = there(checkout, "train", "splits", "timeseries")
    with open(checkout / "src/dysconnect/models/graph/layers.py", "a") as file:
        file.write("\n# changed\n")
    after = there(checkout, "train", "splits", "timeseries")
    assert [a == b for a, b in zip(before, after)] == [False, True, True]
