"""What was sent, by kind: files of sums, revocations, and what belongs to circuits permuted under masks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dysconnect.combined.checks import NotCombinedError, different_making
from dysconnect.share.masked import circuit_p, totals
from dysconnect.share.package import Package
from dysconnect.share.session import Plan, plan_of, read_key, read_plan

KEY, ANSWER, REVOCATION, PLAN = ".key.json", ".masked.npz", "revoked_", "plan.json"


class Sent(NamedTuple):
    """Names of files by what they are."""

    packages: list[str]
    revocations: list[str]
    keys: list[str]
    plans: list[str]
    answers: list[str]


def sort_files(files: Sequence[str]) -> Sent:
    """Tell files apart by their names.

    Raises
    ------
    NotCombinedError
        For a file that is named twice, or parts of a session that do not make one.
    """
    twice = [name for name in dict.fromkeys(files) if files.count(name) > 1]
    if twice:
        raise NotCombinedError(f"{', '.join(twice)}: named twice. Give every file once.")
    kinds = {name: _kind(Path(name).name) for name in files}
    sent = Sent(*([name for name in files if kinds[name] == kind] for kind in Sent._fields))
    if len(sent.plans) > 1:
        raise NotCombinedError(f"{' and '.join(sent.plans)} are several plans. Give the one that the sites answered.")
    if bool(sent.plans) != bool(sent.answers):
        raise NotCombinedError(
            f"a {PLAN} and the SITE{ANSWER} of all its sites belong together. Give both, or neither (with the "
            f"SITE{KEY} of every site instead a new plan is made)."
        )
    return sent


def _kind(name: str) -> str:
    if name.endswith(KEY):
        return "keys"
    if name.endswith(ANSWER):
        return "answers"
    if name.startswith(REVOCATION) and name.endswith(".json"):
        return "revocations"
    return "plans" if name.endswith(".json") else "packages"


def make_plan(packages: Sequence[Package], sent: Sent) -> Plan | None:
    """Plan the permutation of circuits, where the sites sent their keys.

    Raises
    ------
    NotCombinedError
        When the sites differ in how their data were made.
    """
    if not sent.keys:
        return None
    _refuse_effects(packages)
    return plan_of(packages, [read_key(path) for path in sent.keys])


def plan_text(plan: Plan) -> str:
    """A plan as the text of its file."""
    return json.dumps(plan.described(), indent=1)


def permuted_circuits(packages: Sequence[Package], sent: Sent) -> Mapping[str, float] | None:
    """Family-wise p of circuits, where all sites answered a plan.

    Raises
    ------
    NotCombinedError
        When the sites differ in how their data were made.
    """
    if not sent.plans:
        return None
    _refuse_effects(packages)
    plan = read_plan(sent.plans[0])
    table = circuit_p(packages, plan, totals(plan, sent.answers))
    return dict(zip(table["circuit"], table["p_fwer"]))


def _refuse_effects(packages: Sequence[Package]) -> None:
    differing = different_making(packages)
    if differing:
        raise NotCombinedError(
            f"circuits can only be permuted together where data were made alike, and these differ in "
            f"{', '.join(differing[:5])}. Leave keys, plan and answers out."
        )
