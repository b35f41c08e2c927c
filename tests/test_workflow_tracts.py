"""A folder of raw diffusion images through the workflow to connectomes; the computation itself is stood in for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import read_connectomes

ROOT = Path(__file__).parents[1]
HOOK = """
import importlib.abc, importlib.util, sys
from pathlib import Path


class StandIn(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "dysconnect.tractography.person":
            return importlib.util.spec_from_file_location(name, Path(__file__).with_name("person.py"))


sys.meta_path.insert(0, StandIn())
"""
PERSON = """
import numpy as np
from dysconnect.tractography.written import write_person


def run_person(entry, nodes, folder, atlas, spec, anatomy):
    name, n = entry["participant_id"], len(nodes)
    assert entry["bold"].endswith(f"{name}_dwi.nii.gz") and entry["reverse"].endswith("dir-PA_dwi.nii.gz")
    assert entry["t1w"].endswith(f"{name}_T1w.nii.gz")
    assert atlas["image"] and spec["seeds"] == 5000 and anatomy["engine"] == "ants"
    row = {"participant_id": name, "matrices": "", "mean_fd": np.nan, "note": "", "problem": ""}
    if name == "sub-03" or entry["problem"]:
        return row | {"problem": entry["problem"] or "sub-03_dwi.bvec is empty"}
    fa = 0.1 * int(name[-1]) + 0.001 * (np.add.outer(np.arange(n), np.arange(n)) - 2)  # no two regions are alike
    fa[0, 1] = fa[1, 0] = np.nan if name == "sub-02" else 0.5
    count = np.where(np.isnan(fa), 0, 7)
    matrices = {"fa": fa, "count": count, "density": count / 2, "length": 100 * fa}
    about = {"quality": {"mean_fd": 0.2, "snr_b0": 20.0, "field_rms": 0.5}}
    write_person(folder / "people" / f"{name}.h5", matrices, nodes["name"], {}, np.eye(4), about)
    return row | {"matrices": f"people/{name}.h5", "mean_fd": 0.2}
"""

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four people, of whom two cannot be used."""
    folder = tmp_path_factory.mktemp("tracts")
    image = nib.Nifti1Image(np.ones((4, 4, 4, 7), np.int16), np.eye(4))
    names = [f"sub-{k:02d}" for k in range(1, 5)]
    for name in names:
        (folder / "bids" / name / "anat").mkdir(parents=True)
        (folder / "bids" / name / "dwi").mkdir()
        nib.save(image.slicer[..., 0], folder / f"bids/{name}/anat/{name}_T1w.nii.gz")
        for kind in ("dwi", "dir-PA_dwi"):
            stem = folder / f"bids/{name}/dwi/{name}_{kind}"
            nib.save(image, f"{stem}.nii.gz")
            Path(f"{stem}.json").write_text(json.dumps({"RepetitionTime": 3.0}))
            Path(f"{stem}.bval").write_text("0 " * 7)
            Path(f"{stem}.bvec").write_text(("0 " * 7 + "\n") * 3)
    (folder / "bids/sub-04/dwi/sub-04_dwi.bvec").unlink()
    table = pd.DataFrame({"participant_id": names, "group": ["DYT", "HC"] * 2})
    table.to_csv(folder / "bids/participants.tsv", sep="\t", index=False)
    (folder / "bids/dataset_description.json").write_text('{"Name": "tracts", "BIDSVersion": "1.9.0"}')
    load_atlas("motor10").to_csv(folder / "mine.tsv", sep="\t", index=False)
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), folder / "mine.nii.gz")
    (folder / "standin").mkdir()
    (folder / "standin/sitecustomize.py").write_text(HOOK)
    (folder / "standin/person.py").write_text(PERSON)
    wanted = "connectivity/motor10_fa.h5", "report/subjects/index.txt"
    return folder, snakemake(folder, *(f"results/tracts/{name}" for name in wanted))


def snakemake(folder, *words):
    """Run the workflow in a folder; its words and those of its jobs where it failed."""
    overrides = (
        f"dataset.root={folder}/bids dataset.name=tracts dataset.task=dwi dataset.covariates=[] "
        "dataset.contrast.cases=[DYT] dataset.contrast.controls=[HC] "
        f"atlas.nodes={folder}/mine.tsv +atlas.image={folder}/mine.nii.gz "
        "+atlas.space=null tractography.seeds=5000"
    )
    command = [sys.executable, "-m", "snakemake", *words, "--cores", "2", "--directory", str(folder), "--config"]
    command += ["dataset=local", "preprocess=ants", "atlas=motor10", "connectivity=fa", f"overrides={overrides}"]
    environment = {**os.environ, "PYTHONPATH": f"{folder}/standin:{ROOT / 'src'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    logs = "".join(path.read_text()[-1500:] for path in folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:] + logs[-6000:]
    return done.stdout + done.stderr


def test_diffusion_images_reach_the_connectomes(run):
    folder, _ = run
    results = folder / "results/tracts"
    people = pd.read_csv(results / "timeseries/participants.tsv", sep="\t").set_index("participant_id")
    assert people["included"].tolist() == [True, True, False, False]
    assert people.loc["sub-03", "exclusion_reason"] == "sub-03_dwi.bvec is empty"
    assert "no bvec beside sub-04_dwi.nii.gz" in people.loc["sub-04", "exclusion_reason"]
    assert people["mean_fd"].iloc[:2].eq(0.2).all()
    made = read_connectomes(results / "connectivity/motor10_fa.h5")
    assert made.subjects.tolist() == ["sub-01", "sub-02"]
    np.testing.assert_allclose(made.values[:, 0], [0.5, np.nan], rtol=1e-6)
    np.testing.assert_allclose(made.values[:, 1], [0.1, 0.2], rtol=1e-6)
    assert len(pd.read_csv(results / "tractography/quality.tsv", sep="\t")) == 2


def test_everybody_has_a_page_the_failed_too(run):
    pages = {path.stem: path.read_text() for path in (run[0] / "results/tracts/report/subjects").glob("*.html")}
    assert sorted(pages) == [f"sub-{k:02d}" for k in range(1, 5)]
    assert "SNR of b0" in pages["sub-01"] and "sub-03_dwi.bvec is empty" in pages["sub-03"]


def test_the_report_is_planned_without_series_or_bold(run):
    folder, _ = run
    said = snakemake(folder, "results/tracts/report/index.html", "-n")
    jobs = {line.split()[0] for line in said.partition("Job stats")[2].splitlines() if line.strip()}
    assert {"report", "train", "localize", "quality"} <= jobs
    assert not {"preprocess", "quality_scans", "report_subjects", "tractography"} & jobs
