"""Matrix and glass brain show the connections that the tables name; references become BibTeX as they are."""

import base64
import io
import json
import re
import zlib
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_string
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from PIL import Image

from dysconnect.data.atlas import load_atlas
from dysconnect.paper import fonts, svg
from dysconnect.paper.bibtex import bibliography, read_papers
from dysconnect.paper.files import to_pdf, to_png
from dysconnect.paper.shell import KEPT, brain_shell, mask_faces, smoothed, template_mask
from dysconnect.paper.style import STYLE
from dysconnect.paper.svg import to_svg
from dysconnect.report.cohort.figures import consort_figure
from dysconnect.report.localization import stability_caption
from dysconnect.report.localization.brain import as_script, brain_data
from dysconnect.report.localization.figures import stability_figure
from dysconnect.report.localization.matrix import matrix_figure, ordered_nodes, split_triangles, spoken
from dysconnect.report.references import PAPERS

CAPTIONS = Path(__file__).parents[1] / "workflow/report"


@pytest.fixture(scope="module")
def atlas() -> pd.DataFrame:
    return load_atlas("seitzman300")


def edges_of(atlas: pd.DataFrame, t: list[float], p: list[float]) -> pd.DataFrame:
    """One edge of each cortical region 0, 1, ... with a region of the thalamus, then of the cerebellum."""
    others = atlas.index[atlas["system"].isin(["thalamus", "cerebellum"])][: len(t)]
    return pd.DataFrame(
        {
            "region_a": atlas["name"].to_numpy()[: len(t)],
            "region_b": atlas["name"].to_numpy()[others],
            "statistic": t,
            "effect_size": np.array(t) / 5,
            "p_fwer": p,
            "p_fdr": np.array(p) / 2,
        }
    )


def test_regions_are_ordered_by_system_network_and_side(atlas):
    own = ordered_nodes(atlas)
    assert list(own["system"].unique()) == ["cortex", "basal_ganglia", "thalamus", "cerebellum", "limbic"]
    cortex = own[own["system"] == "cortex"]
    assert cortex["network"].iloc[-1] == "unassigned"
    visual = cortex[cortex["network"] == "Visual"]
    assert np.ptp(visual.index) == len(visual) - 1
    assert visual["hemisphere"].is_monotonic_increasing
    plain = ordered_nodes(atlas[["name", "x", "y", "z"]])
    assert set(plain["system"]) == {"regions"} and len(plain) == len(atlas)


def test_every_connection_has_one_place_below_the_diagonal_and_one_above(atlas):
    edges = edges_of(atlas, [-6.0, 3.0, 2.0], [0.01, 0.06, 0.9])
    own = ordered_nodes(atlas)
    t, above = split_triangles(edges.assign(region_b=edges["region_b"].where(edges.index < 2, "nowhere")), own)
    assert np.isfinite(t).sum() == 2 and len(above) == 2
    assert (above["row"] < above["column"]).all()
    np.testing.assert_array_equal(t[above["column"], above["row"]], above["statistic"])
    names = own["name"].to_numpy()
    first = above.iloc[0]
    assert {names[first["row"]], names[first["column"]]} == {first["region_a"], first["region_b"]}


def test_matrix_counts_what_survives(atlas):
    edges = edges_of(atlas, [-6.0, 5.0, 4.0, 1.0], [0.01, 0.02, 0.08, 0.9])
    document = to_svg(matrix_figure(edges, atlas, 0.05))
    assert "FWER 0.05 (2)" in document and "FDR 0.05 only (1)" in document
    assert "Somatomotor dorsal" in document and "Basal ganglia" in document
    plain = to_svg(matrix_figure(edges, atlas[["name", "x", "y", "z"]], 0.05))
    assert "Regions" in plain and "FWER 0.05 (2)" in plain


@pytest.mark.parametrize(
    ("name", "words"),
    [("SomatomotorDorsal", "Somatomotor dorsal"), ("basal_ganglia", "Basal ganglia"), ("DMN", "DMN"), ("", "")],
)
def test_names_of_blocks_are_for_people(name, words):
    assert spoken(name) == words


