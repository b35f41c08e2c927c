"""Splits by subject: K-fold stratified by label and site, by site, or fixed; copies of a scan stay together; saved."""

import difflib
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dysconnect.data.participants import scan_groups

NEVER_TESTED = -1  # `fold` of those whom a fixed split only trains on
MANY = 5  # names that a message spells out
FEWEST = 2  # people of each group, copies counted once, who must be left to fit on where sites are left out inside


def strata(participants: pd.DataFrame, folds: int) -> np.ndarray:
    """Stratum of every subject, [n]: label x site, or the label alone where a stratum cannot fill every fold."""
    label = participants["label"].astype(str)
    joint = label + "/" + participants["site"].astype(str)
    return np.where(joint.map(joint.value_counts()) < folds, label, joint)


def make_splits(
    participants: pd.DataFrame,
    folds: int,
    repeats: int,
    seed: int,
    scheme: str = "kfold",
    test_sites: Sequence[str] = (),
) -> pd.DataFrame:
    """Split subjects into folds; copies of one scan always share a fold.

    Parameters
    ----------
    participants : DataFrame, [n rows]
        With `label` (1 is the patient), `site` and, where scans are copies, `scan_group`.
    folds, repeats, seed : int
        Of the repeated K-fold; the other schemes know one way to split, and ignore them.
    scheme : {"kfold", "leave_one_site_out", "fixed"}
        K-fold stratified by label and site; every site tested by a model of the others; or one test set.
    test_sites : sequence of str
        Of scheme `fixed`: tested by a model of all other sites.

    Returns
    -------
    DataFrame, [n * repeats rows]
        `participant_id`, `label`, `site`, `scan_group`, `repeat`, `fold`: the fold in which the subject is
        tested; -1 for those whom a fixed split only trains on.

    Raises
    ------
    ValueError
        When a fold cannot be trained or scored: too few subjects of a class, one site only, unknown sites, or
        copies of a scan on both sides.

    Warns
    -----
    UserWarning
        When a site is left out that holds one class only, or sites are tested together since they share scans.
    """
    if scheme != "fixed" and len(test_sites):
        raise ValueError(
            f"splits.test_sites={list(test_sites)} is read by splits.scheme=fixed alone, not by {scheme}. "
            "Set splits.scheme=fixed, or leave splits.test_sites empty."
        )
    for label, name in ((1, "patients"), (0, "controls")):
        if not (participants["label"] == label).any():
            raise ValueError(f"there are no {name} to split. Correct dataset.contrast, or include more subjects.")
    if scheme == "kfold":
        return pd.concat([_kfold(participants, folds, repeat, seed) for repeat in range(repeats)], ignore_index=True)
    if scheme == "leave_one_site_out":
        return _leave_one_site_out(participants)
    if scheme == "fixed":
        return _fixed(participants, test_sites)
    raise ValueError(f"splits.scheme={scheme!r} is unknown; known: kfold, leave_one_site_out, fixed.")


def _table(participants: pd.DataFrame, repeat: int, fold: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "participant_id": participants["participant_id"].to_numpy(),
            "label": participants["label"].to_numpy(),
            "site": participants["site"].to_numpy(),
            "scan_group": scan_groups(participants),
            "repeat": repeat,
            "fold": fold,
        }
    )


