"""Circuits permuted across sites under masks: the p of pooled data, and nothing that one site has added up."""

import json
import stat
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from clinics import ASKED, CIRCUITS, clinic, given
from scipy.stats import chi2
from sessions import Site, plan_for, three_sites

from dysconnect.data.connectomes import Connectomes, write_connectomes
from dysconnect.localize.permutation import residual_unit
from dysconnect.localize.statistics import exceedance_p, orthonormal, to_t
from dysconnect.pooling.masks import LARGEST, fingerprint, mask, new_secret, of_steps, public_of, stream, to_steps
from dysconnect.pooling.permuted import shuffled
from dysconnect.share.make import make_masked
from dysconnect.share.masked import circuit_p, masked, products, read_masked, totals
from dysconnect.share.package import write_package
from dysconnect.share.release import NotSharedError
from dysconnect.share.session import (
    Kept,
    check_plan,
    described_key,
    kept_key,
    most_circuits,
    plan_of,
    read_key,
    read_plan,
    spoken,
    why_not_planned,
)
from dysconnect.share.unpacked import PackageError


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def sites(secrets):
    return three_sites(secrets, effect=0.03)


@pytest.fixture(scope="module")
def plan(sites):
    return plan_for(sites)


@pytest.fixture(scope="module")
def answers(sites, plan, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return [site.answer(plan, folder) for site in sites]


def pooled(sites, plan):
    """Group, nuisance, means of circuits and permutations of all people in one place, by who knows all secrets."""
    people = [site.people() for site in sites]
    names = list(dict.fromkeys(name for design, _ in people for name in design.names))
    column = lambda one, name: one.values[:, one.names.index(name)] if name in one.names else np.zeros(len(one.values))
    design = np.vstack([np.column_stack([column(one, name) for name in names]) for one, _ in people])
    intercepts = [k for k, name in enumerate(names) if name.startswith("site=")]
    scanners = design[:, intercepts].argmax(1)
    basis = orthonormal(np.delete(design, names.index("group"), axis=1))
    label = design[:, names.index("group")]
    group = label - basis @ (basis.T @ label)
    permuted, start = [], 0
    for site, (one, _) in zip(sites, people):
        rows = slice(start, start + len(one.values))
        numbers = stream(site.kept.secret, "permutations", bytes.fromhex(plan.session))(
            plan.permutations * len(one.values)
        )
        permuted.append(shuffled(group[rows], scanners[rows], numbers.reshape(plan.permutations, -1)))
        start = rows.stop
    return group, basis, np.vstack([means for _, means in people]), np.hstack(permuted)


def test_p_is_that_of_pooled_data_with_the_same_permutations(sites, plan, answers):
    """Also with a site of one sex, one of two scanners, and one in which people lack a region."""
    table = circuit_p([site.package for site in sites], plan, totals(plan, answers))
    group, basis, means, permuted = pooled(sites, plan)
    units = residual_unit(means, basis)
    r, null = (residual_unit(one.T, basis).T @ units for one in (group[None], permuted))
    df = len(group) - basis.shape[1] - 1
    np.testing.assert_allclose(table["statistic"], to_t(r[0], df), rtol=1e-10)
    wanted = exceedance_p(np.abs(r[0]), np.abs(null).max(1))
    assert table["p_fwer"].to_numpy() == pytest.approx(wanted, abs=1e-12)
    assert 1 / 200 < wanted.max() < 1 and table["circuit"].tolist() == list(plan.circuits)


def test_totals_are_those_in_the_clear_and_masks_are_exactly_zero_together(sites, plan, answers):
    counted = [to_steps(site.sums(plan), plan.steps) for site in sites]
    held = [read_masked(path, plan)[1] for path in answers]
    assert (sum(held) == sum(counted)).all()
    assert (totals(plan, answers) == of_steps(sum(counted), plan.steps)).all()
    masks = [mask(site.kept.secret, plan.publics, bytes.fromhex(plan.session), 1000) for site in sites]
    assert not sum(masks).any() and all(one.any() for one in masks)
    other = mask(sites[0].kept.secret, plan.publics, bytes(32), 1000)
    assert (other != masks[0]).all()


def uniform_p(values: np.ndarray) -> float:
    """P of the bytes of numbers being uniform."""
    counts = np.bincount(np.ascontiguousarray(values).view(np.uint8).ravel(), minlength=256)
    expected = counts.sum() / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))


