"""Small inputs shared by the tests: a node table, a simulated cohort, cohorts with known answers, real data."""

import fcntl
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import warm
from threadpoolctl import threadpool_limits

from dysconnect.acquire import acquire, write_acquired
from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.series import read_index
from dysconnect.timeseries import prepare_cohort

REPOSITORY = Path(__file__).resolve().parents[1]
SENSORIMOTOR = [14, 15, 16, 17, 18, 28, 29, 37, 38, 39, 41, 55]
VISUAL_AND_OTHER = [1, 2, 90, 91, 130, 131]
BASAL_GANGLIA = [247, 248, 251, 252, 253, 254, 259, 260]
THALAMUS = [265, 266, 267, 268, 269, 270]
CEREBELLUM = [282, 283, 284, 293, 294, 296, 297, 298]
SMALL = {"hidden": 8, "readout": 2, "dropout": 0.2}
GRAPH_MODELS = {
    "gcn": {"name": "gcn", **SMALL},
    "gat": {"name": "gat", **SMALL, "heads": 2},
    "gin": {"name": "gin", **SMALL},
    "sage": {"name": "sage", **SMALL},
    "brainnetcnn": {
        "name": "brainnetcnn", "layers": 2, "edge_channels": 4, "node_channels": 8, "graph_channels": 8, "dropout": 0.2,
    },
    "bnt": {
        "name": "bnt", "width": 16, "heads": 2, "layers": 2, "feedforward": 16, "clusters": 4, "dropout": 0.2,
        "clustering": 1.0,
    },
    "ibgnn": {"name": "ibgnn", **SMALL, "sparsity": 0.1, "entropy": 0.1},
}  # fmt: skip


def pytest_configure(config):
    """One Python that starts at once for all workers."""
    warm.keep_memory()
    if config.getoption("numprocesses", None):  # of pytest-xdist, in the process above the workers
        os.environ[warm.SHARED] = warm.python()


