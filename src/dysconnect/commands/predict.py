"""``dysconnect predict``: one person's scan or matrix in, a calibrated probability with its limits out.

Only what ``--help`` needs is imported here: the rest takes seconds.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dysconnect.problems import MachineError

if TYPE_CHECKING:
    from dysconnect.predict.bundle import Bundle
    from dysconnect.predict.scan import Scan

FAILED, UNUSABLE, REFUSED = 1, 2, 3
DESCRIPTION = "Predict one person with the models of an experiment. For research only: no diagnosis."
EXAMPLES = """
examples:
  dysconnect predict --model results/simulated/predict/correlation_ridge.npz \\
    --series results/simulated/timeseries/sub-001/func/sub-001_task-rest_seg-seitzman300_desc-standard_timeseries.tsv \\
    --age 52 --sex F --site site-A --mean-fd 0.14 --out sub-001
  dysconnect predict --model results/study/predict/ridge.npz --matrix new_meanFA.csv --labels labels.txt --age 52
  dysconnect predict --model MLFLOW_RUN_ID --bold bold.nii.gz --confounds confounds.tsv --age 52 --sex F

exit status: 0 predicted, 1 the machine failed (room, memory, permission), 2 the model or the scan cannot be used,
3 refused: the person is unlike the cohort
"""


def parser() -> argparse.ArgumentParser:
    """Build the command line of ``dysconnect predict``."""
    command = argparse.ArgumentParser(
        "dysconnect predict", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "--model", required=True, metavar="RUN_OR_PATH",
        help="results/DATASET/predict/NAME.npz, an MLflow run, or models:/NAME/VERSION of its registry",
    )  # fmt: skip
    scan = command.add_mutually_exclusive_group(required=True)
    scan.add_argument(
        "--series", metavar="FILE.tsv", help="denoised regional series, its .json beside it (RepetitionTime)"
    )
    scan.add_argument("--bold", metavar="FILE.nii.gz", help="preprocessed BOLD in the atlas's space; needs --confounds")
    scan.add_argument(
        "--matrix", metavar="FILE", help="connections with named rows, where those of the cohort came as matrices"
    )
    command.add_argument("--labels", metavar="FILE", help="names of the rows of a matrix that has none")
    command.add_argument("--confounds", metavar="FILE.tsv", help="fMRIPrep's table: tells motion, and what to remove")
    command.add_argument("--mask", metavar="FILE.nii.gz", help="brain mask of the BOLD")
    command.add_argument("--age", type=float, metavar="YEARS")
    command.add_argument("--sex", choices=["F", "M"])
    command.add_argument("--site", help="as the cohort calls it")
    command.add_argument(
        "--mean-fd", type=float, metavar="MM", help="mean framewise displacement, where no confounds are given"
    )
    command.add_argument(
        "--covariate", action="append", default=[], metavar="NAME=VALUE", help="another one that the model knows"
    )
    command.add_argument(
        "--out", metavar="FOLDER", help="write prediction.json and prediction.html there, not to the screen"
    )
    command.add_argument(
        "--anyway", action="store_true", help="give the probability though the person is unlike the cohort"
    )
    return command


def main(arguments: Sequence[str]) -> int:
    """Run ``dysconnect predict``; return the exit status."""
    command = parser()
    given = command.parse_args(arguments)
    if given.bold and not given.confounds:
        command.error("--bold needs --confounds: without it nothing can be removed, nor motion judged")
    if given.matrix and given.confounds:
        command.error("--matrix takes no --confounds: say how much the head moved with --mean-fd")
    if given.labels and not given.matrix:
        command.error("--labels names the rows of a --matrix")
    try:
        prediction = _predict(given)
    except (ValueError, OSError) as error:
        print(f"dysconnect predict: {error}", file=sys.stderr)
        return UNUSABLE
    except MachineError as error:
        print(f"dysconnect predict: {error}", file=sys.stderr)
        return FAILED
    for reason in prediction["refused"]:
        print(f"{'unlike the cohort' if given.anyway else 'refused'}: {reason}.", file=sys.stderr)
    if prediction["refused"] and not given.anyway:
        print("--anyway shows the probability all the same.", file=sys.stderr)
        return REFUSED
    return 0


def _predict(given: argparse.Namespace) -> dict:
    from dysconnect.predict.person import predict_person

    bundle = _bundle(given.model)
    prediction = predict_person(bundle, _scan(given, bundle), _covariates(given), given.anyway)
    text = json.dumps(prediction, indent=1, allow_nan=False)
    if not given.out:
        print(text)
        return prediction
    from dysconnect.predict.page import render_person

    folder = Path(given.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prediction.json").write_text(text, encoding="utf-8")
    (folder / "prediction.html").write_text(render_person(prediction, bundle), encoding="utf-8")
    print(_sentence(prediction, folder))
    return prediction


def _bundle(model: str) -> "Bundle":
    """The models in a file, or those of an MLflow run or of a registered model."""
    from dysconnect.predict.bundle import read_bundle

    path = Path(model)
    if not model.startswith("models:/") and (path.exists() or path.suffix or len(path.parts) > 1):
        return read_bundle(path)
    from dysconnect.keeping.address import choose_uri
    from dysconnect.tracking.registry import fetch_bundle

    with tempfile.TemporaryDirectory() as folder:
        return read_bundle(fetch_bundle(choose_uri(None), model, folder))


def _scan(given: argparse.Namespace, bundle: "Bundle") -> "Scan":
    from dysconnect.predict.scan import scan_from_bold, scan_from_matrix, scan_from_series

    if given.matrix:
        return scan_from_matrix(given.matrix, given.labels, bundle)
    if given.bold:
        return scan_from_bold(given.bold, given.confounds, given.mask, bundle)
    return scan_from_series(given.series, given.confounds, bundle)


def _covariates(given: argparse.Namespace) -> dict[str, object]:
    """Covariates of the command line."""
    covariates = {"age": given.age, "sex": given.sex, "site": given.site, "mean_fd": given.mean_fd}
    for text in given.covariate:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--covariate {text}: write NAME=VALUE")
        covariates[name] = value
    return covariates


def _sentence(prediction: Mapping, folder: Path) -> str:
    probability, where = prediction["probability"], f"see {folder / 'prediction.html'}"
    if probability is None:
        return f"No probability is given; {where}"
    floor = prediction["floor"]["value"]
    beside = "" if floor is None else f"; by {', '.join(prediction['floor']['covariates'])} alone {floor:.2f}"
    return (
        f"Probability {probability['value']:.2f} [{probability['low']:.2f}, {probability['high']:.2f}]{beside}; {where}"
    )
