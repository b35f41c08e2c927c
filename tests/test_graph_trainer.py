"""Networks trained side by side are those trained alone; they learn what is there and keep their best epoch."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dysconnect.learning.estimators import build
from dysconnect.learning.graph import run
from dysconnect.learning.graph.device import choose_device, memory_budget, train_stacked
from dysconnect.learning.graph.fit import weighted_auc
from dysconnect.learning.graph.run import Networks, train_networks
from dysconnect.learning.graph.view import learn_scale, watched_rows
from dysconnect.learning.splits import make_splits
from dysconnect.models.cards import of_kind
from dysconnect.train import clear_store, cross_validate, permutation_null

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TRAIN, TEST = slice(0, 80), slice(80, 120)


@pytest.fixture(scope="module")
def planted():
    """Edges of 120 people, ten of which differ strongly, and labels."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    edges = rng.normal(0.2, 0.2, (120, 66))
    edges[:, :10] += 0.35 * y[:, None]
    return edges.astype(np.float32), y


def trained(planted, sections, name="gcn", seeds=(1,), labels=None, store=None, **training) -> Networks:
    """Fit on the first eighty people, one network a seed; `linear` beside a linear model."""
    linear = training.pop("linear", False)
    own = sections(name, **{"epochs": 25, "patience": 8, **training})
    own["model"] = {**own["model"], "linear": linear}
    edges, y = planted
    labels = np.repeat(y[TRAIN, None], len(seeds), axis=1) if labels is None else labels
    return train_networks(edges[TRAIN], labels, np.arange(80), np.array(seeds), own, store)


@pytest.fixture(scope="module")
def networks(planted, sections):
    """One network, fitted once."""
    return trained(planted, sections)


# side by side


@pytest.mark.parametrize("name", of_kind("graph"))
def test_without_watching_stacked_and_serial_training_agree_and_run_to_the_end(planted, sections, name):
    """As by default: everybody is fitted on, beside a linear model."""
    how = {"epochs": 4, "patience": 1, "validation": 0, "precision": "float64", "linear": True}
    serial, stacked = (trained(planted, sections, name, (1, 2, 3), stacked=own, **how) for own in (False, True))
    for own, other in zip(serial.fitted.weights.values(), stacked.fitted.weights.values()):
        np.testing.assert_allclose(own, other, atol=1e-5)
    np.testing.assert_array_equal(stacked.fitted.best_epoch, 3)  # patience is of no account
    assert np.isnan(stacked.fitted.curves[..., 1:]).all() and np.isfinite(stacked.fitted.curves[..., 0]).all()
    np.testing.assert_allclose(stacked.fitted.best_loss, stacked.fitted.curves[-1, :, 0])
    again = trained(planted, sections, name, (1, 2, 3), stacked=True, **how)
    np.testing.assert_array_equal(again.decide(planted[0]), stacked.decide(planted[0]))
    assert len(stacked.take(1).history()) == 4


@pytest.mark.parametrize("name", of_kind("graph"))
def test_stacked_and_serial_training_agree(planted, sections, name):
    """Dropout is on; labels, held-out subjects, learning rates and last epochs differ between the models."""
    labels = np.column_stack([planted[1][TRAIN], np.roll(planted[1][TRAIN], 3), planted[1][TRAIN]])
    labels[:20, 2] = 1 - labels[:20, 2]
    search = {"lr": [3e-3, 1e-2], "weight_decay": []}
    how = {"epochs": 6, "patience": 2, "search": search, "precision": "float64"}
    serial = trained(planted, sections, name, (1, 2, 3), labels, stacked=False, **how)
    stacked = trained(planted, sections, name, (1, 2, 3), labels, stacked=True, **how)
    assert (serial.chunk, stacked.chunk) == (1, 6)
    for own, other in zip(serial.fitted.weights.values(), stacked.fitted.weights.values()):
        np.testing.assert_allclose(own, other, atol=1e-5)
    np.testing.assert_allclose(serial.fitted.curves[..., :2], stacked.fitted.curves[..., :2], atol=1e-5)
    np.testing.assert_allclose(serial.fitted.curves, stacked.fitted.curves, atol=0.02)  # AUC: ties may fall apart
    np.testing.assert_array_equal(serial.chosen, stacked.chosen)
    decisions = stacked.decide(planted[0][TEST])
    np.testing.assert_allclose(serial.decide(planted[0][TEST]), decisions, atol=1e-5)
    assert np.abs(np.diff(decisions, axis=1)).max(0).min() > 1e-3


