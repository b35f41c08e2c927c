"""What people type is taken as typed, or refused with the key and the form that works; nothing is cut in silence."""

import copy
import json
import os
import random
from functools import cache

import hydra
import pytest

from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import ConfigError, rules_of, settle, takes_names, wants_text, wants_texts
from dysconnect.plan.overrides import as_typed, mapping_of, read_overrides, refuse_repeated, text_of, texts_of

FLOOR = {"experiment": "floor"}


@pytest.fixture(scope="module")
def schema(repository):
    """Path of the schema."""
    return repository / "workflow/schemas/config.schema.json"


@pytest.fixture(scope="module")
def rules(schema):
    """The schema."""
    return json.loads(schema.read_text())


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """Let Hydra compose the same choices once."""
    composed, own = cache(lambda choices: hydra_compose("config", list(choices))), pytest.MonkeyPatch()
    hydra_compose = hydra.compose
    own.setattr("dysconnect.plan.compose.hydra.compose", lambda _, choices: copy.deepcopy(composed(tuple(choices))))
    yield
    own.undo()


@pytest.fixture(scope="module")
def cohort(repository, schema):
    """Compose what the words behind ``--config`` say, read as Snakemake reads them, and return the cohort's part."""

    def compose(*words, file=None):
        typed = as_typed({**(file or {}), **{word.split("=")[0]: None for word in words}}, words)
        return compose_workflow(repository / "configs", schema, {**FLOOR, **typed})[0]

    return compose


@pytest.fixture(scope="module")
def local(cohort):
    """The same for overrides of one's own data."""
    return lambda text: cohort("dataset=local", f"overrides={text}")


