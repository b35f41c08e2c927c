"""Engine `fmriprep`: the command line, what the container sees, the outputs' names, failures, and the rule itself."""

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm
from standins import APPTAINER, FMRIPREP, environment_with, write_program
from tiny import write_image

from dysconnect.acquire.scan import find_scan
from dysconnect.data.atlas import load_atlas
from dysconnect.plan.checks import check_engine
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.fmriprep import (
    Places,
    bound_folders,
    check_fmriprep,
    container_environment,
    discard_outputs,
    find_places,
    fmriprep_command,
    fmriprep_entry,
    output_files,
)

ROOT = Path(__file__).parents[1]
SPACE = "MNI152NLin6Asym:res-2"
DATASET = {"name": "own", "kind": "bids", "task": "rest", "session": None, "root": "/data"}
LEFT = {"kind": "derivatives", "task": "rest", "session": None, "space": "MNI152NLin6Asym"}


@pytest.fixture
def spec(tmp_path) -> dict:
    """The `preprocess` section, with a licence."""
    (tmp_path / "license.txt").write_text("licence")
    return {
        "engine": "fmriprep", "version": "25.2.5", "container": "docker://nipreps/fmriprep:25.2.5",
        "fs_license": str(tmp_path / "license.txt"), "reconall": False, "space": SPACE, "options": "", "work": None,
        "keep_outputs": True, "threads": 8, "mem_mb": 16000, "runtime": 720, "min_coverage": 0.5,
    }  # fmt: skip


def described(folder: Path, **told) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "own", "BIDSVersion": "1.9.0", **told}))
    return folder


