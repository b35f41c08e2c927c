"""Files of a session among those that whoever combines the sites is given."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dysconnect.keeping.whole import whole_file
from dysconnect.share.masked import circuit_p, totals
from dysconnect.share.package import Package
from dysconnect.share.session import plan_of, read_key, read_plan, spoken
from dysconnect.share.unpacked import PackageError

PLAN = "plan.json"
KEYS, ANSWERS = ".key.json", ".masked.npz"  # after the name of a site


class SessionFiles(NamedTuple):
    """Keys, plans and answers, by their names; and what is `left`."""

    keys: list[str]
    plans: list[str]
    answers: list[str]
    left: list[str]

    @classmethod
    def among(cls, paths: Sequence[str | Path]) -> "SessionFiles":
        """Take the files of a session out of others.

        Raises
        ------
        PackageError
            When they do not make one step of one session.
        """
        names = [str(path) for path in paths]
        keys = [name for name in names if name.endswith(KEYS)]
        plans = [name for name in names if Path(name).name == PLAN]
        answers = [name for name in names if name.endswith(ANSWERS)]
        if keys and (plans or answers):
            raise PackageError("keys make a new plan, and answers belong to one that is there: give one or the other.")
        if len(plans) > 1 or bool(plans) != bool(answers):
            raise PackageError(
                f"{len(plans)} of {PLAN} and {len(answers)} answers (SITE{ANSWERS}): give the plan, and the answers of "
                "all its sites to it."
            )
        return cls(keys, plans, answers, [name for name in names if name not in {*keys, *plans, *answers}])

    def write_plan(self, packages: Sequence[Package], permutations: int, folder: str | Path) -> str:
        """Make a plan of the keys and write it into a folder; return what to do with it.

        Raises
        ------
        PackageError
        """
        plan = plan_of(packages, [read_key(path) for path in self.keys], permutations)
        content = json.dumps(plan.described(), indent=1).encode()
        path = Path(folder, PLAN)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, len(content)) as file:
            file.write(content)
        return "\n".join([f"Written: {path}. Send it to all sites, and read this to them by phone:", spoken(plan)])

    def p_fwer(self, packages: Sequence[Package]) -> dict[str, float] | None:
        """Family-wise p of circuits by the answers of all sites; None where there are none.

        Raises
        ------
        PackageError
        """
        if not self.answers:
            return None
        plan = read_plan(self.plans[0])
        table = circuit_p(packages, plan, totals(plan, self.answers))
        return dict(zip(table["circuit"], table["p_fwer"]))
