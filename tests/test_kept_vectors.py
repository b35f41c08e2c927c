"""Tangent vectors take long, so that a model keeps those of its people: it says what it would say without."""

from dataclasses import replace

import numpy as np
import pytest

from dysconnect.learning import represented
from dysconnect.learning.estimators import build

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TRAIN, TEST = np.arange(20), np.arange(20, 30)


@pytest.fixture
def people(make_covariances):
    """Thirty people, two of whom lack a region; others in the same rows; the same with other labels."""
    cohort = make_covariances(30, shift=0.6)
    missing = cohort.missing.copy()
    missing[[1, 22], 3] = True
    cohort = replace(cohort, missing=missing)
    shuffled = replace(cohort, participants=cohort.participants.assign(label=cohort.labels[::-1]))
    return cohort, make_covariances(30, shift=0.6, seed=1), shuffled


def trained(cohort, spec):
    return build(spec["model"], spec["measure"], spec["graph"], spec["training"]).fit(cohort, TRAIN)


def answers(people, spec):
    """Probabilities and decisions, each asked for twice, of other rows, people and labels in between."""
    cohort, other, shuffled = people
    model, labels = trained(cohort, spec), np.stack([cohort.labels, shuffled.labels], axis=1)
    predicted = [model.predict(own, rows) for own in (cohort, other, cohort) for rows in (TEST, TRAIN, TEST[::-1])]
    decided = [model.decide_many(cohort, TRAIN, labels[TRAIN], TEST).T for _ in range(2)]
    return [*predicted, *decided, model.taught(shuffled, TRAIN).predict(shuffled, TEST)]


def test_they_are_those_of_the_people_asked_for(people, sections, monkeypatch):
    kept = answers(people, sections("logistic", "tangent"))
    monkeypatch.setattr(represented, "KEPT", 0)
    for one, again in zip(kept, answers(people, sections("logistic", "tangent")), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not np.array_equal(kept[0], kept[3])  # the others are others


@pytest.mark.parametrize(("name", "measure"), [("logistic", "tangent"), ("ridge", "correlation")])
def test_a_model_that_is_taught_other_labels_is_one_that_learned_them(people, make_cohort, sections, name, measure):
    spec, cohort, shuffled = sections(name, measure), people[0], people[2]
    if measure == "correlation":
        cohort = make_cohort(30, planted=range(3))
        shuffled = replace(cohort, participants=cohort.participants.assign(label=cohort.labels[::-1]))
    model = trained(cohort, spec)
    before = model.predict(cohort, TEST)
    taught = model.taught(shuffled, TRAIN)
    np.testing.assert_array_equal(taught.predict(cohort, TEST), trained(shuffled, spec).predict(cohort, TEST))
    np.testing.assert_array_equal(model.predict(cohort, TEST), before)
    assert not np.array_equal(before, taught.predict(cohort, TEST))


def test_no_more_are_kept_than_fit(people, sections, monkeypatch):
    monkeypatch.setattr(represented, "KEPT", 20 * people[0].values.shape[1] * 4)
    model = trained(people[0], sections("logistic", "tangent"))
    model.predict(people[0], TEST)
    assert [len(known) for *_, known, _ in model.represented_.kept_] == [20]
