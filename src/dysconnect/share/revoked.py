"""Files that were revoked: ``revoked_SITE.json`` goes to whoever has a site's file, and `combine` then refuses it."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dysconnect.keeping.whole import whole_file
from dysconnect.share.ledger import FILE, Ledger
from dysconnect.share.package import Package
from dysconnect.share.unpacked import PackageError

FORMAT = "dysconnect revocation 1"
LARGEST = 1_000_000  # bytes of a file that comes by mail


def revocation_file(site: str) -> str:
    """Name of the file in which a site says what it revokes."""
    return f"revoked_{site}.json"


def datasets_with(project: str | Path, name: str) -> set[str]:
    """Datasets of which a release had a person, also when their results are gone."""
    return {one["dataset"] for one in Ledger.read(Path(project, FILE)).having(name)}


def revoke_person(project: str | Path, dataset: str, name: str, dry: bool = False) -> dict[str, list[str]]:
    """Revoke every release of a dataset that had a person; write what others are to be sent.

    Parameters
    ----------
    project : path
    dataset : str
    name : str
        `participant_id`.
    dry : bool
        Write nothing.

    Returns
    -------
    dict of str to list of str
        Of every site the numbers of its releases that had the person.

    Raises
    ------
    ValueError
        When the ledger is damaged.
    """
    ledger = Ledger.read(Path(project, FILE))
    having = ledger.revoke(name, dataset)
    if having and not dry:
        ledger.write()
        for site in sorted({one["site"] for one in having}):
            numbers = [one["release"] for one in ledger.releases if one["site"] == site and one["revoked"]]
            write_revocation(Path(project, revocation_file(site)), site, numbers)
    return {site: [one["release"] for one in having if one["site"] == site] for site in {one["site"] for one in having}}


def write_revocation(path: Path, site: str, releases: Sequence[str]) -> None:
    """Write which releases of a site are revoked: numbers, and nobody's id."""
    content = json.dumps({"format": FORMAT, "site": site, "releases": sorted(releases)}, indent=1).encode()
    with whole_file(path, len(content)) as file:
        file.write(content)


def refuse_revoked(packages: Iterable[Package], files: Iterable[str | Path]) -> None:
    """Refuse packages that their sites have revoked.

    Parameters
    ----------
    packages : iterable of Package
    files : iterable of path
        ``revoked_SITE.json``, as sites have sent them.

    Raises
    ------
    PackageError
        Names the site and the release; or the file that cannot be read.
    """
    revoked = {number: Path(file) for file in files for number in _revoked(Path(file))}
    for package in packages:
        number = package.about["release"]
        if number in revoked:
            raise PackageError(
                f"{package.site}.zip, release {number}, is revoked ({revoked[number]}): somebody in it has withdrawn. "
                f"Delete it, and ask {package.about['contact']} for a new one."
            )


def _revoked(path: Path) -> list[str]:
    """Numbers of the releases that a file revokes."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        held = json.loads(content[:LARGEST].decode("utf-8"))
        numbers = held["releases"]
        fine = held["format"] == FORMAT and all(re.fullmatch("[0-9a-f]{16}", number) for number in numbers)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(f"{path} is no list of revoked releases ({error}). Ask the site for it again.") from error
    if not fine or len(content) > LARGEST:
        raise PackageError(f"{path} is no list of revoked releases. Ask the site for it again.")
    return numbers
