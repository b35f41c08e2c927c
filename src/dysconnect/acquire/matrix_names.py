"""What the names of files say of matrices of connections: that they are some, of what, and made how."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from dysconnect.acquire.kinds import CONFOUNDS, MATRICES, OTHERS, SERIES
from dysconnect.data.matrices import CONTENTS
from dysconnect.reading.bids import PROCESSING, Listing, Named
from dysconnect.reading.matrices import EXTENSIONS

SAID = {  # what a word of a file's name says of its numbers; letters only
    "length": re.compile(r"(mean|edge|tract|fib(re|er)|streamline)?lengths?"),
    "fa": re.compile(r"(mean)?fa"),
    "correlation": re.compile(r"fc|pearson|(pearson|full)?corr(elation)?s?"),
    "partial": re.compile(r"partial(corr(elation)?s?)?"),
    "fisher_z": re.compile(r"fisherz|zfc|zscores?"),
    "count": re.compile(r"(streamline|track|fib(re|er))?counts?|streamlines|nos|sift2?"),
    "binary": re.compile(r"binary|binari[sz]ed"),
}
ANOTHER = re.compile(  # quantities that no measure of connectivity is read of
    r"(mean|median)?(md|rd|mk|ak|rk|adc|icvf|isovf|odi|ndi|nqa|mtr|mtsat|qt1)|(mean|median)ad|gd|geodesic|mpc"
    r"|distances?|p(val(ue)?s?)|std|stdev|variance"
)
PLAIN = re.compile(r"sc|connmatrix|connmat|network|graph")  # further words for a matrix, of any content
LABELS = re.compile(r"labels?|nodeindices|nodelabels|nodes?|lookup|lut|regions?|rois?|parcels?", re.IGNORECASE)


def matrix_files(listing: Listing) -> list[Named]:
    """Files that are matrices of connections by their names, those in folders of derivatives among them."""
    return [file for files in listing.by_participant.values() for file in files if _is_matrix(file)]


def _is_matrix(file: Named) -> bool:
    if file.extension not in EXTENSIONS or not file.entities.get("sub"):
        return False
    if any(pattern.fullmatch(word) for word in file.words for pattern in (CONFOUNDS, OTHERS, SERIES, LABELS)):
        return False
    tokens = _tokens(file)
    if any(map(ANOTHER.fullmatch, tokens)):
        return False
    plain = not file.words and not {"desc", "meas", "stat", "full"} & set(file.entities)
    return plain or bool(said(file)) or any(MATRICES.fullmatch(word) or PLAIN.fullmatch(word) for word in tokens)


def _tokens(file: Named) -> list[str]:
    """Words in a name that may say what it holds, as letters only."""
    words = [*file.words, *(file.entities.get(key, "") for key in ("meas", "stat", "desc", "full"))]
    words += [part for word in words for part in word.split("-")]
    return [plain for word in words if (plain := re.sub(r"[^a-z0-9]", "", word.lower()))]


def said(file: Named) -> str:
    """What a name says that a matrix holds; "" where it says nothing."""
    return _said_by(_tokens(file))


def _said_by(words: Sequence[str]) -> str:
    return next((content for content, word in SAID.items() if any(map(word.fullmatch, words))), "")


def refuse_key(key: str, content: str) -> None:
    """Refuse a variable of a file of MATLAB whose name says that it holds another thing."""
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", key)]
    other = _said_by(words) or next((word for word in words if ANOTHER.fullmatch(word)), "")
    same = other in CONTENTS and set(CONTENTS[other].measures) & set(CONTENTS[content].measures)
    if other and not same:
        raise ValueError(
            f"dataset.matrices.key={key} says {other}, and {content} is read. Choose the key of that, or --config "
            "connectivity=... of the other."
        )


def refuse_several_kinds(files: Sequence[Named], asked: Collection[str], root: str | Path) -> None:
    """Refuse people whose matrices are of another atlas or were made otherwise than those of others, by their names."""
    told = PROCESSING - set(asked) - ({"atlas"} if "seg" in asked else set())
    kinds: dict[tuple, list[Named]] = {}
    for file in files:
        made = {key: value for key, value in file.entities.items() if key in told}
        kinds.setdefault((*sorted(made.items()), any("sift" in word for word in _tokens(file))), []).append(file)
    if len(kinds) > 1:
        one, other = sorted(kinds.values(), key=len, reverse=True)[:2]
        raise ValueError(
            f"{root}: by their names the matrices are of {len(kinds)} kinds: {len(one)} people have one as "
            f"{one[0].path}, {len(other)} as {other[0].path}. Say which is meant (dataset.segmentation=..., or "
            "dataset.entities={desc: ...}), or name them alike."
        )
