"""What the report of a joined analysis says in sentences."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dysconnect.combined.checks import covariates
from dysconnect.combined.cohort import Joined
from dysconnect.paper.text import Estimate, counted, covariate_names, listed, number, p_text, percent
from dysconnect.pooling.within import within
from dysconnect.share.package import Package

WIDER = 5  # times the standard deviation of another site: more is rather another unit
MANY = 4  # sites that a title names
COST = (  # of putting effects together instead of people: tests/test_pooling.py
    "In 724 people of 11 real sites (ABIDE, 19,900 connections) z so made correlated 0.989 with the t of pooled "
    "people, differed from it by up to 1.0, and passed 3 in a tenth fewer connections; with 276 people of three sites "
    "these were 0.981, 1.0 and a sixth fewer."
)


def names_of_sites(joined: Joined) -> str:
    """Title of the page."""
    names = joined.sites["site"].tolist()
    return f"{listed(names)} as one cohort" if len(names) <= MANY else f"{len(names)} sites as one cohort"


def date_line(joined: Joined, package: Package) -> str:
    """What was measured, in which regions, of how many."""
    people = [counted(int(joined.sites[side].sum()), side[:-1]) for side in ("patients", "controls")]
    kind = package.about["measure"]["name"].replace("_", " ")
    return f"{listed(people)} · {package.about['atlas']['title']} · {kind}"


def in_short(joined: Joined) -> list[str]:
    """The answer in a few sentences."""
    sentences = [_who(joined)]
    if len(joined.edges):
        sentences.append(_found(joined))
    if len(joined.circuits):
        sentences.append(_circuit(joined))
    return [*sentences, *_agreement(joined), _power(joined)]


def _who(joined: Joined) -> str:
    people = [counted(int(joined.sites[side].sum()), side[:-1]) for side in ("patients", "controls")]
    who = f"{listed(people)} of {len(joined.sites)} sites"
    if joined.exact:
        return f"{who} were analysed as one cohort, from sums: the numbers are those of pooled data, and no scan moved."
    return (
        f"The effects of {who} were put together site by site, because the sites differ in how their data were made "
        f"({_keys(joined.differing)}): the numbers are not those of pooled data."
    )


def _keys(names: Sequence[str]) -> str:
    return listed(names) if len(names) <= MANY else f"{len(names)} keys, {names[0]} among them"


def _found(joined: Joined) -> str:
    tested = int(joined.edges["p"].notna().sum())
    strict, fdr = ((joined.edges[name] <= joined.alpha) for name in ("p_bonferroni", "p_fdr"))
    sentence = (
        f"Of {tested:,} connections {_differ(int(strict.sum()))} between the groups after Bonferroni correction, and "
        f"{int(fdr.sum()):,} at a false-discovery rate of {joined.alpha:g}."
    )
    if not strict.any():
        return sentence
    d = joined.edges.loc[strict, "d"]
    weaker = int((d < 0).sum())
    return f"{sentence} Of the former {weaker:,} {'is' if weaker == 1 else 'are'} weaker in patients."


def _differ(count: int) -> str:
    return f"{count:,} differ{'s' if count == 1 else ''}" if count else "none differs"


def _circuit(joined: Joined) -> str:
    name = "p_fwer" if "p_fwer" in joined.circuits else "p_bonferroni"
    found = joined.circuits[joined.circuits[name] <= joined.alpha]
    if found.empty:
        if joined.circuits["p"].isna().all():
            return "No circuit could be tested."
        return f"No circuit as a whole differs; {_best(joined, name)}."
    more = f"; {counted(len(found), 'circuit')} of {len(joined.circuits)} differ" if len(found) > 1 else ""
    return f"The circuit that differs most: {_best(joined, name)}{more}."


def _best(joined: Joined, name: str) -> str:
    row = joined.circuits.loc[joined.circuits["p"].idxmin()]
    d = Estimate(row["d"], row["d_low"], row["d_high"], row[name])
    kind = "family-wise" if name == "p_fwer" else "Bonferroni"
    return f"{row['title']}, d = {d}, {p_text(d.p)} ({kind})"


def _agreement(joined: Joined) -> list[str]:
    table, what = (joined.edges, "connections") if len(joined.edges) else (joined.circuits, "circuits")
    compared = table[table["sites_alone"] > 1]
    if compared.empty:
        return ["Whether sites agree cannot be said: fewer than two could be fitted alone."]
    beyond = percent(float((compared["p_q"] <= joined.alpha).mean()))
    sentence = f"Sites differ by more than chance (Q) in {beyond} of the {what}; chance makes {percent(joined.alpha)}."
    found = compared[compared["p_bonferroni"] <= joined.alpha]
    if found.empty:
        return [sentence]
    share = float(found["agreeing"].sum() / max(found["judged"].sum(), 1))
    return [
        f"{sentence} Where the groups differ after Bonferroni correction, a site's own effect has the sign of all "
        f"others together in {percent(share)} of the cases; chance makes 50%, but these {what} were chosen by all."
    ]


def _power(joined: Joined) -> str:
    column = "d_connection" if len(joined.edges) else "d_circuit"
    what = "connection" if len(joined.edges) else "circuit"
    together, alone = joined.power[column].iloc[0], joined.power[column].iloc[1:].min()
    if not np.isfinite(together):
        return "What the joined cohort could have found cannot be said."
    best = f"; the strongest site alone needs {number(alone)}" if np.isfinite(alone) else ""
    return (
        f"Together the sites find a difference of d = {number(together)} in a {what} with a probability of 80%{best}."
    )


def site_words(joined: Joined, packages: Sequence[Package]) -> list[str]:
    """What is to be known of single sites."""
    sites = joined.sites
    said = [f"{one.site} {one.alone}: it takes part in the pooled fit only." for one in sites.itertuples() if one.alone]
    if sites["constant"].any():
        said.append(
            "A covariate that is the same in everybody of a site says nothing there, and is adjusted for by the others."
        )
    words = {(one.patients_are, one.controls_are) for one in sites.itertuples()}
    if len(words) > 1:
        said.append("The sites have different words for their groups: whether they mean the same is yours to judge.")
    said += _other_levels(packages) + _other_spread(packages)
    if joined.norm is not None and not sites["norm"].all():
        names = sites.loc[sites["norm"], "site"]
        said.append(f"The norm (norm.npz) is that of the controls of {listed(names)}; the others did not give theirs.")
    versions = sorted(set(sites["dysconnect"]))
    if len(versions) > 1:
        said.append(f"The files were made by several versions of dysconnect: {', '.join(versions)}.")
    return said


def _other_levels(packages: Sequence[Package]) -> list[str]:
    """Categories of which two sites have no level in common: may be they are spelt in other words."""
    levels: dict[str, list[set[str]]] = defaultdict(list)
    for package in packages:
        names = [column["name"].split("=", 1) for column in package.about["columns"] if column["kind"] == "level"]
        for covariate in {name for name, _ in names}:
            levels[covariate].append({level for name, level in names if name == covariate})
    apart = {name: sets for name, sets in levels.items() if any(not a & b for a, b in combinations(sets, 2))}
    return [
        f"Sites have no level of {name} in common ({listed(sorted(set().union(*sets)))}): if these are other words for "
        "the same, the files must be made again with the same words."
        for name, sets in apart.items()
    ]


def _other_spread(packages: Sequence[Package]) -> list[str]:
    """Numbers that vary far more at one site than at another: may be they are in another unit."""
    spread: dict[str, dict[str, float]] = defaultdict(dict)
    for package in packages:
        part = within(package.sums)
        numbers = {column["name"] for column in package.about["columns"] if column["kind"] == "number"}
        for name, square in zip(part.columns, np.diag(part.xx)):
            if name in numbers and square > 0 and part.n > part.intercepts:
                spread[name][package.site] = float(np.sqrt(square / (part.n - part.intercepts)))
    said = []
    for name, of_site in spread.items():
        least, most = min(of_site, key=of_site.get), max(of_site, key=of_site.get)
        if of_site[most] > WIDER * of_site[least]:
            times = number(of_site[most] / of_site[least], 0)
            said.append(f"{name} varies {times} times as much in {most} as in {least}: is it in the same unit?")
    return said


def forest_caption(row: tuple) -> str:
    """What the forest of a circuit shows."""
    sites = f"Cochran's Q = {number(row.q)}, {p_text(row.p_q)}, I² = {percent(row.i2)}" if np.isfinite(row.q) else ""
    return f"{row.title}. {sites}{'.' if sites else 'Sites cannot be compared.'}"


def why_random(joined: Joined) -> str:
    """How to read the two summaries of a forest."""
    first = (
        "“All people” is the pooled fit, which takes the effect to be the same at all sites"
        if joined.exact
        else "The weighted mean takes the effect to be the same at all sites"
    )
    few = " With so few sites the latter is wide, as it must be." if len(joined.sites) < 6 else ""
    return (
        f"{first}; the random-effects mean asks what it would be at sites like these, and so counts sites more than "
        f"people.{few}"
    )


def methods(joined: Joined, packages: Sequence[Package]) -> list[str]:
    """Paragraphs for the methods of a paper."""
    names = covariate_names([*covariates(packages[0])])
    model = (
        "Each site gave the sums of products of its design and of its connections (X'X, X'Y and the sum of squares of "
        f"every connection), no single person's values. The design had the group, {names}, numbers less a centre that "
        "is the same at all sites, and an intercept for every scanner. Somebody who lacked a connection was given the "
        "mean of the others of the site."
    )
    return [f"{model} {_exact() if joined.exact else _effects()}", _compared(joined)]


def _exact() -> str:
    return (
        "The sums were centred within scanners and added; least squares on them gives the t of the group in the model "
        "of all people, up to rounding. d is t divided by the norm of the group residualised for the covariates, and "
        "its interval inverts the noncentral t distribution."
    )


def _effects() -> str:
    return (
        "As the sites differ in how their data were made, each was fitted alone, and the effects d, without their "
        "small-sample bias (Hedges, J Educ Stat 6, 1981), were averaged with inverse variances. This costs every site "
        f"the degrees of freedom of its own covariates, and leaves sites out that cannot be fitted alone. {COST}"
    )


def _compared(joined: Joined) -> str:
    tests = f"{int(joined.edges['p'].notna().sum()):,} connections" if len(joined.edges) else "no connection"
    return (
        f"p were corrected by Bonferroni and by Benjamini-Hochberg over {tests}, and separately over "
        f"{counted(len(joined.circuits), 'circuit')}. Sites were compared by Cochran's Q of their d, with variances "
        "under the mean effect of all, and by I², doi:10.1002/sim.1186. The variance between sites is that of "
        "DerSimonian and Laird (Control Clin Trials 7, 1986), and the interval of the random-effects mean that of "
        "Knapp and Hartung as modified for few sites, doi:10.1186/s12874-015-0091-1. “Sites that agree” counts those "
        "whose own effect has the sign of the fit of all others."
    )


def cannot_say(joined: Joined) -> list[str]:
    """Limits of the analysis, one sentence each."""
    permuted = (
        "There is no family-wise p by permutation for connections. Sums of permuted people give people away: with as "
        "many of them as a site has people each scan can be computed back, and even their totals over sites show who "
        "was in. Bonferroni is valid without them and stricter, as it takes no account of how connections go together."
    )
    said = [permuted] if len(joined.edges) else []
    if len(joined.circuits):
        said.append(
            "p of circuits by permutation (FWER) are over those that the sites' plan names, and people were permuted "
            "within scanners under masks: nobody has seen the sums of a single site."
            if "p_fwer" in joined.circuits
            else "Circuits were not permuted under masks, which takes three sites: their p are Bonferroni's."
        )
    said.append(
        "No component of connections, no curve, no outlier and no wrong label can be seen in sums: each site must have "
        "looked at its own report."
    )
    said.append(
        "Covariates have one slope for all sites, and connections one variance within them."
        if joined.exact
        else "Effects are in standard deviations of each site, which preprocessing changes: two sites with the same "
        "difference in patients can have another d."
    )
    said.append("The sites are no random sample, and a difference between groups is not what causes the illness.")
    return said
