"""Write the reference pages from the configuration, the library's docstrings and the rules, and notebooks as pages.

python docs/build.py            writes docs/reference/, and a page beside each notebook of docs/notebook/
python docs/build.py FOLDER     writes the pages of the reference into another folder; its own earlier ones go
"""

import ast
import copy
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "src/dysconnect"
sys.path.insert(0, str(ROOT / "src"))

from dysconnect.plan.config import read_schema  # noqa: E402  of this checkout

MADE = "<!-- Made by `python docs/build.py`; do not edit. -->\n\n"
STAGES = (
    "acquire",
    "preprocess",
    "tractography",
    "timeseries",
    "connectivity",
    "quality",
    "train",
    "evaluate",
    "localize",
    "attribute",
    "stimulate",
)
FIRST = ("dataset", "preprocess", "atlas", "denoise", "connectivity", "graph", "model", "training", "localize")
TYPES = {"integer": "whole number", "string": "text", "boolean": "true or false", "object": "keys with values"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
LONGEST = 100  # characters of a default; a citation is not one


class Key(NamedTuple):
    """A key of a configuration file: its value and its comment."""

    value: object
    comment: str


def build(folder: str | Path) -> list[Path]:
    """Write all reference pages into a folder, in place of those of packages that have gone; return their paths."""
    pages = {
        "configuration.md": configuration(),
        "library.md": library(),
        **{f"library/{short(place)}.md": package(place) for place in packages()},
        "methods.md": methods(),
        "results.md": results(),
    }
    Path(folder, "library").mkdir(parents=True, exist_ok=True)
    for page in Path(folder, "library").glob("*.md"):
        page.unlink()
    for name, text in pages.items():
        Path(folder, name).write_text(MADE + text, encoding="utf-8")
    return [Path(folder, name) for name in pages]


# --- configuration -----------------------------------------------------------------------------------------------


def configuration() -> str:
    """Page of all keys: default, type, limits and comment."""
    schema = read_schema(ROOT / "workflow/schemas/config.schema.json")
    opening = (
        "# Configuration\n\n"
        "Every key of `configs/`: its default, what the schema accepts, and what its comment says. A folder of "
        "`configs/` is a choice, a file in it is an option. A choice is made with `snakemake --config dataset=local`, "
        "a key is set with `snakemake --config 'overrides=localize.permutations=10000'`. In brackets: options whose "
        "value differs from the default's.\n\n## The whole workflow\n"
    )
    composed = yaml.safe_load((ROOT / "configs/config.yaml").read_text())
    default = {group: option for entry in composed.pop("defaults") for group, option in own_items(entry)}
    own = [name for name in composed if name != "hydra"]
    keys = {name: key for name, key in commented(ROOT / "configs/config.yaml").items() if name.split(".")[0] in own}
    groups = sorted(set(default) - {"experiment"}, key=lambda name: (FIRST.index(name) if name in FIRST else 99, name))
    sections = "".join(group(name, default[name], schema) for name in groups)
    return opening + table({"config": keys}, schema) + sections + experiments()


def group(name: str, default: str, schema: dict) -> str:
    """Section of one choice: its options, then the keys of those that have the same ones."""
    files = sorted((ROOT / "configs" / name).glob("*.yaml"), key=lambda file: (file.stem != default, file.stem))
    options = "".join(f"| `{file.stem}` | {cell(about(file, name))} |\n" for file in files)
    text = f"\n## {name}\n\n| `{name}=` | what it is |\n|---|---|\n{options}"
    kinds: dict[object, dict[str, dict[str, Key]]] = {}
    for file in files:
        keys = section(file, name)
        if builds_on_another(file):
            continue
        kind = keys["dataset.kind"].value if name == "dataset" else tuple(sorted(keys))
        kinds.setdefault(kind, {})[file.stem] = keys
    for alike in kinds.values():
        text += f"\n**{', '.join(f'`{option}`' for option in alike)}**\n" + table(alike, schema)
    return text


def experiments() -> str:
    """Section of the experiments: what each file changes."""
    rows = ""
    for file in sorted((ROOT / "configs/experiment").glob("*.yaml")):
        content = yaml.safe_load(file.read_text())
        chosen = [f"`{k.split('/')[1]}={v}`" for entry in content.pop("defaults", []) for k, v in own_items(entry)]
        changed = [f"`{key}={plain(value)}`" for key, value in flat(content)]
        rows += f"| `{file.stem}` | {cell(', '.join([*chosen, *changed]))} | {cell(opening_comment(file))} |\n"
    opening = "\n## experiment\n\nOne file is one row of the results table.\n\n"
    return f"{opening}| `experiment=` | chooses | |\n|---|---|---|\n{rows}"


def own_items(entry: object) -> list[tuple[str, object]]:
    """Items of an entry of a defaults list; none of `_self_`."""
    return list(entry.items()) if isinstance(entry, Mapping) else []


def about(file: Path, name: str) -> str:
    """Say what an option is: the title of data and atlases, the opening comment of the others."""
    content = yaml.safe_load(file.read_text())
    content = content.get(name, content) if isinstance(content.get(name), Mapping) else content
    if "title" in content:
        return content["title"] + (f" ({content['licence']})" if content.get("licence") else "")
    return opening_comment(file)


def opening_comment(file: Path) -> str:
    """Comment lines at the top of a file, as one text."""
    lines = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def builds_on_another(file: Path) -> bool:
    """Whether a file starts from another one of its folder, and so names only what differs."""
    entries = yaml.safe_load(file.read_text()).get("defaults", [])
    return any(isinstance(entry, str) and entry != "_self_" for entry in entries)


def section(file: Path, name: str) -> dict[str, Key]:
    """Keys of one group in a file, with their full dotted names."""
    keys = commented(file)
    if f"{name}.name" in keys:
        return {key: value for key, value in keys.items() if key.startswith(f"{name}.")}
    return {f"{name}.{key}": value for key, value in keys.items() if not key.startswith("defaults")}


def commented(file: Path) -> dict[str, Key]:
    """Dotted keys of a YAML file in block style, with the comments beside, below and above them."""
    text = file.read_text()
    content, keys, path = yaml.safe_load(text), {}, []
    last, column, waiting = "", -1, []
    for line in text.splitlines():
        start = comment_start(line)
        words = line[start:].lstrip("# ").strip() if start >= 0 else ""
        match = re.match(r"( *)[\"']?([A-Za-z_][\w-]*)[\"']?:(?: |$)", line[:start] if start >= 0 else line)
        if match:
            depth = len(match[1])
            path = [(level, name) for level, name in path if level < depth] + [(depth, match[2])]
            last = ".".join(name for _, name in path)
            keys[last] = " ".join([*waiting, words]).strip()
            column, waiting = start, []
        elif words and start == column and last:
            keys[last] = f"{keys[last]} {words}"
        elif words and not line[:start].strip():
            waiting = [*waiting, words] if path else []
    return {name: Key(value_at(content, name), comment) for name, comment in keys.items() if has(content, name)}


def comment_start(line: str) -> int:
    """Column of the comment of a line, -1 where there is none; a hash inside quotes begins none."""
    quoted = re.sub(r"\"[^\"]*\"|'[^']*'", lambda match: "x" * len(match[0]), line)
    match = re.search(r"(?:^|\s)#", quoted)
    return match.end() - 1 if match else -1


def has(content: object, name: str) -> bool:
    """Whether a dotted key is in the content; words of a folded text are not."""
    for part in name.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


def value_at(content: Mapping, name: str) -> object:
    """Value of a dotted key; None where it is not there."""
    for part in name.split("."):
        content = content[part] if isinstance(content, Mapping) and part in content else None
    return content


def flat(content: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Leaves of a nested mapping, with dotted keys."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def table(options: dict[str, dict[str, Key]], schema: dict) -> str:
    """Table of the keys that several options share, the first of them being the default."""
    first = next(iter(options.values()))
    rows, leaves = "", []
    for name, key in first.items():
        if name == "model.name" or any(name.startswith(f"{leaf}.") for leaf in leaves):
            continue
        own = rule(schema, name, first)
        if isinstance(key.value, Mapping) and own.get("properties"):
            rows += f"| **`{name}`** | | | {cell(key.comment)} |\n" if key.comment else ""
            continue
        leaves.append(name)
        differing = [
            f"{option} {code(keys[name].value)}"
            for option, keys in list(options.items())[1:]
            if name in keys and keys[name].value != key.value and not name.endswith((".name", ".title", ".citation"))
        ]
        default = code(key.value) + (f" ({', '.join(differing)})" if differing else "")
        comment = key.comment or own.get("description", "")
        rows += f"| `{name}` | {cell(default)} | {cell(limits(own, schema))} | {cell(comment)} |\n"
    return f"\n| key | default | accepted | |\n|---|---|---|---|\n{rows}"


def rule(schema: dict, name: str, keys: Mapping[str, Key]) -> dict:
    """Part of the schema that a dotted key must follow; empty where nothing is asked."""
    here, place = schema, []
    for part in name.split("."):
        values = {key.split(".")[-1]: value.value for key, value in keys.items() if key.split(".")[:-1] == place}
        here = resolve(properties(here, schema, values).get(part, {}), schema)
        place.append(part)
    return here


def properties(here: dict, schema: dict, values: Mapping[str, object]) -> dict:
    """Properties of an object of the schema, those of its conditions that hold included."""
    here = resolve(here, schema)
    found = dict(here.get("properties", {}))
    for clause in here.get("allOf", []):
        if holds(clause["if"], values):
            found |= {
                key: own for key, own in properties(clause["then"], schema, values).items() if own or key not in found
            }
    return found


def holds(condition: dict, values: Mapping[str, object]) -> bool:
    """Whether a condition of the schema (a constant or one of several values) holds."""
    return all(
        values.get(key) in own.get("enum", [own.get("const")]) for key, own in condition.get("properties", {}).items()
    )


def resolve(here: dict, schema: dict) -> dict:
    """Follow a reference inside the schema."""
    while "$ref" in here:
        target = schema
        for part in here["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        here = {**target, **{key: value for key, value in here.items() if key != "$ref"}}
    return here


def limits(own: dict, schema: dict) -> str:
    """Say in words what the schema accepts."""
    own = resolve(own, schema)
    for part in own.get("allOf", []):
        own = {**own, **resolve(part, schema)}
    if "enum" in own:
        return ", ".join(plain(value) for value in own["enum"])
    if "const" in own:
        return plain(own["const"])
    if "oneOf" in own:
        return " or ".join(limits(one, schema) for one in own["oneOf"])
    kinds = own.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    words = [
        f"list of {limits(own['items'], schema)}" if k == "array" and "items" in own else TYPES.get(k, k) for k in kinds
    ]
    bounds = [f"{word} {own[key]:g}" for key, word in BOUNDS.items() if key in own]
    pattern = [f"like `{own['pattern']}`"] if "pattern" in own else []
    return " ".join([" or ".join(words), *filter(None, [" and ".join(bounds), *pattern])])


def plain(value: object) -> str:
    """Write a value as it stands in YAML and on the command line."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value, ensure_ascii=False).replace('"', "") if not isinstance(value, float) else f"{value:g}"


def code(value: object) -> str:
    """Write a default as code; long texts are not shown."""
    text = plain(value)
    return f"`{text}`" if len(text) <= LONGEST else "..."


def cell(text: str) -> str:
    """Make a text fit for a cell of a table; what would be read as HTML is escaped outside code."""
    text = " ".join(text.split()).replace("|", "\\|")
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<>*])", r"\\\1", part) for part in parts)


# --- library -----------------------------------------------------------------------------------------------------


def library() -> str:
    """Page that lists the packages, each of which has a page, and their modules."""
    rows = ""
    for place in packages():
        page = f"library/{short(place)}.md"
        inside = ", ".join(f"[{file.stem}]({page}#{file.stem})" for file in modules(place))
        rows += f"- **[{short(place)}]({page})**: {escape(first_line(parsed(place)))}{inside and f' {inside}'}\n"
    return (
        "# Library\n\nThe public functions and classes of each package, with the first line of their docstrings, which "
        "say more: shapes, units, errors and sources (`help(dysconnect.localize.localize)`). Arrays and frames in, "
        "arrays and frames out. The stages come first, as they follow each other, then what they are made of.\n\n"
        + rows
    )


def packages() -> list[Path]:
    """Packages of the library, and modules that belong to none: stages first, what lies within one after it."""
    places = [file.parent for file in LIBRARY.rglob("__init__.py") if file.parent != LIBRARY]
    places += [file for file in LIBRARY.glob("*.py") if public(file)]
    order = [*STAGES, "report", "models"]

    def rank(place: Path) -> tuple[int, str]:
        room = short(place).split(".")[0]
        return order.index(room) if room in order else len(order), short(place)

    return sorted((place for place in places if modules(place) or public(source(place))), key=rank)


def short(place: Path) -> str:
    """Dotted name of a package or module within the library: `acquire.manifest`."""
    return ".".join(place.relative_to(LIBRARY).with_suffix("").parts)


def source(place: Path) -> Path:
    """File that a package or module is defined in."""
    return place / "__init__.py" if place.is_dir() else place


def modules(place: Path) -> list[Path]:
    """Modules of a package that have something public, without those of packages within it."""
    return [file for file in sorted(place.glob("*.py")) if not file.name.startswith("__") and public(file)]


def package(place: Path) -> str:
    """Page of one package: what it offers itself, then a section a module."""
    sections = "".join(f"\n## {file.stem}\n\n{contents(file)}" for file in modules(place))
    within = [other for other in packages() if other.parent == place and other.is_dir()]
    links = ", ".join(f"[{short(other)}]({short(other)}.md)" for other in within)
    below = f"\nWithin it: {links}.\n" if within else ""
    return f"# dysconnect.{short(place)}\n\n{contents(source(place))}{below}{sections}"


def contents(file: Path) -> str:
    """First line of a module, then what is public in it."""
    link = f"[source](../../../{file.relative_to(ROOT).as_posix()})"
    lines = [f"- `{signature(node)}`: {escape(first_line(node))}\n" for node in public(file)]
    return f"{escape(first_line(parsed(file)))} ({link})\n" + ("\n" + "".join(lines) if lines else "")


def public(file: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes of a module."""
    return [node for node in parsed(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef) and documented(node)]


@cache
def parsed(place: Path) -> ast.Module:
    """Syntax tree of a module, of a package that of its `__init__`."""
    return ast.parse(source(place).read_text(encoding="utf-8"))


def methods() -> str:
    """Page of the methods of the localization, from the table that it reads itself."""
    from dysconnect.localize.methods import METHODS

    rows = "".join(
        f"| {cell(own.name)} | {own.kind} | {own.promise} | {f'`{own.column}`' if own.column else ''} | "
        f"{cell(', '.join(own.needs))} | {cell(own.sentence)} |\n"
        for own in METHODS
    )
    return (
        "# Methods of the localization\n\nWhat `localize` writes (`column`: of edges.tsv, of sets their `kind` in "
        "circuits.tsv) and `validate` tries on cohorts of known truth. FWER: of single edges; FWER of sets: of "
        "components and circuits as wholes, whose single edges may be false. Words in braces are settings.\n\n"
        "| method | of | promise | column | needs | in words |\n|---|---|---|---|---|---|\n" + rows
    )


def documented(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether a function or class is public and has a docstring."""
    return not node.name.startswith("_") and bool(ast.get_docstring(node))


def first_line(node: ast.AST) -> str:
    """First line of a docstring, or its first paragraph where the line does not end there."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def escape(text: str) -> str:
    """Double back-quotes of docstrings as single ones; what would be read as Markdown or HTML is escaped."""
    return cell(text.replace("``", "`")).replace("\\|", "|")


def signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    """Signature without annotations; of a class that of its `__init__`, or its fields."""
    if isinstance(node, ast.FunctionDef):
        return f"{node.name}({arguments(node)})"
    own = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    fields = [
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    ]
    return f"{node.name}({arguments(own[0]) if own else ', '.join(fields)})"


def arguments(node: ast.FunctionDef) -> str:
    """Arguments with their defaults, without annotations and `self`."""
    args = copy.deepcopy(node.args)
    for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, [args.vararg, args.kwarg])]:
        arg.annotation = None
    return re.sub(r"^self(, )?", "", ast.unparse(args))


# --- results -----------------------------------------------------------------------------------------------------


def results() -> str:
    """Page of the files that the rules write."""
    text = (
        "# Rules, files and columns\n\nEvery rule of the workflow and the files it writes. `{dataset}`, "
        "`{experiment}`, `{atlas}`, `{measure}`, `{participant}` and `{unit}` stand for names. "
        "[results/README.md](../../results/README.md) lists the same by what they hold.\n"
    )
    for file in sorted((ROOT / "workflow/rules").glob("*.smk"), key=stage_order):
        rules = "".join(written(name, body) for name, body in rules_of(file.read_text()))
        text += f"\n## {file.stem}\n\n[Source](../../{file.relative_to(ROOT).as_posix()})\n{rules}" if rules else ""
    return text + meanings_of_columns()


def meanings_of_columns() -> str:
    """Section of the columns of every table, from the list that the descriptions beside the tables are made of."""
    from dysconnect.data.dictionary import columns

    by_table: dict[str, list[str]] = {}
    for row in columns():
        unit = f" ({row.unit})" if row.unit else ""
        levels = f" [{row.levels}]" if row.levels else ""
        line = f"| `{row.column}` | {cell(f'{row.meaning}{unit}{levels}')} |\n"
        for pattern in row.tables.split():
            by_table.setdefault(pattern, []).append(line)
    opening = (
        "\n## Columns\n\nTables of `results/{dataset}/`; `*` stands for any name. The same lies beside each table as "
        "JSON, and in `results/{dataset}/dictionary.json`.\n"
    )
    return opening + "".join(
        f"\n### {pattern.replace('*', '{any}')}\n\n| column | |\n|---|---|\n{''.join(lines)}"
        for pattern, lines in by_table.items()
    )


def stage_order(file: Path) -> tuple[int, str]:
    """Place of a rule file: as the stages follow each other, the others last."""
    order = [*STAGES, "report"]
    return (order.index(file.stem) if file.stem in order else len(order), file.stem)


def rules_of(text: str) -> Iterator[tuple[str, str]]:
    """Names of the rules of a file, and the text of each."""
    parts = re.split(r"^ *(?:rule|checkpoint) (\w+):$", text, flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2])


def written(name: str, body: str) -> str:
    """Section of one rule: its docstring and its outputs; empty for a rule that writes nothing."""
    block = re.search(r"^( *)output:\n((?:\1 +.*\n|\n)+)", body, flags=re.MULTILINE)
    found = re.findall(r'f?"(results/[^"]+)"', block[2]) if block else []
    found += [
        f"results/{{dataset}}/report/figures/{figure}.svg"
        for figure in (re.findall(r'figure\(f?"([\w{}]+)"', block[2]) if block else [])
    ]
    if not found:
        return ""
    told = re.search(r'"""(.+?)"""', body, flags=re.DOTALL)
    files = [
        re.sub(r"\{(\w+)\}", lambda m: "{" + m[1].lower() + "}", path.replace("{{", "{").replace("}}", "}"))
        for path in found
    ]
    files = [path.replace("learning_{name}", "learning_{experiment}") for path in dict.fromkeys(files)]
    return f"\n**{name}**: {' '.join(told[1].split()) if told else ''}\n\n" + "".join(f"- `{path}`\n" for path in files)


# --- notebooks ---------------------------------------------------------------------------------------------------


def build_notebooks() -> list[Path]:
    """Write every notebook of docs/notebook/ as a page beside it; return the paths of the pages."""
    pages = {path.with_suffix(".md"): notebook(path) for path in sorted((ROOT / "docs/notebook").glob("*.ipynb"))}
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    return list(pages)


def notebook(path: Path) -> str:
    """Page of a notebook: what it says, and its code, whose outputs are the reader's."""
    first, *others = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, _, opening = "".join(first["source"]).partition("\n\n")
    cells = [f"{title}\n\nTo run it: [{path.name}]({path.name}).\n\n{opening}"]
    for one in others:
        source = "".join(one["source"])
        cells.append(f"```python\n{source}\n```" if one["cell_type"] == "code" else source)
    return MADE + "\n\n".join(cells) + "\n"


if __name__ == "__main__":
    pages = build(sys.argv[1]) if len(sys.argv) > 1 else [*build(ROOT / "docs/reference"), *build_notebooks()]
    for path in pages:
        print(path)
