"""Pictures of a diffusion scan, the page of a person that shows them, and the quality of the scans by group."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from test_report import GOOD, NODES, cohort_of, experiments_of, page_of, results_of

from dysconnect import report
from dysconnect.data.atlas import circuit_edges, load_atlas
from dysconnect.paper.slices import upright
from dysconnect.paper.svg import to_svg
from dysconnect.quality.scans import limits, marked
from dysconnect.quality.tracts import read_tracts, tract_table
from dysconnect.report import Study
from dysconnect.report.people.tracts import read_rows, write_tract_pages
from dysconnect.report.quality.sentences import quality_sentence
from dysconnect.report.tracts import far_sentence, group_table, uncorrected_sentence
from dysconnect.report.unnamed import unnamed

SPEC, CONTRAST = cohort_of()["quality"], {"cases": ["DYT"], "controls": ["HC"]}
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])
SHAPE = (20, 24, 16)


def measured(participants, moved=0.0, seed=0):
    """Quality of everybody's scan as the stage leaves it; displacement of patients is `moved` times as large."""
    rng, n = np.random.default_rng(seed), len(participants)
    case = (participants["group"] == "DYT").to_numpy()
    table = pd.DataFrame({"participant_id": participants["participant_id"]})
    table["mean_displacement"] = np.exp(rng.normal(-0.7, 0.3, n)) * np.where(case, 1 + moved, 1)
    table["mean_fd"] = rng.normal(0.2, 0.02, n)
    table["dropped_slices"] = 0.0
    for name, middle in {"neighbour_correlation": 0.9, "snr_b0": 20, "fa_callosum": 0.7, "field_rms": 1.2}.items():
        table[name] = rng.normal(middle, 0.02 * middle, n)
    return table.assign(regions_without_streamlines=rng.uniform(0, 0.02, n), dice_dwi_t1w=rng.normal(0.93, 0.01, n))


def tracts_of(participants, **changes):
    """What the report reads of the scans: that of the last person could not be used."""
    table = measured(participants, **changes).rename(columns={"mean_fd": "fd_dwi"}).assign(problem="")
    table.loc[len(table) - 1, table.columns.drop(["participant_id", "problem"])] = np.nan
    table.loc[len(table) - 1, "problem"] = "sub-x_dwi.bvec is empty"
    return table


@pytest.fixture(scope="module")
def dwi():
    """Configuration of a cohort of diffusion images."""
    cohort = cohort_of()
    cohort["dataset"] |= {"kind": "matrices", "task": "dwi", "matrices": {"content": "fa", "scaled": False}}
    cohort["localize"] |= {"measure": "fa"}
    cohort["tractography"] = {
        "noise": True, "ringing": True, "seeds": 200000, "step": 0.5, "angle": 20, "shortest": 10, "longest": 250,
        "reach": 2.0, "fewest": 1, "seed": 0,
    }  # fmt: skip
    return cohort


def study_of(results, cohort):
    return Study(results, cohort, experiments_of(GOOD), NODES)


@pytest.fixture(scope="module")
def people():
    return results_of().participants


def test_an_upright_image_goes_right_forward_and_up():
    values = np.zeros(SHAPE)
    values[0, 5, 3] = 1
    turned, sizes = upright(values, AFFINE)
    assert turned[-1, 5, 3] == 1 and turned.sum() == 1
    np.testing.assert_allclose(sizes, [2, 2, 2.5])


@pytest.fixture(scope="module")
def scan():
    """A ball whose fibres run from side to side, distorted both ways by a known field; streamlines of one circuit."""
    pytest.importorskip("dipy")
    from dysconnect.diffusion.susceptibility import Field
    from dysconnect.reading.encoding import Encoding

    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    mask = np.linalg.norm((places - (np.array(SHAPE) - 1) / 2) / (8, 10, 6.5), axis=-1) < 1
    texture = 100 * mask * (1.5 + np.sin(places[..., 1]))
    shift = np.full(SHAPE, 2.0)
    plus, minus = (np.roll(texture, step, 1) for step in (2, -2))
    direction = np.zeros((*SHAPE, 3), np.float32)
    direction[..., 0] = 1
    clean = SimpleNamespace(mask=mask, field=Field(shift, 1, np.eye(4), 0.2, 0.9))
    tensor = SimpleNamespace(fa=0.6 * mask, direction=direction)
    files = SimpleNamespace(
        data=plus[..., None], bvals=np.zeros(1), affine=AFFINE, encoding=Encoding(1, -1, 0.05),
        reverse=minus[..., None], reverse_encoding=Encoding(1, 1, 0.05),
    )  # fmt: skip
    return SimpleNamespace(clean=clean, tensor=tensor, files=files, texture=texture, plus=plus, minus=minus)


