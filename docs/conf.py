"""The documentation site: the pages as they lie in the repository, and what the docstrings say.

`make docs` builds it into docs/_build/html. Its source folder is the repository, so that links lead where they lead
there; the lists of docs/index.md are its menu. Nothing comes from another host, neither when it is built nor when it is
read: formulae are MathML, and nothing is fetched to link to other projects.
"""

import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
from dysconnect.version import __version__  # noqa: E402

API = "docs/_build/api"  # pages made of docstrings

project, author, copyright = "dysconnect", "The dysconnect developers", "The dysconnect developers"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
root_doc = "docs/index"
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "results/README.md", "benchmarks/README.md"),
    *("src/dysconnect/data/atlas/SOURCES.md", "docs/*.md", "docs/*/*.md", f"{API}/*.rst"),
]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!dysconnect\.).*"), ("py:class", r"dysconnect\.(.+\._.*|progress\.Item)")]

myst_heading_anchors = 6
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]

default_role = "literal"  # `name` in docstrings
add_module_names = False  # the page's title says it
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,  # what is defined elsewhere is described there
    "exclude-members": "set_fit_request, set_score_request",  # of scikit-learn, whose pages are not linked
}
numpydoc_show_class_members = False
autosummary_generate = False  # numpydoc brings it, and it would read pages of modules that have moved

html_theme = "pydata_sphinx_theme"
html_title = "dysconnect"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
templates_path = ["_templates"]
html_sidebars = {"**": ["menu.html"]}
html_math_renderer = "mathml"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_center": [],
    "navbar_persistent": [],
    "navbar_end": ["search-button-field", "theme-switcher"],
    "footer_end": [],
}


def setup(app):
    """Register what follows."""
    app.connect("builder-inited", write_api)
    app.connect("source-read", add_menu)
    app.connect("source-read", link_modules)
    app.connect("source-read", add_modules)
    app.connect("autodoc-process-docstring", as_written, priority=100)  # before numpydoc
    app.connect("build-finished", write_entrance)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def modules():
    """Names of all modules of the library."""
    files = [file.relative_to(ROOT / "src") for file in (ROOT / "src/dysconnect").rglob("*.py")]
    names = (".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files)
    return sorted(name for name in names if name != "dysconnect" and not name.endswith("__main__"))


def write_api(app):
    """Write a page a module, with those within it as its menu; what did not change keeps its time."""
    folder, names = ROOT / API, modules()
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.rst"):
        if file.stem not in names:
            file.unlink()
    for name in names:
        below = "".join(f"   {other}\n" for other in names if other.rpartition(".")[0] == name)
        menu = f"\n.. toctree::\n   :maxdepth: 1\n\n{below}" if below else ""
        title = name.removeprefix("dysconnect.")
        text = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {name}\n{menu}"
        page = folder / f"{name}.rst"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def add_menu(app, docname, source):
    """Make each list of the front page a menu, under the bold words that stand above it."""
    if docname == root_doc:
        parts = re.split(r"^\*\*(.+?)\*\*", "**Start**\n" + source[0], flags=re.MULTILINE)
        for title, text in zip(parts[1::2], parts[2::2]):
            source[0] += _menu(re.findall(r"\]\(([^)#]+\.md)\)", text), f":caption: {title}\n")


def add_modules(app, docname, source):
    """On the page of the library let the names of packages and modules lead to their pages, and make these its menu."""
    if docname == "docs/reference/library":
        source[0] = re.sub(r"\(library/([\w.]+)\.md#?(\w*)\)", _page_of_module, source[0])
        source[0] += _menu(f"/{API}/{name}.rst" for name in modules() if name.count(".") == 1)


def _page_of_module(link):
    return f"(/{API}/{'.'.join(filter(None, ('dysconnect', *link.groups())))}.rst)"


def _menu(entries, options=""):
    return f"\n```{{toctree}}\n:hidden:\n{options}\n" + "\n".join(entries) + "\n```\n"


def link_modules(app, docname, source):
    """Lead links to modules to their pages, which show the source too."""
    source[0] = re.sub(r"\((?:\.\./)*src/(dysconnect[\w/]*)(?:\.py)?\)", _page, source[0])


def _page(link):
    name = link[1].strip("/").replace("/", ".").removesuffix(".__init__")
    return f"(/{API}/{name}.rst)" if name in modules() else link[0]


def as_written(app, what, name, obj, options, lines):
    """Take `slope_` and `|t|` of a docstring for what they say, not for references."""
    for k, line in enumerate(lines):
        if not re.match(r" *[\w, ]+ : ", line):  # names with their types
            parts = re.split(r"(`+[^`]+`+)", line)
            parts[::2] = [re.sub(r"(?<!\w)(\w+)_(?!\w)", r"\1\_", text).replace("|", r"\|") for text in parts[::2]]
            lines[k] = "".join(parts)


def write_entrance(app, exception):
    """Let the folder of the site open at its front page."""
    page = f"{root_doc}.html"
    text = f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={page}"><a href="{page}">{html_title}</a>'
    Path(app.outdir, "index.html").write_text(text)


def inline_math(translator, node):
    """Write a formula of a sentence; GitHub wants back-quotes around some."""
    translator.body.append(tex2mathml(node.astext().strip("`")))
    raise SkipNode


def block_math(translator, node):
    """Write a formula that stands alone."""
    translator.body.append(f"<p>{tex2mathml(node.astext(), as_block=True)}</p>")
    raise SkipNode