def test_single_precision_agrees_too(planted, sections):
    decisions = [
        trained(planted, sections, seeds=(1, 2), epochs=8, stacked=stacked, precision=precision).decide(
            planted[0][TEST]
        )
        for stacked, precision in ((False, "float32"), (True, "float32"), (True, "float64"))
    ]
    np.testing.assert_allclose(decisions[0], decisions[1], atol=1e-4)
    np.testing.assert_allclose(decisions[1], decisions[2], atol=1e-3)


def test_mixed_precision_is_near_double(planted, sections):
    mixed, exact = (
        trained(planted, sections, epochs=8, precision=precision).decide(planted[0][TEST])[:, 0]
        for precision in ("bfloat16", "float64")
    )
    assert np.corrcoef(mixed, exact)[0, 1] > 0.99
    assert roc_auc_score(planted[1][TEST], mixed) > 0.9


def test_chunks_change_nothing_but_the_memory(planted, sections, capsys):
    whole = trained(planted, sections, seeds=(1, 2, 3, 4, 5), epochs=3, stacked=True)
    assert capsys.readouterr().out == ""
    parts = trained(planted, sections, seeds=(1, 2, 3, 4, 5), epochs=3, stacked=True, memory=3e-4)
    assert 1 <= parts.chunk < 5
    assert f"5 networks, {parts.chunk} at a time" in capsys.readouterr().out
    np.testing.assert_allclose(parts.decide(planted[0]), whole.decide(planted[0]), atol=1e-4)


def test_out_of_memory_goes_on_with_half(planted, sections, monkeypatch, capsys):
    real, sizes = run.train_stack, []

    def small(view, jobs, build, spec):
        sizes.append(len(jobs))
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(view, jobs, build, spec)

    expected = trained(planted, sections, seeds=range(5), epochs=2, stacked=True)
    monkeypatch.setattr(run, "train_stack", small)
    got = trained(planted, sections, seeds=range(5), epochs=2, stacked=True)
    assert sizes == [5, 2, 2, 1]
    assert "out of memory with 5 networks at a time on cpu: going on with 2" in capsys.readouterr().out
    np.testing.assert_allclose(got.decide(planted[0]), expected.decide(planted[0]), atol=1e-4)


def test_one_network_too_large_says_what_to_do(planted, sections, monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run, "train_stack", never)
    with pytest.raises(MemoryError, match=r"one network does not fit .* lower training\.batch_size"):
        trained(planted, sections)


# interruptions


