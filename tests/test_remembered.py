"""What is kept from process to process holds for one state of the files, and nothing depends on it but time."""

import json
from shutil import copytree

import pytest

from dysconnect.keeping import remembered as kept
from dysconnect.keeping.code import reached
from dysconnect.plan.compose import compose_workflow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of the workflow, in which this process has remembered nothing yet."""
    (tmp_path / ".snakemake").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".snakemake"


def another_process():
    """Forget what this process holds in memory."""
    kept._memory.cache_clear()


def never():
    raise AssertionError("made again")


def test_a_value_is_made_once_for_each_state(folder):
    maker = folder / "maker.py"
    maker.write_text("A = 1")
    memory = kept.remembered(str(maker))
    assert memory.value("a", "1", lambda: [1, 2]) == [1, 2] and memory.value("a", "1", never) == [1, 2]
    memory.keep()
    another_process()
    assert kept.remembered(str(maker)).value("a", "1", never) == [1, 2]
    with pytest.raises(AssertionError, match="made again"):
        kept.remembered(str(maker)).value("a", "2", never)
    assert kept.remembered(str(maker)).value("a", "2", lambda: 3) == 3
    maker.write_text("A = 2")
    another_process()
    assert kept.remembered(str(maker)).value("a", "1", lambda: 4) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3"])
def test_what_cannot_be_read_is_made_again(folder, content):
    maker = folder / "maker.py"
    maker.touch()
    (folder / "dysconnect_maker.json").write_text(content)
    memory = kept.remembered(str(maker))
    assert memory.value("a", "1", lambda: 5) == 5
    memory.keep()
    another_process()
    assert kept.remembered(str(maker)).value("a", "1", never) == 5
    assert [path.name for path in sorted(folder.iterdir())] == ["dysconnect_maker.json", "maker.py"]


def test_where_no_workflow_runs_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept.remembered(__file__).value("a", "1", lambda: 1)
    kept.remembered(__file__).keep()
    assert not list(tmp_path.iterdir())


def test_a_composed_configuration_is_that_of_its_files(folder, repository):
    """Twice the same from what was kept, and another where a file, or a choice, is another."""
    copytree(repository / "configs", configs := folder.parent / "configs")
    schema = repository / "workflow/schemas/config.schema.json"

    def composed(**choices):
        another_process()
        return compose_workflow(configs, schema, {"experiment": "floor", **choices})

    first = composed()
    stored = json.loads((folder / "dysconnect_compose.json").read_text())
    assert composed() == first
    assert json.loads((folder / "dysconnect_compose.json").read_text()) == stored
    assert composed(denoise="scrubbing")[0]["denoise"] != first[0]["denoise"] and composed() == first
    file = configs / "config.yaml"
    file.write_text(file.read_text().replace("bootstraps: 2000", "bootstraps: 2001"))
    assert composed()[0]["evaluate"]["bootstraps"] == 2001


def test_imports_are_those_of_the_file_as_it_is(folder):
    script = folder.parent / "job.py"
    for name in ("one", "other"):
        (folder.parent / f"{name}.py").touch()
        script.write_text(f"import {name}\n")
        another_process()
        assert {path.name for path in reached(script)} == {"job.py", f"{name}.py"}
    assert json.loads((folder / "dysconnect_code.json").read_text())
