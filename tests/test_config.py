"""The configuration composes, and whatever is wrong with it stops before any job and is named."""

import copy
import shutil

import pytest
from omegaconf import OmegaConf

from dysconnect.keeping.settings import config_hash
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import ConfigError, leaf_keys, nearest, validate

SCHEMA = "workflow/schemas/config.schema.json"


@pytest.fixture(scope="module")
def schema(repository):
    """Path of the schema."""
    return repository / SCHEMA


@pytest.fixture
def compose(repository, schema):
    """Compose the real configuration with what the command line gives."""

    def run(config_dir=repository / "configs", **command_line):
        return compose_workflow(config_dir, schema, command_line)

    return run


@pytest.fixture(scope="module")
def default(repository, schema):
    """The default, composed once (read only)."""
    return compose_workflow(repository / "configs", schema, {})


@pytest.fixture
def copied(repository, tmp_path):
    """A copy of the configuration in which one text of one file is replaced."""

    def change(file, old, new):
        shutil.copytree(repository / "configs", tmp_path / "configs")
        path = tmp_path / "configs" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        return tmp_path / "configs"

    return change


def options(repository, group):
    """Names of the files of a group."""
    return sorted(path.stem for path in (repository / "configs" / group).glob("*.yaml"))


# what composes


def test_the_default_composes(default, schema):
    cohort, experiments = default
    validate(cohort, schema)
    assert cohort["dataset"]["name"] == "simulated"
    assert cohort["atlas"]["name"] == "seitzman300"
    assert list(experiments) == ["floor", "correlation_ridge", "tangent_logistic", "wide", "gcn"]
    assert experiments["tangent_logistic"]["connectivity"]["measure"] == "tangent"
    assert experiments["tangent_logistic"]["model"]["name"] == "logistic"
    assert all(own["dataset"] == cohort["dataset"] for own in experiments.values())
    assert all(own["splits"] == cohort["splits"] for own in experiments.values())


GROUPS = ("dataset", "atlas", "denoise", "connectivity", "graph", "training", "localize", "stimulate", "validate")


@pytest.mark.parametrize("group", GROUPS)
def test_every_file_of_a_group_composes(repository, compose, group):
    for name in options(repository, group):
        cohort, _ = compose(**{group: name, "experiment": "floor"})
        assert cohort[group]
        if group in ("dataset", "atlas", "denoise"):
            assert cohort[group]["name"] == name


def test_every_experiment_and_every_model_composes(repository, compose):
    names = set(options(repository, "experiment")) - {"floor_regional"}  # of measures that say something of regions
    _, experiments = compose(experiment=",".join(sorted(names)))
    assert set(experiments) == names - {"validate_localization"}
    assert {own["model"]["name"] for own in experiments.values()} == set(options(repository, "model"))


def test_the_defaults_are_experiments_that_exist(repository, default):
    cohort, _ = default
    known = set(options(repository, "experiment"))
    assert {*cohort["experiments"], cohort["evaluate"]["floor"], cohort["localize"]["attribution"]} <= known
    assert cohort["stimulate"]["experiment"] == cohort["localize"]["attribution"]


def test_the_validation_is_chosen_like_an_experiment_and_trains_nothing(compose, default):
    assert default[0]["validate"]["cohorts"] == {"null": 0, "planted": 0}
    cohort, experiments = compose(experiment="validate_localization,correlation_ridge")
    assert list(experiments) == ["floor", "correlation_ridge"]
    assert cohort["validate"]["cohorts"]["null"] > 0
    full, _ = compose(experiment="validate_localization", overrides="validate=full validate.seed=3")
    assert full["validate"]["cohorts"]["planted"] >= 100 and full["validate"]["seed"] == 3


@pytest.mark.parametrize("chosen", ["gcn", "gcn,floor", "correlation_ridge,gcn"])
def test_the_floor_is_always_there_and_first(compose, chosen):
    _, experiments = compose(experiment=chosen)
    assert list(experiments) == ["floor", *[name for name in chosen.split(",") if name != "floor"]]
    assert experiments["floor"]["model"]["name"] == "floor"


def test_another_floor_is_taken_along(compose):
    _, experiments = compose(experiment="gcn", overrides="evaluate.floor=floor_motion")
    assert list(experiments) == ["floor_motion", "gcn"]


# overrides


def test_an_override_reaches_those_that_have_its_key(compose, default):
    plain, changed = default[1], compose(overrides="model.hidden=64")[1]
    assert changed["gcn"]["model"]["hidden"] == 64
    assert plain["gcn"]["model"]["hidden"] != 64
    for name in ("floor", "correlation_ridge", "tangent_logistic"):
        assert changed[name] == plain[name]


