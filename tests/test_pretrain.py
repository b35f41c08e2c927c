"""Masked-edge pretraining: what is hidden is not seen, structure is learned, nobody who is classified takes part."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dysconnect.data.cohort import Cohort
from dysconnect.data.connectomes import Connectomes, write_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.labelled import pretraining, unlabelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.learning.graph import run
from dysconnect.learning.graph.pretrain import (
    READ_OUT,
    MaskedEdges,
    MaskedView,
    Pretraining,
    one_job,
    pretrain,
    region_embeddings,
)
from dysconnect.learning.graph.run import start_network, train_networks
from dysconnect.learning.graph.stack import noise_of
from dysconnect.learning.represented import FilledEdges
from dysconnect.learning.splits import make_splits
from dysconnect.models.cards import of_kind
from dysconnect.plan.checks import check_pretraining
from dysconnect.plan.config import ConfigError, training_sections
from dysconnect.train import cross_validate, permutation_null

pytestmark = pytest.mark.usefixtures("one_torch_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def low_rank(make_cohort):
    """A hundred people of 16 regions, whose edges follow two numbers of each person."""
    cohort = make_cohort(100, 16)
    rng = np.random.default_rng(3)
    regions = rng.normal(size=(16, 2))
    rows, cols = Pairs(16).ends
    people = rng.normal(size=(100, 2))
    edges = 0.3 + 0.2 * people @ (regions[rows] * regions[cols]).T + 0.05 * rng.normal(size=(100, 120))
    return replace(cohort, values=edges.astype(np.float32))


@pytest.fixture
def hiding(sections):
    """Sections with pretraining, by model name."""

    def build(name="gcn", mask=0.3, epochs=40, linear=False, **training):
        how = {"mask": mask, "epochs": epochs, "lr": 0.01}
        own = sections(name, **{"epochs": epochs, "patience": 40, "pretrain": how, **training})
        return {**own, "model": {**own["model"], "linear": linear}}

    return build


def masked_view(cohort, own) -> MaskedView:
    """Everybody, with edges hidden."""
    return MaskedView(FilledEdges(cohort.values, cohort.missing, np.arange(len(cohort.values))), own, CPU)


# what is learned


@pytest.mark.parametrize(("name", "explained"), [("gcn", 0.1), ("sage", 0.1), ("bnt", 0.3)])
def test_the_loss_falls_and_beats_guessing_the_mean(low_rank, hiding, name, explained):
    curve = pretrain(low_rank, hiding(name), 1).history
    assert curve[-1]["train_loss"] < 0.9 * curve[0]["train_loss"]
    assert curve[-1]["val_explained"] > explained


def test_noise_cannot_be_guessed(make_cohort, hiding):
    curve = pretrain(make_cohort(60, 12), hiding(epochs=10), 1).history
    assert max(row["val_explained"] for row in curve) < 0.02


@pytest.mark.parametrize("name", of_kind("graph"))
def test_every_network_gives_its_embeddings_and_nothing_of_its_read_out(low_rank, hiding, name):
    weights = pretrain(low_rank, hiding(name, epochs=1), 1).weights
    network = start_network(hiding(name)["model"], 16, weights)
    fresh = {key.split(".")[0] for key in network.state_dict()} - {key.split(".")[0] for key in weights}
    assert fresh == set(READ_OUT[name])
    x, graph = torch.randn(3, 16, 16), torch.ones(3, 16, 16)
    embeddings = region_embeddings(network, x, graph)
    assert embeddings.shape[:2] == (3, 16)
    before = embeddings.sum().backward() or {key: own.grad is not None for key, own in network.named_parameters()}
    assert {key for key, used in before.items() if used} <= set(weights)  # the embeddings depend on nothing else


def test_a_network_without_embeddings_is_refused(low_rank, hiding):
    own = hiding()
    with pytest.raises(ValueError, match="model=perceptron cannot be pretrained"):
        pretrain(low_rank, {**own, "model": {"name": "perceptron"}}, 1)


def test_too_few_people_are_refused(make_cohort, hiding):
    with pytest.raises(ValueError, match="3 people to pretrain on"):
        pretrain(make_cohort(3, 8), hiding(), 1)


# what is hidden


@pytest.mark.parametrize("name", of_kind("graph"))
def test_hidden_edges_are_not_seen(low_rank, hiding, name):
    """Neither in the features nor in the graph, nor through its threshold: other values, the same embeddings."""
    own = hiding(name, 0.4)
    rows, noise = torch.arange(6), torch.arange(6, dtype=torch.int32) * 7919
    view, network = masked_view(low_rank, own), MaskedEdges(own["model"], 16)
    x, graph, _, asked = view.masked(rows, noise)
    assert 0.25 < asked.mean() < 0.5 and (asked == asked.transpose(1, 2)).all()
    changed = view.held[0][rows].clone()
    upper = np.triu_indices(16, k=1)
    hidden = asked[:, upper[0], upper[1]] == 1
    changed[hidden] += 5 * torch.randn(int(hidden.sum()))
    view.held[0][rows] = changed
    x_too, graph_too, truth, _ = view.masked(rows, noise)
    assert torch.equal(network(x, graph), network(x_too, graph_too))
    assert (x[asked == 1] == 0).all() and truth[asked == 1].abs().max() > 3
    assert graph is None or (graph[asked == 1] == 0).all()


def test_the_visible_part_of_the_graph_has_the_density_asked_for(low_rank, hiding):
    view = masked_view(low_rank, {**hiding(), "graph": {"density": 0.3}})
    _, graph, _, asked = view.masked(torch.arange(50), torch.arange(50, dtype=torch.int32) * 31)
    visible = 16 * 15 - asked.sum((1, 2))
    assert ((graph != 0).sum((1, 2)) / visible).mean() == pytest.approx(0.3, abs=0.03)


def test_regions_that_were_not_measured_are_not_asked_for(low_rank, hiding):
    missing = np.zeros((100, 16), bool)
    missing[:, 4] = True
    _, _, _, asked = masked_view(replace(low_rank, missing=missing), hiding()).masked(
        torch.arange(20), torch.arange(20, dtype=torch.int32)
    )
    assert not asked[:, 4].any() and not asked[:, :, 4].any() and asked.any()


def test_watched_people_have_the_same_edges_hidden_every_time_and_the_others_have_not(low_rank, hiding):
    own = hiding()
    jobs = one_job(np.arange(100), own["training"], 1)  # a fifth
    assert jobs.watched.sum() == 20
    state = Pretraining(masked_view(low_rank, own), jobs, lambda: MaskedEdges(own["model"], 16), own["training"])
    assert torch.equal(state.watch()[0], state.watch()[0])
    rows = torch.arange(5)
    seen = [state.view.masked(rows, noise_of(state.keys, step, rows)[0])[3] for step in (1, 2)]
    assert not torch.equal(*seen)


def test_copies_of_a_scan_are_watched_together(hiding):
    copies = np.repeat(np.arange(10), 2)
    watched = one_job(copies, hiding()["training"], 3).watched[:, 0]
    assert (watched[::2] == watched[1::2]).all() and 0 < watched.sum() < 20


# how training starts


@pytest.mark.parametrize("linear", [False, True])
def test_training_starts_from_the_weights_and_a_fresh_read_out(low_rank, hiding, linear):
    own = hiding(epochs=1, lr=0.0, weight_decay=0.0, linear=linear)
    weights = pretrain(low_rank, hiding(epochs=3, linear=linear), 1).weights
    labels = np.repeat(low_rank.labels[:, None], 2, axis=1)
    groups, seeds = np.arange(100), np.array([1, 2])
    networks = train_networks(low_rank.values, labels, groups, seeds, own, start=weights)
    started = {f"network.{name}" if linear else name: value for name, value in weights.items()}
    for name, value in networks.fitted.weights.items():
        if name in started:
            torch.testing.assert_close(value, started[name].expand_as(value))
        elif value.abs().sum() > 0:
            assert not torch.equal(value[0], value[1])  # by their seeds
    alone = train_networks(low_rank.values, labels, groups, seeds, own)
    for name in set(networks.fitted.weights) - set(started):
        torch.testing.assert_close(networks.fitted.weights[name], alone.fitted.weights[name])


def test_stacked_and_serial_training_agree(low_rank, hiding):
    own = hiding(epochs=3, precision="float64")
    weights = pretrain(low_rank, own, 1).weights
    labels = np.column_stack([low_rank.labels, np.roll(low_rank.labels, 3)])
    given = (low_rank.values, labels, np.arange(100), np.array([1, 2]))
    how = [hiding(epochs=3, precision="float64", stacked=stacked) for stacked in (True, False)]
    both = [train_networks(*given, own, start=weights) for own in how]
    for one, other in zip(both[0].fitted.weights.values(), both[1].fitted.weights.values()):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_weights(low_rank, hiding):
    one, other, another = (pretrain(low_rank, hiding(epochs=2), seed).weights for seed in (1, 1, 2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], another[name]) for name in one)


def test_an_interrupted_run_pretrains_once_and_other_weights_train_again(low_rank, hiding, tmp_path, monkeypatch):
    own = hiding(epochs=2)
    weights = pretrain(low_rank, own, 1, tmp_path).weights
    given = (low_rank.values, low_rank.labels[:, None], np.arange(100), np.array([1]), own, tmp_path)
    train_networks(*given, start=weights)
    n_files = len(list(tmp_path.iterdir()))
    assert n_files == 2

    def fail(*everything, **more):
        raise AssertionError("trained again")

    monkeypatch.setattr(run, "train_stack", fail)
    monkeypatch.setattr("dysconnect.learning.graph.pretrain.train_stack", fail)
    again = pretrain(low_rank, own, 1, tmp_path).weights
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    with pytest.raises(AssertionError, match="trained again"):
        pretrain(low_rank, hiding(epochs=2, mask=0.5), 1, tmp_path)
    monkeypatch.undo()
    train_networks(*given, start={name: value + 1 for name, value in weights.items()})
    assert len(list(tmp_path.iterdir())) == n_files + 1


def test_cross_validation_and_the_null_start_from_the_same_weights(make_cohort, low_rank, hiding, monkeypatch):
    starts = []
    whole = run.train_networks
    monkeypatch.setattr(run, "train_networks", lambda *given: starts.append(given[-1]) or whole(*given))
    cohort, own = make_cohort(40, 16), hiding(epochs=1, graph_permutations=1)
    splits = make_splits(cohort.participants, 2, 1, 0)
    trained = cross_validate(cohort, splits, "gcn", own, unlabelled=low_rank)
    permutation_null(cohort, splits, own, trained.first_repeat)
    assert len(starts) == 2 + 1 + 2 and all(start is starts[0] for start in starts)
    assert [sorted(row) for row in trained.pretraining] == [["epoch", "train_loss", "val_explained", "val_loss"]]
    assert cross_validate(cohort, splits, "gcn", own).pretraining == []
    assert starts[-1] is None


# who takes part


@pytest.fixture
def stored(tmp_path):
    """Write a cohort as the workflow does, and say so as the configuration does."""

    def write(cohort: Cohort, order=slice(None), measure="correlation") -> dict:
        folder = tmp_path / "results/big"
        for name in ("connectivity", "timeseries"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        matrices = Pairs(len(cohort.nodes)).matrix(cohort.values)[:, order][:, :, order]
        subjects = cohort.participants["participant_id"].to_numpy(str)
        edges, missing = Pairs(matrices.shape[-1]).edges(matrices), cohort.missing[:, order]
        given = Connectomes(edges, missing, subjects, cohort.nodes[order], measure, "hash")
        write_connectomes(given, folder / "connectivity/tiny_correlation.h5", {"atlas": "tiny"})
        table = cohort.participants.drop(columns="label").assign(included=True)
        write_participants(table, folder / "timeseries/participants.tsv")
        path = str(folder / "connectivity/tiny_correlation.h5")
        return {"connectomes": path, "participants": str(folder / "timeseries/participants.tsv"), "groups": ["HC"]}

    return write


@pytest.fixture
def small(make_cohort):
    """Twenty people with names of their own."""
    cohort = make_cohort(20, 12, seed=5)
    names = "small-" + cohort.participants["participant_id"]
    return replace(cohort, participants=cohort.participants.assign(participant_id=names, scan_group=names))


def test_only_the_groups_asked_for_take_part(make_cohort, small, stored):
    big = make_cohort(30, 12)
    own = unlabelled_cohort(stored(big), small)
    assert (own.participants["group"] == "HC").all() and len(own.values) == 15
    np.testing.assert_array_equal(own.values, big.values[big.labels == 0])
    both = unlabelled_cohort({**stored(big), "groups": ["HC", "DYT"]}, small)
    assert len(both.values) == 30


def test_regions_are_matched_by_name(make_cohort, small, stored):
    big = make_cohort(30, 12)
    missing = np.zeros((30, 12), bool)
    missing[::2, 2] = True
    big = replace(big, missing=missing)
    own = unlabelled_cohort(stored(big, np.random.default_rng(1).permutation(12)), small)
    np.testing.assert_array_equal(own.nodes, small.nodes)
    np.testing.assert_array_equal(own.values, big.values[big.labels == 0])
    np.testing.assert_array_equal(own.missing, big.missing[big.labels == 0])


def test_regions_that_the_large_set_lacks_are_named(make_cohort, small, stored):
    spec = stored(make_cohort(30, 12), slice(0, 10))
    with pytest.raises(ValueError, match=r"lacks 2 of 12 regions: region 10, region 11\. Use one atlas for both"):
        unlabelled_cohort(spec, small)


def test_whoever_is_classified_is_left_out(make_cohort, small, stored, capsys):
    """By their own name, and by the scan that theirs is a copy of."""
    big = make_cohort(30, 12)
    people = small.participants.copy()
    people.loc[0, "participant_id"], people.loc[1, "scan_group"] = "sub-000", "sub-002"
    big.participants.loc[4, "scan_group"] = "small-sub-007"
    own = unlabelled_cohort(stored(big), replace(small, participants=people))
    assert not set(own.participants["participant_id"]) & {"sub-000", "sub-002", "sub-004"}
    assert len(own.values) == 12
    assert "12 people to pretrain on; 3 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["patients"]}, r"groups=\['patients'\]: .* has DYT, HC"),
        ({"groups": []}, "Name some of these"),
    ],
)
def test_unknown_groups_are_named(make_cohort, small, stored, change, message):
    with pytest.raises(ValueError, match=message):
        unlabelled_cohort({**stored(make_cohort(30, 12)), **change}, small)


def test_another_measure_and_the_same_people_are_refused(make_cohort, small, stored):
    big = make_cohort(30, 12)
    with pytest.raises(ValueError, match="everybody in it is also classified"):
        unlabelled_cohort(stored(big), big)
    with pytest.raises(ValueError, match="holds partial"):
        unlabelled_cohort(stored(big, measure="partial"), small)


# the configuration


@pytest.fixture(scope="module")
def experiments(repository):
    """Configurations of two experiments, composed from the real files."""
    from dysconnect.plan.compose import compose_workflow

    schema = repository / "workflow/schemas/config.schema.json"
    return compose_workflow(repository / "configs", schema, {"atlas": "cc200", "experiment": "gcn,gcn_pretrained"})[1]


def test_without_pretraining_nothing_about_it_reaches_the_training(experiments):
    assert "pretrain" not in training_sections(experiments["gcn"])["training"]
    assert pretraining(training_sections(experiments["gcn"])) == {}
    check_pretraining({"gcn": experiments["gcn"], "floor": experiments["floor"]}, "simulated")


def test_the_table_lies_beside_the_connectomes(experiments):
    own = pretraining(training_sections(experiments["gcn_pretrained"]))
    assert own["connectomes"] == "results/abide/connectivity/cc200_correlation.h5"
    assert own["participants"] == "results/abide/timeseries/participants.tsv"
    assert own["groups"] == ["HC"]


def test_files_that_are_not_there_come_with_the_command_that_makes_them(experiments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="snakemake --config dataset=abide --until connectivity"):
        check_pretraining(experiments, "simulated")
    for name in ("connectivity/cc200_correlation.h5", "timeseries/participants.tsv"):
        path = tmp_path / "results/abide" / name
        path.parent.mkdir(parents=True)
        path.touch()
    check_pretraining(experiments, "simulated")
    with pytest.raises(ConfigError, match="is pretrained on abide, which is the data set to classify"):
        check_pretraining(experiments, "abide")
