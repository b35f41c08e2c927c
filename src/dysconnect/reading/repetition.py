"""Repetition times: read in one way wherever they stand, and listed by group where a cohort has several."""

from collections.abc import Mapping, Sequence

import pandas as pd

SHORTEST, LONGEST = 0.05, 60.0  # s, between volumes; longer ones are written in milliseconds
SAME = 1e-3  # s, that two times of one sequence may differ
MANY = 6  # times that are listed; of more the range


def seconds_of(value: object, where: str, what: str = "RepetitionTime") -> float:
    """Check a time between volumes.

    Parameters
    ----------
    value : object
        As read from JSON or a header.
    where : str
        File that tells it.
    what : str
        What it is called there.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    ValueError
        When it is no number, or none of seconds: above 0.05 and at most 60.
    """
    shown = f"{what} {value!r:.60}"
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{where}: {shown} is no number of seconds; write it like 2.0")
    if value > LONGEST:
        raise ValueError(f"{where}: {shown}: seconds, not milliseconds? Write it like 2.0")
    if value <= SHORTEST:
        raise ValueError(f"{where}: {shown} is no time between volumes; write seconds, like 2.0")
    return float(value)


def sidecar_seconds(sidecar: Mapping, origins: Mapping[str, str]) -> float | None:
    """Seconds between volumes that sidecars tell; None where they tell none.

    Parameters
    ----------
    sidecar : mapping
        `RepetitionTime` (s), or else `SamplingFrequency` (Hz).
    origins : mapping of str to str
        Name of the file that each key comes from.

    Raises
    ------
    ValueError
        When what stands there is no time between volumes.
    """
    if sidecar.get("RepetitionTime") is not None:
        return seconds_of(sidecar["RepetitionTime"], origins["RepetitionTime"])
    frequency = sidecar.get("SamplingFrequency")
    if frequency is None:
        return None
    number = isinstance(frequency, int | float) and not isinstance(frequency, bool) and frequency > 0
    if not number:
        raise ValueError(f"{origins['SamplingFrequency']}: SamplingFrequency {frequency!r:.60} is no number of Hz")
    return seconds_of(1 / frequency, origins["SamplingFrequency"], "1 / SamplingFrequency")


def time_of(sidecar: Mapping, origins: Mapping[str, str], header_time: float, name: str) -> float:
    """Seconds between volumes: the sidecars' word counts; converters put other things into headers.

    Raises
    ------
    ValueError
        When neither says anything, or what is said is no time between volumes.
    """
    seconds = sidecar_seconds(sidecar, origins)
    if seconds is None and not header_time:
        raise ValueError(f"{name}: no repetition time in header or sidecar; add a sidecar with RepetitionTime")
    return seconds_of(header_time, name, "repetition time of the header") if seconds is None else seconds


def start_seconds(sidecar: Mapping, origins: Mapping[str, str]) -> float | None:
    """When the first volume was taken, s on the clock of the events, as `StartTime` tells; None where it does not.

    Parameters
    ----------
    sidecar : mapping
    origins : mapping of str to str
        Name of the file that each key comes from.

    Raises
    ------
    ValueError
        When it is no number of seconds from 0 to 60: later than a volume begins a series whose first volumes were left
        out, and nobody leaves out a minute.
    """
    told = sidecar.get("StartTime")
    if told is None:
        return None
    shown = f"{origins['StartTime']}: StartTime {told!r:.60}"
    if isinstance(told, bool) or not isinstance(told, int | float) or told != told:
        raise ValueError(f"{shown} is no number of seconds; write it like 1.0")
    if not 0 <= told <= LONGEST:
        raise ValueError(
            f"{shown}: {'seconds, not milliseconds? ' * (told > LONGEST)}Write how many seconds after the clock of the "
            f"events began the first volume was taken, 0 to {LONGEST:g}"
        )
    return float(told)


def start_time(told: float | None, seconds: float) -> float:
    """When the first volume was taken, s on the clock of the events: as `start_seconds` tells, else mid-volume.

    Parameters
    ----------
    told : float or None
    seconds : float
        Repetition time.
    """
    return seconds / 2 if told is None else told


def times_by_group(participants: pd.DataFrame, index: pd.DataFrame, contrast: Mapping[str, Sequence[str]]) -> list[str]:
    """Say by group which repetition times a cohort has, where it has several; nothing where it has one.

    Parameters
    ----------
    participants : DataFrame
        `participant_id`, `group`.
    index : DataFrame
        `participant_id`, `repetition_time` (s) of those who have a scan.
    contrast : mapping
        `cases` and `controls`.

    Returns
    -------
    list of str
        ``repetition time: 0.9 s (2 patients), 2 s (2 controls)``, and a warning where it goes with the group.
    """
    if "repetition_time" not in index or not len(index):
        return []
    times = index.set_index("participant_id")["repetition_time"].astype(float)
    times = times[times > 0]
    group = participants.set_index("participant_id")["group"].reindex(times.index)
    sides = {"patients": group.isin(contrast["cases"]), "controls": group.isin(contrast["controls"])}
    compared = times[sides["patients"] | sides["controls"]]
    rounded = compared.sort_values()
    rounded = rounded.groupby((rounded.diff() > SAME).cumsum()).transform("first")
    counts = pd.DataFrame(
        {name: rounded[members.reindex(rounded.index)].value_counts() for name, members in sides.items()}
    )
    counts = counts.fillna(0).astype(int).sort_index()
    if len(counts) < 2:
        return []
    times_of = [f"{seconds:.4g} s ({_people(row)})" for seconds, row in counts.iterrows()]
    if len(times_of) > MANY:
        times_of = [f"{len(times_of)} between {counts.index[0]:.4g} and {counts.index[-1]:.4g} s"]
    lines = [f"repetition time: {', '.join(times_of)}"]
    return lines + ([_warning(counts)] if _goes_with_group(counts) else [])


def _people(row: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {side[:-1] if n == 1 else side}" for side, n in row.items() if n)


def _goes_with_group(counts: pd.DataFrame) -> bool:
    """Whether knowing the sequence says more of the group than chance would: by far in shares, or altogether."""
    shares = counts / counts.sum().clip(lower=1)
    apart = float((shares["patients"] - shares["controls"]).abs().sum()) / 2  # total variation, 0 to 1
    noise = (1 / counts.sum().clip(lower=1)).sum() ** 0.5
    return bool((counts.sum() > 0).all()) and (apart >= 1 or apart > max(0.2, noise))


def _warning(counts: pd.DataFrame) -> str:
    return (
        "the repetition time goes with the group: another sequence in one group is a difference that a model finds, "
        "and is no disease. Compare people of one sequence (dataset.participants), or do not compare"
    )