@pytest.mark.parametrize("overrides", ["splits.folds=3 training.lr=1e-4", ["splits.folds=3", "training.lr=1e-4"]])
def test_overrides_are_a_text_or_a_list(compose, overrides):
    cohort, experiments = compose(overrides=overrides, experiment="gcn")
    for own in (cohort, *experiments.values()):
        assert own["splits"]["folds"] == 3
        assert own["training"]["lr"] == pytest.approx(1e-4)


def test_quoted_overrides_may_hold_spaces(compose):
    cohort, _ = compose(overrides="'dataset.title=Our own title' splits.seed=4", experiment="floor")
    assert cohort["dataset"]["title"] == "Our own title"
    assert cohort["splits"]["seed"] == 4


@pytest.mark.parametrize("how", [{"atlas": "ho110"}, {"overrides": "atlas=ho110"}])
def test_the_atlas_of_the_command_line_beats_that_of_the_dataset(compose, how):
    cohort, experiments = compose(dataset="abide", experiment="gcn", **how)
    assert compose(dataset="abide", experiment="floor")[0]["atlas"]["name"] == "cc200"
    assert {own["atlas"]["name"] for own in (cohort, *experiments.values())} == {"ho110"}
    assert cohort["denoise"]["name"] == "none"  # the dataset's other choice stays


def test_a_dataset_may_build_on_another(compose, default):
    null, plain = compose(dataset="simulated_null", experiment="floor")[0], default[0]
    assert null["dataset"]["plant"]["effect"] == 0
    assert null["dataset"]["patients"] == plain["dataset"]["patients"]


@pytest.mark.parametrize("how", [{"overrides": "model=gcn"}, {"connectivity": "tangent"}])
def test_a_choice_for_all_makes_no_experiment_lie_about_its_name(compose, default, how):
    names = "floor,correlation_ridge"
    try:
        _, experiments = compose(experiment=names, **how)
    except ConfigError:
        return  # to refuse is as good
    for name in names.split(","):
        assert experiments[name]["model"] == default[1][name]["model"]
        assert experiments[name]["connectivity"] == default[1][name]["connectivity"]


def test_a_network_in_the_tangent_space_is_refused_before_any_job(compose):
    with pytest.raises(ConfigError, match="connectivity"):
        compose(experiment="gcn", connectivity="tangent")


# what is refused


@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        ({"datset": "abide"}, r"--config datset: unknown key \(did you mean dataset\?\)"),
        ({"overrides": "model.hiden=64"}, r"overrides: unknown key model\.hiden \(did you mean model\.hidden\?\)"),
        ({"overrides": "modle=gcn"}, r"overrides: unknown key modle \(did you mean model\?\)"),
        ({"overrides": "+trainign=5"}, r"unknown key trainign \(did you mean training\?\)"),
        ({"overrides": "+training.epoch=5"}, r"unknown key training\.epoch \(did you mean epochs\?\)"),
        ({"dataset": "abdie"}, r"dataset/abdie"),
        ({"experiment": "nonsense"}, r"experiment/nonsense"),
        ({"overrides": "model=transformer"}, r"model/transformer"),
    ],
)
def test_a_typo_on_the_command_line_is_named_with_the_nearest(compose, command_line, message):
    with pytest.raises(ConfigError, match=message):
        compose(**{"experiment": "gcn", **command_line})


