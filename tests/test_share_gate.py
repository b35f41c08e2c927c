"""The gate: every rule lets a cohort pass that just keeps it, and refuses by its name one that just breaks it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from clinics import ASKED as EVERYTHING
from clinics import CIRCUITS, clinic, given

from dysconnect.commands import console
from dysconnect.data.atlas import circuit_edges, load_atlas
from dysconnect.data.connectomes import Connectomes, write_connectomes
from dysconnect.keeping.whole import save_arrays
from dysconnect.share.gate import check_release
from dysconnect.share.ledger import FILE, KEYS, Ledger
from dysconnect.share.make import make_package, make_sums
from dysconnect.share.page import page
from dysconnect.share.release import Circuits, NotSharedError, people_of
from dysconnect.share.revoked import refuse_revoked, revocation_file
from dysconnect.share.unpacked import PackageError
from dysconnect.share.weights import weights_of
from dysconnect.share.withheld import fit_outcomes

ASKED = EVERYTHING | {"norm": False}
PLAIN = ASKED | {"columns": []}


@pytest.fixture
def ledger(tmp_path):
    return Ledger.read(tmp_path / FILE)


def design_of(people, **asked):
    cohort = replace(clinic("a", len(people)), participants=people.reset_index(drop=True))
    return people_of(cohort, ASKED | asked, "a")[0]


def judged(people, ledger, **asked):
    return check_release(design_of(people, **asked), ASKED | asked, ledger)


def release(people, ledger, number="a" * 16, **asked):
    """Pass the gate and be written down."""
    design = design_of(people, **asked)
    passed = check_release(design, ASKED | asked, ledger.other_than(number))
    names = design.people["participant_id"].tolist()
    ledger.add(number, "kiel", "ds", names, weights_of(design, (ASKED | asked)["norm"]), 47)
    return passed


def people(n=40, **columns):
    return clinic("a", n).participants.assign(**columns)


def some(n, *where, value=1.0, other=0.0):
    """A column that has a value in some people and another in the rest."""
    column = np.full(n, other, object if isinstance(value, str) else float)
    column[list(where)] = value
    return column


def waves(n, count):
    """Columns in which nobody stands out: cosines and sines."""
    angle = 2 * np.pi * np.arange(n) / n
    both = [turn((1 + k // 2) * angle) for k, turn in enumerate([np.cos, np.sin] * count)]
    return {f"wave{k}": both[k] + 0.01 for k in range(count)}


def waved(n, count):
    asked = {"columns": [f"wave{k}" for k in range(count)], "centres": {f"wave{k}": 0.01 for k in range(count)}}
    return people(n, **waves(n, count)), PLAIN | asked


def column(values, name="dose", **more):
    return people(len(values), **{name: values}), PLAIN | {"columns": [name], "centres": {name: 0}} | more


NOISE = np.random.default_rng(3).normal(0, 1, 40)
UNTIL = lambda k: range(0, 2 * k, 2)  # the first controls
RULES = {
    "ten of a group": ((people(20), PLAIN), (people(19), PLAIN), r"share\.minimum\.group: 9 patients, and 10"),
    "a group as large as asked": (
        (people(24), PLAIN | {"minimum": {"group": 12, "cell": 5}}),
        (people(22), PLAIN | {"minimum": {"group": 12, "cell": 5}}), "11 patients, and 12"),
    "a minimum is never lowered": (
        (people(20), PLAIN | {"minimum": {"group": 2, "cell": 1}}),
        (people(18), PLAIN | {"minimum": {"group": 2, "cell": 1}}), "9 patients, and 10"),
    "five of a level": (
        column(some(40, *UNTIL(5), value="A", other="B")), column(some(40, *UNTIL(4), value="A", other="B")),
        r"share\.minimum\.cell: dose=A has 4 controls, and 5 or none"),
    "five of a group of a level": (
        column(some(40, *range(10), value="A", other="B")), column(some(40, *range(9), value="A", other="B")),
        "dose=A has 4 patients"),
    "five at a scanner": (
        (people(site=some(40, *UNTIL(5), value="new", other="old")), PLAIN),
        (people(site=some(40, *UNTIL(4), value="new", other="old")), PLAIN), "site=a/new has 4 controls"),
    "five who are not as all others": (
        column(some(40, *UNTIL(5))), column(some(40, *UNTIL(4))), "dose is the same .* of whom 4 are controls"),
    "five of each group": (
        column(some(40, *range(10))), column(some(40, *range(9))), "dose is the same .* of whom 4 are patients"),
    "levels within each other": (
        (people(one=some(40, *range(20), value="A", other="B"), two=some(40, *range(30), value="C", other="D")),
         PLAIN | {"columns": ["one", "two"]}),
        (people(one=some(40, *range(20), value="A", other="B"), two=some(40, *range(23), value="C", other="D")),
         PLAIN | {"columns": ["one", "two"]}), r"those of 3 people alone could be had, .* Take one or two out"),
    "a third as many columns as people": (waved(24, 6), waved(24, 7), "columns to people: 9 independent.* of 24 .* 8"),
    "no more than half of anybody": (
        column(NOISE), column(NOISE + some(40, 7, value=9)), r"give 1 of 40 people away: sub-a007 has .* in dose"),
    "nor of the controls": (
        column(NOISE), column(NOISE * 9 * (np.arange(40) % 2) + NOISE / 9 + some(40, 8, value=5), norm=True),
        r"of 20 controls away: sub-a008.* give no norm \(share\.norm=false\)"),
    "nor of the patients": (
        column(NOISE, norm=True), column(NOISE * 9 * (np.arange(40) % 2 == 0) + NOISE / 9 + some(40, 7, value=5),
                                         norm=True), "of 20 patients .*away: sub-a007"),
    "columns of the controls and of the patients": (
        waved(24, 6), (waved(24, 6)[0], waved(24, 6)[1] | {"norm": True}), "7 independent columns of 12 controls"),
    "somebody to ask": ((people(), PLAIN), (people(), PLAIN | {"contact": None}), r"share\.contact"),
    "no name of an id": (column(NOISE), column(NOISE, "scan_id"), "scan_id is called as ids or dates"),
    "no number of a person": (
        column(np.arange(40) // 2), column(np.arange(40) + 100.0), "a whole number for each person"),
    "no large number of a person": (column(1500 + NOISE), column(np.arange(40) * 97 + 5000.0), "as an id does"),
    "no years": (column(NOISE + 100), column(1960 + np.arange(40) % 7), "years or dates"),
    "no days": (column(NOISE + 100), column(20240100.0 + np.arange(40) % 7), "years or dates"),
    "no date as a level": (
        column(some(40, *range(20), value="A", other="B")),
        column(some(40, *range(20), value="2024-03-01", other="2023-03-01")), "a text or a date as a level"),
    "no text": (
        column(some(40, *range(20), value="A" * 40, other="B")),
        column(some(40, *range(20), value="he said that it began after a fall in the spring", other="B")), "a text"),
    "no age in months": (column(NOISE + 100), (people(age=NOISE + 561), ASKED), "age lies between 0 and 120 years"),
    "no level in two ways": (
        column(some(40, *range(20), value="left", other="right")),
        column(some(40, *range(20), value="left", other="Left")), "hand=Left and hand=left|are one level"),
    "no id of everybody": (
        (people(), PLAIN), (people(), PLAIN | {"columns": ["participant_id"]}), "called as ids or dates"),
    "no id in a level": (
        column(some(40, *range(20), value="as sub-b001", other="B")),
        column(some(40, *range(20), value="as a001", other="B")), "the id sub-a001 stands in the name of a level"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_its_limit(rule, ledger):
    (kept, asked), (broken, against), words = RULES[rule]
    passed = judged(kept, ledger, **asked)
    assert passed.leverage <= 0.5 and 3 * passed.parameters <= passed.people
    with pytest.raises(NotSharedError, match=words):
        judged(broken, ledger, **against)
    assert not ledger.path.exists()


def test_an_age_in_whole_years_is_no_id(ledger):
    assert judged(people(age=20.0 + np.arange(40)), ledger, columns=["age"]).earlier == 0


def test_scanners_of_few_people_are_to_be_joined_since_they_cannot_be_left_out(ledger):
    table = people(site=some(40, 0, 1, 2, 4, value="B", other="A"))
    with pytest.raises(NotSharedError, match=r"site=a/B has 1 patients.*Give scanners that are alike one name in the"):
        judged(table, ledger, **PLAIN)


# several releases


@pytest.mark.parametrize("fewer", [1, 9])
def test_people_who_differ_by_few_are_refused(fewer, ledger):
    release(people(60), ledger, **PLAIN)
    with pytest.raises(
        NotSharedError, match=rf"difference: .*a{{16}} \(of kiel\) differ by {fewer}.* {10 - fewer} more"
    ):
        judged(people(60)[fewer:], ledger, **PLAIN)
    with pytest.raises(NotSharedError, match=f"differ by {fewer}"):
        judged(people(60 + fewer), ledger, **PLAIN)


def test_people_who_differ_by_enough_pass(ledger):
    release(people(60), ledger, **PLAIN)
    passed = judged(people(60)[10:], ledger, **PLAIN)
    assert (passed.changed, passed.earlier) == (10, 1) and passed.leverage == pytest.approx(0.2)


def test_ten_more_of_whom_one_is_a_control_are_refused(ledger):
    """Ten have changed, and the sum of the patients taken from that of the ten is the one control's."""
    all_ = people(70)
    first, new = all_[:50], all_[50:]
    release(first, ledger, **PLAIN)
    one = pd.concat([first, new[new["label"] == 1][:9], new[new["label"] == 0][:1]])
    with pytest.raises(NotSharedError, match=r"leverage over releases.*give 1 people away: sub-a050 has 1\.000"):
        judged(one, ledger, **PLAIN)