class TestSettings:
    """What is refused before anything is fetched."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"fs_license": None}, "fs_license is not set.*free.*overrides=preprocess.fs_license"),
            ({"fs_license": "/nowhere/license.txt"}, "/nowhere/license.txt: no such file"),
            ({"version": "23.1.4"}, "25.2.*older ones know other options"),
            ({"options": "--output-spaces T1w"}, "--output-spaces, which is set by preprocess.space"),
            ({"options": "--mem-mb=99"}, "--mem-mb=99, which is set"),
            ({"options": "--ignore 'sbref"}, "cannot be read.*close the quotes"),
            ({"space": "fsLR"}, "needs the surfaces.*reconall=true"),
        ],
    )
    def test_refused(self, spec, changes, said):
        with pytest.raises(ValueError, match=said):
            check_fmriprep(spec | changes)

    def test_raw_images_fit_two_engines(self, spec):
        check_engine(DATASET, spec, {})
        with pytest.raises(ValueError, match=r"raw. Add --config preprocess=ants or fmriprep"):
            check_engine(DATASET, {"engine": "derivatives"}, {})
        preprocessed = DATASET | {"kind": "derivatives", "space": "MNI152NLin6Asym"}
        with pytest.raises(ValueError, match=r"preprocessed already. Add --config preprocess=derivatives"):
            check_engine(preprocessed, spec, {})

    def test_antspyx_is_not_asked_for(self, spec, monkeypatch):
        monkeypatch.setattr("dysconnect.plan.checks.find_spec", lambda name: None)
        check_engine(DATASET, spec, {})
        with pytest.raises(ValueError, match=r"--sdm apptainer --config preprocess=fmriprep"):
            check_engine(DATASET, {"engine": "ants"}, {})

    def test_the_space_of_the_atlas(self, spec):
        check_engine(DATASET, spec, {"space": "MNI152NLin6Asym"})
        with pytest.raises(ValueError, match=r"preprocess.space=MNI152NLin2009cAsym") as refused:
            check_engine(DATASET, spec, {"space": "MNI152NLin2009cAsym"})
        assert "dataset.space" not in str(refused.value)

    def test_a_dataset_without_description(self, spec, tmp_path):
        (tmp_path / "bids").mkdir()
        with pytest.raises(ValueError, match=r"dataset_description.json: no such file.*BIDSVersion"):
            find_places(spec, tmp_path / "bids", "own", complete=True)
        find_places(spec, tmp_path / "bids", "own", complete=False)  # will be fetched
        described(tmp_path / "bids", BIDSVersion="")
        with pytest.raises(ValueError, match=r"BIDSVersion missing"):
            find_places(spec, tmp_path / "bids", "own", complete=True)
        (tmp_path / "bids/dataset_description.json").write_text("{")
        with pytest.raises(ValueError, match=r"is no JSON"):
            find_places(spec, tmp_path / "bids", "own", complete=True)

    def test_results_inside_the_dataset(self, spec, tmp_path, monkeypatch):
        monkeypatch.chdir(described(tmp_path / "bids"))
        with pytest.raises(ValueError, match=r"lies inside the dataset.*--directory"):
            find_places(spec, tmp_path / "bids", "own", complete=True)


class TestCommand:
    """The command line, and what the container sees."""

    def test_words(self, spec):
        places = Places(*map(Path, ("/data/my study", "/p/fmriprep", "/p/scratch/25.2.5", "/home/me/license.txt")))
        words = shlex.split(fmriprep_command(spec, DATASET, "sub-P01", places, 12))
        assert words[:4] == ["fmriprep", "/data/my study", "/p/fmriprep/sub-P01", "participant"]
        text = " ".join(words)
        for part in (
            "--participant-label P01", "--task-id rest", "--skip-bids-validation", f"--output-spaces {SPACE}",
            "--fs-license-file /home/me/license.txt", "--fs-no-reconall", "--nprocs 12 --omp-nthreads 8",
            "-w /p/scratch/25.2.5/sub-P01", "--notrack", "--stop-on-first-crash",
        ):  # fmt: skip
            assert part in text
        assert "--session-label" not in text

    def test_choices(self, spec):
        places = Places(*map(Path, ("/data", "/out", "/work", "/license.txt")))
        spec |= {"reconall": True, "space": "fsLR", "options": "--ignore slicetiming 't2w'"}
        text = fmriprep_command(spec, DATASET | {"session": "ses-02"}, "sub-01", places, 4)
        assert "--fs-no-reconall" not in text
        assert "--session-label 02" in text
        assert "--output-spaces MNI152NLin6Asym:res-2 --cifti-output 91k" in text
        assert text.endswith("--ignore slicetiming t2w")

    def test_only_what_lies_outside_is_bound(self, tmp_path):
        here, other = tmp_path / "here", tmp_path / "other"
        here.mkdir()
        (other / "data").mkdir(parents=True)
        (tmp_path / "license.txt").touch()
        places = Places(other / "data/not/yet", here / "results", here / "work", tmp_path / "license.txt")
        assert bound_folders(places, here) == [other / "data", tmp_path / "license.txt"]
        told = container_environment(places, here, {"APPTAINER_BIND": "/mine"})
        assert told["APPTAINER_BIND"] == f"/mine,{other}/data,{tmp_path}/license.txt"
        assert told["SINGULARITY_BIND"] == f"{other}/data,{tmp_path}/license.txt"
        assert told["APPTAINER_CLEANENV"] == "1"
        twice = container_environment(places, here, told)  # a job reads the Snakefile again
        assert twice == told

    def test_a_link_to_another_disk_is_followed(self, spec, tmp_path, monkeypatch):
        here, disk = tmp_path / "here", described(tmp_path / "disk")
        here.mkdir()
        (here / "bids").symlink_to(disk)
        monkeypatch.chdir(here)
        places = find_places(spec, Path("bids"), "own", complete=True)
        assert places.bids == disk
        assert disk in bound_folders(places, here)


def call_standin(folder: Path, bids: Path, spec: dict, tmp_path: Path, **variables: str) -> int:
    """Run the stand-in as the rule would; returns its exit code."""
    places = Places(bids, folder.parent, tmp_path / "work", Path(spec["fs_license"]))
    program = write_program(tmp_path / "bin", "fmriprep", FMRIPREP)
    command = fmriprep_command(spec, DATASET, folder.name, places, 2)
    environment = environment_with(program, FMRIPREP_CALLS=str(tmp_path / "calls"), **variables)
    return subprocess.run(shlex.split(command), env=environment, timeout=60).returncode


def write_raw(root: Path, people: list[str], volumes: int = 80) -> Path:
    """A tiny raw dataset of the user's own."""
    described(root)
    for k, name in enumerate(people):
        write_image(root / f"{name}/anat/{name}_T1w.nii.gz", (4, 4, 4), np.eye(4), 0, k)
        write_image(root / f"{name}/func/{name}_task-rest_bold.nii.gz", (4, 4, 4, volumes), np.eye(4), 2.0, k)
        (root / f"{name}/func/{name}_task-rest_bold.json").write_text('{"RepetitionTime": 2.0}')
    table = pd.DataFrame({"participant_id": people, "group": (["patient", "control"] * len(people))[: len(people)]})
    table.assign(age=50, sex="F", site="here").to_csv(root / "participants.tsv", sep="\t", index=False)
    return root


