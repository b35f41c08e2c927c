"""The documentation: its examples run, its links lead somewhere, its reference is what the code says."""

import ast
import difflib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import hydra
import matplotlib
import pytest
from snakemake.cli import get_argument_parser

from dysconnect.acquire.manifest.__main__ import _parser as manifest_parser
from dysconnect.commands.combine import parser as combine_parser
from dysconnect.commands.download import parser as download_parser
from dysconnect.commands.predict import parser as predict_parser
from dysconnect.commands.withdraw import parser as withdraw_parser
from dysconnect.plan.compose import compose_workflow, to_dict
from dysconnect.plan.config import leaf_keys, validate

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in page.parts)]
LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "results/README.md", "benchmarks/README.md"))]
WRITTEN = [
    page for page in PAGES if page.parent.name not in ("reference", "library", "notebook")
]  # the others are made
REFERENCE = sorted((ROOT / "docs/reference").rglob("*.md"))
SCHEMA = ROOT / "workflow/schemas/config.schema.json"
LIBRARY = ("python -m dysconnect", "dysconnect ")
PARSERS = {
    "dysconnect download": download_parser,
    "dysconnect.acquire.manifest": manifest_parser,
    "dysconnect predict": predict_parser,
    "dysconnect withdraw": withdraw_parser,
    "dysconnect combine": combine_parser,
}
# commands that no test runs, by their first words, and why
NOT_RUN = {
    "pip install": "installs",
    "python3 -m venv": "makes an environment",
    ". .venv/bin/activate": "changes the shell",
    "grep -v '^torch=='": "prepares an installation",
    "pytest": "would run itself",
    "mlflow server": "does not end; tests/test_tracking_server.py starts one",
    "git clone": "needs the network",
    "export ": "changes the shell",
    "squeue": "needs a cluster",
    "rsync": "needs another machine",
    "nvidia-smi": "needs a GPU",
    "apptainer ": "needs Apptainer; tests/test_project.py reads the recipe",
    "python benchmarks/": "takes minutes to hours",
    "python docs/build.py": "writes into the checkout; another test builds the pages elsewhere",
    "python your_script.py": "stands for a script of the reader's",
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """Commands of the bash blocks; one goes on over lines that end in a backslash or inside quotes."""
    for block in blocks(page, "bash"):
        waiting = ""
        for line in block.splitlines():
            waiting = f"{waiting} {line.strip()}".strip().removesuffix("\\")
            if line.endswith("\\") or waiting.count("'") % 2:
                continue
            plain = shlex.join(shlex.split(waiting, comments=True)) if "#" in waiting else waiting
            yield from filter(None, (part.strip() for part in plain.split("&&")))
            waiting = ""
        assert not waiting, f"{name_of(page)}: the command does not end: {waiting}"


def spans(page: Path) -> Iterator[str]:
    """Commands in running text and tables; those with a gap (... or NAME) are patterns, not commands."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for words in re.findall(r"`([^`]+)`", text):
        command = " ".join(words.split()).replace("\\|", "|")
        if (
            command.startswith(("snakemake -", "python -m dysconnect"))
            and "..." not in command
            and "NAME" not in command
        ):
            yield command


WORKFLOW = sorted({command for page in PAGES for command in [*commands(page), *spans(page)]})
SNAKEMAKE = [command for command in WORKFLOW if command.startswith("snakemake")]
PYTHON = [command for command in WORKFLOW if command.startswith(LIBRARY)]
OTHERS = [command for command in WORKFLOW if command not in SNAKEMAKE and command not in PYTHON]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in WRITTEN if blocks(page, "python")], ids=name_of)
def test_python_examples_run_in_order(page, tmp_path, monkeypatch):
    for folder in ("configs", "workflow"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace = {"__name__": "example"}
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{name_of(page)}, block {number}", "exec"), namespace)


@pytest.mark.parametrize("command", SNAKEMAKE)
def test_a_snakemake_command_composes(command):
    arguments = get_argument_parser().parse_args(shlex.split(command)[1:])
    for rule in [*(arguments.until or []), *(arguments.targets or [])]:
        assert rule in stages(), f"{command}: there is no rule {rule}"
    for profile in arguments.profile or []:
        assert (ROOT / profile / "profile.yaml").exists()
    compose(tuple(sorted(arguments.config or [])))


@cache
def compose(chosen: tuple[str, ...]) -> None:
    """Compose and validate what `--config` chooses; experiments that nobody names need not be composed."""
    choices = dict(text.split("=", 1) for text in chosen)
    named = {} if "model." in choices.get("overrides", "") else {"experiment": "floor"}
    compose_workflow(ROOT / "configs", SCHEMA, named | choices)


@cache
def stages() -> set[str]:
    text = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    return set(re.findall(r"^ *rule (\w+):", text, flags=re.MULTILINE))


@pytest.mark.parametrize("command", PYTHON)
def test_a_command_of_the_library_is_understood(command):
    words = shlex.split(command.removeprefix("python -m "))
    name = next((name for name in PARSERS if words[: len(name.split())] == name.split()), "")
    if not name:
        return sweep(words)
    told = PARSERS[name]().parse_args(words[len(name.split()) :])
    if name == "dysconnect download":
        compose(tuple(["overrides=" + text if "." in text.split("=")[0] else text for text in told.settings]))
    if name == "dysconnect.acquire.manifest":
        assert (ROOT / f"configs/dataset/{told.dataset}.yaml").exists()


def sweep(words: list[str]) -> None:
    """Compose every combination of Hydra's multirun."""
    assert words[0] == "dysconnect", f"python -m {words[0]}: no test knows this command; see PARSERS"
    choices = [text.split("=", 1) for text in words[1:] if text != "-m"]
    for values in product(*(value.split(",") for _, value in choices)):
        with hydra.initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            chosen = [f"{key}={value}" for (key, _), value in zip(choices, values)]
            validate(to_dict(hydra.compose("config", chosen)), SCHEMA)


@pytest.mark.parametrize("command", OTHERS)
def test_another_command_is_a_target_of_make_or_listed_with_its_reason(command):
    if command.startswith("make"):
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        assert command.split()[1] in targets
    else:
        assert any(command.startswith(start) for start in NOT_RUN), f"{command}: run it in a test, or say why not"


def test_the_reference_is_up_to_date(tmp_path):
    namespace: dict = {"__name__": "build", "__file__": str(ROOT / "docs/build.py")}
    exec(compile((ROOT / "docs/build.py").read_text(), "docs/build.py", "exec"), namespace)
    pages = {page.relative_to(tmp_path).as_posix(): page.read_text() for page in namespace["build"](tmp_path)}
    committed = {page.relative_to(ROOT / "docs/reference").as_posix() for page in REFERENCE}
    assert committed == set(pages), "pages are missing, or of packages that have gone. Run: python docs/build.py"
    for name, built in pages.items():
        lines = (ROOT / "docs/reference" / name).read_text().splitlines()
        changes = list(difflib.unified_diff(lines, built.splitlines(), lineterm="", n=0))
        assert not changes, "\n".join(
            [f"docs/reference/{name} is not what the code says. Run: python docs/build.py", *changes[:12]]
        )


def test_every_module_with_something_public_has_its_section():
    pages = {page.stem: page.read_text() for page in (ROOT / "docs/reference/library").glob("*.md")}
    for file in (ROOT / "src/dysconnect").rglob("*.py"):
        defined = [
            node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        names = [node.name for node in defined if not node.name.startswith("_") and ast.get_docstring(node)]
        if names and file.name != "__main__.py":
            parts = file.relative_to(ROOT / "src/dysconnect").with_suffix("").parts
            inside = parts[-1] != "__init__" and len(parts) > 1
            page = pages[".".join(parts[:-1] or parts)]
            section = page.split(f"\n## {parts[-1]}\n")[1].split("\n## ")[0] if inside else page.split("\n## ")[0]
            assert re.findall(r"^- `(\w+)\(", section, flags=re.MULTILINE) == names, file


def test_a_page_of_a_package_that_has_gone_is_removed(tmp_path):
    page = tmp_path / "library/gone.md"
    page.parent.mkdir()
    page.write_text("# dysconnect.gone\n")
    namespace: dict = {"__name__": "build", "__file__": str(ROOT / "docs/build.py")}
    exec(compile((ROOT / "docs/build.py").read_text(), "docs/build.py", "exec"), namespace)
    namespace["build"](tmp_path)
    assert not page.exists()


def test_every_key_is_in_the_reference_with_its_default_and_its_limits():
    page = (ROOT / "docs/reference/configuration.md").read_text()
    cohort, experiments = compose_workflow(ROOT / "configs", SCHEMA, {"experiment": "floor,gcn"})
    for key in {key for config in (cohort, *experiments.values()) for key in leaves(config)} - {"model.name"}:
        names = [key.rsplit(".", n)[0] if n else key for n in range(key.count("."))]  # a mapping may be one row
        assert any(f"| `{name}` |" in page for name in names or [key]), f"{key} is missing"
    assert "| `localize.alpha` | `0.05` | number above 0 and at most 0.5 |" in page
    assert "| `connectivity.estimator` | `empirical` (partial `ledoit_wolf`, tangent `ledoit_wolf`) |" in page


def leaves(config: dict) -> set[str]:
    keys = leaf_keys(config)
    return {key for key in keys if not any(other.startswith(f"{key}.") for other in keys)}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)) + re.findall(r'src(?:set)?="([^"]+)"', text)
    for target in targets:
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)}: {target} does not exist"
        assert file.is_relative_to(ROOT), f"{name_of(page)}: {target} is outside the project"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)}: {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        head, *rows = table.splitlines()
        for row in rows:
            assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", head)), f"{name_of(page)}: {row}"


def test_every_page_is_reachable_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for target in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", page.read_text()):
            file = (page.parent / target).resolve()
            if file.exists() and file not in seen:
                waiting.append(file)
    assert not [name_of(page) for page in PAGES if page not in seen]


def test_a_figure_is_small_enough_to_be_committed():
    sizes = {figure.name: figure.stat().st_size for figure in (ROOT / "docs/figures").iterdir()}
    assert sizes and all(size < 200_000 for size in sizes.values()), sizes


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_no_place_of_a_machine_stands_in_a_page(page):
    assert not re.findall(r"/(?:work|tmp/w|root|home/\w+)/|pypi\.org|files\.pythonhosted", page.read_text())


DOTTED = re.compile(r"(?<![\w./])dysconnect(?:\.(?!(?:def|sif|yaml|rst|html|py)\b)[A-Za-z_]\w*)+")


def test_every_name_of_the_library_leads_somewhere():
    files = [*{*WRITTEN, *LINKED} - set(REFERENCE), *(ROOT / "src").rglob("*.py")]
    names = {(name_of(file), name) for file in files for name in DOTTED.findall(file.read_text())}
    assert len(names) > 100
    assert sorted((file, name) for file, name in names if not (is_there(name) or is_made(name, file))) == []


def is_made(name: str, file: str) -> bool:
    """Whether a page makes the module itself, as that on models of one's own does."""
    return f"`src/{name.replace('.', '/')}.py`" in (ROOT / file).read_text()


def is_there(name: str) -> bool:
    """Whether a dotted name is a room, a module, or something that stands in it."""
    place, names = ROOT / "src", name.split(".")
    while names and (place / names[0]).is_dir():
        place /= names.pop(0)
    place = place / f"{names.pop(0)}.py" if names and (place / f"{names[0]}.py").exists() else place / "__init__.py"
    return not names or names[0] in names_in(place)


@cache
def names_in(module: Path) -> set[str]:
    """What is defined, imported or assigned at the top of a module."""
    body = [node for node in ast.walk(ast.parse(module.read_text())) if getattr(node, "col_offset", 1) == 0]
    assigned = {name.id for node in body for name in ast.walk(node) if isinstance(name, ast.Name)}
    imported = {alias.asname or alias.name for node in body for alias in getattr(node, "names", [])}
    return assigned | imported | {node.name for node in body if hasattr(node, "name")}
