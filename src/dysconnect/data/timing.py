"""When the volumes of a series were taken, and what the person did: what measures over time need to know."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dysconnect.reading.bids import read_object


@dataclass(frozen=True)
class Timing:
    """Of a denoised series of K volumes.

    Attributes
    ----------
    repetition_time : float
        Seconds.
    kept : bool array, [T]
        Which volumes of the scan these K are.
    load : array, [K], optional
        How much of a task is in every volume, blurred as the response to it is: 1 at its largest.
    activation : array, [N], optional
        Response of every region to the task.
    """

    repetition_time: float
    kept: np.ndarray
    load: np.ndarray | None = None
    activation: np.ndarray | None = None

    @classmethod
    def read(cls, path: str | Path) -> "Timing":
        """Read what `written` put into the sidecar of a series.

        Raises
        ------
        ValueError
            Where the sidecar does not say it: series that come denoised from elsewhere.
        """
        sidecar = Path(path).with_suffix(".json")
        return cls.of(read_object(sidecar) if sidecar.exists() else {}, Path(path).name)

    @classmethod
    def of(cls, about: Mapping, name: str) -> "Timing":
        """Take what a sidecar says of a series of this name; errors as of `read`."""
        if absent := [name for name in ("RepetitionTime", "NumberOfVolumes", "CensoredVolumes") if name not in about]:
            raise ValueError(
                f"{name}: its sidecar does not give {', '.join(absent)}, and this measure needs to know "
                "when every volume was taken. Make the series again: add --forcerun timeseries to the command."
            )
        censored = np.asarray(about["CensoredVolumes"], int)
        kept = ~np.isin(np.arange(about["NumberOfVolumes"] + len(censored)), censored)
        given = {name: about.get(key) for name, key in (("load", "TaskLoad"), ("activation", "Activation"))}
        given = {name: None if values is None else np.asarray(values, float) for name, values in given.items()}
        return cls(float(about["RepetitionTime"]), kept, **given)

    def written(self) -> Mapping:
        """What the sidecar says; see `read`."""
        task = {"TaskLoad": self.load, "Activation": self.activation}
        return {
            "NumberOfVolumes": int(self.kept.sum()),
            "CensoredVolumes": np.flatnonzero(~self.kept).tolist(),  # from 0
            **{key: [float(f"{value:.6g}") for value in values] for key, values in task.items() if values is not None},
        }

    def among(self, regions: np.ndarray) -> "Timing":
        """Of some regions, by their places."""
        return replace(self, activation=None if self.activation is None else self.activation[regions])
