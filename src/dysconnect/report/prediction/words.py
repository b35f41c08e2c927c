"""Words on experiments: methods (measure, model, network, first weights, comparison), and captions of their curves."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.data.measures import MEASURES
from dysconnect.learning.new_sites import for_new_sites
from dysconnect.learning.splits import scored_folds, site_folds, unseen_sites
from dysconnect.models.cards import CARDS, label
from dysconnect.paper.text import counted, covariate_names, listed
from dysconnect.report.prediction.figures import mean_loss
from dysconnect.report.prediction.scores import kind, seen_by_floor, why_blind
from dysconnect.report.results import Results, Study

ABOUT_ZERO = 10  # times smaller than in the first epoch
RISEN = 1.05  # times the least loss


def models_text(experiments: Mapping[str, Mapping], cohort: Mapping) -> str:
    """What every experiment is."""
    sentences = [
        f"{label(name)}, {_model_text(config, cohort['evaluate']['floor'] == name)}"
        for name, config in experiments.items()
    ]
    return f"{counted(len(experiments), 'experiment')} shared the same folds: " + "; ".join(sentences) + "."


def _model_text(config: Mapping, is_floor: bool) -> str:
    """Words of the model's card, filled in."""
    model, card = config["model"], CARDS[config["model"]["name"]]
    prepared, seen = _prepared_text(model), covariate_names(model.get("covariates", ()))
    words = {"measure": _measure_text(config["connectivity"]) + prepared, "prepared": prepared, "covariates": seen}
    words["regional"] = listed(MEASURES[config["connectivity"]["measure"]].regional)
    text = card.sentence_for(model).format(**{**model, **words})
    if card.kind == "graph":
        return f"{_graph_text(text, config)}, on {words['measure']}"
    return f"{text} (the confound floor)" if is_floor else text


def _measure_text(connectivity: Mapping) -> str:
    shrunk = ", covariances shrunk (Ledoit and Wolf 2004)" if connectivity["estimator"] == "ledoit_wolf" else ""
    return MEASURES[connectivity["measure"]].sentence + shrunk


def _prepared_text(model: Mapping) -> str:
    """What was done to the features inside the training fold, before the model."""
    degrees, done = model.get("soften", ()), ""
    if any(degrees):
        views = listed(f"{degree:.2g}" for degree in degrees)
        mean = "mean of the " if len(degrees) > 1 else ""
        done = f", {mean}tangent vectors of covariances softened towards the identity by {views}"
    done += ", sites aligned with ComBat (Johnson et al. 2007)" if model.get("harmonise") == "combat" else ""
    if model.get("deconfound"):
        done += f", {covariate_names(model['deconfound'])} regressed out"
    return f"{done} inside the training fold" if done else ""


def _graph_text(title: str, config: Mapping) -> str:
    """What a network was made of and how it was trained."""
    model, training = config["model"], config["training"]
    sizes = f", {model['hidden']} hidden channels" if "hidden" in model else ""
    readout = ", read out region by region (Cui et al. 2023)" if "readout" in model else ""
    readout += ", beside a linear model of all edges" if model.get("linear") else ""
    graph = _adjacency_text(config["graph"]) if "graph" in CARDS[model["name"]].needs else ""
    early = _stopping_text(training, model)
    return (
        f"{title}{sizes}{readout}{graph}{_start_text(model)}, "
        f"trained with AdamW (Loshchilov and Hutter 2019; learning rate {training['lr']:g}, weight decay "
        f"{training['weight_decay']:g}, {'at most ' if early else ''}{training['epochs']} epochs){early}, "
        f"{counted(training['seeds'], 'seed')} a fold{_pretraining_text(training['pretrain'])}"
    )


def _adjacency_text(spec: Mapping) -> str:
    """Which edges a graph has."""
    given = spec.get("connectomes")
    strongest = f"the {spec['density']:.0%} strongest {f'edges of {given}' if given else 'positive correlations'}"
    mean = "mean of the training controls" if given else "training mean"
    graph = f", graphs of {strongest}" if spec["edges"] == "own" else f", one graph of {strongest} in the {mean}"
    dropped = f", {spec['drop']:.0%} of whose edges are left out of every step (Rong et al. 2020)"
    return graph + (dropped if spec["drop"] else "")


def _start_text(model: Mapping) -> str:
    """What a network was added to, and how much it counts beside it; empty where it starts from nothing."""
    if model["start"] == "none":
        return ""
    return (
        ", added to ridge regression on the same features (penalty by leave-one-out error, Golub et al. 1979), of "
        "whose calibrated leave-one-out decisions (Platt 1999) it learns what is left over, with a weight that inner "
        "folds choose, each with a ridge regression of its own: zero unless the log-likelihood of the people left out "
        "gains more than one standard error"
    )


def _stopping_text(training: Mapping, model: Mapping) -> str:
    """Who decided when to stop; empty where all epochs were run."""
    if training["validation"] and model["start"] == "none":
        return f", stopped early on {training['validation']:.0%} of the training fold"
    if not training["inner_folds"]:
        return ""
    curve = ", which also calibrated it (Platt 1999)" if model["start"] == "none" else ""
    return f", as many as served the people left out of {training['inner_folds']} inner folds best{curve}"