@pytest.fixture
def coarse() -> pd.DataFrame:
    """Every tenth region, wide enough for the grid of the stand-in."""
    return load_atlas("seitzman300").assign(radius=10.0).iloc[::10].reset_index(drop=True)


RAW = {
    "participant_id": "sub-01",
    "bold": "raw.nii.gz",
    "mask": "",
    "confounds": "",
    "t1w": "t1w.nii.gz",
    "problem": "",
}


class TestOutputs:
    """What is read of what fMRIPrep leaves."""

    def test_regional_series_with_its_confounds(self, spec, tmp_path, coarse):
        bids = write_raw(tmp_path / "bids", ["sub-01"])
        left = tmp_path / "preprocess/fmriprep/sub-01"
        assert call_standin(left, bids, spec, tmp_path) == 0
        entry = fmriprep_entry(RAW, 0, left, find_scan(output_files(left, SPACE), LEFT), "the.log")
        assert entry["bold"].endswith("sub-01_task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz")
        assert entry["mask"].endswith("sub-01_task-rest_space-MNI152NLin6Asym_res-2_desc-brain_mask.nii.gz")
        row = run_engine(entry, coarse, tmp_path / "preprocess/series", {"space": "MNI152NLin6Asym"}, spec)
        assert row["problem"] == ""
        assert row["report"] == "fmriprep/sub-01/sub-01.html"
        assert row["confounds"] == "fmriprep/sub-01/sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv"
        assert row["repetition_time"] == 2.0
        assert len(pd.read_csv(tmp_path / "preprocess" / row["series"], sep="\t")) == 80

    def test_the_resolution_that_was_asked_for(self, tmp_path):
        stem = tmp_path / "sub-01/func/sub-01_task-rest"
        stem.parent.mkdir(parents=True)
        for space in ("MNI152NLin6Asym", "MNI152NLin6Asym_res-1", "MNI152NLin6Asym_res-2", "T1w"):
            Path(f"{stem}_space-{space}_desc-preproc_bold.nii.gz").touch()
        Path(f"{stem}_desc-confounds_timeseries.tsv").touch()
        for asked, found in ((":res-1", "_res-1"), (":res-02", "_res-2"), (":res-native", ""), ("", "")):
            scan = find_scan(output_files(tmp_path, f"MNI152NLin6Asym{asked}"), LEFT)
            assert f"_space-MNI152NLin6Asym{found}_desc-preproc" in scan["bold"]
            assert scan["confounds"]

    def test_a_crash_is_named_and_nothing_is_read(self, spec, tmp_path, coarse, monkeypatch):
        bids = write_raw(tmp_path / "bids", ["sub-01"])
        left = tmp_path / "preprocess/fmriprep/sub-01"
        assert call_standin(left, bids, spec, tmp_path, FMRIPREP_FAILS="sub-01") == 1
        monkeypatch.chdir(tmp_path)
        left = left.relative_to(tmp_path)  # as the workflow says it
        entry = fmriprep_entry(RAW, 1, left, find_scan(output_files(left, SPACE), LEFT), "logs/sub-01.log")
        row = run_engine(entry, coarse, tmp_path / "preprocess/series", {}, spec)
        for part in (
            "crashed in fmriprep_25_2_wf",
            "crash-2026",
            "logs/sub-01.log",
            "sub-01.html",
            f"--forcerun {left}.json",
        ):
            assert part in row["problem"]
        assert row["series"] == row["confounds"] == ""

    def test_other_failures(self, tmp_path):
        nothing = dict.fromkeys(("bold", "mask", "confounds"), "")
        assert "no BOLD in the space" in fmriprep_entry(RAW, 0, tmp_path, nothing, "log")["problem"]
        assert "mem_mb" in fmriprep_entry(RAW, 137, tmp_path, nothing, "log")["problem"]
        assert "exit code 1 " in fmriprep_entry(RAW, 1, tmp_path, nothing, "log")["problem"]
        no_scan = RAW | {"problem": "no rest scan among its 3 files"}
        assert fmriprep_entry(no_scan, 0, tmp_path, nothing, "log")["problem"] == no_scan["problem"]

    def test_images_are_deleted_and_tables_are_kept(self, spec, tmp_path):
        left = tmp_path / "preprocess/fmriprep/sub-01"
        call_standin(left, write_raw(tmp_path / "bids", ["sub-01"]), spec, tmp_path)
        surface = left / "sourcedata/freesurfer/sub-01/surf/lh.white"
        surface.parent.mkdir(parents=True)
        surface.write_bytes(b"surface")
        assert discard_outputs(left) > 1e5
        kept = {path.name for path in left.rglob("*") if path.is_file()}
        assert kept == {
            "sub-01.html", "dataset_description.json", "sub-01_task-rest_desc-carpetplot_bold.svg",
            "sub-01_task-rest_desc-confounds_timeseries.tsv",
            "sub-01_task-rest_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
            "sub-01_task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold.json",
        }  # fmt: skip


