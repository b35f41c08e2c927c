"""The software and the configuration that made the results."""

import importlib.metadata
import platform
import re
from collections.abc import Mapping

import yaml

from dysconnect.report.prediction.scores import kind
from dysconnect.report.results import Study
from dysconnect.report.section import Section

SOFTWARE = (
    "dysconnect", "numpy", "scipy", "pandas", "scikit-learn", "torch", "torch_geometric", "nilearn", "matplotlib",
    "snakemake", "hydra-core", "mlflow",
)  # fmt: skip


def section(study: Study) -> Section:
    """What ran: a paragraph, versions, and the composed configuration."""
    words = _software_text(study.experiments)
    configuration = _configuration_text(study.cohort, study.experiments)
    return Section(
        "software",
        more={"versions": software_versions(), "configuration": configuration},
        methods=[("Software", words)],
    )


def _software_text(experiments: Mapping[str, Mapping]) -> str:
    """Write what ran, for the methods."""
    text = (
        f"dysconnect {version('dysconnect')} ran as a Snakemake workflow (Mölder et al. 2021) on nilearn (Abraham et "
        "al. 2014) and scikit-learn (Pedregosa et al. 2011)"
    )
    graphs = any(kind(config) == "graph" for config in experiments.values())
    return text + (
        ", with PyTorch (Paszke et al. 2019) and PyTorch Geometric (Fey and Lenssen 2019)." if graphs else "."
    )


def version(package: str) -> str:
    """Version of an installed package; a dash where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "—"


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that made the results."""
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}


def _configuration_text(cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """Write the composed configuration as YAML, then what each experiment changes; passwords in URLs are masked."""
    changes = {
        name: {section: value for section, value in config.items() if value != cohort.get(section)}
        for name, config in experiments.items()
    }
    parts = [yaml.safe_dump(dict(cohort), allow_unicode=True), "# What each experiment changes"]
    text = "\n".join([*parts, yaml.safe_dump(changes, allow_unicode=True)])
    return re.sub(r"//[^/@\s]+@", "//***@", text)
