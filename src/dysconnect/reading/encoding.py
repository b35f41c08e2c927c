"""Phase encoding of an echo-planar image, as its sidecar tells it: axis, direction, and how long the readout took."""

from collections.abc import Mapping
from dataclasses import dataclass

FURTHEST = 4.0  # times that readouts of one session differ at most


@dataclass(frozen=True)
class Encoding:
    """Phase encoding.

    Attributes
    ----------
    axis : int
        Voxel axis, 0 to 2.
    sign : int
        1, or -1 where the sidecar has a minus.
    seconds : float or None
        Total readout time; None where it is not known.
    """

    axis: int
    sign: int
    seconds: float | None

    def __str__(self) -> str:
        return "ijk"[self.axis] + ("-" if self.sign < 0 else "")


def read_encoding(sidecar: Mapping, name: str) -> Encoding:
    """Read the phase encoding from a sidecar.

    Parameters
    ----------
    sidecar : mapping
        `PhaseEncodingDirection` (i, j or k, perhaps with a minus); `TotalReadoutTime` (s).
    name : str
        Of the image, for messages.

    Raises
    ------
    ValueError
        When the direction is not told, or the time cannot be one.
    """
    direction = sidecar.get("PhaseEncodingDirection")
    if direction not in ("i", "j", "k", "i-", "j-", "k-"):
        raise ValueError(
            f"{name}: PhaseEncodingDirection is {direction!r}; write i, j or k (with a minus where it runs "
            "backward) into the sidecar"
        )
    seconds = sidecar.get("TotalReadoutTime")
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (number and 0 < seconds < 1):
        raise ValueError(f"{name}: TotalReadoutTime is {seconds!r}; write seconds (0.05, say), or leave it out")
    return Encoding("ijk".index(direction[0]), -1 if direction.endswith("-") else 1, seconds and float(seconds))


def readout_ratio(encoding: Encoding, reverse: Encoding, name: str) -> float:
    """Readout time of the reversed image over that of the other, 1 where one is not known.

    Raises
    ------
    ValueError
        When the second is not encoded in the opposite direction, or its time is one in other units.
    """
    if reverse.axis != encoding.axis or reverse.sign != -encoding.sign:
        raise ValueError(
            f"{name}: PhaseEncodingDirection is {reverse}, that of the diffusion images {encoding}: the opposite "
            "one is needed to tell the field. Mend the sidecar, or take another image"
        )
    known = encoding.seconds is not None and reverse.seconds is not None
    ratio = reverse.seconds / encoding.seconds if known else 1.0
    if not 1 / FURTHEST < ratio < FURTHEST:
        raise ValueError(
            f"{name}: TotalReadoutTime is {reverse.seconds:g}, that of the diffusion images {encoding.seconds:g}; both "
            "are seconds of like readouts. Mend the sidecar"
        )
    return ratio
