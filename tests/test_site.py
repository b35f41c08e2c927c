"""The site: a menu with every page, links that lead on, and a build without a warning that asks no other host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    page.relative_to(ROOT).as_posix()
    for pattern in ("docs/*.md", "docs/*/*.md")  # the site has a page a module in place of docs/reference/library/
    for page in ROOT.glob(pattern)
    if "_build" not in page.parts
}
BESIDE = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "results/README.md", "benchmarks/README.md"}


@pytest.fixture(scope="module")
def conf():
    """The names of docs/conf.py, which needs Sphinx only where it builds."""
    pytest.importorskip("docutils.utils.math.latex2mathml")
    names: dict = {"__file__": str(ROOT / "docs/conf.py")}
    path = list(sys.path)
    exec(compile((ROOT / "docs/conf.py").read_text(), "docs/conf.py", "exec"), names)
    sys.path[:] = path
    return names


def test_every_page_is_in_the_menu(conf):
    source = [(ROOT / "docs/index.md").read_text()]
    conf["add_menu"](None, "docs/index", source)
    menus = re.findall(r"```\{toctree\}\n:hidden:\n:caption: (.+)\n\n([\s\S]*?)\n```", source[0])
    assert [title for title, _ in menus] == ["Start", "Tutorial", "How to", "Explanation", "Reference", "Elsewhere"]
    listed = [name for _, names in menus for name in names.splitlines()]
    files = {os.path.normpath(f"docs/{name}") for name in listed if not name.startswith("/")}
    assert files >= (PAGES - {"docs/index.md"}) | BESIDE and all((ROOT / file).exists() for file in files)
    assert len(listed) == len(set(listed))


def test_every_module_is_in_the_menu_of_the_library(conf):
    source = [(ROOT / "docs/reference/library.md").read_text()]
    conf["add_modules"](None, "docs/reference/library", source)
    (menu,) = re.findall(r"```\{toctree\}\n:hidden:\n\n([\s\S]*?)\n```", source[0])
    names = {path.stem for path in (ROOT / "src/dysconnect").iterdir() if path.suffix == ".py" or path.is_dir()}
    expected = {f"/docs/_build/api/dysconnect.{name}.rst" for name in names - {"__init__", "__main__", "__pycache__"}}
    assert set(menu.splitlines()) == expected
    assert "](library/" not in source[0]


def test_links_to_modules_lead_to_their_pages(conf):
    text = (
        "[a](../../src/dysconnect/localize) [b](../src/dysconnect/version.py) [c](../src/dysconnect/data/__init__.py)"
    )
    source = [text + " [d](../../src/dysconnect/data/atlas/SOURCES.md) [e](../src/dysconnect/absent.py)"]
    conf["link_modules"](None, "docs/x", source)
    pages = re.findall(r"\(/docs/_build/api/(.+?)\.rst\)", source[0])
    assert pages == ["dysconnect.localize", "dysconnect.version", "dysconnect.data"]
    assert "SOURCES.md)" in source[0] and "absent.py)" in source[0]


def test_docstrings_are_taken_as_they_are_written(conf):
    lines = ["    slope_, offset_ : float", "Beyond |t|: slope_ * x, ``a_ | b_``, `c_`, left_over"]
    conf["as_written"](None, "class", "", None, None, lines)
    assert lines == ["    slope_, offset_ : float", r"Beyond \|t\|: slope\_ * x, ``a_ | b_``, `c_`, left_over"]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_no_other_host(tmp_path):
    for name in ("sphinx", "myst_parser", "numpydoc", "pydata_sphinx_theme"):
        pytest.importorskip(name, reason="the site needs what `make docs` installs (extra: docs)")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), "-c", "docs", ".", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    made = {page.relative_to(tmp_path / "html").as_posix() for page in (tmp_path / "html").rglob("*.html")}
    assert made >= {re.sub(r"md$", "html", name) for name in PAGES | BESIDE} | {"index.html", "search.html"}
    assert "detectable" in (tmp_path / "html/searchindex.js").read_text()
    for name in (
        "docs/index.html",
        "docs/explanation/statistics.html",
        "docs/_build/api/dysconnect.localize.power.html",
    ):
        text = (tmp_path / "html" / name).read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//", text)
        assert not re.findall(r"<link[^>]+rel=\"(?:stylesheet|preload)\"[^>]+href=\"(?:https?:)?//", text)
    assert "<math" in (tmp_path / "html/docs/explanation/statistics.html").read_text()


def test_pictures_are_taken_from_the_simulated_cohort_and_small(tmp_path):
    names: dict = {"__name__": "pictures"}
    exec(compile((ROOT / "docs/pictures.py").read_text(), "docs/pictures.py", "exec"), names)
    figures, pages = tmp_path / "simulated/report/figures", tmp_path / "docs"
    figures.mkdir(parents=True)
    pages.mkdir()
    for name in names["NAMES"]:
        (figures / f"{name}.svg").write_text("<svg/>")
        assert (ROOT / f"docs/figures/{name}.svg").exists()
    assert [path.read_text() for path in names["take"](tmp_path, pages)] == ["<svg/>"] * len(names["NAMES"])
    (figures / f"{names['NAMES'][-1]}.svg").write_text(" " * 200_000)
    with pytest.raises(ValueError, match=r"200,000 bytes, not less than 200,000"):
        names["take"](tmp_path, pages)
