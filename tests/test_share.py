"""Sums that a site gives: equal to people added up by hand, in any batches; and what is read of other sites."""

import io
import json
import zipfile

import numpy as np
import pytest
from clinics import CIRCUITS, clinic, given

from dysconnect.data.atlas import circuit_edges, load_atlas
from dysconnect.data.edges import MissingRegions
from dysconnect.pooling.sums import Sums, added
from dysconnect.share.columns import share_design
from dysconnect.share.package import release_of, write_package, zipped
from dysconnect.share.unpacked import PackageError, read_package


def by_hand(cohort, design):
    """Sums over complete edges, then means of circuits."""
    filler = MissingRegions().fit(cohort.values, cohort.missing, cohort.pairs)
    edges = filler.transform(cohort.values.astype(float), cohort.missing)
    table = circuit_edges(load_atlas("motor10"))
    means = [edges[:, table["edge"][table["circuit"] == name]].mean(1) for name in CIRCUITS]
    return Sums.of([f"{k}" for k in range(design.shape[1])], design, np.column_stack([edges, *means]))


@pytest.mark.parametrize("lacking", [0.0, 0.08])
@pytest.mark.parametrize("parts", [1, 3])
def test_sums_are_those_of_people_added_up_by_hand(parts, lacking):
    """Also where people lack a region, which the mean of the others fills in, and however many batches there are."""
    cohort = clinic("a", 60, lacking=lacking)
    assert cohort.missing.any() == bool(lacking)
    _, sums, design = given(cohort, "a", parts)
    wanted = by_hand(cohort, design)
    assert sums.given.all()
    for name in ("xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(sums, name), getattr(wanted, name), rtol=1e-11, atol=1e-11)


def test_a_connection_that_too_many_lack_is_not_given():
    cohort = clinic("a", 60)
    cohort.missing[:20, 2] = True
    _, sums, _ = given(cohort, "a")
    touched = cohort.pairs.touching(np.arange(10) == 2)
    assert (sums.given[:45] == ~touched).all()
    assert not sums.xy[:, ~sums.given].any() and not sums.yy[~sums.given].any()


def test_sites_add_up_with_levels_and_scanners_of_their_own():
    """A level that one site lacks is a column of zeros there; sums less those of a part are the rest's."""
    first, second = clinic("a", 40, 1), clinic("b", 48, 2, scanners=2)
    first.participants["sex"] = "F"
    one, two = given(first, "a")[1], given(second, "b")[1]
    both = added([one, two])
    assert set(both.columns) == {"group", "age", "sex=F", "sex=M", "mean_fd", "site=a", "site=b/scanner0",
                                 "site=b/scanner1"}  # fmt: skip
    place = both.columns.index("sex=M")
    assert both.xx[place, place] == (second.participants["sex"] == "M").sum()
    rest = both.minus(one)
    assert not rest.xx[rest.columns.index("site=a")].any()
    np.testing.assert_allclose(rest.xy, two.ordered(list(rest.columns)).xy, atol=1e-9)
    swapped = added([two, one]).ordered(list(both.columns))
    np.testing.assert_allclose(swapped.xy, both.xy, atol=1e-12)


def test_a_number_without_centre_and_an_unknown_column_are_refused():
    people = clinic("a").participants
    with pytest.raises(ValueError, match=r"share\.centres: mean_fd is a number and has no centre"):
        share_design(people, ["mean_fd"], {"age": 45}, "a")
    with pytest.raises(ValueError, match="no column height"):
        share_design(people, ["height"], {}, "a")


def test_who_lacks_a_covariate_is_left_out_and_counted():
    cohort = clinic("a", 60)
    cohort.participants.loc[:5, "age"] = np.nan
    package, _, design = given(cohort, "a")
    assert len(design) == 54 and package.about["people"]["n"] == 54
    assert package.about["left_out"]["for an unknown covariate"] == 6
    cohort.participants["hand"] = np.where(np.arange(60) % 6 < 2, " ", np.where(np.arange(60) % 2, "R ", "R"))
    package = given(cohort, "a", columns=["hand"])[0]
    assert [column["name"] for column in package.about["columns"]] == ["group", "hand=R", "site=a"]
    assert package.about["left_out"]["for an unknown covariate"] == 20


@pytest.fixture
def package():
    return given(clinic("a", 40), "a")[0]


def test_a_file_reads_back_as_it_was_and_is_the_same_bytes_again(package, tmp_path):
    for name in ("one.zip", "two.zip"):
        write_package(tmp_path / name, package)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    read = read_package(tmp_path / "one.zip")
    assert read.about == package.about
    for name in ("xx", "xy", "yy", "given"):
        assert (getattr(read.sums, name) == getattr(package.sums, name)).all()
        assert (getattr(read.norm, name) == getattr(package.norm, name)).all()
    content = (tmp_path / "one.zip").read_bytes() + b"".join(
        zipfile.ZipFile(tmp_path / "one.zip").read(name) for name in zipfile.ZipFile(tmp_path / "one.zip").namelist()
    )
    assert b"sub-" not in content


def rewritten(package, folder, members=None, arrays=None, about=None, order=None):
    """A file with some of it replaced; its number fits again, as a liar would see to."""
    write_package(folder / "good.zip", package)
    with zipfile.ZipFile(folder / "good.zip") as file:
        content = {name: file.read(name) for name in file.namelist()}
    said = json.loads(content["statistics.json"]) | (about or {})
    held = dict(np.load(io.BytesIO(content["sums.npz"]))) | (arrays or {})
    if arrays or about:
        plain = {key: value for key, value in said.items() if key not in ("format", "release")}
        both = [Sums((), *(held.get(p + n, held["given"]) for n in ("xx", "xy", "yy")), held["given"])
                for p in ("", "norm_")]  # fmt: skip
        said["release"] = release_of(plain, *both)
    stream = io.BytesIO()
    np.savez(stream, **held)
    content |= {"sums.npz": stream.getvalue(), "statistics.json": json.dumps(said).encode()} | (members or {})
    with zipfile.ZipFile(folder / "bad.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, value in content.items():
            if value is not None:
                file.writestr(name, value)
    return folder / "bad.zip"


def test_what_is_rewritten_unchanged_is_read(package, tmp_path):
    read_package(rewritten(package, tmp_path))
    read_package(rewritten(package, tmp_path, about={"contact": "another@clinic.example"}))


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


MEMBERS = {
    "a path that leaves the folder": ({"../../evil.txt": b"x"}, "which no file of sums has"),
    "an absolute path": ({"/etc/passwd": b"x"}, "which no file of sums has"),
    "a member too many": ({"run.py": b"x"}, "'run.py'"),
    "a member too few": ({"regions.tsv": None}, "lacks regions.tsv"),
    "a bomb": ({"statistics.json": b"[" + b" " * 10_000_000 + b"]"}, "more than 5 MB"),
    "a bomb of numbers": ({"sums.npz": npz(xx=np.zeros(3_000_000))}, "holds a sums.npz of more than"),
    "deep brackets": ({"statistics.json": b"[" * 100_000}, "cannot be read"),
    "no JSON": ({"statistics.json": b"{"}, "cannot be read"),
    "NaN in JSON": ({"statistics.json": b'{"n": NaN}'}, "NaN is no number"),
    "a key twice": ({"statistics.json": b'{"a": 1, "a": 2}'}, "twice"),
    "another thing": ({"statistics.json": b"[1]"}, "of the format None"),
    "other regions": ({"regions.tsv": b"name\tx\ty\tz\na\t1\t2\t3\n"}, "other regions"),
    "no regions": ({"regions.tsv": b"\x00\x01"}, "cannot be read"),
    "no arrays": ({"sums.npz": b"PK"}, "damaged or no zip"),
    "pickle": ({"sums.npz": npz(xx=np.array([{}], object))}, "other arrays"),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_hostile_members_are_refused(kind, package, tmp_path):
    members, words = MEMBERS[kind]
    with pytest.raises(PackageError, match=words) as refused:
        read_package(rewritten(package, tmp_path, members=members))
    assert "bad.zip" in str(refused.value) and "Ask the site" in str(refused.value)


def changed(name, change):
    def make(package):
        value = np.array(getattr(package.sums if "norm" not in name else package.norm, name.removeprefix("norm_")))
        return {name: change(value)}

    return make


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


ARRAYS = {
    "NaN": (changed("xy", put((1, 2), np.nan)), "NaN or infinity in xy"),
    "infinity": (changed("yy", put(4, np.inf)), "NaN or infinity in yy"),
    "another type": (changed("xy", lambda v: v.astype(np.float32)), "float32"),
    "another order": (changed("xy", np.asfortranarray), "in other order"),
    "the other way round": (changed("xy", lambda v: v.T.copy()), r"\[47, 6\]"),
    "other numbers of connections": (changed("yy", lambda v: v[:-1]), r"\[46\]"),
    "objects": (changed("xx", lambda v: v.astype(object)), "object"),
    "negative sums of squares": (changed("yy", put(4, -1.0)), "negative sums of squares"),
    "an X'X that is not symmetric": (changed("xx", put((0, 1), 1e3)), "not symmetric"),
    "a negative eigenvalue": (changed("xx", put(((0, 1), (1, 0)), 900.0)), "negative eigen"),
    "X'Y beyond the squares": (changed("xy", put((0, 3), 1e6)), "explain more than there is"),
    "other counts": (changed("xx", lambda v: 2 * v), "other numbers of people|explain more"),
    "patients among the controls": (changed("norm_xx", put((0, 0), 5.0)), "none: not symmetric|patients among"),
    "other controls": (
        changed("norm_xx", lambda v: v * (1 - 1e-9)), "other controls in its norm|none: not symmetric|patients"),
    "more controls than people": (changed("norm_xx", lambda v: 9 * v), "explain more|patients"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARRAYS)
def test_numbers_that_no_people_have_are_refused(kind, package, tmp_path):
    change, words = ARRAYS[kind]
    with pytest.raises(PackageError, match=words):
        read_package(rewritten(package, tmp_path, arrays=change(package)))


SAID = {
    "another format": ({"format": "dysconnect statistics 9"}, "of the format"),
    "a key that nobody knows": ({"note": "x"}, "note"),
    "a site that is a path": ({"site": "../evil"}, "site"),
    "a line break": ({"contact": "a\nb"}, "characters that cannot be seen"),
    "other processing": ({"processing": {"measure": "partial"}}, "another hash"),
    "other counts": ({"people": {"n": 40, "patients": 21, "controls": 19, "cells": {}}}, "other numbers of people"),
    "connections that there are not": ({"edges": 44}, "44 connections"),
    "a million circuits": ({"circuits": [str(k) for k in range(1_000)]}, "circuits"),
    "a number of connections that is no integer": ({"edges": 45.0}, "edges is not as it must be"),
    "a line break at the end": ({"contact": "a@clinic.example\n"}, "characters that cannot be seen"),
    "what a terminal obeys": ({"licence": "\x9b31mCC0"}, "characters that cannot be seen"),
    "a text turned round": ({"contact": "a\u202eelpmaxe@b"}, "characters that cannot be seen"),
    "a key that a terminal obeys": ({"left_out": {"\x1b[2J": 7}}, r"'\\x1b\[2J' has characters"),
    "half a character": ({"contact": "\ud800x"}, "characters that cannot be seen"),
    "a formula": ({"contact": '=HYPERLINK("http://clinic.example")'}, "as a formula of a spreadsheet"),
    "a formula with a sign": ({"licence": "+cmd|' /C calc'!A0"}, "as a formula of a spreadsheet"),
    "a column twice": ({"columns": [{"name": "group", "kind": "group"}] * 7}, "column twice"),
}


@pytest.mark.parametrize("kind", SAID)
def test_a_statement_that_cannot_be_is_refused(kind, package, tmp_path):
    said, words = SAID[kind]
    with pytest.raises(PackageError, match=words):
        read_package(rewritten(package, tmp_path, about=said))


def test_a_telephone_number_is_no_formula(package, tmp_path):
    read_package(rewritten(package, tmp_path, about={"contact": "+49 (431) 500-1"}))


@pytest.mark.parametrize("cell", ["=1+1", "A\x1b[2J", "@SUM(A1)"])
def test_regions_with_hostile_names_are_refused(cell, package, tmp_path):
    regions = package.regions.assign(name=[cell, *package.regions["name"][1:]])
    content = regions.to_csv(sep="\t", index=False).encode()
    with pytest.raises(PackageError, match=r"regions\.tsv in which .*(cannot be seen|formula)"):
        read_package(rewritten(package, tmp_path, members={"regions.tsv": content}))
    nowhere = package.regions.assign(x=np.inf).to_csv(sep="\t", index=False).encode()
    with pytest.raises(PackageError, match="lie nowhere"):
        read_package(rewritten(package, tmp_path, members={"regions.tsv": nowhere}))


@pytest.mark.parametrize("header", [b"((((", b"[1," * 300, b'"""', b"{'descr': '<f8', 'shape': (47"])
def test_headers_of_arrays_that_cannot_be_read_are_refused(header, package, tmp_path):
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(rewritten(package, tmp_path)) as file:
        sums = zipfile.ZipFile(io.BytesIO(file.read("sums.npz")))
    content = {name: sums.read(name) for name in sums.namelist()} | {"yy.npy": array}
    with pytest.raises(PackageError, match="array yy that cannot be read"):
        read_package(rewritten(package, tmp_path, members={"sums.npz": zipped(content)}))


def test_many_zeros_in_few_bytes_are_refused(package, tmp_path, monkeypatch):
    monkeypatch.setattr("dysconnect.share.unpacked.PACKED", (1e3, 5))
    read_package(rewritten(package, tmp_path))
    with np.load(io.BytesIO(zipfile.ZipFile(tmp_path / "bad.zip").read("sums.npz"))) as held:
        zeros = {name: np.zeros_like(held[name]) for name in held}
    with pytest.raises(PackageError, match="MB of sums, and has far fewer bytes"):
        read_package(rewritten(package, tmp_path, arrays=zeros))


def test_a_zip_of_another_kind_that_is_damaged_is_refused(package, tmp_path):
    with zipfile.ZipFile(rewritten(package, tmp_path)) as file:
        content = bytearray(zipped({name: file.read(name) for name in file.namelist()}, zipfile.ZIP_LZMA))
    content[200:400] = bytes(200)
    (tmp_path / "lzma.zip").write_bytes(content)
    with pytest.raises(PackageError, match="damaged or no zip"):
        read_package(tmp_path / "lzma.zip")


def test_what_was_changed_on_the_way_is_refused(package, tmp_path):
    path = rewritten(package, tmp_path)
    with zipfile.ZipFile(path) as file:
        held = dict(np.load(io.BytesIO(file.read("sums.npz"))))
    held["xy"][1, 2] += 1e-9
    with pytest.raises(PackageError, match="not what was written"):
        read_package(rewritten(package, tmp_path, members={"sums.npz": npz(**held)}))


def test_a_member_twice_and_half_a_file_are_refused(package, tmp_path):
    path = rewritten(package, tmp_path)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("regions.tsv", b"x")
    with pytest.raises(PackageError, match=r"regions\.tsv twice"):
        read_package(path)
    content = (tmp_path / "good.zip").read_bytes()
    for half in (content[: len(content) // 2], b"", b"no zip"):
        (tmp_path / "half.zip").write_bytes(half)
        with pytest.raises(PackageError, match="damaged or no zip"):
            read_package(tmp_path / "half.zip")
    with pytest.raises(PackageError, match="no such file"):
        read_package(tmp_path / "absent.zip")