def test_faces_of_one_voxel_are_a_cube_seen_from_outside():
    corners, faces = mask_faces(np.ones((1, 1, 1), bool))
    assert corners.shape == (8, 3) and faces.shape == (6, 4)
    assert corners.min() == 0 and corners.max() == 1
    quads = corners[faces].astype(float)
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    assert ((normals * (quads.mean(axis=1) - 0.5)).sum(axis=1) > 0).all()


def test_smoothing_keeps_size_and_place():
    grid = np.indices((12, 12, 12)).transpose(1, 2, 3, 0) - 5.5
    corners, faces = mask_faces((grid**2).sum(axis=-1) < 25)
    places = corners - 6.0
    round_ = smoothed(places, faces, 10)
    radius, before = (np.linalg.norm(own, axis=1) for own in (round_, places))
    assert radius.std() < 0.5 * before.std()
    assert abs(radius.mean() - before.mean()) < 0.3
    np.testing.assert_allclose(round_.mean(axis=0), 0, atol=1e-9)


def test_the_shell_is_a_brain_of_the_template(atlas):
    vertices, faces = brain_shell()
    assert faces.max() == len(vertices) - 1 < 2**16
    assert (np.abs(vertices) < 130).all()
    middle = np.sort(vertices[:, 0])
    np.testing.assert_allclose(middle, -middle[::-1], atol=0.5)  # as wide on the left as on the right
    inside = (atlas[["x", "y", "z"]].to_numpy() > vertices.min(axis=0)).all(axis=1)
    assert inside.all()


def test_the_kept_brain_is_that_of_the_template():
    kept, made = json.loads(KEPT.read_text()), template_mask()
    assert kept["shape"] == made["shape"] and kept["voxels"] == made["voxels"]
    np.testing.assert_allclose(kept["affine"], made["affine"], atol=1e-9)


def test_the_glass_brain_has_the_connections_of_the_figure(atlas):
    edges = edges_of(atlas, [-6.0, 5.0, 4.0], [0.01, 0.02, 0.8])
    data = brain_data(edges, atlas, 0.05, 9)
    assert [(atlas["name"][a], atlas["name"][b], sign) for a, b, sign, *_ in data["edges"]] == [
        (edges["region_a"][k], edges["region_b"][k], sign) for k, sign in ((0, -1), (1, 1))
    ]
    assert data["edges"][0][4] == "weaker in patients; d = −1.20, t = −6.00, p FWER = 0.010"
    faces = np.frombuffer(base64.b64decode(data["faces"]), "<u2").reshape(-1, 4)
    np.testing.assert_array_equal(faces, brain_shell()[1])
    vertices = np.frombuffer(base64.b64decode(data["vertices"]), "<i2").reshape(-1, 3) / 10
    np.testing.assert_allclose(vertices, brain_shell()[0], atol=0.051)


def test_names_cannot_end_the_script():
    text = as_script({"name": "</script><b>"})
    assert "<" not in text and json.loads(text) == {"name": "</script><b>"}


LI = """@article{Li2018,
  author = {Li, F and Morgan, KL and Zaslavsky, AM},
  title = {{Balancing covariates \\& more}},
  doi = {10.1080/a_b},
  journal = {J Am Stat Assoc},
  year = {2018},
  volume = {113},
  pages = {390--400}
}"""
PLATT = """@misc{Van2016,
  author = {Van Calster, B and others},
  title = {{A calibration hierarchy}},
  howpublished = {MIT Press},
  year = {2016}
}"""


