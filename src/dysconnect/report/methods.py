"""The methods paragraph and its references, generated from the configuration and the numbers."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.localize.methods import sentences
from dysconnect.paper.text import counted, covariate_names, label, listed
from dysconnect.quality.scans import Scans
from dysconnect.report.severity import associations_text
from dysconnect.report.software import software_text
from dysconnect.report.stimulation import methods_text
from dysconnect.report.text import Results, kind

MOTION = {
    "basic": "the 6 motion parameters",
    "power2": "12 motion parameters (6 and their squares)",
    "derivatives": "12 motion parameters (6 and their differences)",
    "full": "24 motion parameters (6, their differences, and the squares of both; Satterthwaite et al. 2013)",
}
EXPANDED = {
    "basic": "",
    "power2": " and their squares",
    "derivatives": " and their differences",
    "full": ", their differences, and the squares of both",
}
FILTERS = {"butterworth": "Butterworth", "cosine": "cosine regressors"}
GLOBAL = {
    "basic": "the global signal",
    "power2": "the global signal and its square",
    "derivatives": "the global signal and its difference",
    "full": "the global signal, its difference, and the squares of both",
    "regions": "the mean of all regions",
}
MEASURES = {
    "correlation": "the Fisher z of Pearson correlations",
    "partial": "the Fisher z of partial correlations",
    "tangent": "tangent space at the geometric mean of the training subjects' covariances (Varoquaux et al. 2010)",
}


def methods(
    results: Results, cohort: Mapping, experiments: Mapping[str, Mapping], nodes: pd.DataFrame
) -> list[tuple[str, str]]:
    """Describe what was done: (heading, paragraph) pairs, for the methods section of a paper."""
    return [
        ("Cohort and series", _series_text(results, cohort, nodes)),
        ("Quality", _quality_text(results.quality, cohort) + _scans_text(results.scans)),
        ("Connectivity and models", _models_text(experiments, cohort)),
        ("Evaluation", _evaluation_text(results, cohort, experiments)),
        ("Localization", _localization_text(results.summary, cohort["localize"]) + associations_text(results)),
        *([("Virtual stimulation", methods_text(results, cohort))] if results.stimulation else []),
        ("Software", software_text(experiments)),
    ]


def _series_text(results: Results, cohort: Mapping, nodes: pd.DataFrame) -> str:
    atlas, spec, dataset = cohort["atlas"], cohort["denoise"], cohort["dataset"]
    known = ", ".join(name for name in dataset["covariates"] if name != "mean_fd")
    excluded = f"{(~results.participants['included']).sum()} of {len(results.participants):,} subjects in all."
    if dataset["kind"] == "table":
        return (
            f"Data: {dataset['title']}. Correlations of {results.summary['n_edges']} pairs of {len(nodes)} regions "
            f"({atlas['title']}; {_authors(atlas['citation'])}) were published as numbers; the scans had been prepared "
            f"by the data's providers. Subjects without {known} or one of the connections were excluded, {excluded}"
        )
    limits = (
        f"Subjects without {known} or a readable scan, with less than {spec['min_seconds']:g} s, a mean "
        f"framewise displacement above {spec['max_mean_fd']:g} mm (Power et al. 2012), or no "
        f"signal in more than {spec['max_missing_regions']:.0%} of the regions were excluded, {excluded}"
    )
    engine = {} if results.scans is None else results.scans.engine
    scans = _images_text(cohort, engine) if dataset["kind"] in ("bids", "derivatives") else ""
    return (
        f"Data: {dataset['title']}.{scans} Regional series of {len(nodes)} regions ({atlas['title']}; "
        f"{_authors(atlas['citation'])}) were {_denoising(spec)} {limits}"
    )


def _quality_text(quality: Mapping, cohort: Mapping) -> str:
    groups = (
        "Exclusion of patients and controls was compared by Fisher's exact test, their motion and the amount of data "
        "by the Mann-Whitney test and Cohen's d."
    )
    if "reason" in quality["qcfc"]["everybody"]:
        return f"{groups} Whether connections follow motion was not tested ({quality['qcfc']['everybody']['reason']})."
    return (
        f"{groups} Over people, every connection was correlated with mean framewise displacement (QC-FC; Ciric et al. "
        f"2017; Parkes et al. 2018), adjusted for {covariate_names([*quality['nuisance'], 'group'])}, and these "
        "correlations with the Euclidean distance of the regions (Spearman). Nulls come from "
        f"{cohort['quality']['permutations']:,} permutations of motion inside sites."
    )


def _scans_text(scans: Scans | None) -> str:
    """How scans were judged; empty where there were none."""
    if scans is None:
        return ""
    return (
        " Scans were marked by the limits that stand with their table, which exclude nobody. DVARS of the regional "
        "series, in their standard deviations, and its correlation with framewise displacement over time (Power et al. "
        "2012; Parkes et al. 2018) were compared before and after denoising."
    )


def _images_text(cohort: Mapping, engine: Mapping) -> str:
    """How images became regional series, as the engine tells it; empty where there were none."""
    dataset, spec = cohort["dataset"], cohort["preprocess"]
    covered = f" Regions of which less than {spec['min_coverage']:.0%} lay in the field of view counted as missing."
    if dataset["kind"] == "derivatives":
        source = f"fMRIPrep (Esteban et al. 2019; space {dataset['space']})"
        return f" BOLD had been preprocessed by {source}{_told(engine)}.{covered}"
    if spec["engine"] == "fmriprep":
        options = f", with the options {spec['options']}" if spec["options"] else ""
        return (
            f" T1-weighted images and BOLD were preprocessed by fMRIPrep {spec['version']} (Esteban et al. 2019; "
            f"output space {spec['space']}{options}){_told(engine)}.{covered}"
        )
    how = {"affine": "an affine transform", "fast": "SyN", "accurate": "SyN"}[spec["transform"]]
    template = f" ({listed(engine['template'])})" if "template" in engine else ""
    return (
        f" T1-weighted images were corrected for intensity (N4) and registered to the MNI template{template} by {how} "
        f"at {spec['resolution']:g} mm (ANTs, Avants et al. 2011). In the BOLD, rigid motion was estimated by least "
        "squares and corrected in one cubic interpolation, the mean volume was registered to the T1-weighted image, "
        f"and the atlas was brought to the BOLD{_told(engine)}.{covered}"
    )


def _told(engine: Mapping) -> str:
    """What differs between scans and data sets, read from what the engine left: as further parts of a sentence."""
    timing, left_out, n = engine.get("slice_timing", {}), engine.get("volumes_left_out", {}), engine.get("people", 0)
    parts = []
    if timing:
        done = timing.get("yes", 0)
        some = "" if done == n else f" in {done:,} of {counted(n, 'scan')}"
        parts.append(f"slice timing was corrected{some}" if done else "slice timing was not corrected")
    if left_out:
        least, most = min(map(int, left_out)), max(map(int, left_out))
        many = f"{least} to {counted(most, 'volume')}" if least < most else counted(most, "volume")
        parts.append(f"{many if most else 'no volumes'} before the steady state were left out")
    answers = engine.get("susceptibility", {})
    if answers:
        each = [f"{answer} in {counted(count, 'scan')}" for answer, count in answers.items()]
        parts.append(f"susceptibility distortion was {listed(each if len(each) > 1 else answers)}")
    return "".join(f"; {part}" for part in parts)


def _denoising(spec: Mapping) -> str:
    steps = ["detrended"] if spec["detrend"] else []
    band = _band(spec["high_pass"], spec["low_pass"])
    if band:
        steps.append(f"filtered to {band} ({FILTERS[spec['filter']]})")
    removed = _removed(spec)
    if removed:
        steps.append(f"cleaned of {'; '.join(removed)}")
    steps.append("z-scored")
    together = " Confounds were filtered as the series are (Lindquist et al. 2019)." if band and removed else ""
    untouched = "" if removed or band else " Motion and noise had been dealt with by the data's providers."
    signal = "" if spec["global_signal"] else " No global signal was removed here."
    return f"{listed(steps)}.{together}{untouched}{signal}{_scrubbing(spec)}"


def _removed(spec: Mapping) -> list[str]:
    """What was regressed out."""
    removed = [MOTION[spec["motion"]]] if spec["motion"] else []
    if spec["wm_csf"]:
        removed.append(f"the mean signals of white matter and CSF{EXPANDED[spec['wm_csf']]}")
    if spec["compcor"]:
        n = "all" if spec["n_compcor"] == "all" else f"the first {spec['n_compcor']}"
        removed.append(f"{n} components of anatomical CompCor (Behzadi et al. 2007)")
    return removed + ([GLOBAL[spec["global_signal"]]] if spec["global_signal"] else [])


def _scrubbing(spec: Mapping) -> str:
    """Which volumes were left out; empty where none is."""
    limits = [
        f"a {name} above {spec[key]:g}{unit}"
        for name, key, unit in (
            ("framewise displacement", "fd_threshold", " mm"),
            ("standardized DVARS", "std_dvars_threshold", ""),
        )
        if spec[key]
    ]
    if not limits:
        return ""
    short = f", and runs of fewer than {spec['scrub']} volumes between them" if spec["scrub"] else ""
    return f" Volumes with {' or '.join(limits)} were left out{short} (Power et al. 2014)."


def _band(high_pass: float | None, low_pass: float | None) -> str:
    if high_pass and low_pass:
        return f"{high_pass:g} to {low_pass:g} Hz"
    return f"above {high_pass:g} Hz" if high_pass else f"below {low_pass:g} Hz" if low_pass else ""


def _models_text(experiments: Mapping[str, Mapping], cohort: Mapping) -> str:
    sentences = [
        f"{label(name)}, {_model_text(config, cohort['evaluate']['floor'] == name)}"
        for name, config in experiments.items()
    ]
    return f"{counted(len(experiments), 'experiment')} shared the same folds: " + "; ".join(sentences) + "."


def _model_text(config: Mapping, is_floor: bool) -> str:
    model, connectivity = config["model"], config["connectivity"]
    measure = MEASURES[connectivity["measure"]]
    if connectivity["estimator"] == "ledoit_wolf":
        measure += ", covariances shrunk (Ledoit and Wolf 2004)"
    measure += _prepared_text(model)
    if model["name"] == "floor":
        seen = covariate_names(model["covariates"])
        return f"logistic regression on {seen} alone{' (the confound floor)' if is_floor else ''}"
    if model["name"] == "ridge":
        return (
            f"ridge regression on {measure}, its penalty chosen inside the training fold by leave-one-out error "
            "(Golub et al. 1979), its probabilities from Platt's curve (Platt 1999)"
        )
    if model["name"] == "logistic":
        return (
            f"L2-penalised logistic regression on {measure}, "
            "its penalty chosen inside the training fold by the leave-one-out error of the first Newton step "
            "(Golub et al. 1979)"
        )
    if model["name"] == "svm":
        return (
            f"linear support vector machine (Cortes and Vapnik 1995) on {measure}, its penalty chosen by the AUC of a "
            "split inside the training fold, its probabilities from Platt's curve (Platt 1999)"
        )
    if model["name"] == "elastic_net":
        return (
            f"elastic net (Zou and Hastie 2005) on {measure}, the {model['screened']:,} connections that correlate "
            "most with the group screened, and its strength chosen, in splits inside the training fold"
        )
    if model["name"] == "low_rank":
        return (
            f"weights of low rank (trace norm, Tomioka and Mueller 2010) added to those of ridge regression on "
            f"{measure}, the ridge penalty chosen inside the training fold by leave-one-out error (Golub et al. 1979)"
        )
    if model["name"] == "riemann":
        return (
            f"minimum distance to Riemannian means after a geodesic filter (Barachant et al. 2010) on "
            f"{model['components']} principal components of the covariances{_prepared_text(model)}"
        )
    return f"{_graph_text(config)}, on {measure}"


def _prepared_text(model: Mapping) -> str:
    """What was done to the features inside the training fold, before the model."""
    done = ", sites aligned with ComBat (Johnson et al. 2007)" if model.get("harmonise") == "combat" else ""
    if model.get("deconfound"):
        done += f", {covariate_names(model['deconfound'])} regressed out"
    return f"{done} inside the training fold" if done else ""


NETWORKS = {
    "gcn": "graph convolutional network (Kipf and Welling 2017)",
    "gat": "graph attention network (Velickovic et al. 2018)",
    "gin": "graph isomorphism network (Xu et al. 2019)",
    "sage": "GraphSAGE (Hamilton et al. 2017)",
    "brainnetcnn": "BrainNetCNN (Kawahara et al. 2017)",
    "bnt": "Brain Network Transformer (Kan et al. 2022)",
    "ibgnn": "graph network behind one edge mask shared by all people, after IBGNN (Cui et al. 2022)",
}
GRAPHLESS = ("brainnetcnn", "bnt")  # they see the whole connectome


def _graph_text(config: Mapping) -> str:
    model, training = config["model"], config["training"]
    title = NETWORKS.get(model["name"], model["name"])
    sizes = f", {model['hidden']} hidden channels" if "hidden" in model else ""
    readout = ", read out region by region (Cui et al. 2023)" if "readout" in model else ""
    readout += ", beside a linear model of all edges" if model.get("linear") else ""
    graph = f", graphs of the {config['graph']['density']:.0%} strongest positive correlations"
    early = f", stopped early on {training['validation']:.0%} of the training fold" if training["validation"] else ""
    return (
        f"{title}{sizes}{readout}{graph if model['name'] not in GRAPHLESS else ''}, "
        f"trained with AdamW (Loshchilov and Hutter 2019; learning rate {training['lr']:g}, weight decay "
        f"{training['weight_decay']:g}, {'at most ' if early else ''}{training['epochs']} epochs){early}, "
        f"{counted(training['seeds'], 'seed')} a fold{_pretraining_text(training['pretrain'])}"
    )


def _pretraining_text(spec: Mapping) -> str:
    """Where first weights come from; empty where they are random."""
    if not spec["connectomes"]:
        return ""
    return (
        f", starting from weights that guess a hidden {spec['mask']:.0%} of the edges (after Hou et al. 2022) of other "
        f"people, labels unseen ({listed(spec['groups'])} in {spec['connectomes']})"
    )


def _evaluation_text(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    spec = cohort["evaluate"]
    tested = results.scores.loc[(results.scores["metric"] == "auc") & results.scores["p"].notna(), "experiment"]
    text = (
        f"{_splits_text(cohort['splits'])} Whatever learns, learned inside the training fold. The AUC compares "
        f"patients and controls that were tested in the same fold. Intervals ({spec['level']:.0%}) and paired "
        f"differences come from {spec['bootstraps']:,} bootstrap samples of subjects, the same ones for all "
        "experiments. Experiments were also compared by the resampled t-test over folds, corrected for the training "
        "subjects that folds share (Nadeau and Bengio 2003; Bouckaert and Frank "
        "2004). Calibration slope and intercept are those of a logistic recalibration (Van Calster et al. 2016). "
        f"{_held_equal(cohort['dataset']['covariates'])}The detectable AUC follows from the standard error of Hanley "
        "and McNeil 1982, and from that of permuted labels."
    )
    by_number: dict[int, list[str]] = {}
    for name in tested:
        which = "graph_permutations" if kind(experiments[name]) == "graph" else "permutations"
        by_number.setdefault(experiments[name]["training"][which], []).append(label(name))
    if by_number:
        who = "; ".join(f"{count:,} for {listed(names)}" for count, names in by_number.items())
        text += (
            " Permutations of the labels inside site and fold (first repeat) gave p = (1 + b) / (1 + B) (Phipson and "
            f"Smyth 2010): {who}."
        )
    return text


def _held_equal(covariates: Sequence[str]) -> str:
    """How the AUC with the covariates held equal is made; empty without covariates."""
    if not covariates:
        return ""
    return (
        f"The AUC with {covariate_names(covariates)} held equal weighs subjects by their overlap in the propensity to "
        "be a patient (Li et al. 2018), judging predictions rather than features as Dinga et al. 2020 advise. "
    )


def _splits_text(splits: Mapping) -> str:
    """How subjects were split."""
    if splits["scheme"] == "leave_one_site_out":
        return "Every site was tested by a model trained on all others (leave one site out)."
    if splits["scheme"] == "fixed":
        return f"Models were trained on all sites but {listed(splits['test_sites'])}, and tested on those."
    repeated = f", repeated {splits['repeats']} times with other folds" if splits["repeats"] > 1 else ""
    return f"{splits['folds']}-fold cross-validation by subject, stratified by group and site{repeated}."


def _localization_text(summary: Mapping, spec: Mapping) -> str:
    left_out = (
        f"; {summary['n_untested']:,} were not measured, or missing in too many subjects"
        if summary["n_untested"]
        else ""
    )
    settings = {
        "permutations": f"{summary['permutations']:,}",
        "thresholds": listed([f"{value:g}" for value in spec["thresholds"]]),
        "prior": spec["prior"],
    }
    single = "; ".join(sentences(("FWER", "FDR"), summary["permutation"], **settings))
    wholes = " ".join(f"{one}." for one in sentences(("FWER of sets", "bounds"), summary["permutation"], **settings))
    return (
        f"{summary['n_edges']:,} connections ({MEASURES[spec['measure']]}) were tested{left_out}, each with a linear "
        f"model of group adjusted for {covariate_names(summary['nuisance'])} ({summary['df']} degrees of freedom). "
        f"{single}. Effect sizes are Cohen's d from the adjusted t. Stability is the share of "
        f"{spec['stability_draws']} random halves of the cohort (after Meinshausen and Bühlmann 2010) in which a "
        f"connection is among the {spec['stability_top']} strongest. {wholes} Detectable differences of connections "
        "and circuits follow from the noncentral t distribution and the residuals of this cohort; those of components "
        "were counted over effects planted in these residuals."
    )


def _authors(citation: str) -> str:
    return re.split(r",?\s*doi:", citation)[0].strip()
