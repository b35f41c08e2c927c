"""Read ABIDE I as the Preprocessed Connectomes Project shares it: regional series and the phenotype.

Phenotype coding (Preprocessed Connectomes Project): DX_GROUP 1 = autism, 2 = control; SEX 1 = male,
2 = female; -9999 and empty cells are missing.
"""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.selection import select
from dysconnect.data.series import open_archive, read_1d, series_hash
from dysconnect.fetching import Remote, Transport, fetch_all
from dysconnect.reading.cells import beyond, is_missing, label, number
from dysconnect.reading.tables import read_table

PHENOTYPES = ("Phenotypic_V1_0b_preprocessed1.csv", "manifest.csv", "participants.csv")
NEEDED = ("FILE_ID", "SITE_ID", "DX_GROUP", "AGE_AT_SCAN", "SEX", "func_mean_fd")


def phenotype_file(root: Path) -> Path:
    """Find the phenotype table in the data folder."""
    for name in PHENOTYPES:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(
        f"{root}: none of {', '.join(PHENOTYPES)} found. Set dataset.root to the folder that holds the "
        "ABIDE phenotype and the regional series."
    )


def series_files(root: Path, source_atlas: str, strategy: str) -> list[Path]:
    """List the files with series of one atlas and strategy: ``.1D``, ``.1D.gz`` or ``.npz``, sorted.

    ``.npz`` archives in `root` hold one array a subject under its FILE_ID, and have the atlas and the
    strategy in their name or in the name of their folder. ``.1D`` files lie in `root` or one folder down;
    a folder that is named for another strategy is passed over.
    """
    archives = sorted(
        path
        for pattern in ("*.npz", "*/*.npz")
        for path in root.glob(pattern)
        if _named(path.relative_to(root), source_atlas, strategy)
    )
    texts = sorted(
        path
        for suffix in ("1D", "1D.gz")
        for pattern in ("*", "*/*")
        for path in root.glob(f"{pattern}_rois_{source_atlas}.{suffix}")
        if "filt" not in path.parent.name or _has_strategy(path.parent.name, strategy)
    )
    if not archives and not texts:
        raise FileNotFoundError(
            f"{root}: no series of atlas {source_atlas!r} with strategy {strategy!r} (expected "
            f"{source_atlas}_{strategy}*/SITE.npz or *_rois_{source_atlas}.1D[.gz]). "
            "Check dataset.root, dataset.source_atlas and dataset.strategy."
        )
    return archives or texts


def _named(path: Path, source_atlas: str, strategy: str) -> bool:
    folder, stem = path.parent.name, path.stem
    name = stem if stem.startswith(source_atlas) else folder
    return name.startswith(source_atlas) and _has_strategy(name, strategy)


def _has_strategy(name: str, strategy: str) -> bool:
    """Whether a name holds the strategy as a whole word: ``filt_global`` is no part of ``nofilt_global``."""
    return re.search(rf"(?<![a-z]){re.escape(strategy)}(?![a-z])", name) is not None


def read_phenotype(path: Path) -> pd.DataFrame:
    """Translate the phenotype into the project's participants table; cases are `ASD`, controls `HC`."""
    raw = read_table(path, ",")
    missing = [name for name in NEEDED if name not in raw.columns]
    if missing:
        raise ValueError(f"{path}: missing column {', '.join(missing)}. Use the table of the project's release.")
    raw = raw[~raw["FILE_ID"].map(is_missing) & (raw["FILE_ID"] != "no_filename")]
    people = {
        "participant_id": "sub-" + raw["FILE_ID"].str.replace(r"[^A-Za-z0-9]", "", regex=True),
        "group": raw["DX_GROUP"].map(label).map({"1": "ASD", "2": "HC"}),
        "age": _numbers(raw["AGE_AT_SCAN"], "age"),
        "sex": raw["SEX"].map(label).map({"1": "M", "2": "F"}),
        "site": raw["SITE_ID"].mask(raw["SITE_ID"].map(is_missing)),
        "mean_fd": _numbers(raw["func_mean_fd"], "mean_fd"),
        "file_id": raw["FILE_ID"],
    }
    return pd.DataFrame(people).reset_index(drop=True)


def _numbers(cells: pd.Series, name: str) -> pd.Series:
    """Numbers of a column; NaN where a cell holds none, or one that the column cannot have (-9999)."""
    numbers = cells.map(number).astype(float)
    return numbers.mask(numbers.map(lambda value: beyond(name, value) != ""))


def index_series(files: list[Path]) -> pd.DataFrame:
    """Say where every subject's series lie: `file_id`, `series` (absolute path), `key` (in an ``.npz``)."""
    rows = []
    for path in files:
        if path.suffix == ".npz":
            with open_archive(path) as archive:
                rows += [(key, str(path.resolve()), key) for key in archive.files]
        else:
            rows.append((path.name.split("_rois_")[0], str(path.resolve()), ""))
    return pd.DataFrame(rows, columns=["file_id", "series", "key"])