def test_a_paper_is_cited_printed_and_written_again_from_one_entry(tmp_path):
    path = tmp_path / "papers.bib"
    path.write_text(f"{LI}\n\n{PLATT}\n")
    papers = read_papers(path)
    assert [paper.name for paper in papers] == ["Li et al. 2018", "Van Calster et al. 2016"]
    assert str(papers[0]) == (
        "Li F, Morgan KL, Zaslavsky AM. Balancing covariates & more. J Am Stat Assoc 2018;113:390-400. doi:10.1080/a_b"
    )
    assert str(papers[1]) == "Van Calster B, et al. A calibration hierarchy. MIT Press."
    assert bibliography(papers, {}) == path.read_text()
    noted = LI.replace("  doi =", "  checked = {2026-01-02: all fields on the page of the publisher},\n  doi =")
    path.write_text(f"% How to add a paper.\n% In two lines.\n\n{noted}\n\n{PLATT}\n")
    assert [paper.text for paper in read_papers(path)] == [LI, PLATT]
    assert str(read_papers(path)[0]) == str(papers[0])
    two = LI.replace(" and Zaslavsky, AM", "")
    path.write_text(two)
    assert read_papers(path)[0].name == "Li and Morgan 2018"


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("url = {https://example.org/1.html}", "MIT Press. https://example.org/1.html"),
        ("isbn = {0-306-40615-2}", "MIT Press. ISBN 0-306-40615-2"),
        ("url = {https://example.org/1.html},\n  doi = {10.1/a}", "MIT Press. doi:10.1/a"),
    ],
)
def test_a_paper_without_a_doi_is_printed_with_its_address_or_isbn(tmp_path, line, printed):
    (tmp_path / "papers.bib").write_text(PLATT.replace("  year", f"  {line},\n  year"))
    assert str(read_papers(tmp_path / "papers.bib")[0]).endswith(printed)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (LI.replace("year = {2018}", "year = 2018"), "@article{Li2018, cannot be read"),
        (LI.replace("  volume = {113},\n", ""), "@article{Li2018, has no volume"),
        (PLATT.replace("  year = {2016}\n", ""), "@misc{Van2016, has no year"),
    ],
)
def test_an_entry_that_would_be_printed_wrong_is_refused(tmp_path, wrong, words):
    (tmp_path / "papers.bib").write_text(f"{PLATT}\n\n{wrong}")
    with pytest.raises(ValueError, match=words):
        read_papers(tmp_path / "papers.bib")


def test_every_paper_has_a_key_and_a_name_of_its_own():
    keys = [paper.text.split("{")[1].split(",")[0] for paper in PAPERS]
    names = [paper.name for paper in PAPERS]
    assert len(set(keys)) == len(set(names)) == len(PAPERS) > 40
    assert not any(one != other and one in other for one in names for other in names)  # found in a text, by name
    assert all(paper.text.count("{") == paper.text.count("}") for paper in PAPERS)


def test_data_are_cited_as_they_ask():
    text = bibliography([], {"Data: A & B": "Somebody 2014, doi:10.1/a_b; Else 2015"})
    assert "@misc{DataAB," in text and r"title = {{Data: A \& B}}" in text
    assert "doi = {10.1/a_b}" in text and r"doi:10.1/a\_b; Else 2015" in text


def test_a_figure_is_laid_out_as_by_matplotlib_and_once(monkeypatch):
    def made() -> Figure:
        figure = Figure(figsize=(4, 2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], label="line")
        left.set(ylabel="a long label", title="title")
        right.imshow(np.eye(3))
        figure.legend(loc="outside lower center")
        return figure

    figure = made()
    document = to_svg(figure, last=False)
    assert figure.get_layout_engine() is None
    monkeypatch.setattr(svg, "_lay_out", lambda figure: None)
    other = made()
    assert to_svg(other, last=False) == document and other.get_layout_engine() is not None
    assert [axes.get_position().bounds for axes in figure.axes] == [axes.get_position().bounds for axes in other.axes]


@pytest.mark.parametrize("size", [(2, 1), (3.37, 1.111)])
def test_png_has_300_dots_an_inch_and_the_pixels_of_matplotlib(size):
    figure = Figure(figsize=size)
    figure.add_subplot(title="title").plot([0, 1])
    data, other = to_png(figure), io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(other, format="png", dpi=300)
    assert data == to_png(figure)
    picture, expected = Image.open(io.BytesIO(data)), Image.open(other)
    assert (picture.size, picture.mode, picture.info["dpi"]) == (expected.size, expected.mode, expected.info["dpi"])
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))
    Image.open(io.BytesIO(data)).verify()


def test_pdf_has_its_text_its_fonts_and_no_date():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot(title="t").plot([0, 1])
    data = to_pdf(figure)
    assert data[:5] == b"%PDF-" and b"/MediaBox [ 0 0 144 72 ]" in data
    assert b"/FontFile2" in data and b"/Type3" not in data and b"Date" not in data
    assert data == to_pdf(figure)