def test_what_one_or_two_sites_have_sent_is_noise(sites, answers, tmp_path):
    plan = plan_for(sites, 2000)
    held = [read_masked(site.answer(plan, tmp_path), plan)[1] for site in sites]
    clear = [site.sums(plan) for site in sites]
    assert uniform_p(to_steps(clear[0], plan.steps)) < 1e-300
    for seen, hidden in [(held[0], clear[0]), (held[0] + held[1], clear[0] + clear[1]), (held[1] + held[2], clear[1])]:
        assert uniform_p(seen) > 1e-6
        r = [np.corrcoef(*pair)[0, 1] for pair in zip(seen.astype(float).T, hidden.T)]
        assert np.abs(r).max() < 5 / np.sqrt(len(seen))
    with pytest.raises(ValueError, match="masks do not cancel"):
        of_steps(held[0] + held[1], plan.steps)
    assert uniform_p(held[0] + held[1] + held[2]) < 1e-300


def test_people_are_permuted_within_scanners_and_differently_in_every_session(sites, plan):
    site = sites[1]
    numbers = stream(site.kept.secret, "permutations", b"")(200 * 48).reshape(200, 48)
    scanners = np.repeat([0, 1], 24)
    made = shuffled(np.arange(48.0), scanners, numbers)
    assert (np.sort(made[:, :24], 1) == np.arange(24)).all() and (np.sort(made[:, 24:], 1) == np.arange(24, 48)).all()
    assert np.abs(made[:, :24].mean(0) - 11.5).max() < 5 * 6.9 / np.sqrt(200)
    assert site.sums(plan)[0] == pytest.approx(site.sums(plan_for(sites, 198))[0])
    assert (site.sums(plan)[1:100] != site.sums(plan_for(sites, 198))[1:100]).all()


# who refuses what


def test_fewer_than_three_sites_and_too_many_circuits_are_refused(sites, plan):
    with pytest.raises(PackageError, match="2 sites, and fewer than 3 would see each other's sums"):
        plan_for(sites[:2])
    with pytest.raises(PackageError, match="10 permutations, and 99 to 10,000 are answered"):
        plan_for(sites, 10)
    assert [most_circuits(n) for n in (20, 40, 60, 91, 300, 100_000)] == [2, 4, 5, 6, 15, 20]
    many = replace(plan, circuits=tuple(f"c{k}" for k in range(21)))
    assert "21 circuits, and at most 6 are permuted where all sites but the largest" in why_not_planned(many)
    twice = replace(plan, sites=(*plan.sites, plan.sites[0]))
    assert "stands in the plan twice" in why_not_planned(twice)
    for bad in (many, twice, replace(plan, sites=plan.sites[:2])):
        with pytest.raises(NotSharedError):
            check_plan(bad, sites[0].package, "private", ())


def test_a_circuit_that_one_site_does_not_give_is_left_out(sites):
    cohort = clinic("d", 40, 4)
    cohort.missing[:20, 2] = True
    package = given(cohort, "d")[0]
    some = [*sites, Site(cohort, package, Kept(bytes([9]) * 32, "d", package.about["release"]))]
    plan, every = plan_for(some), plan_for(sites)
    assert len(plan.circuits) == 1 and set(plan.circuits) < set(every.circuits)


def test_keys_of_other_releases_and_keys_without_a_file_are_refused(sites):
    packages, keys = [site.package for site in sites], [site.kept.key for site in sites]
    with pytest.raises(PackageError, match=r"a: a key of release .* and there is none"):
        plan_of(packages, keys[1:])
    with pytest.raises(PackageError, match="it is of release 0000"):
        plan_of(packages, [keys[0]._replace(release="0" * 16), *keys[1:]])
    with pytest.raises(PackageError, match=r"of d there is a key and no SITE\.zip"):
        plan_of(packages, [*keys, keys[0]._replace(site="d")])
    with pytest.raises(PackageError, match="two keys are of the same site"):
        plan_of(packages, [*keys, keys[0]])


