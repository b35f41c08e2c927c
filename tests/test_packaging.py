"""What is pinned agrees with what is asked for, and names no place."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def pins() -> dict[str, str]:
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_every_requirement_is_pinned_to_a_version_that_fits():
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["test"], *extras["lint"], *extras["imaging"], *extras["docs"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), text


def test_the_lock_holds_versions_only():
    assert not re.search(r"https?:|@|--|\+cpu|nvidia|triton", LOCK)


def test_the_conda_environment_has_the_same_versions():
    environment = yaml.safe_load((ROOT / "workflow/envs/dysconnect.yaml").read_text())
    listed = dict(line.split("==") for line in environment["dependencies"][-1]["pip"])
    assert {canonicalize_name(name) for name in listed} == {
        canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]
    }
    assert all(pins()[canonicalize_name(name)] == version for name, version in listed.items())