def test_fonts_in_a_pdf_have_the_glyphs_of_its_text_and_no_tables_for_typesetters():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot(title="fold i", xticks=[], yticks=[])
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", to_pdf(figure), re.DOTALL)
    packed = [zlib.decompress(stream) for stream in streams if stream[:1] == b"x"]
    fonts = [TTFont(io.BytesIO(data)) for data in packed if data[:4] == b"\0\1\0\0"]
    glyphs = {name for font in fonts for name in font.getGlyphOrder()}
    assert set("fold") <= glyphs
    assert not {"fi", "uniFB01"} & glyphs  # a ligature of letters that are there and do not meet
    assert not any({"GSUB", "GPOS"} & set(font.keys()) for font in fonts)


def counts_of(cases: int, controls: int, others: int) -> dict:
    return {"cases": cases, "controls": controls, "others": others}


@pytest.mark.parametrize("words", ["Größe α ≤ 2 – ffi", "Ж and a", "$\\beta_1$"])
def test_fonts_in_a_pdf_are_the_same_from_the_whole_font_and_from_a_smaller_one(words, monkeypatch):
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.1, words)
    figure.text(0.1, 0.5, words, weight="bold")
    fonts._small.cache_clear()
    quick = to_pdf(figure)
    monkeypatch.setattr(fonts, "_from_small", lambda whole, path, glyphs: whole(path, glyphs))
    assert to_pdf(figure) == quick


@pytest.mark.skipif(not hasattr(fonts.backend, "SubsetResults"), reason="this matplotlib has no places of glyphs")
def test_a_whole_font_is_read_once_for_all_figures(monkeypatch):
    read, whole = [], fonts.backend.get_glyphs_subset
    monkeypatch.setattr(fonts.backend, "get_glyphs_subset", lambda *args: read.append(args) or whole(*args))
    for words in ("one", "two", "three"):
        figure = Figure(figsize=(2, 1))
        figure.text(0.1, 0.1, words)
        to_pdf(figure)
    assert len(read) == 1


def test_the_flow_of_a_cohort_counts_everybody_once():
    reasons = [{"reason": f"reason {k} of $x$", **counts_of(1, 0, k == 0)} for k in range(8)]
    subjects = {side: {"total": total, "kept": kept} for side, total, kept in
                (("cases", 20, 12), ("controls", 10, 10), ("others", 4, 3))}  # fmt: skip
    contrast = {"cases": ["ULD", "CD"], "controls": ["HC"]}
    document = to_svg(consort_figure({"subjects": subjects, "excluded": reasons}, contrast))
    for words in ("In the data: 34 people", "20 patients, 10 controls, 4 of other groups", "Left out: 9 people",
                  "2: reason 0 of $x$", "3: other reasons", "Analysed: 22 people", "12 patients", "ULD and CD",
                  "3 of other groups are not compared"):  # fmt: skip
        assert words in document, words
    assert "reason 5" not in document
    plain = {side: {"total": 1, "kept": 1} for side in ("cases", "controls")} | {"others": {"total": 0, "kept": 0}}
    document = to_svg(consort_figure({"subjects": plain, "excluded": []}, contrast))
    assert "Nobody was left out" in document and "100% of the patients and controls" in document


def test_stability_of_those_that_survive(atlas):
    edges = edges_of(atlas, [-6.0, 5.0, 4.0, 1.0], [0.01, 0.02, 0.08, 0.9]).assign(stability=[0.9, 0.7, 0.3, 0.0])
    axes = stability_figure(edges, 0.05, 4.5).axes[0]
    drawn = {own.get_label(): own.get_offsets().data.tolist() for own in axes.collections}
    assert drawn == {
        "others": [[4.0, 0.3]], "weaker in patients": [[6.0, 0.9]], "stronger in patients": [[5.0, 0.7]],
    }  # fmt: skip
    assert "the median is 80%" in stability_caption(edges, 0.05, 100)
    assert "median" not in stability_caption(edges.assign(p_fwer=1.0), 0.05, 100)
    assert "not measured" in to_svg(stability_figure(edges.assign(stability=np.nan), 0.05, 4.5))


@pytest.mark.parametrize("caption", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_of_snakemakes_report_are_sound(caption):
    """Among others a lone |t| would be taken for a substitution."""
    publish_string(caption.read_text(), writer="null", settings_overrides={"halt_level": 2, "report_level": 5})