@pytest.mark.parametrize(("by", "centre"), [(1.0, 45), (1.0, 40), (1e-6, 40)])
def test_an_age_that_was_corrected_is_refused(by, centre, ledger):
    """By names or hashes of columns it would be one more column, and the difference is that person's connections."""
    asked = PLAIN | {"columns": ["age"]}
    release(people(), ledger, **asked)
    changed = people()
    changed.loc[7, "age"] += by
    with pytest.raises(NotSharedError, match=r"give 1 people away: sub-a007 has 1\.000 of a difference"):
        judged(changed, ledger, **asked | {"centres": {"age": centre}})


@pytest.mark.parametrize("count", [3, 4])
def test_ages_of_few_that_were_corrected_are_refused(count, ledger):
    """Nobody weighs more than half in the difference, and still it is of these few alone."""
    asked = PLAIN | {"columns": ["age"]}
    release(people(), ledger, **asked)
    changed = people()
    changed.loc[[7, 10, 21, 30][:count], "age"] += [1, 1, 1.2, 0.9][:count]
    with pytest.raises(NotSharedError, match=f"those before .*those of {count} people alone .* has changed since"):
        judged(changed, ledger, **asked)
    changed["age"] += np.arange(40) % 5
    assert judged(changed, ledger, **asked).parameters == 4


