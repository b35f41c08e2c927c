"""Raw images of simulated heads to the report: the whole way through the engine `ants`, in one run."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import warm

ROOT = Path(__file__).parents[1]
TINY = [
    "dataset.covariates=[]", "dataset.contrast.cases=[DYT]", "dataset.contrast.controls=[HC]", "dataset.name=phantom",
    "preprocess.transform=affine", "preprocess.resolution=3",
    "denoise.motion=basic", "denoise.min_seconds=60", "denoise.min_degrees_of_freedom=5",
    "splits.folds=2", "splits.repeats=1", "evaluate.bootstraps=100", "training.permutations=9", "localize.nuisance=[]",
    "localize.permutations=100", "localize.stability_draws=2", "localize.stability_top=5",
    "localize.screening_splits=2", "stimulate.permutations=19", "stimulate.draws=19", "quality.permutations=100",
]  # fmt: skip

pytestmark = pytest.mark.workflow
pytest.importorskip("ants", reason="antspyx is not installed: pip install -e '.[imaging]' -c requirements.lock")


@pytest.fixture(scope="module")
def run(tmp_path_factory, nodes):
    """Five heads, the last with a scan of nothing; the workflow from their images to the report."""
    from phantom import write_phantom

    folder = tmp_path_factory.mktemp("raw")
    coarse = {"voxel": 5.0, "shape": (38, 44, 38), "t1w_voxel": 3.0}
    heads = write_phantom(folder / "bids", nodes, n_subjects=4, n_volumes=40, **coarse)
    table = pd.read_csv(folder / "bids/participants.tsv", sep="\t")
    lost = table.iloc[[0]].assign(participant_id="sub-05")
    pd.concat([table, lost]).to_csv(folder / "bids/participants.tsv", sep="\t", index=False)
    empty = folder / "bids/sub-05/func/sub-05_task-rest_bold.nii.gz"
    empty.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8, 50), np.int16), np.eye(4)), empty)
    empty.with_name("sub-05_task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    shutil.copytree(folder / "bids/sub-01/anat", folder / "bids/sub-05/anat")
    next((folder / "bids/sub-05/anat").glob("*_T1w.nii.gz")).rename(folder / "bids/sub-05/anat/sub-05_T1w.nii.gz")
    nodes.to_csv(folder / "tiny.tsv", sep="\t", index=False)
    text = " ".join([f"dataset.root={folder}/bids", f"atlas.nodes={folder}/tiny.tsv", *TINY])
    command = [warm.python(), "-m", "snakemake", "results/phantom/report/index.html", "--cores", "2"]
    command += ["--directory", str(folder), "--config"]
    command += ["dataset=local", "preprocess=ants", "experiment=correlation_ridge", f"overrides={text}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    logs = "".join(path.read_text()[-1500:] for path in folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:] + logs[-6000:]
    return folder / "results/phantom", heads


def test_raw_images_reach_the_report(run):
    results, _ = run
    people = pd.read_csv(results / "timeseries/participants.tsv", sep="\t").set_index("participant_id")
    assert people["included"].tolist() == [True] * 4 + [False]
    assert "throughout" in people.loc["sub-05", "exclusion_reason"]
    report = (results / "report/index.html").read_text()
    assert "sub-05" in report and "ANTs" in report


def test_regional_signals_survive_the_way(run):
    """Series before denoising against those that were put in; the worst head counts."""
    results, heads = run
    for k, head in enumerate(heads, start=1):
        series = pd.read_csv(results / f"preprocess/series/sub-{k:02d}_desc-regional_timeseries.tsv", sep="\t")
        truth = head.truth
        assert len(series) == len(truth)
        steps = np.linspace(-1, 1, len(series))[:, None] ** [0, 1]
        residual = [x - steps @ np.linalg.lstsq(steps, x, rcond=None)[0] for x in (series.to_numpy(float), truth)]
        alive = residual[0].std(0) > 0
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(residual[0].T[alive], residual[1].T[alive])]
        assert alive.mean() > 0.9 and np.mean(r) > 0.85


def test_every_scan_is_judged_and_has_a_page(run):
    results, _ = run
    scans = pd.read_csv(results / "quality/scans.tsv", sep="\t").set_index("participant_id")
    assert len(scans) == 5 and scans["dice_bold_t1w"].iloc[:4].gt(0.85).all() and scans["tsnr"].iloc[:4].gt(20).all()
    for name in scans.index:
        page = (results / f"report/subjects/{name}.html").read_text()
        assert f'href="subjects/{name}.html"' in (results / "report/index.html").read_text()
        assert f'href="../people/{name}.html"' in page
        assert f'href="../subjects/{name}.html"' in (results / f"report/people/{name}.html").read_text()
        assert name == "sub-05" or page.count("data:image/png") >= 2  # carpet of voxels, and the registration
    assert "throughout" in (results / "report/subjects/sub-05.html").read_text()


def test_motion_is_measured(run):
    results, _ = run
    people = pd.read_csv(results / "timeseries/participants.tsv", sep="\t")
    assert people["mean_fd"].iloc[:4].between(0.02, 1).all()