def test_finished_chunks_survive_an_interruption(planted, sections, monkeypatch, tmp_path):
    real, calls = run.train_stack, []

    def interrupted(view, jobs, build, spec):
        calls.append(len(jobs))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(view, jobs, build, spec)

    how = {"seeds": (1, 2, 3, 4), "epochs": 3, "stacked": False}
    expected = trained(planted, sections, **how)
    monkeypatch.setattr(run, "train_stack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(planted, sections, store=tmp_path / "store", **how)
    assert len(list((tmp_path / "store").glob("*.npz"))) == 2
    got = trained(planted, sections, store=tmp_path / "store", **how)
    assert len(calls) == 3 + 2  # the third again, and the fourth
    np.testing.assert_array_equal(got.decide(planted[0]), expected.decide(planted[0]))
    np.testing.assert_array_equal(got.fitted.curves, expected.fitted.curves)
    clear_store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("change", ["epochs", "seeds", "data", "model", "code", "numpy"])
def test_other_settings_data_or_code_reuse_nothing(planted, sections, tmp_path, monkeypatch, change):
    trained(planted, sections, store=tmp_path, epochs=2)
    if change == "code":
        monkeypatch.setattr(run, "digest", lambda path: "of a network that was changed meanwhile")
    if change == "numpy":
        monkeypatch.setattr(np, "__version__", "1.0")
    edges, y = planted
    if change == "data":
        edges = edges + np.float32(1e-3)
    how = {"epochs": 3 if change == "epochs" else 2, "seeds": (9,) if change == "seeds" else (1,)}
    trained((edges, y), sections, "sage" if change == "model" else "gcn", store=tmp_path, **how)
    assert len(list(tmp_path.glob("*.npz"))) == 2


# learning


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", of_kind("graph"))
def test_a_planted_difference_is_found_in_others(planted, sections, name, linear):
    own = trained(planted, sections, name, epochs=40, patience=15, linear=linear)
    decisions = own.decide(planted[0][TEST])[:, 0]
    assert roc_auc_score(planted[1][TEST], decisions) > 0.85


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("name", of_kind("graph"))
def test_pure_noise_and_permuted_labels_give_chance(sections, name, linear):
    """The mean over networks with other labels each stays near a half."""
    rng = np.random.default_rng(1)
    edges, y = rng.normal(0.2, 0.2, (120, 66)).astype(np.float32), np.arange(120) % 2
    labels = np.column_stack([rng.permutation(y[TRAIN]) for _ in range(6)])
    decisions = trained((edges, y), sections, name, range(6), labels, epochs=6, stacked=True, linear=linear)
    decisions = decisions.decide(edges[TEST])
    assert np.mean([roc_auc_score(y[TEST], own) for own in decisions.T]) == pytest.approx(0.5, abs=0.12)


def test_same_seed_same_network_other_seed_other_network(planted, networks, sections):
    edges = planted[0][TEST]
    np.testing.assert_allclose(trained(planted, sections).decide(edges), networks.decide(edges), rtol=1e-6)
    assert np.abs(trained(planted, sections, seeds=(2,)).decide(edges) - networks.decide(edges)).max() > 1e-3


def test_training_leaves_the_global_random_state_alone(planted, sections):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(planted, sections, epochs=2)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_is_off_when_deciding(planted, networks):
    np.testing.assert_array_equal(networks.decide(planted[0]), networks.decide(planted[0]))
    np.testing.assert_allclose(networks.decide(planted[0])[70:90], networks.decide(planted[0][70:90]), atol=1e-5)


def test_the_weights_kept_are_those_of_the_best_epoch(planted, networks):
    y = planted[1][TRAIN]
    watched = watched_rows(y, np.arange(80), 0.2, 1)
    logits = torch.as_tensor(networks.decide(planted[0][TRAIN])[watched, 0])
    share = torch.as_tensor(y[~watched].mean())
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=(1 - share) / share)(logits, torch.as_tensor(y[watched]).float())
    best = networks.fitted.best_epoch[0]
    history = networks.history()
    assert [row["epoch"] for row in history] == list(range(len(history)))
    assert history[best]["val_loss"] == pytest.approx(float(loss), rel=1e-4)
    assert history[best]["val_loss"] == pytest.approx(min(row["val_loss"] for row in history), abs=2e-4)
    assert history[best]["val_auc"] == pytest.approx(roc_auc_score(y[watched], logits), abs=1e-6)


def test_each_model_stops_when_its_own_patience_ends(planted, sections):
    """In a stack too, where the others go on."""
    networks = trained(planted, sections, seeds=range(4), epochs=60, patience=4, stacked=True)
    lengths = [len(networks.take(k).history()) for k in range(4)]
    assert len(set(lengths)) > 1
    assert max(lengths) < 60
    np.testing.assert_array_equal(np.array(lengths) - 1 - networks.fitted.best_epoch, 4)


