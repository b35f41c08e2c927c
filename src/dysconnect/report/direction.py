"""Words for connections that go one way, and for how far a direction can be trusted."""

from collections.abc import Mapping

from dysconnect.data.measures import Measure
from dysconnect.paper.tables import Column
from dysconnect.paper.text import number

CIRCUITS_GO = (
    "A circuit has the connections of the way that it goes in anatomy, as from cerebellum to thalamus to cortex, or "
    "from cortex to striatum to pallidum."
)


def end_columns(directed: bool) -> list[Column]:
    """Headings of the two regions of a connection."""
    return [Column(name, False) for name in (("From", "To") if directed else ("Region", "Region"))]


def arrow(directed: bool) -> str:
    """What stands between the two regions of a connection."""
    return "→" if directed else "–"


def exploratory_sentence(measure: Measure) -> str:
    """That the connections are exploratory, and why; empty where they are not."""
    if not measure.exploratory:
        return ""
    return f"These connections are exploratory, and the verdict names none of them: {measure.exploratory}."


def direction_sentence(summary: Mapping) -> str:
    """How often a direction is right to expect, and whether directions turn with time; empty where nothing is known."""
    known = summary.get("direction")
    if not known:
        return ""
    shares = {name: f"{value:.0%} ± {known['direction_error'][name]:.0%}" for name, value in known["direction"].items()}
    return (
        f"In simulated networks of {known['n_regions']} regions, seen in {known['pairs']:.0f} pairs of volumes "
        f"{known['repetition_time']:g} s apart as here, {shares['same']} of the clearly one-sided connections get the "
        f"right direction if the response of the blood is the same in all regions, and {shares['differing']} if its "
        "peaks differ by 1 s (standard deviation over regions; ±: standard error); chance is 50%. Control by time "
        f"reversal: the directions of a scan run backwards agree with those forwards by {number(known['reversal'])} "
        "(cosine, mean over people), from −1 where all that leads then follows, as true direction does, to 1 where "
        "nothing turns, as with noise that is stronger in some regions."
    )
