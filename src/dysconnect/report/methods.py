"""How experiments are described in the methods: measure, model, network, and first weights."""

from collections.abc import Mapping

from dysconnect.paper.text import counted, covariate_names, label, listed

MEASURES = {
    "correlation": "the Fisher z of Pearson correlations",
    "partial": "the Fisher z of partial correlations",
    "tangent": "tangent space at the geometric mean of the training subjects' covariances (Varoquaux et al. 2010)",
}


def models_text(experiments: Mapping[str, Mapping], cohort: Mapping) -> str:
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