def test_a_site_looks_at_a_plan_before_it_answers(sites, plan, secrets):
    site, folder = sites[0], secrets / "a"
    assert check_plan(plan, site.package, folder, ()) == site.kept
    with pytest.raises(NotSharedError, match="is revoked"):
        check_plan(plan, site.package, folder, {site.package.about["release"]})
    with pytest.raises(NotSharedError, match=r"a\.zip is [0-9a-f]{16}"):
        check_plan(plan, given(clinic("a", 40, 9), "a")[0], folder, ())
    with pytest.raises(NotSharedError, match="d is not among the sites"):
        check_plan(plan, given(clinic("d", 40), "d")[0], folder, ())
    replaced = replace(plan, sites=(plan.sites[0]._replace(public=public_of(new_secret())), *plan.sites[1:]))
    with pytest.raises(NotSharedError, match="replaced on the way"):
        check_plan(replaced, site.package, folder, ())
    with pytest.raises(NotSharedError, match="does not give thalamic"):
        check_plan(replace(plan, circuits=("thalamic",)), site.package, folder, ())


def test_a_key_answers_one_plan_once(sites, plan, secrets, tmp_path):
    """The same plan has the same bytes; other numbers or another plan are refused; then there is a new key."""
    site = sites[0]
    once, again = (masked(plan, site.kept, site.sums(plan)) for _ in range(2))
    assert once == again
    kept = kept_key(site.package, tmp_path)
    assert kept == kept_key(site.package, tmp_path)
    kept.answered("1" * 64, "x").save(tmp_path)
    kept = next(Kept.load(path) for path in tmp_path.glob("*.json"))
    assert kept.answered("1" * 64, "x") == kept
    with pytest.raises(NotSharedError, match="answered another plan"):
        kept.answered("2" * 64, "x")
    with pytest.raises(NotSharedError, match="answered before with other numbers"):
        kept.answered("1" * 64, "y")
    second = kept_key(site.package, tmp_path)
    assert second.secret != kept.secret
    for one in (second, replace(second, secret=new_secret())):
        one.answered("3" * 64, "z").save(tmp_path)
    with pytest.raises(NotSharedError, match="3 sessions were answered about release"):
        kept_key(site.package, tmp_path)