@pytest.mark.parametrize(
    ("experiment", "overrides", "message"),
    [
        ("correlation_ridge", "model.soften=[0.5]", r"ridge: model\.soften=\[0\.5\] is for the tangent space"),
        ("gcn", "model.start=ridge training.inner_folds=0", r"gcn: model\.start=ridge .* Set training\.inner_folds"),
    ],
)
def test_what_a_job_would_refuse_is_refused_before_any_job(compose, experiment, overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose(experiment=experiment, overrides=overrides)


@pytest.mark.parametrize(("overrides", "wrong"), [("model.hidden", r"model\.hidden"), ("model.hidden= 64", "64")])
def test_an_override_without_equals_sign_is_quoted(compose, overrides, wrong):
    with pytest.raises(ConfigError, match=wrong):
        compose(overrides=overrides, experiment="gcn")


def test_options_that_exist_are_listed(compose):
    with pytest.raises(ConfigError) as error:
        compose(dataset="abdie", experiment="floor")
    assert all(name in str(error.value) for name in ("abide", "simulated", "simulated_null"))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config.yaml", "  folds: 5", "  fold: 5", r"unknown key splits\.fold \(did you mean folds\?\)"),
        ("config.yaml", "  folds: 5", "", r"missing key splits\.folds"),
        ("config.yaml", "report:", "raport:", r"unknown key raport \(did you mean report\?\)"),
        ("training/default.yaml", "\nepochs:", "\nepoch:", r"unknown key training\.epoch \(did you mean epochs\?\)"),
        ("denoise/standard.yaml", "high_pass:", "highpass:", r"denoise\.highpass \(did you mean high_pass\?\)"),
        ("dataset/simulated.yaml", "  patients:", "  pateints:", r"dataset\.pateints \(did you mean patients\?\)"),
        ("dataset/simulated.yaml", "    effect:", "    efect:", r"dataset\.plant\.efect \(did you mean effect\?\)"),
        ("model/gcn.yaml", "hidden:", "hiden:", r"experiment gcn: .*model\.hiden \(did you mean hidden\?\)"),
        (
            "experiment/floor_motion.yaml",
            "covariates:",
            "covariate:",
            r"floor_motion: .*model\.covariate \(did you mean",
        ),
    ],
)
def test_a_typo_in_a_file_is_named_with_the_nearest(compose, copied, file, old, new, message):
    with pytest.raises(ConfigError, match=message):
        compose(copied(file, old, new), experiment="floor_motion,gcn")


def test_both_sides_of_a_typo_are_named(compose, copied):
    """A misspelt key is unknown, and the one that was meant is missing."""
    with pytest.raises(ConfigError, match=r"(?s)(unknown.*missing|missing.*unknown)"):
        compose(copied("config.yaml", "  folds: 5", "  fold: 5"), experiment="floor")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("splits.folds=five", r"splits\.folds: 'five' is not of type 'integer'"),
        ("splits.folds=1", r"splits\.folds: 1 is less than the minimum of 2"),
        ("training.lr=0", r"training\.lr: 0 is less than or equal to the minimum"),
        ("training.device=gpu", r"training\.device: 'gpu' does not match"),
        ("graph.density=1.5", r"graph\.density: 1\.5 is greater than the maximum of 1"),
        ("denoise.motion=half", r"denoise\.motion: 'half' is not one of"),
        ("validate.patterns=[circle]", r"validate\.patterns\.0: 'circle' is not one of"),
        ("validate.effects=[0.5,0]", r"validate\.effects\.1: 0 is less than or equal to the minimum"),
        ("dataset.plant.direction=sideways", r"dataset\.plant\.direction: 'sideways' is not one of"),
        ("dataset.plant.carriers=2", r"dataset\.plant\.carriers: 2 is greater than the maximum"),
        ("dataset.contrast.cases=DYT", r"dataset\.contrast\.cases: 'DYT' is not of type 'array'"),
        ("evaluate.level=95", r"evaluate\.level: 95 is greater than or equal to the maximum"),
        ("localize.measure=tangent", r"localize\.measure: 'tangent' is not one of"),
        ("dataset.kind=real", r"dataset\.kind: 'real' is not one of"),
        ("model.dropout=1", r"model\.dropout: 1 is greater than or equal to the maximum"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(default, schema, override, message):
    config = OmegaConf.create(copy.deepcopy(default[1]["gcn"]))
    config.merge_with_dotlist([override])
    with pytest.raises(ConfigError, match=rf"^somewhere: {message}"):
        validate(OmegaConf.to_container(config), schema, "somewhere")


def test_a_wrong_value_on_the_command_line_names_its_experiment(compose):
    with pytest.raises(ConfigError, match=r"configuration: splits\.folds: 1 is less than the minimum of 2"):
        compose(overrides="splits.folds=1", experiment="gcn")
    with pytest.raises(ConfigError, match=r"experiment gcn: model\.hidden: 'wide' is not of type 'integer'"):
        compose(overrides="model.hidden=wide", experiment="gcn")


# helpers


def test_leaf_keys_are_dotted_and_hold_the_sections():
    assert leaf_keys({"a": 1, "b": {"c": {"d": 2}}}) == ["a", "b", "b.c", "b.c.d"]


def test_nearest_suggests_or_lists():
    assert nearest("epoch", ["lr", "epochs"]) == " (did you mean epochs?)"
    assert nearest("zzz", ["lr", "epochs"]) == " (known: lr, epochs)"


def test_hash_ignores_the_order_of_keys_and_sees_every_value():
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
