"""What one run of the workflow will do: everything that the rules ask of the configuration, before any job.

A file of its own, not the package's ``__init__``: the digest of a script counts those of all packages that it imports
from, and how a run is planned changes no result.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from dysconnect.acquire import kind_of, list_folder_of, source_files
from dysconnect.acquire.diffusion import is_diffusion
from dysconnect.acquire.events import events_above
from dysconnect.acquire.images import plan_images, plan_scans
from dysconnect.acquire.matrices import content_of
from dysconnect.acquire.people import people_notes
from dysconnect.acquire.scan import SETTINGS
from dysconnect.acquire.withdrawn import read_withdrawn
from dysconnect.data.labelled import pretraining
from dysconnect.data.matrices import traced_matrices
from dysconnect.data.measures import MEASURES, STORED, measure_of
from dysconnect.data.structure import graph_files
from dysconnect.keeping.address import choose_uri, shown
from dysconnect.keeping.place import portable
from dysconnect.keeping.settings import TOLD
from dysconnect.learning.seeds import candidates
from dysconnect.models.cards import is_graph
from dysconnect.plan.checks import (
    check_engine,
    check_given,
    check_graphs,
    check_pretraining,
    check_share,
    check_source,
    check_tracts,
    check_validation,
)
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import ConfigError, training_sections, without
from dysconnect.plan.pictures import pictures
from dysconnect.plan.sourced import Sourced
from dysconnect.predict.bundle import read_bundle
from dysconnect.preprocess.fmriprep import find_places


class Run(Sourced):
    """A run of the workflow, as its configuration and the user's folder make it; attributes are those of `Sourced`."""

    # experiments

    @property
    def settings_of_predictions(self) -> dict:
        """Settings that decide what is predicted, for the record of all that were tried."""
        settings = {name: without(section, *TOLD) for name, section in self.settings_of_series.items()}
        estimators = {name: {"estimator": self.estimator(self.stored(name))} for name in self.experiments}
        experiments = {name: self.sections(name) | estimators[name] for name in self.experiments}
        return settings | {"splits": self.cohort["splits"], "experiments": experiments}

    def sections(self, experiment: str) -> dict:
        """The part of an experiment's configuration that its training reads."""
        return training_sections(self.experiments[experiment])

    def stored(self, experiment: str) -> str:
        """Measure that an experiment is trained on, as it is stored."""
        return STORED[self.experiments[experiment]["connectivity"]["measure"]]

    def connectome_file(self, experiment: str) -> str:
        """Connectomes that an experiment is trained on."""
        return f"results/{self.dataset}/connectivity/{self.atlas}_{self.stored(experiment)}.h5"

    def pretraining_files(self, experiment: str) -> list[str]:
        """Connectomes and people of another data set that an experiment is pretrained on."""
        spec = pretraining(self.sections(experiment))
        return [spec["connectomes"], spec["participants"]] if spec else []

    def graph_files(self, experiment: str | None) -> list[str]:
        """Connectomes and people of another run, of which an experiment's graphs are made."""
        return [*graph_files(self.sections(experiment)).values()] if experiment else []

    def gpus(self, experiment: str) -> int:
        """How many GPUs an experiment asks for: graph networks one, unless training.device=cpu."""
        config = self.experiments[experiment]
        return int(is_graph(config["model"]["name"]) and config["training"]["device"] != "cpu")

    def estimator(self, measure: str) -> str | None:
        """Covariance estimator of a stored measure.

        Raises
        ------
        ConfigError
            When two experiments ask for different ones.
        """
        every = [config["connectivity"] for config in (self.cohort, *self.experiments.values())]
        asked = {section["estimator"] for section in every if STORED[section["measure"]] == measure}
        if len(asked) > 1:
            raise ConfigError(
                f"connectivity.estimator of {measure} is {' and '.join(sorted(asked))} in different experiments. "
                "Use one for all of them."
            )
        return asked.pop() if asked else measure_of(measure).estimator

    @property
    def demanding(self) -> list[str]:
        """Stored measures that a scan may have too little for: whoever has is left out of all experiments."""
        names = {self.cohort["localize"]["measure"], *map(self.stored, self.experiments)}
        return sorted(name for name in names if measure_of(name).refuse)

    @property
    def learning(self) -> list[str]:
        """Experiments that train in epochs and so leave a learning curve."""
        return [name for name in self.experiments if "epochs" in self.sections(name)["training"]]

    def live(self, experiment: str) -> dict | None:
        """Where and as what curves of an experiment in training are shown; None where they are not."""
        spec = self.cohort["tracking"]
        if not spec["live"] or experiment not in self.learning:
            return None
        names = {"dataset": self.dataset, "experiment": experiment, "model": self.sections(experiment)["model"]["name"]}
        tried = candidates(self.sections(experiment))
        return {"uri": self.tracking, "tracking": spec["experiment"], **names, "candidates": tried}

    @property
    def seeing(self) -> list[str]:
        """Experiments that see connections; the floor sees none."""
        return [name for name, config in self.experiments.items() if config["model"]["name"] != "floor"]

    @property
    def stimulated(self) -> str | None:
        """Experiment whose model is stimulated, if it is among those of this run."""
        return self._among(self.cohort["stimulate"]["experiment"])

    @property
    def stimulated_measure(self) -> str:
        """Measure of the stimulated experiment's connections; empty where nobody asks."""
        return self.stored(self.stimulated) if self.stimulated else ""

    @property
    def attributed(self) -> str | None:
        """Experiment whose weights stand beside the edges, if it is among those of this run."""
        return self._among(self.cohort["localize"]["attribution"])

    def _among(self, name: str | None) -> str | None:
        return name if name in self.experiments else None

    @property
    def scored(self) -> bool:
        """Whether edges are tested for a score inside the patients."""
        return self.cohort["localize"]["score"] is not None

    @property
    def grouped(self) -> bool:
        """Whether edges are tested for differences between several groups."""
        return bool(self.cohort["localize"]["groups"])

    @property
    def replicated(self) -> bool:
        """Whether edges are called on a part of the people and looked at on the others."""
        return bool(self.cohort["localize"]["replicate"])

    @property
    def pictures(self) -> dict[str, dict[str, str]]:
        """Files of the maps that are tested together, by name; empty where nobody asked."""
        return pictures(self.cohort, self.dataset, self.atlas)

    @property
    def floor(self) -> str:
        """Experiment that sees covariates only."""
        return self.cohort["evaluate"]["floor"]

    @property
    def regional_floor(self) -> str | None:
        """Floor that also sees what the measure says of every region, where there is one."""
        return next((name for name in self.experiments if self.sections(name)["model"].get("regional")), None)

    @property
    def bundled(self) -> list[str]:
        """Experiments with which a new person can be predicted; of an exploratory measure or given graph nobody is."""
        if self.kind == "table" or measure_of(self.cohort["localize"]["measure"]).exploratory:
            return []
        return [
            name for name in self.seeing if not measure_of(self.stored(name)).exploratory and not self.graph_files(name)
        ]

    def bundle_file(self, experiment: str) -> list[str]:
        """What predicts a new person with the models of an experiment; the floor has none of its own."""
        return [f"results/{self.dataset}/predict/{experiment}.npz"] if experiment in self.bundled else []

    def makes(self, place: str) -> bool:
        """Whether a file of the results (``DATASET/STAGE/...``) is of this run, not left by an earlier other one."""
        dataset, stage, *rest = place.split("/")
        name = rest[-1].split(".")[0]
        files = [f"{self.atlas}_{self.cohort['localize']['measure']}", *map(self.connectome_file, self.experiments)]
        asked = {"severity": self.scored, "groups": self.grouped, "joint": bool(self.pictures)}
        asked |= {"replication": self.replicated}
        wanted = {
            "connectivity": name in [Path(file).stem for file in files],
            "train": len(rest) == 1 or rest[0] in self.experiments,
            "predict": name in self.bundled or (name == "elsewhere" and bool(self.guests)),
            "localize": len(rest) == 1 and asked.get(name.split("_")[0], True),
            "attribute": len(rest) == 1 or name in self.seeing,
            "stimulate": self.stimulated is not None,
            "validate": self.validated,
            "share": bool(self.shared) and name == self.site,
        }
        return dataset == self.dataset and wanted.get(stage, True)

    @property
    def shared(self) -> list[str]:
        """What this site gives for a joined analysis, and the page that says so; nothing unless somebody asks."""
        spec = self.sharing
        if spec["what"] == "off":
            return []
        kinds = ["zip", "html", *["key.json"] * spec["key"], *["masked.npz", "session.txt"] * bool(spec["plan"])]
        return [f"results/{self.dataset}/share/{self.site}.{kind}" for kind in kinds]

    @property
    def site(self) -> str:
        """Name of this site among others."""
        return self.sharing["site"] or self.dataset

    @cached_property
    def guests(self) -> dict[str, tuple[str, str]]:
        """Files of other sites' models that are tested here; measures that each is of, and knows its own people by."""
        files = self.sharing["models"] if self.shared else []
        about = {path: read_bundle(path).about for path in files}
        return {path: (one["stored"], STORED[one["norm_measure"]]) for path, one in about.items()}

    @property
    def processing(self) -> dict:
        """Settings that must be the same at all sites whose sums are joined."""
        measure = self.cohort["localize"]["measure"]
        kept = {"measure": measure, "estimator": self.estimator(STORED[measure]) or ""}
        made = without(self.settings_of_series, "dataset", "atlas")
        scans = {key: self.cohort["dataset"].get(key) for key in ("task", "trial_types", "strategy")}
        return kept | {name: without(section, *TOLD) for name, section in made.items()} | {"scans": scans}

    @property
    def paged(self) -> bool:
        """Whether single people have pages beside the report."""
        return self.cohort["report"]["people"]

    # the validation

    @property
    def validated(self) -> bool:
        """Whether the localization is validated on cohorts of known truth."""
        return any(self.cohort["validate"]["cohorts"].values())

    def batches(self) -> list[str]:
        """Names of the batches of cohorts of the validation."""
        spec = self.cohort["validate"]
        counts = {part: -(-count // spec["batch"][part]) for part, count in spec["cohorts"].items()}
        return [f"{part}_{batch}" for part, count in counts.items() for batch in range(count)]

    def cohorts_of(self, part: str, batch: int) -> list[int]:
        """Numbers of the cohorts of a batch of the validation."""
        size, count = (self.cohort["validate"][key][part] for key in ("batch", "cohorts"))
        return list(range(batch * size, min((batch + 1) * size, count)))

    def notes(self) -> tuple[str, ...]:
        """Lines for the terminal on how the user's table of people was read, what is not done, and what is left in."""
        dataset, name = self.cohort["dataset"], self.cohort["stimulate"]["experiment"]
        people = self.plan.notes if self.plan else people_notes(dataset | {"withdrawn": self.withdrawn})
        targets = f"No targets will be ranked: stimulate.experiment={name} is not among the experiments."
        return *people, *self._left_in(), *([targets] if name and not self.stimulated else [])

    def _left_in(self) -> tuple[str, ...]:
        """What to know where a scan of a task is analysed as if it were one of rest."""
        dataset, denoise = self.cohort["dataset"], self.cohort["denoise"]
        if denoise.get("task") or not dataset.get("trial_types") or dataset["kind"] == "simulated":
            return ()
        return (
            f"These are scans of a task (dataset.task={dataset['task']}), and denoise={denoise['name']} leaves the "
            "responses to it in: regions that respond alike seem connected. Choose connectivity=task or task_change "
            "to take them out.",
        )


def plan_run(root: str | Path, command_line: Mapping[str, object]) -> Run:
    """Compose the configuration, look at the user's folder, and refuse what does not fit together.

    Parameters
    ----------
    root : path
        The checkout, with ``configs/`` and ``workflow/schemas/``.
    command_line : mapping
        What ``snakemake --config`` gives, see `compose_workflow`.

    Raises
    ------
    ValueError, OSError
        With the key or the file, and the remedy.
    """
    root = Path(root)
    composed = compose_workflow(root / "configs", root / "workflow/schemas/config.schema.json", command_line)
    cohort, experiments = map(portable, composed)  # a project that was moved has the same settings
    fetching, *_ = [config.pop("acquire") for config in (cohort, *experiments.values())]
    sharing, *_ = [config.pop("share") for config in (cohort, *experiments.values())]
    dataset, engine = cohort["dataset"], cohort["preprocess"]["engine"]
    listing = list_folder_of(dataset)
    measure = cohort["localize"]["measure"]
    dataset["kind"] = kind_of(dataset, listing, engine, MEASURES[measure].given)
    if dataset["kind"] == "matrices":
        dataset["matrices"]["content"] = content_of(dataset, measure, listing)
        check_given(experiments, dataset["matrices"]["content"])
    check_source(cohort, experiments)
    check_engine(dataset, cohort["preprocess"], cohort["atlas"])
    check_pretraining(experiments, dataset["name"])
    check_graphs(experiments)
    check_validation(cohort)
    check_share(sharing, measure)
    tracking, sources = shown(choose_uri(cohort["tracking"]["uri"])), source_files(dataset, listing)
    withdrawn = read_withdrawn(Path.cwd(), dataset["name"])
    scan = {key: dataset.get(key) for key in SETTINGS} | {"engine": engine}
    known = cohort, experiments, fetching, sharing, tracking, sources, withdrawn, scan
    if dataset["kind"] not in ("bids", "derivatives"):
        return Run(*known)
    plan = plan_images(dataset | {"withdrawn": withdrawn}, fetching, root / "configs/manifest")
    scan |= events_above(listing.files if listing else plan.paths, scan)
    scans = plan_scans(plan, scan, listing)
    if is_diffusion(dataset):
        dataset |= {"kind": "matrices", "matrices": traced_matrices(measure)}
        check_given(experiments, dataset["matrices"]["content"])
        check_tracts(cohort)
        return Run(*known, plan, scans)
    if (dataset["kind"], engine) != ("bids", "fmriprep"):
        return Run(*known, plan, scans)
    places = find_places(cohort["preprocess"], plan.folder, dataset["name"], complete=bool(dataset["root"]))
    return Run(*known, plan, scans, places)