def value_of(config, key):
    """Value of a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


# what a text is cut into


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("dataset.title=Pilot: dystonia splits.repeats=5", ["dataset.title=Pilot: dystonia", "splits.repeats=5"]),
        ("splits.seed=1 dataset.title=Cohort #2 splits.repeats=5",
         ["splits.seed=1", "dataset.title=Cohort #2", "splits.repeats=5"]),
        ("dataset.root=/home/me/My Documents/a\n  splits.seed=2", ["dataset.root=/home/me/My Documents/a",
        "splits.seed=2"]),
        ("'dataset.title=Our own a=b' splits.seed=2", ["dataset.title=Our own a=b", "splits.seed=2"]),
        ("dataset.title='Our own a=b' splits.seed=2", ["dataset.title='Our own a=b'", "splits.seed=2"]),
        ("dataset.title=Parkinson's and O'Brien's splits.seed=2", ["dataset.title=Parkinson's and O'Brien's",
        "splits.seed=2"]),
        ("dataset.contrast.cases=[a, 'b c', \"d, e\"]", ["dataset.contrast.cases=[a, 'b c', \"d, e\"]"]),
        ("+atlas.image=/a b.nii", ["+atlas.image=/a b.nii"]),
        ("", []), (" \t\n", []), (None, []), ((), []),
        (["dataset.title=a b=c"], ["dataset.title=a b=c"]),
    ],
)  # fmt: skip
def test_a_text_is_cut_where_a_key_begins(text, pairs):
    assert [str(own) for own in read_overrides(text)] == pairs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("splits.repeats", "splits.repeats.*not of the form key=value"),
        ("splits.repeats =5", "form key=value"),
        ("splits.repeats= 5", "Write splits.repeats=5"),
        ("dataset.title='open splits.repeats=5", "not closed"),
        ("=5", "form key=value"),
        ("5", "form key=value"),
        ({"splits": {"repeats": 5}}, "neither a text nor a list of texts"),
        ([{"splits.repeats": 5}], "neither a text nor a list of texts"),
        ([5], "neither a text nor a list of texts"),
        (True, "True is neither"),
        (["splits.repeats"], "form key=value"),
        ('dataset.title="a\nb"', "line break"),
    ],
)
def test_what_is_no_key_and_value_is_refused_with_the_form(given, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        read_overrides(given)


@pytest.mark.parametrize(
    ("value", "text"),
    [("/a b", "/a b"), ("'/a b'", "/a b"), ('"say \\"so\\""', 'say "so"'), ("null", None), ("'null'", "null"),
     (r"/a\ b\(1\)", "/a b(1)"), ("Parkinson's", "Parkinson's"), ("", "")],
)  # fmt: skip
def test_a_text_needs_no_quotes_and_may_have_them(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "texts"),
    [("[1]", ["1"]), ("['1', \"0\"]", ["1", "0"]), ("[01,1.0,1e3,yes,nan]", ["01", "1.0", "1e3", "yes", "nan"]),
     ("[Major Depressive Disorder, 'Smith, J']", ["Major Depressive Disorder", "Smith, J"]), ("[]", []),
     ("[it's, o'clock]", ["it's", "o'clock"]), ("a", None), ("[a,]", None), ("null", None)],
)  # fmt: skip
def test_lists_of_texts_are_read_as_typed(value, texts):
    assert texts_of(value) == texts


def test_mappings_of_texts_are_read_as_typed():
    assert mapping_of("{1: patient, '2': healthy control, a: http://x}") == {
        "1": "patient", "2": "healthy control", "a": "http://x",
    }  # fmt: skip
    assert mapping_of("{}") == {} and mapping_of("{a}") is None and mapping_of("a: b") is None


# the command line of Snakemake


@pytest.mark.parametrize(
    "words",
    ["--config dataset=abide --config overrides=splits.repeats=5", "-n -C dataset=abide -C overrides=a.b=5",
     "--config=dataset=abide --cores 1 -nC overrides=a.b=1", "-pnCdataset=abide --config a=b"],
)  # fmt: skip
def test_several_config_options_are_refused(words):
    with pytest.raises(ConfigError, match=r"2 times.*all but the last"):
        refuse_repeated(words.split())


def test_one_config_option_and_config_files_are_no_repetition():
    refuse_repeated(
        [
            "-n",
            "--configfile",
            "a.yaml",
            "--configfiles",
            "b.yaml",
            "--config",
            "a=b",
            "c=d",
            "--cores",
            "1",
            "-c1",
            "--conda-frontend",
            "x",
        ]
    )


def test_a_key_given_twice_is_refused():
    with pytest.raises(ConfigError, match="overrides twice"):
        as_typed({}, ["overrides=splits.repeats=5", "overrides=splits.folds=3"])
    assert as_typed({"a": 1, "b": {"cut": "by YAML"}}, ["b=cut: by YAML"]) == {"a": 1, "b": "cut: by YAML"}


# what reaches the configuration


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        *((f"dataset.root={path}", "dataset.root", path) for path in (
            "/data/My Study", "/data/Müller", "/data/study (1)", "/data/a=b", "/data/a,b", "/data/[old] x", "a:b",
            "/d/#1",
            "/data/50%", "/data/a&b;c|d", "/data/$HOME", "D:\\scans", "/data/O'Brien", "2024", "/data/x@y", "null/x",
            "~x",
        )),
        ("dataset.title=Dystonia, mild: 50% (n=3) [pilot]", "dataset.title", "Dystonia, mild: 50% (n=3) [pilot]"),
        ("dataset.name=2024", "dataset.name", "2024"),
        ("dataset.contrast.cases=[1]", "dataset.contrast.cases", ["1"]),
        ("dataset.contrast.cases=['1', 2]", "dataset.contrast.cases", ["1", "2"]),
        ("dataset.contrast.cases=[01,007]", "dataset.contrast.cases", ["01", "007"]),
        ("dataset.contrast.cases=[Major Depressive Disorder]", "dataset.contrast.cases", ["Major Depressive Disorder"]),
        ("dataset.contrast.cases=[true, null]", "dataset.contrast.cases", ["true", None]),
        ("dataset.contrast={cases: [1], controls: [0]}", "dataset.contrast", {"cases": ["1"], "controls": ["0"]}),
        ("dataset.participants=[sub-01, sub-02]", "dataset.participants", ["sub-01", "sub-02"]),
        ("dataset.people=~x/My people (1).tsv", "dataset.people", "~x/My people (1).tsv"),
        ("dataset.columns.age=Age at scan", "dataset.columns.age", "Age at scan"),
        ("dataset.groups={1: patient, Never Ill: control}", "dataset.groups", {"1": "patient", "Never Ill": "control"}),
        ("dataset.session='ses-01'", "dataset.session", "ses-01"),
        ("dataset.run='2'", "dataset.run", 2),
        ("dataset.covariates=[]", "dataset.covariates", []),
        ("localize.groups=true", "localize.groups", True),
        ("localize.groups=[1, 2]", "localize.groups", ["1", "2"]),
        ("validate.effects=[0.5, 1]", "validate.effects", [0.5, 1]),
        ("++splits.seed=3", "splits.seed", 3),
    ],
)  # fmt: skip
def test_values_are_taken_as_typed(local, override, key, value):
    if value == ["true", None]:
        with pytest.raises(ConfigError, match=r"dataset\.contrast\.cases\.1: None"):
            local(override)
    else:
        cohort = local(f"{override} splits.repeats=7")
        assert value_of(cohort, key) == value and cohort["splits"]["repeats"] == 7


def test_the_home_folder_is_meant_by_a_tilde(local, monkeypatch):
    monkeypatch.setenv("HOME", "/home/my self")
    monkeypatch.setenv("STUDY", "/data/x")
    cohort = local("dataset.root=~/a b acquire.folder=~ atlas.nodes=~/n.tsv dataset.title=~x")
    assert cohort["dataset"]["root"] == "/home/my self/a b" and cohort["acquire"]["folder"] == "/home/my self"
    assert cohort["atlas"]["nodes"] == "/home/my self/n.tsv" and cohort["dataset"]["title"] == "~x"
    assert local("dataset.root=${oc.env:STUDY}/y")["dataset"]["root"] == "/data/x/y"


def test_numbers_of_a_file_are_text_where_text_is_wanted(rules):
    own = {"dataset": {"contrast": {"cases": [1], "controls": ["b", 0]}, "limit": 4, "groups": {1: 2}, "name": 5}}
    assert settle(own, rules) == {
        "dataset": {"contrast": {"cases": ["1"], "controls": ["b", "0"]}, "limit": 4, "groups": {"1": "2"}, "name": "5"}
    }
    assert wants_text(rules_of(rules, "dataset.root")) and not wants_text(rules_of(rules, "denoise.n_compcor"))
    assert wants_texts(rules_of(rules, "dataset.covariates")) and not wants_texts(rules_of(rules, "validate.patterns"))
    assert not rules_of(rules, "dataset.nothing.here")


def test_keys_of_a_free_mapping_may_be_added(cohort, rules):
    assert takes_names(rules, "dataset.repetition_time.NYU") and not takes_names(rules, "splits.fold")
    own = cohort("dataset=abide", "overrides=dataset.repetition_time.NYU=2.5 dataset.repetition_time.MARS=1")
    assert own["dataset"]["repetition_time"]["MARS"] == 1 and own["dataset"]["repetition_time"]["NYU"] == 2.5
    own = cohort("dataset=ds006395", "overrides=dataset.exclude.sub-9=moved, much dataset.columns={age: Age years}")
    assert own["dataset"]["exclude"]["sub-9"] == "moved, much" and own["dataset"]["columns"]["age"] == "Age years"


def test_values_of_a_config_file_work_or_are_told(cohort):
    own = cohort(
        file={"dataset": "local", "experiment": ["floor"], "overrides": ["dataset.title=a: #b", "splits.seed=3"]}
    )
    assert own["dataset"]["title"] == "a: #b" and own["splits"]["seed"] == 3
    for file, message in (
        ({"validate": False}, 'validate: False is no name of a file. In a config file write validate: "NAME"'),
        ({"dataset": ["local"]}, "dataset: .* is no name"),
        ({"dataset": 5}, r"dataset=5: there is no configs/dataset/5\.yaml"),
        ({"dataset": None}, "dataset: None is no name"),
        ({"dataset": "${oc.env:X}"}, "dataset=.*there is no configs/dataset"),
        ({"experiment": 5}, "experiment=5: there is no"),
        ({"experiment": {"a": 1}}, "experiment: .* is no list of names"),
        ({"experiment": [1]}, "experiment: .* is no list of names"),
        ({"overrides": {"splits.repeats": 5}}, "splits.repeats=5"),
    ):
        with pytest.raises(ConfigError, match=message):
            cohort(file=file)


def test_own_regions_have_a_title_of_their_own(local):
    own = local("atlas.nodes=/data/my nodes.tsv atlas.name=mine")["atlas"]
    assert own["title"] == "own regions, my nodes.tsv" and "Seitzman" not in json.dumps(own)
    told = local("atlas.nodes=n.tsv atlas.title=AAL atlas.citation=X 2002, doi:10.1/a")["atlas"]
    assert told["title"] == "AAL" and told["citation"] == "X 2002, doi:10.1/a"
    assert "Seitzman" in local("atlas.nodes=seitzman300")["atlas"]["title"]


# what is refused, with the key


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("localize.alpha=nan", r"localize\.alpha: nan is no number"),
        ("denoise.max_mean_fd=nan", r"denoise\.max_mean_fd: nan"),
        ("denoise.max_mean_fd=inf", r"denoise\.max_mean_fd: inf"),
        ("quality.min_tsnr=-inf", r"quality\.min_tsnr: -inf"),
        ("training.lr=1e400", r"training\.lr: inf"),
        ("validate.effects=[0.5,NaN]", r"validate\.effects\.1: nan"),
        ("training.search.lr=[.nan]", r"training\.search\.lr"),
        ("splits.folds=5.0", r"splits\.folds: 5\.0 is not of type 'integer'\. Write 5"),
        ("splits.seed=1e3", r"splits\.seed: 1000\.0 .*Write 1000"),
        ("splits.seed=99999999999999999999", r"splits\.seed: 9+ is greater"),
        ("splits.folds=true", r"splits\.folds: True is not of type 'integer'"),
        ("dataset.covariates=[group]", r"dataset\.covariates: group tells the group"),
        ("dataset.covariates=[age,Group]", r"dataset\.covariates: Group"),
        ("localize.nuisance=[included]", r"localize\.nuisance: included"),
        ("localize.nuisance=[age,log_label]", r"localize\.nuisance: log_label"),
        ("stimulate.covariates=[participant_id]", r"stimulate\.covariates: participant_id"),
        ("dataset.covariates=[age,age]", r"dataset\.covariates: 'age' is there twice"),
        ("dataset.covariates=[age,mean_fd,log_mean_fd]", "put it into localize.nuisance"),
        ("dataset.covariates=['']", r"dataset\.covariates: '' is no name"),
        ("dataset.covariates=age", r"dataset\.covariates: 'age' is not of type 'array'\. A list has brackets: \[age\]"),
        ("dataset.contrast.cases=[control]", r"dataset\.contrast: 'control' and 'control' are one group"),
        ("dataset.contrast.cases=[patient, Control]", r"'Control' and 'control' are one group"),
        ("dataset.contrast.cases=[' ']", r"dataset\.contrast\.cases: a group has no name"),
        ("dataset.contrast.controls=1", r"dataset\.contrast\.controls: 1 .*brackets: \[1\]"),
        ("dataset.contrast.controls=[]", r"dataset\.contrast\.controls: \[\]"),
        *((f"dataset.name={name}", f"dataset.name: results/{name} is a folder") for name in
          ("logs", "Logs", "benchmarks", "atlas", "data", "scratch")),
        *((f"dataset.name={name}", r"dataset\.name: .*letters, digits and _") for name in
          ("a/b", "..", ".", "a b", "a-b", "é", "a.b", "~", "$x", "a\\b")),
        ("dataset.name=", r"dataset\.name: ''"),
        ("dataset.name=null", r"dataset\.name: None"),
        (f"dataset.name={'x' * 300}", r"dataset\.name: .*too long"),
        ("dataset.root=", r"dataset\.root: ''"),
        ("dataset.root=/data/{x}", r"dataset\.root: .*no braces"),
        ("stimulate.experiment=corelation_ridge", r"stimulate\.experiment: .*did you mean correlation_ridge"),
        ("stimulate.experiment=tangent_ridge", r"stimulate\.experiment: .*experiment=floor,tangent_ridge"),
        ("localize.attribution=gcnn", r"localize\.attribution: .*did you mean gcn"),
        ("evaluate.floor=flor", r"experiment=flor: .*did you mean floor"),
        ("evaluate.floor=tangent_ridge", r"evaluate\.floor: tangent_ridge sees more"),
        ("experiment=gcn", "--config experiment=NAME"),
        ("~dataset.run=1", r"~dataset\.run"),
        ("+denoise=gsr", "write denoise=gsr"),
        ("denoise=", r"denoise=: there is no configs/denoise/NAME\.yaml"),
        ("denoise=[gsr,none]", "denoise="),
        ("denoise=../denoise/gsr", "denoise="),
        ("splits.repeats=1,2", r"splits\.repeats=1,2 is several values"),
        ("splits.repeats=range(1,3)", r"splits\.repeats=range"),
        ("splits.repeats=[", r"splits\.repeats=\[ cannot be read"),
        ("splits.repeats=${nothing.here}", "nothing.here"),
        ("dataset.title=${dataset.title}", "title"),
        ("splits.repeats=${oc.env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
        ("splits={fold: 3}", r"splits\.fold"),
        ("splits=5", r"splits: 5"),
        ("splits.folds.x=5", r"splits\.folds\.x"),
        ("dataset.title=Pilot splits.repeats 5", r"splits\.repeats in .*Write splits\.repeats=VALUE"),
        ("dataset.task=rest, splits.repeats=5", r"dataset\.task=rest, ends with a comma"),
        ("dataset.root=/data/a b=c", r"unknown key b"),
        ("hydra.run.dir=x", r"hydra\.run\.dir"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_key(local, override, message):
    with pytest.raises(ConfigError, match=message):
        local(override)


def test_a_password_is_not_repeated_in_the_message(local):
    for text in ("tracking.uri=http://me:secret@server, splits.seed=1", "tracking.uri 'http://me:secret@server"):
        with pytest.raises(ConfigError) as error:
            local(text)
        assert "secret" not in str(error.value) and "server" in str(error.value)


def test_a_long_value_is_not_copied_into_the_message(local):
    with pytest.raises(ConfigError) as error:
        local(f"dataset.session={'x' * 10_000}")
    assert len(str(error.value)) < 500


NASTY = [
    "", " ", "=", "'", '"', "[", "]", "{", "}", "(", ")", ",", ":", "#", "~", "+", "$", "${", "${x}", "\\", "/",
    "null", "nan", "-1",
    "1e999", "é", "\x00", "🧠", "[a,[b]]", "{a:{b:1}}", "{1:2}", "a=b", "true", "0x10", "1_000", "*", "!x", "|", "@x",
    "%", "&a", "[]", "{}",
    "${oc.env:HOME}", "${hydra:x}", "choice(a,b)", "glob(*)", "json_str({})", "extend_list(a)", "a b", "..", "- a",
    "'a", 'a"b',
]  # fmt: skip
KEYS = [
    "dataset.root", "dataset.name", "dataset.contrast.cases", "dataset.contrast", "splits.folds", "training.lr",
    "localize.groups",
    "dataset", "denoise", "atlas.nodes", "+x", "++splits", "~splits", "localize.alpha", "validate.effects",
    "dataset.plant", "a", "",
]  # fmt: skip


def test_no_exception_but_ours_for_a_hundred_nasty_command_lines(local):
    draw, refused = random.Random(0), 0
    for _ in range(100):
        text = " ".join(f"{draw.choice(KEYS)}={draw.choice(NASTY)}" for _ in range(draw.choice([1, 1, 2])))
        try:
            local(text)
        except ConfigError as error:
            refused += 1
            assert str(error) and "Traceback" not in str(error) and len(str(error)) < 1500
    assert refused > 50


def test_the_front_writes_nothing(tmp_path, monkeypatch, local):
    monkeypatch.chdir(tmp_path)
    local("splits.repeats=3")
    assert not os.listdir(tmp_path)