def fetch_abide(spec: dict, folder: Path, transport: Transport) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fetch the phenotype and the series of everybody who is wanted.

    The project publishes no checksums of the series: each is parsed before it gets its name, its SHA-256 is
    written down, and every later copy is compared with that.

    Parameters
    ----------
    spec : dict
        The `dataset` section; `base` (URL of the project's folder), `phenotype` (`path`, `bytes`, `hash`), `pipeline`,
        `strategy`, `source_atlas`, and whom to fetch.
    folder : path
        Where the files go; laid out as the project does.
    transport : Transport

    Returns
    -------
    participants : DataFrame
        Everybody of the phenotype from the sites asked for, with `exclusion_reason` for those without series.
    series : DataFrame
        `file_id`, `series`, `key`.

    Raises
    ------
    OSError
        When the phenotype cannot be had.
    """
    published = spec["phenotype"]
    phenotype = Remote(
        published["path"], (f"{spec['base']}/{published['path']}",), published["bytes"], published["hash"]
    )
    outcome = fetch_all([phenotype], folder, transport, what="phenotype")[0]
    if outcome.state == "failed":
        raise OSError(f"{published['path']} could not be fetched: {outcome.problem}. Run the same command again.")
    participants = read_phenotype(folder / published["path"])
    participants = participants[_at_sites(participants, spec["sites"])].reset_index(drop=True)
    reasons = select(participants, spec)
    wanted = participants[[reasons[name] == "" for name in participants["participant_id"]]]
    paths = {row.participant_id: _series_path(row.file_id, spec) for row in wanted.itertuples()}
    remotes = [Remote(path, (f"{spec['base']}/{path}",)) for path in paths.values()]
    outcomes = fetch_all(remotes, folder, transport, check=check_1d, what=f"series of {spec['name']}")
    problems = {outcome.path: outcome.problem for outcome in outcomes if outcome.state == "failed"}
    for name, path in paths.items():
        if path in problems:
            reasons[name] = f"could not be fetched: {path}: {problems[path]}"
    participants["exclusion_reason"] = [reasons[name] for name in participants["participant_id"]]
    here = wanted[[paths[name] not in problems for name in wanted["participant_id"]]]
    series = [str((folder / paths[name]).resolve()) for name in here["participant_id"]]
    return participants, pd.DataFrame({"file_id": here["file_id"].to_numpy(), "series": series, "key": ""})


def _at_sites(participants: pd.DataFrame, sites: list[str] | None) -> pd.Series:
    absent = sorted(set(sites or []) - set(participants["site"]))
    if absent:
        raise ValueError(
            f"dataset.sites: no site {', '.join(absent)} in ABIDE (there are: "
            f"{', '.join(sorted(set(participants['site'])))}). Correct the list, or set dataset.sites=null for all."
        )
    return participants["site"].isin(sites) if sites else participants["site"].notna()


def _series_path(file_id: str, spec: dict) -> str:
    atlas = spec["source_atlas"]
    return f"Outputs/{spec['pipeline']}/{spec['strategy']}/rois_{atlas}/{file_id}_rois_{atlas}.1D"


def check_1d(path: Path) -> None:
    """Refuse what is no table of regional series: an error page, a cut line."""
    try:
        values, codes = read_1d(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"no table of regional series ({error})") from error
    if len(values) < 2 or values.shape[1] != len(codes):
        raise ValueError(f"no table of regional series: {len(codes)} named columns, values of shape {values.shape}")


def read_abide(spec: dict, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the phenotype and the series in a folder of the user's.

    Returns
    -------
    participants : DataFrame
        Subjects of the phenotype from the sites that have series here.
    series : DataFrame
        `file_id`, `series`, `key`.
    """
    participants = read_phenotype(phenotype_file(root))
    series = index_series(series_files(root, spec["source_atlas"], spec["strategy"])).drop_duplicates("file_id")
    here = participants.loc[participants["file_id"].isin(series["file_id"]), "site"].unique()
    wanted = spec["sites"] or list(here)
    absent = [site for site in wanted if site not in set(here)]
    if absent:
        raise ValueError(
            f"dataset.sites: {', '.join(absent)} without series in {root} (found: {', '.join(sorted(here))}). "
            "Correct the list, or set dataset.sites=null for all."
        )
    participants = participants[participants["site"].isin(wanted)].reset_index(drop=True)
    reasons = select(participants, spec)
    participants["exclusion_reason"] = [reasons[name] for name in participants["participant_id"]]
    return participants, series


def acquire_abide(spec: dict, participants: pd.DataFrame, series: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring phenotype and series to the contract.

    Parameters
    ----------
    spec : dict
        The `dataset` section: `repetition_time` (seconds by site).
    participants, series : DataFrame
        From `fetch_abide` or `read_abide`.

    Returns
    -------
    participants : DataFrame
        Scans with identical content share a `scan_group`, so that no split puts them on both sides.
    index : DataFrame
        `participant_id`, `series`, `key`, `confounds`, `repetition_time`, `sha256`.
    """
    located = participants.merge(series, on="file_id", how="left")
    located.loc[located["exclusion_reason"] != "", "series"] = np.nan
    located["sha256"] = _hashes(located)
    located["scan_group"] = np.where(located["sha256"] == "", located["participant_id"], located["sha256"].str[:12])
    located["repetition_time"] = located["site"].map(spec["repetition_time"]).fillna(2.0)
    located["confounds"] = ""
    index = located[["participant_id", "series", "key", "confounds", "repetition_time", "sha256"]]
    return located[[*participants.columns, "scan_group"]], index[index["series"].notna()]


def _hashes(located: pd.DataFrame) -> list[str]:
    """Hash every subject's array, opening each archive once; an unreadable file gets an empty hash."""
    hashes = pd.Series("", index=located.index)
    for path, rows in located[located["series"].notna()].groupby("series"):
        if path.endswith(".npz"):
            with open_archive(path) as archive:
                for row in rows.itertuples():
                    hashes[row.Index] = series_hash(archive[row.key])
        else:
            for row in rows.itertuples():
                hashes[row.Index] = series_hash(_text_of(Path(path)))
    return hashes.tolist()


def _text_of(path: Path) -> bytes:
    """Bytes of the text, as gzip stores the file's name and time too; of a damaged file those that there are."""
    content = path.read_bytes()
    try:
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, zlib.error, gzip.BadGzipFile):  # said where the series are read
        return content
