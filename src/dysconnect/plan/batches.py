"""How people are dealt to jobs: one each, or in large cohorts as many jobs as a plan takes seconds for."""

import hashlib
from collections.abc import Sequence


def dealt(people: Sequence[str], most: int) -> dict[str, list[str]]:
    """Deal people to jobs, by a hash of their ids: who joins a study later changes one job and no other.

    Parameters
    ----------
    people : sequence of str
        `participant_id`.
    most : int
        Jobs. Up to as many people have a job each, with their own names.

    Returns
    -------
    dict of str to list of str
        The people of every job, by its name: that of the one person, or ``batch-017``.
    """
    if len(people) <= most:
        return {name: [name] for name in people}
    jobs = {}
    for name in people:
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % most
        jobs.setdefault(f"batch-{number:03d}", []).append(name)
    return dict(sorted(jobs.items()))