def bundles_of(lines, circuit="striato_pallidal"):
    """Bundles that saw these streamlines, given in voxels, of the first connection of a circuit."""
    from dysconnect.tractography.pictures import Bundles

    nodes = load_atlas("seitzman300")
    edges = circuit_edges(nodes).query("circuit == @circuit").iloc[0]
    bundles = Bundles(nodes, SHAPE, AFFINE)
    pairs = np.full(len(lines), edges["i"] * len(nodes) + edges["j"])
    bundles(pairs, [np.asarray(line) @ AFFINE[:3, :3].T for line in lines])
    return bundles


def test_a_streamline_counts_once_a_voxel_and_in_its_circuit_only(scan):
    straight = np.stack([np.arange(5, 15, 0.25), np.full(40, 12.0), np.full(40, 8.0)], axis=1)
    bundles = bundles_of([straight, straight[::-1], straight[:20]])
    visits = bundles.visits["striato_pallidal"]
    assert visits.max() == 3 and (visits[6:9, 12, 8] == 3).all() and (visits[11:14, 12, 8] == 2).all()
    assert (visits > 0).sum() == 11 and bundles.lines["striato_pallidal"] == 3
    assert all(not bundles.visits[name].any() for name in bundles.visits if name != "striato_pallidal")


def test_both_b0_agree_without_the_field(scan):
    from dysconnect.diffusion.poses import STILL
    from dysconnect.tractography.pictures import undistorted

    both = [
        undistorted(image, scan.clean.field, sign, STILL, AFFINE) for image, sign in ((scan.plus, 1), (scan.minus, -1))
    ]
    for image in both:
        np.testing.assert_allclose(image[scan.clean.mask], scan.texture[scan.clean.mask], rtol=1e-5)
    assert np.corrcoef(scan.plus[scan.clean.mask], scan.minus[scan.clean.mask])[0, 1] < 0.5


def test_pictures_are_small_red_across_and_say_what_was_not_seen(scan, tmp_path, monkeypatch):
    from dysconnect.tractography import pictures

    titles = []
    monkeypatch.setattr(pictures.SubFigure, "suptitle", lambda self, words, **look: titles.append(words))
    bundles = bundles_of([np.stack([np.arange(5.0, 15), np.full(10, 12.0), np.full(10, 8.0)], axis=1)])
    stem = tmp_path / "pictures/sub-1"
    written = pictures.write_pictures(stem, scan.files, scan.clean, scan.tensor, bundles)
    assert written["tracts_picture"] == "pictures/sub-1_tracts.png" and set(written) == set(pictures.PICTURES)
    assert all(500 < (tmp_path / path).stat().st_size < 150_000 for path in written.values())
    assert "Striatum and pallidum: 1 streamline" in titles
    assert "Pallido-thalamic projection: no streamline was seen" in titles
    colours = np.asarray(Image.open(tmp_path / written["tensor_picture"]).convert("RGB")).reshape(-1, 3).astype(int)
    vivid = colours[np.ptp(colours, axis=1) > 100]
    assert len(vivid) > 1000 and (vivid[:, 0] > 3 * vivid[:, 1:].max(1)).all()
    scan.clean.field, field = None, scan.clean.field
    again = pictures.write_pictures(stem, scan.files, scan.clean, scan.tensor, bundles)
    scan.clean.field = field
    assert again["field_picture"] == "" and not (tmp_path / written["field_picture"]).exists()


def test_who_is_far_from_the_others_is_named(people):
    tracts = tracts_of(people)
    tracts.loc[3, ["mean_displacement", "dropped_slices"]] = 9.0, 0.2
    tracts.loc[4, "dropped_slices"] = 0.005  # one slice of two hundred: nothing
    table = tract_table(tracts, people)
    beyond = marked(table, SPEC)
    assert beyond.loc[3, ["mean_displacement", "dropped_slices"]].all() and not beyond.loc[4, "dropped_slices"]
    assert limits(table, SPEC)["dropped_slices"] == pytest.approx(0.01) and "tsnr" not in beyond
    name = people["participant_id"].iloc[3]
    assert f"{name} (displacement 9.00 mm, lost slices 20%" in far_sentence(table, SPEC)
    rows = {row.cells[0]: row.cells for row in group_table(table, CONTRAST, SPEC, 0.95).rows}
    assert rows["Lost slices"][5] == "1.0%" and {"0", "1"} == set(rows["Lost slices"][6:])