def pytest_collection_modifyitems(items):
    """Files that run the workflow come first: none of them is still running when all others are done."""
    slow = {item.path for item in items if item.get_closest_marker("workflow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small problems are fastest on one thread, the more so where tests run side by side."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def one_torch_thread():
    """Small networks are fastest on one thread too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Fill a folder once for all workers: the first that asks for it does, the others wait."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def filled(name: str, fill) -> Path:
        folder, ready = base / name, base / f"{name}.ready"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                ready.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def known_anatomy(made_once):
    """In place of `prepare_anatomy`: what it made of the first head of the phantom, which is registered once."""
    pytest.importorskip("ants", reason="antspyx is not installed (extra: imaging)")
    import nibabel as nib
    from phantom import HEAD, write_anatomy

    folder = made_once("anatomy", write_anatomy)
    t1w = np.asarray(nib.load(folder / "sub-01_T1w.nii.gz").dataobj)
    anatomy = pickle.loads((folder / "anatomy.pickle").read_bytes())

    def prepared(path, folder, spec):
        assert np.array_equal(np.asarray(nib.load(path).dataobj), t1w)
        assert {**spec, **HEAD} == spec
        return anatomy

    prepared.anatomy = anatomy
    return prepared


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data, from DYSCONNECT_DATA or beside the checkout."""
    folder = Path(os.environ.get("DYSCONNECT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "abide").is_dir():
        pytest.skip("no real data: set DYSCONNECT_DATA to the folder that holds abide/")
    return folder


@pytest.fixture(scope="session")
def nodes() -> pd.DataFrame:
    """Forty regions of the Seitzman atlas that hold edges of all motor loops."""
    rows = [*VISUAL_AND_OTHER, *SENSORIMOTOR, *BASAL_GANGLIA, *THALAMUS, *CEREBELLUM]
    return load_atlas("seitzman300").iloc[sorted(rows)].reset_index(drop=True)


@pytest.fixture(scope="session")
def simulated_spec() -> dict:
    """The `dataset` section of a tiny simulated cohort with one scan of every defect (read only)."""
    return {
        "kind": "simulated",
        "name": "tiny",
        "contrast": {"cases": ["DYT"], "controls": ["HC"]},
        "patients": 8,
        "controls": 8,
        "volumes": 100,
        "repetition_time": 2.0,
        "motion_ratio": 1.15,
        "motion_artefact": 2.0,
        "defects": {"short": 1, "corrupted": 1, "dead_regions": 1, "missing": 1},
        "plant": {
            "circuits": ["cerebello_thalamo_cortical", "striato_pallidal"],
            "region": None,
            "edges": 10,
            "effect": 1.5,
            "carriers": 0.75,
            "direction": "down",
            "seed": 0,
        },
        "seed": 0,
    }


@pytest.fixture(scope="session")
def denoise_spec() -> dict:
    """The `denoise` section: full motion model and the resting band (read only)."""
    return {
        "name": "standard",
        "motion": "full",
        "wm_csf": None,
        "global_signal": None,
        "compcor": None,
        "n_compcor": "all",
        "fd_threshold": None,
        "std_dvars_threshold": None,
        "scrub": 5,
        "detrend": True,
        "filter": "butterworth",
        "high_pass": 0.01,
        "low_pass": 0.1,
        "min_seconds": 120,
        "min_degrees_of_freedom": 5,
        "max_mean_fd": 0.9,
        "max_missing_regions": 0.1,
    }


@pytest.fixture(scope="session")
def simulated(tmp_path_factory, nodes, simulated_spec, denoise_spec) -> SimpleNamespace:
    """The tiny cohort on disk: what `acquire` and `timeseries` make of it (read only)."""
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "raw").mkdir()
    acquired = acquire(simulated_spec, nodes, folder / "raw")
    paths = {name: str(folder / f"{name}.tsv") for name in ("participants", "index", "truth", "carriers")}
    write_acquired(acquired, paths)
    index = read_index(paths["index"])
    names = {"atlas": "seitzman300", "denoise": "standard"}
    table, kept = prepare_cohort(acquired.participants, index, nodes, denoise_spec, folder, names)
    kept["series"] = [str(folder / cell) for cell in kept["series"]]
    return SimpleNamespace(folder=folder, acquired=acquired, index=index, participants=table, kept=kept)


@pytest.fixture(scope="session")
def make_participants():
    """Build labelled participants: alternating groups, two sites, covariates without relation to the group."""
    return _participants


def _participants(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng([seed, 1])
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{k:03d}" for k in range(n)],
            "group": np.where(label == 1, "DYT", "HC"),
            "age": rng.normal(50, 10, n),
            "sex": rng.choice(["F", "M"], n),
            "site": np.where(np.arange(n) % 4 < 2, "site-A", "site-B"),
            "mean_fd": rng.lognormal(-2, 0.3, n),
            "label": label,
            "scan_group": [f"sub-{k:03d}" for k in range(n)],
        }
    )


@pytest.fixture(scope="session")
def make_cohort():
    """Build a cohort of random Fisher z edges; `planted` edges move by `shift` spreads in the patients."""

    def build(n: int = 60, n_nodes: int = 12, planted=(), shift: float = 1.0, seed: int = 0) -> Cohort:
        participants = _participants(n, seed)
        rng = np.random.default_rng([seed, 2])
        edges = rng.normal(0.3, 0.2, (n, n_nodes * (n_nodes - 1) // 2))
        edges[:, list(planted)] += 0.2 * shift * participants["label"].to_numpy()[:, None]
        names = np.array([f"region {k}" for k in range(n_nodes)])
        missing = np.zeros((n, n_nodes), bool)
        return Cohort(participants, edges.astype(np.float32), missing, names, "correlation")

    return build


@pytest.fixture(scope="session")
def make_covariances():
    """Build a cohort of covariances; `shift` is added to the covariance of regions 0 and 1 in the patients."""

    def build(n: int = 60, n_nodes: int = 8, shift: float = 0.0, seed: int = 0, volumes: int = 60) -> Cohort:
        participants = _participants(n, seed)
        rng = np.random.default_rng([seed, 3])
        matrices = np.stack([_sample_covariance(n_nodes, shift * y, volumes, rng) for y in participants["label"]])
        names = np.array([f"region {k}" for k in range(n_nodes)])
        edges = Pairs(matrices.shape[-1], diagonal=True).edges(matrices).astype(np.float32)
        return Cohort(participants, edges, np.zeros((n, n_nodes), bool), names, "tangent")

    return build


def _sample_covariance(n_nodes: int, shift: float, volumes: int, rng: np.random.Generator) -> np.ndarray:
    truth = 0.3 + 0.7 * np.eye(n_nodes)
    truth[0, 1] += shift
    truth[1, 0] += shift
    return np.cov(rng.multivariate_normal(np.zeros(n_nodes), truth, volumes).T)


@pytest.fixture(scope="session")
def sections():
    """Sections that training one experiment reads, by model name."""
    penalties = [0.01, 0.1, 1.0, 10.0, 100.0]
    models = {
        "ridge": {"name": "ridge", "penalties": penalties},
        "logistic": {"name": "logistic", "penalties": penalties},
        "floor": {"name": "floor", "penalties": penalties, "covariates": ["age", "sex", "site", "mean_fd"]},
        **GRAPH_MODELS,
    }
    linear = {"permutations": 200, "seed": 0}
    graph = {"device": "cpu", "epochs": 15, "patience": 5, "validation": 0.2, "batch_size": 16, "lr": 0.01}
    graph |= {"weight_decay": 0.01, "seeds": 1, "seed": 0, "precision": "float32", "stacked": "auto", "memory": None}
    graph |= {"search": {"lr": [], "weight_decay": []}, "graph_permutations": 0}

    def build(name: str, measure: str = "correlation", **training) -> dict:
        own = {**(graph if name in GRAPH_MODELS else linear), **training}
        return {"model": models[name], "measure": measure, "graph": {"density": 0.3}, "training": own}

    return build
