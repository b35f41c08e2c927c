"""Files of several sites in, one cohort's report out: the numbers of pooled data, or a refusal that says why."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from clinics import CIRCUITS, clinic, given
from sessions import three_sites

from dysconnect.combined.checks import NotCombinedError, refuse_different
from dysconnect.combined.cohort import join_sites
from dysconnect.combined.page import render_joined
from dysconnect.combined.words import site_words
from dysconnect.commands import console
from dysconnect.data.atlas import circuit_edges, load_atlas
from dysconnect.localize.power import detectable
from dysconnect.localize.statistics import edge_statistics
from dysconnect.share.masked import circuit_p, totals
from dysconnect.share.package import Package, hash_of, packed, write_package
from dysconnect.share.revoked import write_revocation
from dysconnect.share.session import described_key, read_plan, spoken
from dysconnect.share.statement import regions_hash

MODEL = {
    "model": "correlation_ridge", "trained_at": "b", "checksum": "ab" * 32, "n_cases": 20, "n_controls": 21,
    "auc": 0.71, "low": 0.55, "high": 0.83, "calibration": [[0.0, 0.4, 19, 6], [0.4, 1.0, 22, 14]],
}  # fmt: skip


@pytest.fixture(scope="module")
def cohorts():
    return {name: clinic(name, n, seed) for seed, (name, n) in enumerate({"a": 40, "b": 52, "c": 60}.items())}


@pytest.fixture(scope="module")
def packages(cohorts):
    return {name: given(cohort, name)[0] for name, cohort in cohorts.items()}


def changed(package: Package, **about) -> Package:
    """The same sums under another statement, as a site with other settings would write it."""
    kept = {key: value for key, value in package.about.items() if key not in ("format", "release")} | about
    kept["processing_hash"] = hash_of(kept["processing"])
    return packed(kept, package.regions, package.sums, package.norm)


@pytest.fixture(scope="module")
def files(packages, tmp_path_factory):
    """Files of three sites; the site a tested the model of b."""
    folder = tmp_path_factory.mktemp("sent")
    for name, package in (packages | {"a": changed(packages["a"], models=[MODEL])}).items():
        write_package(folder / f"{name}.zip", package)
    return folder


def test_joined_circuits_and_edges_are_those_of_pooled_people(cohorts, packages):
    joined = join_sites(list(packages.values()), 0.05)
    people = pd.concat([c.participants.assign(site=name) for name, c in cohorts.items()], ignore_index=True)
    edges = np.concatenate([c.values.astype(float) for c in cohorts.values()])
    inside = circuit_edges(load_atlas("motor10"))
    means = [edges[:, inside["edge"][inside["circuit"] == name]].mean(1) for name in CIRCUITS]
    covariates = ["age", "sex", "mean_fd", "site"]
    for own, values in ((joined.edges, edges), (joined.circuits, np.column_stack(means))):
        wanted = edge_statistics(values, people, covariates, 5, 0)
        np.testing.assert_allclose(own["t"], wanted.t, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(own["p_fdr"], wanted.p_fdr, rtol=1e-8)
        np.testing.assert_allclose(own["p_bonferroni"], np.minimum(1, wanted.p * len(wanted.p)), rtol=1e-8)
        critical = {45: 3.33, 2: 2.26}[len(wanted.t)]
        column = "d_connection" if len(wanted.t) == 45 else "d_circuit"
        assert joined.power[column][0] == pytest.approx(detectable(wanted.size, wanted.df, critical), abs=0.01)
    assert joined.power["d_connection"].idxmin() == 0
    assert joined.edges["circuit"].isin(["", *inside["circuit"]]).all()
    assert joined.exact and joined.edges["region_a"].iloc[0] == load_atlas("motor10")["name"].iloc[0]


def test_report_is_written_and_asks_nothing_of_the_network(files, tmp_path, capsys):
    out = tmp_path / "joined"
    assert console(["combine", *(str(files / f"{name}.zip") for name in "abc"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "76 patients and 76 controls of 3 sites were analysed as one cohort" in said
    assert {path.name for path in out.iterdir()} == {
        "index.html", "norm.npz",
        *(f"{table}.{kind}" for table in ("edges", "circuits", "forest", "sites", "power") for kind in ("tsv", "json")),
    }  # fmt: skip
    page = (out / "index.html").read_text().replace("\u00a0", " ")
    assert not re.findall(r'(?:src|href)="https?://(?!doi\.org/)', page)
    assert page.count("<figure") == 1 + len(CIRCUITS)
    assert "0.71 [0.55, 0.83]" in page and "40–100%: 14 of 22" in page
    assert "There is no family-wise p by permutation for connections" in page
    edges = pd.read_csv(out / "edges.tsv", sep="\t", keep_default_na=False, na_values=["n/a"])
    assert len(edges) == 45 and edges["p_bonferroni"].idxmin() == 3 and (edges["sites"] == 3).all()
    assert edges["agreeing"][3] == edges["judged"][3] == 3
    with np.load(out / "norm.npz", allow_pickle=False) as norm:
        assert norm["coefficients"].shape == (len(norm["columns"]), 45 + len(CIRCUITS))
        assert dict(zip(norm["columns"], norm["centres"]))["age"] == 45
    again = tmp_path / "again"
    assert console(["combine", *(str(files / f"{name}.zip") for name in "abc"), "--out", str(again)]) == 0
    assert (again / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_sites_that_withhold_lack_levels_or_use_other_words_are_shown(cohorts, packages):
    women = replace(cohorts["a"], participants=cohorts["a"].participants.assign(sex="F"))
    first = changed(given(women, "a")[0], contrast={"cases": ["ULD"], "controls": ["HC"]})
    first.sums.given[:4] = False
    sites = [first, packages["b"], packages["c"]]
    joined = join_sites(sites, 0.05)
    assert joined.sites["constant"].tolist() == ["sex", "", ""]
    assert joined.sites["withheld"].tolist() == [4, 0, 0]
    assert joined.edges["sites"].tolist()[:5] == [2, 2, 2, 2, 3]
    page = render_joined(joined, sites)
    assert "ULD" in page and "different words for their groups" in page
    assert "A covariate that is the same in everybody of a site" in page


def test_circuits_alone_and_their_p_of_permutations(packages):
    """Sites that give circuits alone are joined too, and p of masked permutations stands beside Bonferroni."""
    small = []
    for package in packages.values():
        last = slice(45, None)
        about = {key: value for key, value in package.about.items() if key not in ("format", "release")}
        small.append(packed(about | {"edges": 0}, package.regions, package.sums.among(last), None))
    joined = join_sites(small, 0.05, {CIRCUITS[0]: 0.01, CIRCUITS[1]: 0.4})
    assert joined.edges.empty and joined.circuits["p_fwer"].tolist() == [0.01, 0.4] and joined.norm is None
    whole = join_sites(list(packages.values()), 0.05).circuits
    np.testing.assert_allclose(joined.circuits["t"], whole["t"])
    page = render_joined(joined, small)
    assert "p\u00a0FWER" in page and 'id="connections"' not in page


def test_two_sites_of_which_one_cannot_be_fitted_alone(cohorts, packages):
    healthy = replace(cohorts["b"], participants=cohorts["b"].participants.assign(label=0, group="HC"))
    sites = [packages["a"], given(healthy, "b")[0]]
    joined = join_sites(sites, 0.05)
    page = render_joined(joined, sites)
    assert "b has one group only: it takes part in the pooled fit only." in page
    assert "Whether sites agree cannot be said" in page


def test_sites_of_one_group_each_cannot_be_joined(cohorts):
    sides = {"a": ("CD", 1), "b": ("HC", 0)}
    sites = [
        given(replace(cohorts[name], participants=cohorts[name].participants.assign(label=label, group=group)), name)[0]
        for name, (group, label) in sides.items()
    ]
    with pytest.raises(NotCombinedError, match="nothing can be tested: a has one group only; b has one group only"):
        join_sites(sites, 0.05)


def test_effects_of_sites_that_preprocessed_differently(files, packages, tmp_path, capsys):
    """Refused with keys, values and files; with --effects a meta-analysis, which says that it is no pooled data."""
    other = changed(packages["b"], processing=packages["b"].about["processing"] | {"denoise.high_pass": 0.02, "x": 1})
    write_package(tmp_path / "other.zip", other)
    asked = ["combine", str(files / "a.zip"), str(tmp_path / "other.zip"), str(files / "c.zip"), "--out"]
    assert console([*asked, str(tmp_path / "none")]) == 2
    refused = capsys.readouterr().err
    assert f"{files / 'a.zip'} and {tmp_path / 'other.zip'} cannot be combined" in refused
    assert "denoise.high_pass is 0.01 in the first and 0.02 in the second, x is not set in the first and 1" in refused
    assert "--effects" in refused and not (tmp_path / "none").exists()
    assert console([*asked, str(tmp_path / "meta"), "--effects"]) == 0
    assert "the numbers are not those of pooled data" in capsys.readouterr().out
    page = (tmp_path / "meta/index.html").read_text()
    assert "Effects were put together, not people" in page and "correlated 0.989" in page
    assert not (tmp_path / "meta/norm.npz").exists()
    meta = pd.read_csv(tmp_path / "meta/edges.tsv", sep="\t")
    exact = join_sites(list(packages.values()), 0.05).edges
    assert np.corrcoef(meta["z"], exact["t"])[0, 1] > 0.95
    assert "t" not in meta


def test_other_centres_make_nothing_exact(packages):
    """Asked for effects, sites with other centres are no pooled cohort, though their preprocessing is the same."""
    other = changed(packages["b"], columns=columns_of(packages["b"], "age", centre=40))
    joined = join_sites([packages["a"], other], 0.05)
    assert joined.differing == ["centre of age"] and not joined.exact and joined.norm is None


def test_words_of_other_sites_stand_on_the_page_as_words(packages):
    """Names come from files that were mailed: none of them becomes markup, or a reference in a pattern."""
    name = r'"><script>\1 $x$'
    about = {"circuits": [name, CIRCUITS[1]], "contact": "<b>me</b>", "contrast": {"cases": ["<i>"], "controls": ["&"]}}
    sites = [changed(packages[one], **about) for one in "ab"]
    page = render_joined(join_sites(sites, 0.05), sites)
    assert "<script" not in page and "<b>me" not in page and "<i>" not in page
    assert "&lt;script&gt;\\1 $x$" in page


def test_circuits_permuted_under_masks_have_their_p_in_the_report(tmp_path, capsys):
    """Keys make a plan beside the report; the answers of all sites give p, and one without the other is refused."""
    clinics = three_sites(tmp_path / "private", effect=0.05)
    for one in clinics:
        write_package(tmp_path / f"{one.name}.zip", one.package)
        (tmp_path / f"{one.name}.key.json").write_text(json.dumps(described_key(one.kept.key)))
    sent = [str(tmp_path / f"{one.name}.zip") for one in clinics]
    keys = [str(tmp_path / f"{one.name}.key.json") for one in clinics]
    assert console(["combine", *sent, *keys, "--out", str(tmp_path / "first")]) == 0
    said = capsys.readouterr().out
    plan = read_plan(tmp_path / "first/plan.json")
    assert spoken(plan) in said and "share.plan=plan.json" in said
    answers = [str(one.answer(plan, tmp_path)) for one in clinics]
    given_back = [*sent, str(tmp_path / "first/plan.json")]
    assert console(["combine", *given_back, *answers, "--out", str(tmp_path / "second")]) == 0
    table = pd.read_csv(tmp_path / "second/circuits.tsv", sep="\t")
    wanted = circuit_p([one.package for one in clinics], plan, totals(plan, answers))
    assert table["p_fwer"].tolist() == wanted["p_fwer"].tolist()
    np.testing.assert_allclose(table["t"], wanted["statistic"], rtol=1e-6)
    assert "p\u00a0FWER" in (tmp_path / "second/index.html").read_text()
    for files in (given_back, [*sent, *answers]):
        assert console(["combine", *files, "--out", str(tmp_path / "none")]) == 2
        assert "belong together" in capsys.readouterr().err
    other = changed(clinics[0].package, processing={"measure": "correlation"})
    write_package(tmp_path / "a.zip", other)
    assert console(["combine", *sent, *keys, "--effects", "--out", str(tmp_path / "none")]) == 2
    assert "circuits can only be permuted together" in capsys.readouterr().err


def test_a_release_that_its_site_has_revoked_is_refused(files, packages, tmp_path, capsys):
    revocation = tmp_path / "revoked_b.json"
    write_revocation(revocation, "b", [packages["b"].about["release"]])
    sent = [str(files / f"{name}.zip") for name in "abc"]
    assert console(["combine", *sent, str(revocation), "--out", str(tmp_path / "out")]) == 2
    assert "is revoked" in capsys.readouterr().err and not (tmp_path / "out").exists()


# what is refused

CENTRE = "the column age is not the same: centre is 45.0 in the first and 40 in the second"


def columns_of(package, which, **new):
    return [{**column, **new} if column["name"] == which else column for column in package.about["columns"]]


def moved(package):
    """The same regions, one of them elsewhere."""
    regions = package.regions.copy()
    regions.loc[2, "x"] = regions.loc[2, "x"] + 7
    atlas = package.about["atlas"] | {"hash": regions_hash(regions)}
    return replace(package, regions=regions, about=package.about | {"atlas": atlas})


def renamed(package):
    regions = package.regions.copy()
    regions.loc[2, "name"] = "Elsewhere"
    atlas = package.about["atlas"] | {"hash": regions_hash(regions), "name": "mine"}
    return replace(package, regions=regions, about=package.about | {"atlas": atlas})


def turned(package):
    regions = package.regions.iloc[::-1].reset_index(drop=True)
    return replace(package, regions=regions, about=package.about | {"atlas": {"name": "motor10", "hash": "0"}})


def resystemed(package):
    """The same regions, of which some belong to other circuits."""
    return replace(package, regions=package.regions.assign(system=package.regions["system"].to_numpy()[::-1]))


def wider(package):
    """Spheres of another size in the same places."""
    regions = package.regions.assign(radius=8.0)
    return replace(package, regions=regions, about=package.about | {
        "atlas": package.about["atlas"] | {"hash": regions_hash(regions)}})  # fmt: skip


REFUSED = {
    "circuits of other regions": (resystemed, "circuits are of other regions: .* is .* in the first and .* in the sec"),
    "radius": (wider, "of the same names and places, and another radius"),
    "groups the other way round": (lambda p: changed(p, contrast={"cases": ["hc"], "controls": ["C-D"]}),
                                   "CD, HC are patients in one and controls in the other"),
    "spelling": (lambda p: changed(p, columns=columns_of(p, "sex=F", name="sex= f")),
                 "sex=F and sex= f are one level, spelt in two ways"),
    "measure": (lambda p: changed(p, measure={"name": "partial", "directed": False}),
                r"measured connections differently: name is correlation in the first and partial in the second"),
    "directed": (lambda p: changed(p, measure={"name": "correlation", "directed": True}),
                 "directed is False in the first and True in the second"),
    "place": (moved, "of the same names, .* elsewhere in the brain"),
    "name": (renamed, r"atlas motor10 and mine.*only the first has .*; only the second has Elsewhere"),
    "order": (turned, "the same in another order, from row 1 on"),
    "edges": (lambda p: changed(p, edges=0), "the first gives 45 connections, the second means of circuits alone"),
    "circuits": (lambda p: changed(p, circuits=["a", "b"]), "the second a, b. Use the same localize.prior_circuits"),
    "centre": (lambda p: changed(p, columns=columns_of(p, "age", centre=40)), CENTRE),
    "unit": (lambda p: changed(p, columns=columns_of(p, "mean_fd", unit="cm")), "unit is mm in the first and cm in"),
    "kind": (lambda p: changed(p, columns=columns_of(p, "sex=F", kind="number")), "kind is level in the first and num"),
    "covariate": (lambda p: changed(p, columns=[c for c in p.about["columns"] if c["name"] != "mean_fd"]),
                  r"they adjust for other covariates: only the first has mean_fd\. Use the same share\.columns"),
    "processing": (lambda p: changed(p, processing={"measure": "correlation"}),
                   "denoise.high_pass is 0.01 in the first and not set in the second"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_differs_is_named(packages, what):
    change, words = REFUSED[what]
    sent = {"K.zip": packages["a"], "L.zip": change(packages["b"]), "M.zip": packages["c"]}
    with pytest.raises(NotCombinedError, match=rf"K\.zip and L\.zip cannot be combined: .*{words}"):
        refuse_different(sent, effects=False)
    if what in ("centre", "processing"):
        refuse_different(sent, effects=True)
    else:
        with pytest.raises(NotCombinedError, match=words):
            refuse_different(sent, effects=True)


def test_a_category_that_is_a_number_elsewhere_and_intercepts_of_another_site_are_refused(packages):
    columns = [c for c in packages["b"].about["columns"] if not c["name"].startswith("sex")]
    number = changed(packages["b"], columns=[*columns, {"name": "sex", "kind": "number", "centre": 0}])
    with pytest.raises(NotCombinedError, match="sex is a category in the first and a number in the second"):
        refuse_different({"K.zip": packages["a"], "L.zip": number}, effects=True)
    foreign = changed(packages["b"], columns=[*packages["b"].about["columns"], {"name": "site=a", "kind": "site"}])
    with pytest.raises(NotCombinedError, match=r"L\.zip is of b and has the column site=a, which is another site's"):
        refuse_different({"K.zip": packages["a"], "L.zip": foreign}, effects=False)


def test_levels_that_a_site_lacks_and_other_words_for_patients_are_not_refused(cohorts, packages):
    women = replace(cohorts["a"], participants=cohorts["a"].participants.assign(sex="F"))
    first = changed(given(women, "a")[0], contrast={"cases": ["ULD"], "controls": ["HC"]})
    refuse_different({"K.zip": first, "L.zip": packages["b"]}, effects=False)


def test_the_same_people_twice_are_refused(packages):
    older = changed(packages["a"], licence="another")
    for sent, words in (
        ({"K.zip": packages["a"], "copy.zip": packages["a"]}, r"K\.zip and copy\.zip are the same release"),
        (
            {"K.zip": packages["a"], "L.zip": packages["b"], "old.zip": older},
            r"K\.zip and old\.zip are releases of one",
        ),
        ({"K.zip": packages["a"]}, "one file is no joined analysis"),
    ):
        with pytest.raises(NotCombinedError, match=words):
            refuse_different(sent, effects=False)


def test_the_same_people_under_another_name_and_ages_in_months_are_refused(cohorts, packages):
    again = given(cohorts["a"], "z")[0]
    with pytest.raises(NotCombinedError, match=r"K\.zip and Z\.zip are of the same people, under the names a and z"):
        refuse_different({"K.zip": packages["a"], "L.zip": packages["b"], "Z.zip": again}, effects=True)
    denoised = given(replace(cohorts["a"], values=0.9 * cohorts["a"].values), "z")[0]
    with pytest.raises(NotCombinedError, match="are of the same people"):
        refuse_different({"K.zip": packages["a"], "Z.zip": denoised}, effects=True)
    people = cohorts["b"].participants
    months = given(replace(cohorts["b"], participants=people.assign(age=12 * people["age"])), "b")[0]
    with pytest.raises(NotCombinedError, match=r"L\.zip: the mean of age is \d+.*, and in years it lies between 0 and"):
        refuse_different({"K.zip": packages["a"], "L.zip": months}, effects=False)


def test_other_words_for_levels_and_other_units_are_pointed_out(cohorts):
    asked = {"columns": ["hand", "duration"], "centres": {"duration": 10}}
    sites = []
    for name, words, unit in (("a", ("left", "right"), 1), ("b", ("L", "R"), 12), ("c", ("left", "right"), 1)):
        table = cohorts[name].participants
        duration = np.random.default_rng(1).gamma(4, 3, len(table)) * unit
        more = {"hand": np.where(np.arange(len(table)) % 4 < 2, *words), "duration": duration}
        sites.append(given(replace(cohorts[name], participants=table.assign(**more)), name, **asked)[0])
    refuse_different(dict(zip("abc", sites)), effects=False)
    said = " ".join(site_words(join_sites(sites, 0.05), sites))
    assert "no level of hand in common (L, R, left and right)" in said
    assert re.search("duration varies 1[0-9] times as much in b as in [ac]: is it in the same unit", said)
    alike = [sites[0], sites[2]]
    assert not re.search("level of|varies", " ".join(site_words(join_sites(alike, 0.05), alike)))


def test_files_of_something_else_are_not_written_over_and_an_old_norm_goes(files, tmp_path, capsys):
    sent = [str(files / f"{name}.zip") for name in "abc"]
    (tmp_path / "index.html").write_text("a page of mine")
    assert console(["combine", *sent, "--out", str(tmp_path)]) == 2
    assert "index.html of something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert console(["combine", *sent, "--out", str(tmp_path / "index.html")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert console(["combine", *sent, "--out", str(tmp_path / "joined")]) == 0
    (tmp_path / "joined/norm.npz").write_bytes(b"of other sites")
    assert console(["combine", *sent, "--out", str(tmp_path / "joined")]) == 0
    assert (tmp_path / "joined/norm.npz").read_bytes() != b"of other sites"


def test_the_door_refuses_and_writes_nothing(files, tmp_path, capsys):
    out, broken = tmp_path / "out", tmp_path / "broken.zip"
    broken.write_bytes(b"no zip")
    for sent, words in (
        ([files / "a.zip", tmp_path / "absent.zip"], "absent.zip: no such file"),
        ([files / "a.zip", broken], "broken.zip is damaged or no zip"),
        ([files / "a.zip", files / "a.zip", files / "b.zip"], "named twice"),
    ):
        assert console(["combine", *map(str, sent), "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        console(["combine", str(files / "a.zip"), str(files / "b.zip"), "--out", str(out), "--alpha", "5"])
    assert not out.exists()
    with pytest.raises(SystemExit, match="0"):
        console(["combine", "--help"])
    assert "nothing is written" in capsys.readouterr().out