def test_columns_of_all_releases_of_the_same_people_count(ledger):
    """Three columns, and three others: each passes, and the third release is one too many."""
    table = people(36, **waves(36, 12))
    for k in range(3):
        names = [f"wave{4 * k + j}" for j in range(4)]
        asked = PLAIN | {"columns": names, "centres": dict.fromkeys(names, 0.01)}
        if k < 2:
            assert release(table, ledger, str(k) * 16, **asked).parameters == 6 + 4 * k
    with pytest.raises(NotSharedError, match="14 independent columns of 36 people in this and the releases before"):
        judged(table, ledger, **asked)
    assert judged(table.assign(participant_id=[f"sub-b{k:03d}" for k in range(36)]), ledger, **asked).earlier == 0


def test_the_same_people_again_with_other_scans_or_units_count_once(ledger):
    """Another denoising is another release, and no other column."""
    first = release(people(), ledger)
    again = release(people(age=people()["age"] / 2)[::-1], ledger, "b" * 16, centres={"age": 0, "mean_fd": 0.2})
    assert (again.parameters, again.earlier, again.changed) == (first.parameters, 1, 0)
    assert again.leverage == pytest.approx(first.leverage)


def test_the_ledger_is_written_once_and_names_nobody(ledger):
    for _ in range(2):
        release(people(), ledger)
    text = ledger.path.read_text()
    held = json.loads(text)
    assert len(held["releases"]) == 1 and len(held["releases"][0]["people"]) == 40
    assert "sub-" not in text
    assert set(held["releases"][0]) == set(KEYS)
    assert Ledger.read(ledger.path) == ledger and held["salt"] != Ledger.read(ledger.path.with_name("other")).salt
    assert not list(ledger.path.parent.glob("*.part"))