def _pretraining_text(spec: Mapping) -> str:
    """Where first weights come from; empty where they are random."""
    if not spec["connectomes"]:
        return ""
    return (
        f", starting from weights that guess a hidden {spec['mask']:.0%} of the edges (after Hou et al. 2022) of other "
        f"people, labels unseen ({listed(spec['groups'])} in {spec['connectomes']})"
    )


def evaluation_text(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """How subjects were split, and how scores were tested and compared."""
    spec = cohort["evaluate"]
    tested = results.scores.loc[(results.scores["metric"] == "auc") & results.scores["p"].notna(), "experiment"]
    text = (
        f"{splits_text(cohort['splits'])} Whatever learns, learned inside the training fold. "
        f"{new_sites_text(results.splits, experiments)}The AUC compares "
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


def splits_text(splits: Mapping) -> str:
    """How subjects were split."""
    if splits["scheme"] == "leave_one_site_out":
        return "Every site was tested by a model trained on all others (leave one site out)."
    if splits["scheme"] == "fixed":
        return f"Models were trained on all sites but {listed(splits['test_sites'])}, and tested on those."
    repeated = f", repeated {splits['repeats']} times with other folds" if splits["repeats"] > 1 else ""
    return f"{splits['folds']}-fold cross-validation by subject, stratified by group and site{repeated}."


def new_sites_text(splits: pd.DataFrame, experiments: Mapping[str, Mapping]) -> str:
    """What models did about sites that they had not seen; empty where nothing was done and no such site was tested."""
    unseen = unseen_sites(splits).groupby("site")["people"].max()
    calibrated = [label(name) for name, config in experiments.items() if for_new_sites(config, splits)]
    aligned = [label(name) for name, config in experiments.items() if config["model"].get("harmonise") == "combat"]
    text = _calibrated_text(listed(calibrated), splits) if calibrated else ""
    if aligned and len(unseen):
        sites = listed(f"{site} ({people})" for site, people in unseen.items())
        text += f"ComBat ({listed(aligned)}) left subjects of sites that it was not fitted on as they were: {sites}. "
    return text


def _calibrated_text(names: str, splits: pd.DataFrame) -> str:
    """Whether sites were left out inside to calibrate models: in some folds there may be none that can be."""
    parts = scored_folds(splits)
    inside = [splits[(splits["repeat"] == repeat) & (splits["fold"] != fold)] for repeat, fold in parts]
    stuck = sum(not site_folds(people) for people in inside)
    if stuck == len(parts):
        return (
            f"Probabilities of {names} are calibrated on people of the sites that the models learned from, of which "
            "none could be left out inside: elsewhere they may be too near to 0 and 1. "
        )
    but = f" (in {stuck} of {len(parts)} folds none could be: there, on people of the same sites)" if stuck else ""
    return f"Probabilities of {names} come from Platt's curve (Platt 1999) on sites left out inside{but}. "


def learning_caption(name: str, history: pd.DataFrame) -> str:
    """What the learning curves of one experiment show, and whether the network learned its training people by heart."""
    text = f"Learning curves of {label(name)}. One thin line a fold, repeat and seed; the mean in bold"
    watched = history["val_loss"].notna().any()
    if watched:
        text += ", with the last loss of runs that stopped early; dots where the network was kept."
    else:
        text += ". There is no line of validation: none were watched, and every run went to its last epoch."
    epoch = memorised(history)
    if epoch is None:
        return text
    text += (
        f" Memorised: by epoch {epoch + 1} the training loss falls below a tenth of that of the first epoch"
        f"{', while the loss of the people left out rises' if watched else ''}."
    )
    return text


def memorised(history: pd.DataFrame) -> int | None:
    """Epoch by which a network has learned its training people by heart; None where it has not.

    That is where its training loss, in the mean over runs, falls below a tenth of that of the first epoch, and the loss
    of people left out ends above its least by more than a twentieth, if any were watched.
    """
    trained = mean_loss(history, "train_loss")
    learned = trained.index[trained < trained.iloc[0] / ABOUT_ZERO]
    if not len(learned):
        return None
    if history["val_loss"].notna().any():
        left_out = mean_loss(history, "val_loss")
        if left_out.iloc[-1] <= left_out.min() * RISEN:
            return None
    return int(learned[0])


def forest_caption(study: Study) -> str:
    """What the forest plot shows, and what it means not to pass the floor."""
    text, floor = f"AUC of every model with its {study.level:.0%} interval.", study.floor
    if floor is None:
        return f"{text} No confound floor was run: what covariates alone tell is not known."
    if blind := why_blind(study):
        return (
            f"{text} {blind[0].upper()}{blind[1:]}, so nothing could be adjusted for: there is no floor to be passed."
        )
    return f"{text} A model that does not pass the floor has found nothing that {seen_by_floor(study)} do not tell."
