"""What a run starts from: the dataset, whose files are fetched or read, and the atlas."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from dysconnect.acquire.images import SHARED, Plan, users_files
from dysconnect.plan.batches import dealt
from dysconnect.plan.config import without
from dysconnect.preprocess.fmriprep import Places, fmriprep_command

OF_OUTPUTS = ("engine", "min_coverage", "space")  # settings of fMRIPrep that tell where its outputs are


@dataclass(frozen=True)
class Sourced:
    """What a run of the workflow starts from: its configuration, and files as they are or are to be.

    Attributes
    ----------
    cohort : dict
        The configuration without an experiment; `dataset.kind` is what the folder holds.
    experiments : dict of str to dict
        The configuration of each experiment, the confound floor first.
    fetching : dict
        The `acquire` section, which is nobody's parameter: another mirror is no reason to run anything again.
    sharing : dict
        The `share` section, which changes nothing but what is given to others.
    tracking : str
        Address of MLflow, without a password.
    sources : list of str
        Files of the user's that are read as they are.
    withdrawn : list of str
        Who has withdrawn.
    scan : dict
        The settings that describe a scan.
    plan : Plan, optional
        Whose images are to be fetched; None where there are no images.
    scans : dict of str to dict
        Files of everybody's scan, of images that are there already.
    places : Places, optional
        Where fMRIPrep reads and writes, if it is to run.
    """

    cohort: dict
    experiments: dict[str, dict]
    fetching: dict
    sharing: dict
    tracking: str
    sources: list[str]
    withdrawn: list[str]
    scan: dict
    plan: Plan | None = None
    scans: dict[str, dict] = field(default_factory=dict)
    places: Places | None = None

    # the dataset

    @property
    def dataset(self) -> str:
        """Name of the dataset, which is that of its folder of results."""
        return self.cohort["dataset"]["name"]

    @property
    def kind(self) -> str:
        """How the dataset is read: `simulated`, `local`, `matrices`, `bids`, `derivatives`, `table` or `abide`."""
        return self.cohort["dataset"]["kind"]

    @property
    def images(self) -> bool:
        """Whether regional series are made of images, one job a person."""
        return self.plan is not None and not self.traced

    @property
    def traced(self) -> bool:
        """Whether matrices are made of diffusion images, one job a person."""
        return self.plan is not None and self.kind == "matrices"

    @property
    def fmriprep(self) -> bool:
        """Whether fMRIPrep runs."""
        return self.places is not None

    @property
    def table(self) -> bool:
        """Whether the dataset is connections as numbers, without series."""
        return self.kind in ("table", "matrices")

    @property
    def scripts(self) -> tuple[str, str]:
        """Scripts that decide who can be used, and that make connectomes."""
        given = {"table": ("judge", "arrange"), "matrices": ("judge_matrices", "arrange_matrices")}
        return given.get(self.kind, ("timeseries", "connectivity"))

    @property
    def planted(self) -> bool:
        """Whether a truth is planted."""
        return self.cohort["dataset"]["plant"] is not None

    @property
    def fetched(self) -> bool:
        """Whether files come from elsewhere, not from the user's folder."""
        return self.kind != "simulated" and not self.cohort["dataset"]["root"]

    @property
    def keep(self) -> bool:
        """Whether images stay once they are read; the user's always do."""
        return self.fetching["keep"] or not self.fetched

    @property
    def keep_outputs(self) -> bool:
        """Whether the images that fMRIPrep makes stay."""
        return self.cohort["preprocess"].get("keep_outputs", True)

    @property
    def wanted(self) -> list[str]:
        """Whose images are preprocessed."""
        return self.plan.wanted if self.plan else []

    @cached_property
    def jobs(self) -> dict[str, list[str]]:
        """People of every job that works on images, by its name; fMRIPrep, which takes hours, has one person a job."""
        return dealt(self.wanted, max(len(self.wanted), 1) if self.fmriprep else self.fetching["batches"])

    @property
    def largest(self) -> int:
        """People of the job that has most."""
        return max(map(len, self.jobs.values()), default=1)

    @property
    def made_by(self) -> list[dict]:
        """Settings that make a person's row of images."""
        known = {name: self.cohort[name] for name in ("atlas", "preprocess")}
        if self.traced:
            return [known["atlas"], without(self.cohort["tractography"], "uncorrected"), known["preprocess"]]
        return [known["atlas"], self.reading, self.left_by_fmriprep]

    def will_make(self, digest_of: Callable[[str], str]) -> list | None:
        """What will make rows of the people whose images are deleted then; None where images stay or fMRIPrep runs."""
        if self.keep or self.fmriprep:
            return None
        stage = "tractography" if self.traced else "preprocess"
        return [stage, self.made_by, digest_of(stage), self.atlas_files, self.surface_files]

    @property
    def units(self) -> list[str]:
        """What is fetched in one job each: the files of its people, or those of the whole dataset."""
        return [SHARED, *self.jobs] if self.plan else []

    def files_of(self, unit: str) -> dict[str, list[dict]]:
        """Files that a job fetches, by person, or by `dataset`."""
        return {name: self.plan.units[name] for name in self.jobs.get(unit, [unit])}

    @property
    def left_by_fmriprep(self) -> dict:
        """How the BOLD that fMRIPrep leaves is described."""
        names = ("task", "session", "run", "entities")
        space = self.cohort["preprocess"].get("space", "").split(":")[0]
        return {"kind": "derivatives", **{name: self.cohort["dataset"].get(name) for name in names}, "space": space}

    @property
    def reading(self) -> dict:
        """What a participant's series depend on: of fMRIPrep's settings only where its outputs are."""
        settings = self.cohort["preprocess"]
        return {name: settings[name] for name in settings if not self.fmriprep or name in OF_OUTPUTS}

    def minutes(self, job: str, first: int, each: int) -> int:
        """Time to ask for: enough for the slowest person, and what most take for each of the others."""
        return first + each * (len(self.jobs[job]) - 1)

    def users_files(self, unit: str) -> list[str]:
        """Files of a unit in the user's own folder."""
        names = self.jobs.get(unit, [unit])
        return [file for name in names for file in users_files(self.cohort["dataset"], self.plan, self.scans, name)]

    def size_of(self, unit: str) -> str:
        """Size of a unit, for people."""
        files = [file for files in self.files_of(unit).values() for file in files]
        return f"{len(files)} files, {sum(file['bytes'] or 0 for file in files) / 1e6:,.0f} MB"

    def fmriprep_words(self, participant: str, threads: int) -> str:
        """Command line of fMRIPrep for a participant."""
        return fmriprep_command(self.cohort["preprocess"], self.cohort["dataset"], participant, self.places, threads)

    # the atlas and files that depend on it

    @property
    def atlas(self) -> str:
        """Name of the atlas."""
        return self.cohort["atlas"]["name"]

    @property
    def atlas_files(self) -> list[str]:
        """Files of the atlas that the workflow makes."""
        atlas = self.cohort["atlas"]
        return [atlas["nodes"], atlas["image"]] if "image" in atlas else []

    @property
    def on_surface(self) -> bool:
        """Whether BOLD lies on the surface of the cortex."""
        return self.cohort["preprocess" if self.fmriprep else "dataset"].get("space") == "fsLR"

    @property
    def surface_files(self) -> list[str]:
        """The atlas's cortex as vertices, where it is needed."""
        surface = self.cohort["atlas"].get("surface")
        return [surface] if self.on_surface and surface else []

    @property
    def index(self) -> str:
        """Word of the table that lists everybody's data."""
        return {"table": "edges", "matrices": "matrices"}.get(self.kind, "series")

    @property
    def acquired(self) -> str:
        """Word of the table that lists what was acquired of everybody."""
        return "scans" if self.traced else self.index

    @property
    def series_from(self) -> str:
        """Stage that makes the table of everybody's data."""
        return "tractography" if self.traced else "preprocess" if self.images else "acquire"

    @property
    def settings_of_series(self) -> dict:
        """Settings that made what connectomes are computed from, for the record."""
        settings = {name: self.cohort[name] for name in ("dataset", "atlas", "denoise")}
        made = {"preprocess": self.reading} if self.plan else {}
        return settings | made | ({"tractography": self.cohort["tractography"]} if self.traced else {})