DAMAGE = {
    "half": lambda text: text[: len(text) // 2],
    "another file": lambda text: "{}",
    "no salt": lambda text: text.replace('"salt"', '"pepper"'),
    "people lost": lambda text: json.dumps(json.loads(text) | {"releases": [{"release": "a"}]}),
    "weights lost": lambda text: text.replace('"weights": "', '"weights": "AAAA'),
    "bytes": lambda text: "\x00",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_ledger_stops_everything(kind, ledger, capsys):
    release(people(), ledger)
    ledger.path.write_text(DAMAGE[kind](ledger.path.read_text()))
    before = ledger.path.read_bytes()
    with pytest.raises(ValueError, match=r"released\.json is damaged .*put back a copy"):
        Ledger.read(ledger.path)
    project = ledger.path.parent
    (project / "results/ds/timeseries").mkdir(parents=True)
    (project / "results/ds/timeseries/participants.tsv").write_text("participant_id\nsub-a007\n")
    assert console(["withdraw", "sub-a007", "--directory", str(project)]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert ledger.path.read_bytes() == before and not (project / "withdrawn.tsv").exists()


# withdrawal


@pytest.fixture
def project(ledger, monkeypatch):
    """A project that has given a file of 40 people."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    package, _, _ = given(clinic("a", 40), "kiel", **PLAIN)
    folder = ledger.path.parent
    for place in ("share/kiel.zip", "share/kiel.html", "timeseries/participants.tsv"):
        (folder / "results/ds" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "results/ds" / place).write_text("")
    people().to_csv(folder / "results/ds/timeseries/participants.tsv", sep="\t", index=False)
    release(people(), ledger, package.about["release"], **PLAIN)
    return folder, package


def test_who_withdraws_revokes_the_file(project, capsys):
    folder, package = project
    number, revocation = package.about["release"], folder / revocation_file("kiel")
    asked = ["withdraw", "sub-a007", "--directory", str(folder)]
    assert console([*asked, "--dry-run"]) == 0
    assert "kiel.zip would be revoked" in capsys.readouterr().out and not revocation.exists()
    assert not Ledger.read(folder / FILE).releases[0]["revoked"]
    refuse_revoked([package], [])
    for _ in range(2):  # also again, after an interruption
        assert console(asked) == 0
        told = capsys.readouterr().out
        assert f"kiel.zip is revoked and deleted here (release {number})" in told and "revoked_kiel.json" in told
    assert not list((folder / "results").rglob("kiel.*"))
    assert json.loads(revocation.read_text())["releases"] == [number]
    assert "sub-" not in revocation.read_text() + (folder / FILE).read_text()
    with pytest.raises(PackageError, match=rf"kiel\.zip, release {number}, is revoked .*ask science@clinic"):
        refuse_revoked([package], [revocation])
    other, _, _ = given(clinic("b", 40, seed=1), "kiel", **PLAIN)
    refuse_revoked([other], [revocation])


def test_the_ledger_is_enough_to_revoke(project, capsys):
    """Results may be gone for long when somebody withdraws."""
    folder, package = project
    shutil.rmtree(folder / "results")
    assert console(["withdraw", "sub-z001", "--directory", str(folder)]) == 2
    assert console(["withdraw", "sub-a007", "--directory", str(folder)]) == 0
    assert package.about["release"] in (folder / revocation_file("kiel")).read_text()
    assert "nobody is called sub-z001" in capsys.readouterr().err


def test_a_new_release_waits_for_ten_changes(project):
    folder, package = project
    console(["withdraw", "sub-a007", "--directory", str(folder)])
    ledger, left = Ledger.read(folder / FILE), people(60).drop(index=7)
    with pytest.raises(NotSharedError, match=r"revoked, but whoever has it can still subtract\) differ by 1"):
        judged(left[:39], ledger, **PLAIN)
    with pytest.raises(NotSharedError, match=r"differ by 9.* 1 more"):
        judged(left[:47], ledger, **PLAIN)
    assert judged(left[:49], ledger, **PLAIN).changed == 11
    with pytest.raises(NotSharedError, match="was revoked, since somebody in it has withdrawn"):
        release(people(), ledger, package.about["release"], **PLAIN)


def test_who_was_in_no_file_and_another_dataset_revoke_nothing(project, capsys):
    folder, _ = project
    for dataset in ("other", "ds"):
        table = folder / "results" / dataset / "timeseries/participants.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text("participant_id\nsub-a007\nsub-z001\n")
    assert console(["withdraw", "sub-z001", "--dataset", "ds", "--directory", str(folder)]) == 0
    assert console(["withdraw", "sub-a007", "--dataset", "other", "--directory", str(folder)]) == 0
    assert "revoked" not in capsys.readouterr().out and not list(folder.glob("revoked_*"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "dysconnect revocation 1", "releases": [1]}', "\x00"])
def test_a_list_of_revoked_releases_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "revoked_a.json").write_text(text)
    with pytest.raises(PackageError, match=r"revoked_a\.json is no list of revoked releases"):
        refuse_revoked([], [tmp_path / "revoked_a.json"])


# from files to a file


def written(folder, cohort):
    """Files that the stage reads, as a run makes them."""
    folder.mkdir(exist_ok=True)
    names = cohort.participants["participant_id"].to_numpy(str)
    held = Connectomes(cohort.values, cohort.missing, names, cohort.nodes, cohort.measure, "ab")
    write_connectomes(held, folder / "correlation.h5", {})
    cohort.participants.drop(columns="label").to_csv(folder / "participants.tsv", sep="\t", index=False)
    return {"connectomes": folder / "correlation.h5", "participants": folder / "participants.tsv"}


def made(folder, cohort, **asked):
    """What the rules `sums` and `share` do."""
    files, sums = written(folder, cohort), folder / "sums.npz"
    spec = {
        "share": PLAIN | {"columns": ["age"]} | asked, "site": "kiel", "dataset": "ds", "licence": "CC0-1.0",
        "localize": {"measure": cohort.measure, "prior_circuits": CIRCUITS, "max_missing": 0.1},
        "atlas": {"nodes": "motor10", "name": "motor10", "title": "Ten regions"}, "processing": {},
        "contrast": {"cases": ["CD"], "controls": ["HC"]},
    }  # fmt: skip
    save_arrays(sums, make_sums(files, spec, 0))
    return make_package(files, [sums], spec, folder / FILE)


def test_a_release_is_written_down_before_it_is_given_and_once(tmp_path):
    package, passed = made(tmp_path, clinic("a", 40))
    ledger = Ledger.read(tmp_path / FILE)
    assert [(one["release"], one["outcomes"], one["dataset"]) for one in ledger.releases] == [
        (package.about["release"], 47, "ds")
    ]
    again, same = made(tmp_path, clinic("a", 40))
    assert again.about == package.about and same == passed and Ledger.read(tmp_path / FILE) == ledger
    other, after = made(tmp_path, clinic("a", 40), edges="circuits")
    assert other.about["release"] != package.about["release"] and after.parameters == passed.parameters
    assert (after.earlier, len(Ledger.read(tmp_path / FILE).releases)) == (1, 2)


def test_what_is_refused_is_not_written_down(tmp_path):
    with pytest.raises(NotSharedError, match=r"share\.minimum\.group: 9 patients"):
        made(tmp_path, clinic("a", 18))
    joined = replace(clinic("a", 40), measure="binary")
    joined.values[:] = joined.values > 0.3
    with pytest.raises(NotSharedError, match=r"connectivity=binary: .* as 0 or 1, is not shared"):
        made(tmp_path, joined)
    assert not (tmp_path / FILE).exists()


# connections that few people have


def fit_of(cohort, **asked):
    spec = ASKED | asked
    design, rows = people_of(cohort, spec, "a")
    circuits = Circuits.of_atlas(load_atlas("motor10"), CIRCUITS, False)
    return fit_outcomes(cohort, rows, design, circuits, spec)[:45]


def lacking(who, region=2, n=40, **columns):
    cohort = clinic("a", n)
    cohort.missing[list(who), region] = True
    return replace(cohort, participants=cohort.participants.assign(**columns))


TOUCHED = clinic("a").pairs.touching(np.arange(10) == 2)


@pytest.mark.parametrize(("n_lacking", "kept"), [(5, True), (6, False)])
def test_a_connection_that_too_few_of_a_cell_have_is_withheld(n_lacking, kept):
    """Ten women are controls: five of them may lack it, and not six."""
    women = np.flatnonzero(np.arange(40) % 4 == 0)
    fit = fit_of(lacking(women[:n_lacking]), columns=["sex"])
    assert (fit == ~TOUCHED).all() if not kept else fit.all()


@pytest.mark.parametrize(("who", "kept"), [((), True), ((0, 1), True), ((0, 1, 2, 3), False)])
def test_a_connection_in_which_somebody_would_weigh_too_much_is_withheld(who, kept):
    """Five have a dose, and in a region that four of them lack the fifth stands alone."""
    fit = fit_of(lacking(who, dose=some(40, *range(5))), columns=["dose"], centres={"dose": 0})
    assert (fit == ~TOUCHED).all() if not kept else fit.all()


TRACTS = {
    "nobody": ((), "count", [], True),
    "three": ((0, 1, 3), "count", [], False),
    "five controls, of two columns": (range(0, 10, 2), "count", [], False),
    "six controls": (range(0, 12, 2), "count", [], True),
    "ten, of three columns": (range(10), "count", ["age"], True),
    "ten, of five columns": (range(10), "count", ["age", "mean_fd", "dose"], False),
    "twenty, of whom one stands out": (range(20), "count", ["dose"], False),
}


@pytest.mark.parametrize("kind", TRACTS)
def test_a_tract_that_few_have_is_withheld(kind):
    """Its sums are theirs, as they would be if the others lacked it."""
    who, measure, columns, kept = TRACTS[kind]
    cohort = clinic("a")
    cohort.participants["dose"] = NOISE + some(40, 7, *range(20, 40, 3), value=9)
    cohort.values[:] = np.abs(cohort.values)
    cohort.values[:, 4] *= some(40, *who)
    fit = fit_of(replace(cohort, measure=measure), columns=columns, centres=ASKED["centres"] | {"dose": 0})
    assert fit[4] == kept and np.delete(fit, 4).all()


@pytest.mark.parametrize("region", range(10))
def test_a_circuit_with_few_withheld_connections_is_withheld(region):
    """Else the mean less those that are given would be these few; of five or more it is a mean."""
    touched = clinic("a").pairs.touching(np.arange(10) == region)
    cohort = lacking((0, 1, 2, 3), region, dose=some(40, *range(5)))
    _, sums, _ = given(cohort, "a", columns=["dose"], centres={"dose": 0}, norm=False)
    table = circuit_edges(load_atlas("motor10"))
    hit = [touched[table["edge"][table["circuit"] == name]] for name in CIRCUITS]
    kept = [inside.sum() in (0, len(inside)) or inside.sum() >= 5 for inside in hit]
    assert (sums.given == np.concatenate([~touched, kept])).all()
    assert not sums.xy[:, ~sums.given].any()


def test_the_page_says_what_is_in_the_file(ledger):
    package, _, _ = given(clinic("a", 40), "kiel")
    passed = judged(people(), ledger, norm=False)
    html = page(package, passed, 12_345)
    for words in (package.about["release"], "20 patients, 20 controls", "12.3 kB", "An aggregate is not anonymous",
                  "science@clinic.example", "revoked_kiel.json", "45 connections and 2 means of circuits",
                  "of the controls alone", f"{passed.parameters} of 40", "denoise.high_pass"):  # fmt: skip
        assert words in html, words
    assert "sub-" not in html.replace("sub-XX", "") and "://" not in html