def test_a_search_takes_the_lowest_validation_loss(planted, sections):
    search = {"lr": [1e-6, 1e-2], "weight_decay": [0.0, 0.1]}
    networks = trained(planted, sections, seeds=(1, 2), search=search, stacked=True)
    alone = [trained(planted, sections, seeds=(1, 2), lr=lr, weight_decay=w) for lr in search["lr"] for w in (0.0, 0.1)]
    losses = np.column_stack([own.fitted.best_loss for own in alone])
    np.testing.assert_allclose(networks.fitted.best_loss, losses.min(1), rtol=1e-3)
    assert (networks.chosen[:, 0] == 1e-2).all()
    assert networks.take(1).history()[0]["lr"] == 1e-2


# the workflow's side


@pytest.fixture(scope="module")
def cohort(make_cohort):
    """Sixty people of whom eight edges differ."""
    return make_cohort(planted=range(8), shift=1.5)


def test_the_null_of_a_network_trains_it_again_and_again(cohort, sections, tmp_path):
    splits = make_splits(cohort.participants, 3, 1, 0)
    own = sections("gcn", epochs=12, graph_permutations=8, stacked=True)
    result = cross_validate(cohort, splits, "gcn", own, tmp_path)
    null = permutation_null(cohort, splits, own, result.first_repeat, tmp_path)
    assert null["permutation"].tolist() == list(range(9))
    assert null["auc"][0] > null["auc"][1:].max()
    assert null["auc"][1:].mean() == pytest.approx(0.5, abs=0.12)
    assert len(list(tmp_path.glob("*.npz"))) == 3 + 1 + 3  # folds, final, permutations of the folds
    again = permutation_null(cohort, splits, own, result.first_repeat, tmp_path)
    pd.testing.assert_frame_equal(again, null)


def test_nothing_but_the_labels_tells_permuted_networks_apart(cohort, sections):
    own, rows = sections("gcn", epochs=3, stacked=True), np.arange(40)  # it drops channels, too
    model = build(own["model"], "correlation", own["graph"], own["training"]).fit(cohort, rows, seed=4)
    labels = np.stack([cohort.labels[rows], cohort.labels[rows][::-1], cohort.labels[rows]], axis=1)
    decisions = model.decide_many(cohort, rows, labels, np.arange(40, 60))
    np.testing.assert_allclose(decisions[:, 0], decisions[:, 2], atol=1e-5)
    assert np.abs(decisions[:, 0] - decisions[:, 1]).max() > 1e-3


@pytest.mark.parametrize("name", of_kind("graph"))
def test_every_network_goes_through_the_workflow(cohort, sections, name):
    splits = make_splits(cohort.participants, 2, 1, 0)
    result = cross_validate(cohort, splits, name, sections(name, epochs=2, seeds=2))
    assert result.predictions["probability"].between(0, 1).all()
    assert set(result.history["lr"]) == {0.01}
    assert permutation_null(cohort, splits, sections(name), result.first_repeat).empty


# subjects


def test_the_watched_are_stratified_and_copies_stay_together():
    labels, groups = np.arange(50) % 5 == 0, np.r_[np.arange(40), np.arange(10) * 2]
    watched = watched_rows(labels, groups, 0.2, 3)
    assert watched.mean() == pytest.approx(0.2, abs=0.06)
    assert all(len(set(watched[groups == group])) == 1 for group in groups)
    assert not np.array_equal(watched, watched_rows(labels, groups, 0.2, 4))
    assert labels[watched].any() and not labels[watched].all()