def test_the_secret_is_for_its_owner_and_leaves_in_nothing(sites, plan, secrets, answers):
    path = next((secrets / "a").glob("*.json"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    secret = sites[0].kept.secret
    sent = [json.dumps(described_key(sites[0].kept.key)), json.dumps(plan.described()), spoken(plan)]
    assert not any(secret.hex() in text for text in sent) and secret not in answers[0].read_bytes()


def test_a_replaced_key_makes_another_session_and_masks_that_do_not_cancel(sites, plan, answers, tmp_path):
    """Somebody in between gives a and b each a plan with his key in place of the other's."""
    between = Site(sites[1].cohort, sites[1].package, Kept(new_secret(), "b", sites[1].package.about["release"]))
    false = plan_for([sites[0], between, sites[2]])
    assert false.session != plan.session and spoken(false) != spoken(plan)
    assert fingerprint(between.kept.key.public) in spoken(false)
    path = sites[0].answer(false, tmp_path)
    with pytest.raises(PackageError, match="answers another plan"):
        totals(plan, [path, *answers[1:]])


@pytest.mark.parametrize("flip", [0, 0x80])
def test_a_site_that_gives_a_copy_of_anothers_key_unmasks_nobody(sites, plan, secrets, flip):
    """Between both of them in the order, a third would add and take away one row; the last bit of a key is ignored."""
    first, own, last = plan.publics
    copied = bytearray(last[:32] + first[32:])
    copied[31] ^= flip
    secret = next(site.kept.secret for site in sites if public_of(site.kept.secret) == own)
    made = mask(secret, [bytes(copied), own, last], bytes(32), 1000)
    assert uniform_p(made) > 1e-6
    keys = tuple(key._replace(public=bytes(public)) for key, public in zip(plan.sites, (copied, own, last)))
    refused = why_not_planned(replace(plan, sites=keys))
    assert flip or "a site or a key stands in the plan twice" in refused


def test_slopes_by_which_one_site_outweighs_the_others_are_refused(sites, plan):
    site, name = sites[0], plan.shared.covariates.index("age")
    large = plan.shared.slopes.copy()
    large[name] += 10
    with pytest.raises(NotSharedError, match=r"share\.plan: what the covariates leave .* those of this site alone"):
        site.sums(replace(plan, shared=plan.shared._replace(slopes=large)))
    for foreign in ("group", "site=a"):
        names = [foreign if k == name else other for k, other in enumerate(plan.shared.covariates)]
        with pytest.raises(NotSharedError, match=f"{foreign} is no covariate of the group"):
            site.sums(replace(plan, shared=plan.shared._replace(covariates=names)))


def test_masks_of_the_wrong_keys_are_noticed_although_the_file_is_signed(sites, plan, answers, tmp_path, monkeypatch):
    monkeypatch.setattr("dysconnect.share.masked.mask", lambda *given: mask(*given[:2], bytes(32), given[3]))
    path = sites[0].answer(plan, tmp_path)
    with pytest.raises(PackageError, match="masks do not cancel"):
        totals(plan, [path, *answers[1:]])


def test_a_lacking_and_a_second_answer_are_refused(plan, answers):
    with pytest.raises(PackageError, match="no answer of b, and without all of them"):
        totals(plan, [answers[0], answers[2]])
    with pytest.raises(PackageError, match="a second answer of a"):
        totals(plan, [answers[0], *answers])


def test_totals_that_are_not_of_the_sums_are_refused(sites, plan, answers):
    added, packages = totals(plan, answers), [site.package for site in sites]
    with pytest.raises(PackageError, match="not those of the sites' files"):
        circuit_p(packages, plan, added + np.eye(*added.shape) * 1e-6)
    others = [given(clinic("a", 40, 9), "a")[0], *packages[1:]]
    with pytest.raises(PackageError, match="other releases of a"):
        circuit_p(others, plan, added)


def test_a_site_whose_results_have_changed_does_not_answer(sites, plan):
    design, means = sites[0].people()
    means[0, 0] += 0.01
    with pytest.raises(NotSharedError, match=r"no longer those of a\.zip"):
        products(plan, sites[0].kept, design, means, sites[0].package)


def test_numbers_that_cannot_be_are_not_counted(sites, plan):
    values = sites[0].sums(plan)
    for bad, said in (
        (np.nan, "NaN"),
        (np.inf, "NaN or infinities"),
        (values.max() * 1e6, r"value 2 of 5 is .* at most"),
    ):
        wrong = values.copy()
        wrong[7, 1] = bad
        with pytest.raises(NotSharedError, match=said):
            masked(plan, sites[0].kept, wrong)
    weak = replace(plan, sites=(plan.sites[0], plan.sites[1]._replace(public=bytes(64)), plan.sites[2]))
    with pytest.raises(NotSharedError, match="Nothing is written"):  # a key with which everybody shares the same secret
        masked(weak, sites[0].kept, values)
    edge = np.array([[LARGEST, -LARGEST]], float)
    assert (of_steps(to_steps(edge, np.ones(2)), np.ones(2)) == edge).all()


def rewritten(path, folder, change):
    """An answer with its parts changed."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    change(parts)
    with zipfile.ZipFile(folder / "bad.npz", "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return folder / "bad.npz"


TAMPERED = {
    "one number": (lambda p: p.update({"masked.npy": p["masked.npy"][:-8] + b"\1" * 8}), "not what a has written"),
    "a name": (lambda p: p.update({"about.json": p["about.json"].replace(b'"a"', b'"b"')}), "not what b has written"),
    "no site": (lambda p: p.update({"about.json": p["about.json"].replace(b'"a"', b'"z"')}), "no site of this plan"),
    "no text": (lambda p: p.update({"about.json": b"["}), "nothing that can be read"),
    "a signature": (lambda p: p.update({"signature": bytes(64)}), "not what a has written"),
    "a long signature": (lambda p: p.update({"signature": bytes(99)}), "more than"),
    "fewer numbers": (lambda p: p.update({"masked.npy": p["masked.npy"][:-8]}), "numbers"),
    "many numbers": (lambda p: p.update({"masked.npy": p["masked.npy"] + bytes(9_000_000)}), "more than"),
    "other numbers": (lambda p: p.update({"masked.npy": p["masked.npy"].replace(b"<u8", b"<f8")}), "float64"),
    "one more part": (lambda p: p.update({"x.py": b""}), "other parts"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_answer_that_was_changed_on_the_way_is_refused(plan, answers, tmp_path, what):
    change, said = TAMPERED[what]
    read_masked(rewritten(answers[0], tmp_path, lambda parts: None), plan)
    with pytest.raises(PackageError, match=said):
        read_masked(rewritten(answers[0], tmp_path, change), plan)


def test_keys_and_plans_read_back_and_changed_ones_are_refused(sites, plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.described()))
    assert read_plan(path).described() == plan.described()
    changes = {
        "permutations": (plan.permutations + 1, "session has another number"),
        "slopes": ([1.0], "other covariates and circuits"),
        "weights": ([[1.0]] * len(plan.shared.covariates), "other covariates and circuits"),
        "steps": ([0.0], "steps.0"),
        "circuits": ([], "circuits"),
        "sites": ([{"site": "../x"}], "sites"),
        "code": ("x", "Additional properties"),
    }
    for name, (value, said) in changes.items():
        path.write_text(json.dumps(plan.described() | {name: value}))
        with pytest.raises(PackageError, match=said):
            read_plan(path)
    for text in ("[1]", '{"slopes": NaN}', "{", "x" * 1_000_001):
        path.write_text(text)
        with pytest.raises(PackageError, match="no plan of a session"):
            read_plan(path)
    key = sites[0].kept.key
    path.write_text(json.dumps(described_key(key)))
    assert read_key(path) == key
    path.write_text(json.dumps(described_key(key) | {"public": "00"}))
    with pytest.raises(PackageError, match="public is not as it must be"):
        read_key(path)


def test_from_files_a_plan_is_answered_once_and_the_answer_is_written_down(sites, plan, tmp_path):
    """As the rule does it: the same answer as in memory, again the same bytes, and none to another plan."""
    cohort, package, kept = sites[0]
    subjects, folder = cohort.participants["participant_id"].to_numpy(str), tmp_path / "private"
    files = {name: tmp_path / name for name in ("connectomes", "participants", "package", "plan")}
    stored = Connectomes(cohort.values, cohort.missing, subjects, cohort.nodes, "correlation", "ab")
    write_connectomes(stored, files["connectomes"], {})
    people = cohort.participants.assign(included=True, exclusion_reason="")
    people.to_csv(files["participants"], sep="\t", index=False)
    write_package(files["package"], package)
    files["plan"].write_text(json.dumps(plan.described()))
    kept.save(folder)
    localize = {"measure": "correlation", "prior_circuits": CIRCUITS, "max_missing": 0.1}
    spec = {"share": ASKED, "localize": localize, "atlas": {"nodes": "motor10"}, "site": "a"}
    spec |= {"contrast": {"cases": ["CD"], "controls": ["HC"]}}
    content, words = make_masked(files, spec, tmp_path / "released.json", folder)
    assert words == spoken(plan) and content == make_masked(files, spec, tmp_path / "released.json", folder)[0]
    assert content == sites[0].answer(plan, tmp_path).read_bytes()
    assert next(Kept.load(path) for path in folder.glob("*.json")).session == plan.session
    files["plan"].write_text(json.dumps(plan_for(sites, 200).described()))
    with pytest.raises(NotSharedError, match="answered another plan"):
        make_masked(files, spec, tmp_path / "released.json", folder)