class Study:
    """A raw dataset of the user's own outside of the working directory, and programs in place of the real ones."""

    def __init__(self, folder: Path, coarse: pd.DataFrame):
        self.folder, self.results = folder / "here", folder / "here/results/own"
        self.folder.mkdir()
        self.bids = write_raw(folder / "bids", ["sub-01", "sub-02", "sub-03"])
        (self.bids / "sub-03/func/sub-03_task-rest_bold.nii.gz").write_bytes(b"no image")
        coarse.to_csv(self.folder / "tiny.tsv", sep="\t", index=False)
        self.licence = folder / "license.txt"
        self.licence.write_text("licence")
        self.bin = write_program(folder / "bin", "fmriprep", FMRIPREP)
        self.container = write_program(folder / "host", "apptainer", APPTAINER)

    def snakemake(self, *arguments: str, overrides: tuple[str, ...] = (), path=None, **variables: str):
        """Run Snakemake as a user would, up to everybody's regional series."""
        settings = [f"dataset.root={self.bids}", "dataset.name=own", "atlas.nodes=tiny.tsv", *overrides]
        if not any("fs_license" in text for text in overrides):
            settings.append(f"preprocess.fs_license={self.licence}")
        command = [warm.python(), "-m", "snakemake", "results/own/preprocess/series.tsv", "--cores", "2"]
        command += ["--directory", str(self.folder), *arguments, "--config", "dataset=local", "preprocess=fmriprep"]
        calls = {"FMRIPREP_CALLS": str(self.folder / "calls"), "APPTAINER_CALLS": str(self.folder / "asked")}
        environment = environment_with(path or self.bin, PYTHONPATH=str(ROOT / "src"), INSIDE=str(self.bin), **calls)
        return subprocess.run(
            [*command, f"overrides={' '.join(settings)}"], cwd=ROOT, env=environment | variables, capture_output=True,
            text=True, timeout=300,
        )  # fmt: skip

    def calls(self) -> list[list[str]]:
        """Command lines that fMRIPrep was called with so far."""
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def rows(self) -> pd.DataFrame:
        """Index of the regional series."""
        rows = pd.read_csv(self.results / "preprocess/series.tsv", sep="\t", keep_default_na=False)
        return rows.set_index("participant_id")

    def said(self, done) -> str:
        """Everything a failing test should show."""
        logs = "".join(f"{path}: {path.read_text()[-800:]}" for path in self.folder.glob("results/logs/**/*.log"))
        return done.stdout[-3000:] + done.stderr[-3000:] + logs[-6000:]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three people: one is well, one crashes in fMRIPrep, one has no image to use."""
    coarse = load_atlas("seitzman300").assign(radius=10.0).iloc[::10]
    study = Study(tmp_path_factory.mktemp("fmriprep"), coarse)
    done = study.snakemake(FMRIPREP_FAILS="sub-02")
    assert done.returncode == 0, study.said(done)
    return study


def jobs(done) -> set[str]:
    """Rules that a dry run would run."""
    names = {
        line.split()[0] for line in done.stdout.splitlines() if len(line.split()) == 2 and line.split()[1].isdigit()
    }
    return names - {"total"}


@pytest.mark.workflow
def test_from_raw_images_to_regional_series(study):
    rows = study.rows()
    assert (rows["problem"] == "").tolist() == [True, False, False]
    assert "crashed in fmriprep_25_2_wf" in rows.loc["sub-02", "problem"]
    assert "results/logs/own/fmriprep/sub-02.log" in rows.loc["sub-02", "problem"]
    assert "no NIfTI image" in rows.loc["sub-03", "problem"]
    assert (study.results / "preprocess" / rows.loc["sub-01", "series"]).exists()
    assert (study.results / "preprocess" / rows.loc["sub-01", "confounds"]).exists()
    assert rows.loc["sub-01", "report"] == "fmriprep/sub-01/sub-01.html"
    assert [call[1].rpartition("/")[2] for call in sorted(study.calls())] == [
        "sub-01",
        "sub-02",
    ]  # sub-03: nothing to do
    work = study.results / "preprocess/fmriprep_work/25.2.5"
    assert [path.name for path in work.iterdir()] == ["sub-02"]  # kept, to resume


@pytest.mark.workflow
def test_what_runs_it_again_and_what_does_not(study):
    moved = study.licence.with_name("moved.txt")
    moved.write_text("licence")
    changes = (f"preprocess.fs_license={moved}", "preprocess.mem_mb=9000", "preprocess.threads=1", "acquire.timeout=9")
    done = study.snakemake("-n", overrides=(*changes, "preprocess.min_coverage=0.3"))
    assert jobs(done) == {"preprocess", "preprocess_cohort"}, study.said(done)
    done = study.snakemake("-n", overrides=("preprocess.space=MNI152NLin6Asym:res-1",))
    assert {"fmriprep", "preprocess"} <= jobs(done) and "download" not in jobs(done), study.said(done)


@pytest.mark.workflow
def test_in_the_container(study):
    """Refused where there is none; in (a stand-in of) Apptainer the failed one resumes, and images are deleted."""
    newer = ("preprocess.version=25.2.6",)
    without = study.snakemake("--rerun-triggers", "params", overrides=newer, path=study.container)
    assert without.returncode != 0 and "--sdm apptainer" in without.stderr, study.said(without)
    again = study.rows().loc["sub-02", "problem"].rpartition("where it stopped: ")[2].rstrip(")").split()
    before = len(study.calls())
    own = ("preprocess.keep_outputs=false", "dataset.participants=[sub-02]")
    inside = ("--rerun-triggers", "mtime", "--sdm", "apptainer", *again)
    trouble = {"FMRIPREP_FAILS": "sub-02", "FMRIPREP_KILLED": "sub-02"}
    done = study.snakemake(*inside, overrides=own, path=study.container, **trouble)
    assert done.returncode == 0, study.said(done)
    assert f"bound into it: {study.bids}, {study.licence}" in done.stderr
    memory = [call[call.index("--mem-mb") + 1] for call in study.calls()[before:]]
    assert memory == ["14400", "28800"]  # killed, then with twice the memory
    arguments, told = json.loads((study.folder / "asked").read_text().splitlines()[0])
    assert arguments[:3] == ["exec", "--home", str(study.folder)]
    assert told["APPTAINER_BIND"] == f"{study.bids},{study.licence}" and told["APPTAINER_CLEANENV"] == "1"
    image = arguments[arguments.index("bash") - 1]
    assert Path(image).read_text() == "docker://nipreps/fmriprep:25.2.5"
    row = study.rows().loc["sub-02"]
    assert row["problem"] == "" and (study.results / "preprocess" / row["confounds"]).exists()
    assert not list(study.results.glob("preprocess/fmriprep/sub-02/**/*.nii.gz"))  # keep_outputs=false
