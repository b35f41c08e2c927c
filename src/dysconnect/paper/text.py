"""Numbers and names as people write them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESEARCH_ONLY = "For research only: no diagnosis and no basis for treatment."


NONE = "—"


COVARIATES = {
    "mean_fd": "motion", "log_mean_fd": "the logarithm of motion", "mean_fd_task": "motion during the task",
    "mean_fd_rest": "motion at rest",
}  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and p.

    `corrected` is of a difference the p of the corrected resampled t-test, of a model's score the p that allows for
    the other models.
    """

    value: float
    low: float
    high: float
    p: float
    corrected: float = np.nan

    def __str__(self) -> str:
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def number(value: float, digits: int = 2) -> str:
    """Write a number with a true minus sign; a dash where there is none."""
    if not np.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def unbroken(sentence: str) -> str:
    """Keep ``p = 0.012`` and ``[0.1, 0.2]`` on one line, with no-break spaces."""
    return re.sub(r" ([=<]) |^< |(?<=\d), (?=[^ \]]*\])", lambda found: found[0].replace(" ", "\u00a0"), sentence)


def p_value(p: float) -> str:
    """Write a p: ``< 0.001``, ``0.012``, ``0.37``."""
    if not np.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def p_text(p: float) -> str:
    """Write a p in a sentence: ``p < 0.001``, ``p = 0.012``, ``not tested``."""
    text = p_value(p)
    return "not tested" if text == NONE else f"p {text}" if text.startswith("<") else f"p = {text}"


def counted(n: int, word: str) -> str:
    """Count things: ``1 subject``, ``1,009 subjects``."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def listed(words: Iterable[str]) -> str:
    """Join words: ``a, b and c``."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def covariate_names(covariates: Sequence[str]) -> str:
    """Name covariates in a sentence."""
    return listed(COVARIATES.get(name, name) for name in covariates) or "no covariates"


def beyond_sentence(columns: Sequence[str]) -> str:
    """Say why somebody is not compared, who is above every control in columns of motion."""
    what = listed([covariate_names([name]) for name in columns])
    return f"{what} of this person is above that of every control, and they say nothing of what such motion does"


def difference_text(compared: Mapping) -> str:
    """Write a comparison of the groups: p, and d with its interval."""
    d = Estimate(*(compared[name] for name in ("d", "low", "high", "p")))
    return f"{p_text(d.p)}, d = {d}"


def compared_text(compared: Mapping, unit: str, digits: int) -> str:
    """Write the means of patients and controls, and their difference."""
    if "cases" not in compared:
        return compared["reason"]
    means = [
        NONE if own["mean"] is None else number(own["mean"], digits)
        for own in (compared["cases"], compared["controls"])
    ]
    test = compared.get("reason") or difference_text(compared)
    return f"{f'{means[0]} {unit}'.strip()} in patients, {f'{means[1]} {unit}'.strip()} in controls ({test})"


def worded(words: Mapping[str, str], name: str) -> str:
    """Words of a name in a sentence; of one that nobody has put into words, the name itself."""
    return words.get(name, name.replace("_", " "))


def percent(share: float) -> str:
    """Write a share: ``7.4%``, ``12%``, ``0.02%``; ``0%`` for none."""
    digits = 0 if share >= 0.1 or share == 0 else 1 if share >= 0.01 else 2
    return f"{100 * share:.{digits}f}%"
