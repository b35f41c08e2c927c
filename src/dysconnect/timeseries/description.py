"""What makes the folder of a stage a BIDS derivative that says where it comes from and what in it is no BIDS."""

import json
import re
from pathlib import Path

from dysconnect.version import __version__

BIDS_VERSION = "1.10.0"
# patterns of files that BIDS has no name for, by the index of the stage
OUTSIDE = {
    "series": ("series.tsv", "series.json", "sub-*/func/sub-*_timeseries.tsv", "sub-*/func/sub-*_timeseries.json"),
    # BIDS wants a folder of everybody in participants.tsv, and here nobody has files
    "edges": ("edges.tsv", "edges.json", "participants.tsv", "participants.json"),
    "matrices": ("matrices.tsv", "matrices.json", "participants.tsv", "participants.json"),
}
WORDS = {
    "series": """\
- `participants.tsv`: everybody, who is analysed (`included`), and why the others are not (`exclusion_reason`)
- `sub-*/func/*_timeseries.tsv`: denoised series of those who are, a column a region, a row a volume; the JSON beside it
  says from what and how
- `series.tsv`: index of these files with their SHA-256
""",
    "edges": """\
- `participants.tsv`: everybody, who is analysed (`included`), and why the others are not (`exclusion_reason`)
- `edges.tsv`: connections of those who are, as they were given
""",
    "matrices": """\
- `participants.tsv`: everybody, who is analysed (`included`), and why the others are not (`exclusion_reason`)
- `matrices.tsv`: index of the matrices of those who are, with their SHA-256
""",
}


def describe_dataset(dataset: dict, folder: str | Path, index: str = "series") -> None:
    """Write ``dataset_description.json``, ``README.md`` and ``.bidsignore`` of a BIDS derivative.

    The BIDS validator accepts the folder with them. People who made it are not known here: ``Authors`` is left to them.

    Parameters
    ----------
    dataset : dict
        `name`, `title`, `citation` and `licence` of the dataset that these come from.
    folder : path
        It exists.
    index : {"series", "edges", "matrices"}
        What the folder holds beside the participants.
    """
    folder, name = Path(folder), f"{dataset['title']}: what each subject gave, and who can be used"
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": dataset["licence"],
        "HowToAcknowledge": f"Cite the source: {dataset['citation']}",
        "GeneratedBy": [{"Name": "dysconnect", "Version": __version__, "Description": "Stage timeseries"}],
        "SourceDatasets": [_source(dataset)],
    }
    text = (
        f"# {name}\n\nMade by dysconnect {__version__} from {dataset['name']}, a BIDS derivative.\n\n{WORDS[index]}\n"
    )
    text += "What BIDS has no name for is listed in `.bidsignore`.\n"
    written = {
        "dataset_description.json": json.dumps(description, indent=1, ensure_ascii=False),
        "README.md": text,
        ".bidsignore": "".join(f"{pattern}\n" for pattern in OUTSIDE[index]),
    }
    for place, content in written.items():
        (folder / place).write_text(content, encoding="utf-8")


def _source(dataset: dict) -> dict:
    """The dataset that these come from; where OpenNeuro has it, its DOI, version and address."""
    source = {"Name": dataset["name"], "Title": dataset["title"], "Citation": dataset["citation"]}
    doi = re.search(r"doi:10\.18112/openneuro\.(ds\d+)\.v([\d.]*\d)", dataset["citation"])  # of data, not of a paper
    if doi is None:
        return source
    address = f"https://openneuro.org/datasets/{doi[1]}/versions/{doi[2]}"
    return source | {"DOI": doi[0], "Version": doi[2], "URL": address}
