"""Every page that a person opens, written into a folder: for the tests that look at them."""

from pathlib import Path

import numpy as np
from test_report import GOOD, NODES, cohort_of, experiments_of, results_of
from test_report_people import write_pages

from dysconnect.paper.html import alone
from dysconnect.predict.bundle import Bundle
from dysconnect.predict.calibrate import Calibration
from dysconnect.predict.page import render_person
from dysconnect.predict.person import MEANING, RESEARCH_ONLY
from dysconnect.report import Study, render
from dysconnect.report.checklists import checklists_page


def write_all(folder: Path, images: bool = True) -> Path:
    """Write the report of the small cohort and all that lies beside it, PNG and PDF if asked; return the report."""
    made_of = results_of(), cohort_of(), experiments_of(GOOD), NODES
    page = render(*made_of, "2026-01-02", images=images)
    (folder / "index.html").write_text(page.html, encoding="utf-8")
    (folder / "standalone.html").write_text(alone(page.html), encoding="utf-8")
    (folder / "checklists.html").write_text(checklists_page(Study(*made_of), "2026-01-02"), encoding="utf-8")
    (folder / "figures").mkdir()
    for name, document in page.figures.items():
        (folder / f"figures/{name}.svg").write_text(document, encoding="utf-8")
        for kind, data in page.images.get(name, {}).items():
            (folder / f"figures/{name}.{kind}").write_bytes(data)
    write_pages(folder, seventh="sub-07")
    (folder / "prediction.html").write_text(render_person(found_of(), bundle_of()), encoding="utf-8")
    return folder / "index.html"


def bundle_of() -> Bundle:
    """What the page of a prediction reads of a model."""
    rng = np.random.default_rng(0)
    place, pair = np.array([[0, 0], [0, 1]]), np.array([0.1, 0.2])
    curve = Calibration(place, pair, pair, pair, rng.normal(size=(5, 2)), rng.uniform(size=40), np.arange(40) % 2)
    told = cohort_of()["dataset"]
    people = {"all": 40, "patients": 20}
    circuits = {"sensorimotor": "Sensorimotor cortex"}
    about = {"experiment": "ridge", "dataset": told, "contrast": told["contrast"], "people": people, "alpha": 0.05}
    about |= {"circuits": circuits, "atlas": {"title": "Seitzman 300"}, "dysconnect": "1.0"}
    return Bundle(about, NODES, {f"calibration/{name}": value for name, value in curve.state().items()}, "0" * 64)


def found_of() -> dict:
    """A prediction that was refused and is shown all the same: everything that the page can hold."""
    own = {"value": 0.62, "low": 0.4, "high": 0.8, "models": 2, "lowest": 0.6, "highest": 0.65, "level": 0.95}
    own |= {"meaning": MEANING, "raw": 0.6, "alike": {"people": 10, "patients": 6}}
    kinds = ("within", "beside", "pattern", "slope", "texture", "sides")
    far = {"distance": 0.5, "percentile": 99.0, "z": 4.0, "p_max": 0.01, "far": True}
    distance = {"connectivity": dict.fromkeys(kinds, far), "site": {"value": "A", "known": True}}
    distance["motion"] = {"mean_fd": 0.6, "limit": 0.5, "percentile": 100.0, "largest": 0.4}
    distance["age"] = {"value": 50.0, "range": [20.0, 70.0]}
    left, right, middle = "Putamen L 1", "Supracallosal anterior cingulate cortex L 2", NODES["name"].iloc[0]
    edges = [{"region_a": left, "region_b": end, "z": z, "p": 0.01, "p_fdr": 0.1, "p_max": 0.03}
             for end, z in ((middle, -4.5), (right, 3.9))]  # fmt: skip
    loop = {"circuit": "sensorimotor", "title": "Sensorimotor cortex", "edges": 20, "score": 1.1, "mean_z": -0.4}
    loop |= {"relative": 0.3, "p": 0.4, "p_max": 0.8}
    deviation = {"covariates": ["age"], "not_known": ["sex"], "controls": 20, "tested": 780, "largest_z": 4.5}
    deviation |= {"p_max": 0.03, "n_fdr": 1, "edges": edges, "circuits": [loop]}
    auc = {"value": 0.8, "low": 0.7, "high": 0.9, "p": 0.002, "floor": 0.6}
    return {
        "research_only": RESEARCH_ONLY, "refused": ["connectivity is smoother than the cohort's"],
        "warnings": ["head motion is not known"], "probability": own, "floor": {**own, "covariates": ["age", "sex"]},
        "models": [{"repeat": 0, "fold": k, "raw": 0.6, "calibrated": 0.6 + 0.05 * k} for k in range(2)],
        "distance": distance, "deviation": deviation, "person": {"age": 50.0, "sex": None, "mean_fd": 0.6},
        "scan": {"file": "sub-new_bold.nii.gz", "volumes": 200, "seconds": 400.0, "silent_regions": ["a"]},
        "model": {"scores": {"auc": auc}, "checksum": "0" * 64},
    }  # fmt: skip