def test_weighted_auc_is_sklearns_with_ties_and_left_out_subjects():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 6, (3, 40)).astype(float)
    labels, used = rng.integers(0, 2, (3, 40)), rng.integers(0, 2, (3, 40))
    tensors = (torch.as_tensor(own) for own in (logits, used * labels, used * (1 - labels)))
    expected = [roc_auc_score(y[w == 1], x[w == 1]) for x, y, w in zip(logits, labels, used)]
    np.testing.assert_allclose(weighted_auc(*tensors), expected)


# bad input


def test_a_learning_rate_that_explodes_says_what_to_do(planted, sections):
    with pytest.raises(ValueError, match=r"the loss was never finite; lower training\.lr \(now 1e\+30\)"):
        trained(planted, sections, lr=1e30)


def test_one_exploding_model_spoils_no_other(planted, sections):
    search = {"lr": [1e-2, 1e30], "weight_decay": []}
    networks = trained(planted, sections, search=search, stacked=True)
    assert networks.chosen[0, 0] == 1e-2
    np.testing.assert_allclose(networks.decide(planted[0]), trained(planted, sections).decide(planted[0]), atol=1e-3)


def test_constant_edges_are_harmless_unless_all_are(planted, sections):
    edges, y = planted[0].copy(), planted[1]
    edges[TRAIN, 40:50] = 0.1
    assert np.abs(trained((edges, y), sections, epochs=2).decide(edges[TEST])).max() < 50
    with pytest.raises(ValueError, match=r"all 66 edges are constant over the training subjects"):
        trained((np.full_like(edges, 0.1), y), sections)


def test_nan_names_the_subjects(planted):
    edges = planted[0].copy()
    edges[[3, 9], 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the edges of 2 training subjects, at rows \[3, 9\]"):
        learn_scale(edges)


def test_a_search_needs_people_who_are_watched(planted, sections):
    with pytest.raises(ValueError, match=r"training\.search is decided by people who are watched: set training\.inne"):
        trained(planted, sections, validation=0, search={"lr": [1e-3, 1e-2], "weight_decay": []})


def test_a_missing_class_is_named_where_nobody_is_watched(planted, sections):
    with pytest.raises(ValueError, match=r"0 patients in the training fold: a graph network needs both classes"):
        trained(planted, sections, labels=np.zeros((80, 1), int), validation=0)


@pytest.mark.parametrize(("label", "people"), [(1, "patients"), (0, "controls")])
@pytest.mark.parametrize("left", [0, 1])
def test_a_missing_class_is_named(planted, sections, label, people, left):
    labels = np.full((80, 1), 1 - label)
    labels[:left] = label
    with pytest.raises(ValueError, match=rf"{left} {people} in the training fold: .* two or more of each class"):
        trained(planted, sections, labels=labels)


def test_features_that_are_no_matrix_are_refused(sections):
    with pytest.raises(ValueError, match=r"65 features are no upper triangle of a matrix"):
        train_networks(
            np.zeros((20, 65)), (np.arange(20) % 2)[:, None], np.arange(20), np.ones(1, int), sections("gcn")
        )


# devices


def test_a_gpu_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device=cuda, but torch sees no GPU\. Set training\.device=auto"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_an_unknown_device_is_refused_with_the_key():
    with pytest.raises(ValueError, match=r"training\.device=gpu.*(auto|cpu|cuda)"):
        choose_device("gpu")


def test_side_by_side_is_for_gpus_unless_asked_for():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [train_stacked("auto", cpu), train_stacked("auto", gpu)] == [False, True]
    assert [train_stacked(True, cpu), train_stacked(False, gpu)] == [True, False]
    assert memory_budget(0.5, cpu) == 5e8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", of_kind("graph"))
def test_cpu_and_gpu_train_the_same_networks(planted, sections, name):
    how = {"seeds": (1, 2), "epochs": 4, "precision": "float64"}
    gpu, cpu = (trained(planted, sections, name, device=device, **how) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(gpu.decide(planted[0]), cpu.decide(planted[0]), atol=1e-4)
