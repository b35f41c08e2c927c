"""How experiments are described in the methods: measure, model, network, and first weights."""

from collections.abc import Mapping

from dysconnect.data.measures import MEASURES
from dysconnect.models.cards import CARDS, label
from dysconnect.paper.text import counted, covariate_names, listed


def models_text(experiments: Mapping[str, Mapping], cohort: Mapping) -> str:
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
    text = card.sentence.format(**{**model, **words})
    if card.kind == "graph":
        return f"{_graph_text(text, config)}, on {words['measure']}"
    return f"{text} (the confound floor)" if is_floor else text


def _measure_text(connectivity: Mapping) -> str:
    shrunk = ", covariances shrunk (Ledoit and Wolf 2004)" if connectivity["estimator"] == "ledoit_wolf" else ""
    return MEASURES[connectivity["measure"]].sentence + shrunk


def _prepared_text(model: Mapping) -> str:
    """What was done to the features inside the training fold, before the model."""
    done = ", sites aligned with ComBat (Johnson et al. 2007)" if model.get("harmonise") == "combat" else ""
    if model.get("deconfound"):
        done += f", {covariate_names(model['deconfound'])} regressed out"
    return f"{done} inside the training fold" if done else ""


def _graph_text(title: str, config: Mapping) -> str:
    """What a network was made of and how it was trained."""
    model, training = config["model"], config["training"]
    sizes = f", {model['hidden']} hidden channels" if "hidden" in model else ""
    readout = ", read out region by region (Cui et al. 2023)" if "readout" in model else ""
    readout += ", beside a linear model of all edges" if model.get("linear") else ""
    graph = f", graphs of the {config['graph']['density']:.0%} strongest positive correlations"
    early = f", stopped early on {training['validation']:.0%} of the training fold" if training["validation"] else ""
    return (
        f"{title}{sizes}{readout}{graph if 'graph' in CARDS[model['name']].needs else ''}, "
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