def test_displacement_that_differs_between_the_groups_is_a_confounder(people, dwi):
    words = [
        quality_sentence(study_of(results_of(participants=people, tracts=tracts_of(people, moved=moved)), dwi))
        for moved in (0.0, 1.5)
    ]
    assert "confounder" not in words[0]
    assert "Displacement of the head in the diffusion images differs between the groups" in words[1]
    assert "patients move more). It is a confounder" in words[1]


def test_without_a_reversed_b0_it_is_said_who_stays_distorted(people):
    table = tract_table(tracts_of(people), people)
    assert uncorrected_sentence(table) == ""
    table.loc[[0, 1], "field_rms"] = np.nan
    first = " and ".join(people["participant_id"][:2])
    assert uncorrected_sentence(table).endswith(f"opposite phase encoding: {first}.")
    assert f"2 of {len(people) - 1} scans" in uncorrected_sentence(table)


def test_the_report_has_a_section_and_cites_the_methods(people, dwi, monkeypatch):
    monkeypatch.setattr(report, "drawn", lambda drawings, _: ({name: to_svg(Figure()) for name in drawings}, {}))
    results = results_of(participants=people, tracts=tracts_of(people))
    page = page_of(results, dwi)[0].html
    assert 'id="tracts"' in page and "Diffusion scans" in page and 'id="figure-tracts"' in page
    assert "failed: sub-x_dwi.bvec is empty" in page and 'href="subjects/' in page
    assert "Veraart et al. 2016" in page and "Andersson and Sotiropoulos 2016" in page
    assert "B-matrix must be rotated" in page and "track-based biomarker" in page and "local subvoxel-shifts" in page
    dwi["report"]["people"] = False
    shown = unnamed(study_of(results, dwi)).results.tracts
    dwi["report"]["people"] = True
    assert not set(shown["participant_id"]) & set(people["participant_id"]) and set(shown["problem"]) == {"", "failed"}


def test_a_page_shows_the_pictures_and_what_is_missing(people, scan, tmp_path):
    from dysconnect.tractography.pictures import write_pictures

    stage, few = tmp_path / "tractography", people.head(12)
    bundles = bundles_of([np.stack([np.arange(5.0, 15), np.full(10, 12.0), np.full(10, 8.0)], axis=1)])
    first, failed = few["participant_id"].iloc[[0, 11]]
    shown = write_pictures(stage / "pictures" / first, scan.files, scan.clean, scan.tensor, bundles)
    (stage / "participants").mkdir()
    paths = []
    for name in (first, failed):
        row = {"participant_id": name, "note": "a doubt; another" if name == first else ""}
        row |= shown | {"field_picture": ""} if name == first else {}
        paths.append(stage / f"participants/{name}.tsv")
        pd.DataFrame([row]).to_csv(paths[-1], sep="\t", index=False)
    index = few[["participant_id"]].assign(problem=np.where(few["participant_id"] == failed, "no bvec", ""))
    index.to_csv(stage / "matrices.tsv", sep="\t", index=False)
    measured(few.head(11)).to_csv(stage / "quality.tsv", sep="\t", index=False, na_rep="n/a")
    table = tract_table(read_tracts(stage / "matrices.tsv", stage / "quality.tsv"), few)
    write_tract_pages(
        read_rows(paths), table, few, {**SPEC, "title": "Tiny <cohort>"}, tmp_path / "subjects", "2026-01-02"
    )
    page = (tmp_path / f"subjects/{first}.html").read_text()
    assert page.count("data:image/png;base64") == 2 and "the distortion by susceptibility was not corrected" in page
    assert "<li>a doubt</li>" in page and "<li>another</li>" in page
    assert "Displacement, mm" in page and 'href="../index.html#tracts"' in page and "DVARS" not in page
    page = (tmp_path / f"subjects/{failed}.html").read_text()
    assert "no bvec" in page and "Nothing was measured" in page and "data:image" not in page


def test_the_table_has_those_who_were_scanned_in_the_order_of_the_people(people):
    tracts = tracts_of(people).sample(frac=0.5, random_state=1)
    names = set(tracts["participant_id"])
    assert tract_table(tracts, people)["participant_id"].tolist() == [n for n in people["participant_id"] if n in names]