def _kfold(participants: pd.DataFrame, folds: int, repeat: int, seed: int) -> pd.DataFrame:
    """One repeat of the stratified, grouped K-fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = participants["label"].to_numpy(), scan_groups(participants)
    for label, name in ((1, "patients"), (0, "controls")):
        count = pd.unique(groups[labels == label]).size
        if count < folds:
            raise ValueError(
                f"{count} {name} cannot be split into {folds} folds: every fold needs one of each class. "
                f"Set splits.folds={max(count, 2)} or fewer, or include more subjects."
            )
    state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
    fold = np.empty(len(participants), int)
    with warnings.catch_warnings():  # a merged stratum may stay smaller than the folds: it is spread all the same
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for number, (_, test) in enumerate(splitter.split(participants, strata(participants, folds), groups)):
            fold[test] = number
    for number in range(folds):
        present = np.unique(labels[fold == number])
        if len(present) < 2:
            lacks = "patient" if 1 not in present else "control"
            raise ValueError(
                f"fold {number} of repeat {repeat} has no {lacks}: copies of scans leave too few groups to spread. "
                "Set fewer splits.folds, or another splits.seed."
            )
    return _table(participants, repeat, fold)


def _leave_one_site_out(participants: pd.DataFrame) -> pd.DataFrame:
    """Test every site by a model of the others; sites that share scans are tested together."""
    sites = participants["site"].astype(str).to_numpy()
    parts = joined_sites(sites, scan_groups(participants))
    if len(parts) < 2:
        shared = "" if len(np.unique(sites)) < 2 else ", for copies of scans join all of them"
        raise ValueError(
            f"splits.scheme=leave_one_site_out needs two sites or more; there is one ({', '.join(parts[0])}){shared}. "
            "Set splits.scheme=kfold."
        )
    labels, fold = participants["label"].to_numpy(), np.empty(len(participants), int)
    one_class = []
    for number, part in enumerate(parts):
        test = np.isin(sites, part)
        fold[test] = number
        _need_both_classes(labels[~test], f"without {', '.join(part)}")
        if len(np.unique(labels[test])) < 2:
            one_class.append(f"{', '.join(part)} ({'patients' if labels[test][0] else 'controls'})")
        if len(part) > 1:
            warnings.warn(f"sites {', '.join(part)} share copies of a scan: they are tested together.", stacklevel=3)
    if len(one_class) == len(parts):
        raise ValueError(
            "every site holds one class only: no model judges a patient and a control of one site, so "
            "splits.scheme=leave_one_site_out has no AUC, and site and group cannot be told apart. "
            "Set splits.scheme=kfold, and read the confound floor."
        )
    if one_class:
        warnings.warn(
            f"one class only in {'; '.join(one_class)}: these subjects are predicted and count in sensitivity, "
            "specificity and the Brier score, but add no pair to the AUC, and their site has none of its own.",
            stacklevel=3,
        )
    return _table(participants, 0, fold)


def joined_sites(sites: np.ndarray, groups: np.ndarray) -> list[list[str]]:
    """Sites, [n], in sorted lists; those that share a scan group [n] stand in one list."""
    parts = [{site} for site in np.unique(sites)]
    for shared in pd.Series(sites).groupby(groups).unique():
        touched = [part for part in parts if part & set(shared)]
        parts = [part for part in parts if not part & set(shared)] + [set().union(*touched)]
    return sorted(sorted(str(site) for site in part) for part in parts)


def _fixed(participants: pd.DataFrame, test_sites: Sequence[str]) -> pd.DataFrame:
    """Test some sites by one model of all others."""
    sites = participants["site"].astype(str).to_numpy()
    known = sorted(set(sites))
    if not len(test_sites):
        raise ValueError(f"splits.scheme=fixed needs splits.test_sites, some of: {', '.join(known)}.")
    for site in map(str, test_sites):
        if site not in known:
            near = difflib.get_close_matches(site, known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"splits.test_sites: unknown site {site}{meant}; the cohort has: {', '.join(known)}.")
    test = np.isin(sites, list(map(str, test_sites)))
    if test.all():
        raise ValueError("splits.test_sites names every site: none is left to train on. Name fewer.")
    labels, groups = participants["label"].to_numpy(), scan_groups(participants)
    _need_both_classes(labels[~test], f"without the test sites {', '.join(map(str, test_sites))}")
    _need_both_classes(labels[test], f"in the test sites {', '.join(map(str, test_sites))}", "scored")
    copied = sorted(set(groups[test]) & set(groups[~test]))
    if copied:
        people = participants["participant_id"][np.isin(groups, copied)]
        raise ValueError(
            f"copies of a scan stand in test and training sites ({', '.join(people[:MANY])}). Name both sites in "
            "splits.test_sites or neither, or exclude one copy."
        )
    return _table(participants, 0, np.where(test, 0, NEVER_TESTED))


def _need_both_classes(labels: np.ndarray, where: str, purpose: str = "trained") -> None:
    for label, name in ((1, "patients"), (0, "controls")):
        if not (labels == label).any():
            raise ValueError(
                f"there are no {name} {where}: nothing can be {purpose}. "
                "Choose another splits.scheme or other splits.test_sites."
            )


def audit_splits(splits: pd.DataFrame, participants: pd.DataFrame) -> list[str]:
    """Look for leaks and gaps in saved splits; an empty list where there are none.

    Parameters
    ----------
    splits : DataFrame
        `participant_id`, `repeat`, `fold`, as `make_splits` returns them.
    participants : DataFrame
        Everybody of the contrast, with `scan_group` where scans are copies: what the splits say themselves about
        copies is not believed.

    Returns
    -------
    list of str
        One sentence a problem, with names: somebody in two folds of a repeat (so in training and test at once),
        copies of a scan on both sides, people who are never tested or unknown, folds that train on one class only,
        people under another label.
    """
    group = pd.Series(scan_groups(participants), participants["participant_id"].to_numpy())
    label = pd.Series(participants["label"].to_numpy(), participants["participant_id"].to_numpy())
    unknown = sorted(set(splits["participant_id"]) - set(group.index))
    problems = [f"{_some(unknown)} are in the splits but not in the cohort"] if unknown else []
    for repeat, part in splits[splits["participant_id"].isin(group.index)].groupby("repeat"):
        assigned = part.assign(group=group.loc[part["participant_id"]].to_numpy())
        assigned["label"] = label.loc[part["participant_id"]].to_numpy()
        if "label" in part and len(
            wrong := assigned.loc[assigned["label"] != part["label"], "participant_id"].unique()
        ):
            problems.append(f"repeat {repeat}: {_some(wrong)} under another label than in the cohort")
        problems += [f"repeat {repeat}: {text}" for text in _leaks(assigned) + _gaps(assigned, group.index)]
    return problems


def refuse_other_splits(splits: pd.DataFrame, participants: pd.DataFrame) -> None:
    """Refuse splits that leak, or that were made of other people or labels.

    Raises
    ------
    ValueError
        Says what is wrong with them, and what to do.
    """
    if problems := audit_splits(splits, participants):
        raise ValueError(
            f"the splits are not of this cohort: {'; '.join(problems)}. Make them again (snakemake --forcerun splits)."
        )


def _leaks(part: pd.DataFrame) -> list[str]:
    """People and scans of one repeat that stand on both sides."""
    twice = part["participant_id"][part["participant_id"].duplicated()].unique()
    folds = part.drop_duplicates("participant_id").groupby("group")["fold"].nunique()
    copies = part.loc[part["group"].isin(folds.index[folds > 1]), "participant_id"].unique()
    said = [f"{_some(twice)} in training and test at once, or tested twice"] if len(twice) else []
    return said + ([f"copies of one scan on both sides: {_some(copies)}"] if len(copies) else [])


def _gaps(part: pd.DataFrame, everybody: pd.Index) -> list[str]:
    """People of one repeat who are never tested, and folds that cannot be trained."""
    absent = sorted(set(everybody) - set(part["participant_id"]))
    said = [f"{_some(absent)} never tested"] if absent else []
    for fold in sorted(set(part["fold"]) - {NEVER_TESTED}):
        trained = part.loc[part["fold"] != fold, "label"]
        if trained.nunique() < 2:
            said.append(f"fold {fold} trains on one class only")
    return said


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(map(str, names[:MANY])) + rest


def scored_folds(splits: pd.DataFrame) -> list[tuple[int, int]]:
    """(repeat, fold) of every test set, in order."""
    tested = splits.loc[splits["fold"] != NEVER_TESTED, ["repeat", "fold"]].drop_duplicates()
    return sorted((int(repeat), int(fold)) for repeat, fold in tested.to_numpy())


def site_folds(participants: pd.DataFrame, folds: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inner folds of whole sites: positions to fit on and to watch.

    Sites that share copies of a scan stay together.

    Parameters
    ----------
    participants : DataFrame, [n rows]
        With `label`, `site` and, where scans are copies, `scan_group`.
    folds : int
        At most; fewer where there are fewer sites, or fewer people of a group.

    Returns
    -------
    list of (array, array)
        Empty where nothing can be learned so: one site only, or a group is at one site only.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    sites, labels = participants["site"].astype(str), participants["label"].to_numpy(int)
    groups = scan_groups(participants)
    parts, once = joined_sites(sites.to_numpy(), groups), ~pd.Series(groups).duplicated().to_numpy()
    number = {site: k for k, part in enumerate(parts) for site in part}
    folds = min(folds, len(parts), *np.bincount(labels, minlength=2))
    if folds < 2:
        return []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    found = [(fit, watch) for fit, watch in splitter.split(labels, labels, sites.map(number)) if len(watch)]
    enough = all(np.bincount(labels[fit][once[fit]], minlength=2).min() >= FEWEST for fit, _ in found)
    return found if enough else []


def unseen_sites(splits: pd.DataFrame) -> pd.DataFrame:
    """Sites of which a fold tests people and trains on none: `repeat`, `fold`, `site` and `people`, a row each."""
    counts = splits.groupby(["repeat", "fold", "site"]).size().rename("people").reset_index()
    together = ~counts.duplicated(["repeat", "site"], keep=False)
    return counts[together & (counts["fold"] != NEVER_TESTED)].reset_index(drop=True)


def leaves_sites_out(splits: pd.DataFrame) -> bool:
    """Whether everybody is tested by models that have seen nobody of the same site."""
    return int((splits["fold"] != NEVER_TESTED).sum()) == unseen_sites(splits)["people"].sum()


def fold_rows(
    splits: pd.DataFrame, participants: pd.DataFrame, repeat: int, fold: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of training and test subjects of one fold."""
    fold_of = splits[splits["repeat"] == repeat].set_index("participant_id")["fold"]
    number = fold_of.loc[participants["participant_id"]].to_numpy()
    return np.flatnonzero(number != fold), np.flatnonzero(number == fold)
