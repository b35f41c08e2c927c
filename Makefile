# Two commands do everything: `make run` and `make test`. Each sets up what it needs.
#   make run VENV=      use the environment that is active, as it is
#   make run VENV=DIR   the environment in DIR: as it is if make did not set it up, else kept up to date
#   make run PYTHON=python3.12
VENV ?= .venv
PYTHON ?= python3
ifneq ($(words $(VENV)),$(if $(VENV),1,0))
$(error VENV="$(VENV)" has a blank in it, and make cannot work with that: link to it, ln -s "$(VENV)" .venv, and leave VENV out)
endif
BIN := $(if $(VENV),$(VENV)/bin/,)
ON_PATH := $(if $(VENV),PATH="$$(cd $(BIN) && pwd):$$PATH",)
# .made tells for which folder make set an environment up; earlier ones have only .ready
OURS := $(shell test "$$(cat '$(VENV)/.made' 2>/dev/null)" = "$$(pwd -P)" || \
	{ test '$(VENV)' = .venv -a -e .venv/.ready -a ! -e .venv/.made -a ! -L .venv; } && echo yes)
FOUND := $(wildcard $(VENV)/bin/python)
READY := $(if $(VENV),$(if $(FOUND),$(if $(OURS),$(VENV)/.ready,as-it-is),$(VENV)/.ready),)
DOCS := $(if $(filter %.ready,$(READY)),$(VENV)/.docs,has-docs)
PORT ?= 5055
LOGIN ?=
WITH_LOGIN = MLFLOW_AUTH_CONFIG_PATH=results/mlflow-login.ini \
	MLFLOW_FLASK_SERVER_SECRET_KEY="$$($(BIN)python -c 'import secrets; print(secrets.token_hex())')"
ARGS ?=

.PHONY: help run test lint format docs ui bench gpu clean as-it-is has-docs

help:
	@echo "make run      the whole workflow on the simulated cohort (ARGS='--config dataset=...' for others)"
	@echo "make test     all tests"
	@echo "make lint     ruff, snakefmt, snakemake --lint, import-linter"
	@echo "make docs     the documentation as a site"
	@echo "make ui       MLflow on http://127.0.0.1:$(PORT) (LOGIN=name: with a password)"
	@echo "make bench    quick comparisons with other software"
	@echo "make gpu      what a GPU makes faster, in eight minutes; sets nothing up"
	@echo "make clean    remove the environment (results stay)"

ifneq ($(VENV),)
$(VENV)/.ready: pyproject.toml requirements.lock
	@echo "Setting up $(VENV): 2 to 4 minutes and about 2 GB, once."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -e $(VENV)/.made || test -e $(VENV)/.ready || test -z "$$(ls -A $(VENV) 2>/dev/null)" || \
		{ echo "$(VENV) is a folder with something in it, and no environment: name another, make VENV=DIR" >&2; exit 1; }
	@mkdir -p $(VENV) && pwd -P > $(VENV)/.made
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint,imaging,diffusion,login]' -c requirements.lock
	@touch $@

$(VENV)/.docs: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[docs]' -c requirements.lock
	@touch $@

as-it-is:
	@$(BIN)python -c 'import snakemake, hydra, mlflow, torch' 2>/dev/null || { echo "$(VENV) was not set up by make in this" \
		"folder, is not touched, and lacks what dysconnect needs. Install it (see Makefile), remove it, or name another:" \
		"make VENV=DIR" >&2; exit 1; }
	@echo "Using $(VENV) as it is: make did not set it up here."
endif

run: $(READY)
	@test -n "$$XDG_CACHE_HOME" -o -w "$$HOME" -o -w "$$HOME/.cache" || { echo "HOME=$$HOME cannot be written, and Snakemake" \
		"keeps a cache there. Set another folder: XDG_CACHE_HOME=/a/folder make run" >&2; exit 1; }
	$(BIN)snakemake $(ARGS)
	@echo
	@echo "Report:    $$(ls -t results/*/report/index.html | head -1)"
	@echo "MLflow UI: make ui"

test: $(READY)
	$(BIN)python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY)
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(ON_PATH) $(BIN)snakefmt --check Snakefile workflow/rules
	$(BIN)snakemake --lint
	$(BIN)lint-imports

format: $(READY)
	$(BIN)ruff check --fix-only .
	$(BIN)ruff format .
	$(ON_PATH) $(BIN)snakefmt Snakefile workflow/rules

has-docs:
	@$(BIN)python -c 'import myst_parser, numpydoc, pydata_sphinx_theme, sphinx' 2>/dev/null || { echo "The site needs more" \
		"packages: $(BIN)python -m pip install -e '.[docs]' -c requirements.lock" >&2; exit 1; }

docs: $(READY) $(DOCS)
	$(BIN)python -m sphinx -W --keep-going -q -j auto -b html -d docs/_build/doctrees -c docs . docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

ui: $(READY)
	@test -f results/mlflow.db || { echo "No runs yet in results/mlflow.db: \`make run\` makes some. Runs that went to a" \
		"server (MLFLOW_TRACKING_URI) are to be seen there." >&2; exit 1; }
	@$(BIN)python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		{ echo "Port $(PORT) is in use, maybe by another \`make ui\`: stop that, or make ui PORT=5056" >&2; exit 1; }
	@echo "MLflow in half a minute; the leaderboard (Ctrl-C stops it):"
	@PYTHONPATH=src $(BIN)python -c 'from dysconnect.tracking.ui import main; main($(PORT))'
ifeq ($(LOGIN),)
	@echo "Every process of this machine can read and change these runs and models; with a password: make ui LOGIN=name"
else
	@$(BIN)python -c 'import flask_wtf' 2>/dev/null || { echo "A login needs the package Flask-WTF: $(BIN)python -m pip" \
		"install -e '.[login]' -c requirements.lock" >&2; exit 1; }
	@PYTHONPATH=src $(BIN)python -m dysconnect.tracking.login "$(LOGIN)"
endif
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(if $(LOGIN),$(WITH_LOGIN)) $(BIN)mlflow server \
		$(if $(LOGIN),--app-name basic-auth) --workers 1 --host 127.0.0.1 --port $(PORT) \
		--backend-store-uri sqlite:///results/mlflow.db --artifacts-destination results/mlflow-artifacts

bench: $(READY)
	$(BIN)python benchmarks/quick.py

# on a bare GPU machine too: the environment if there is one, else the Python that is there
gpu:
	$(or $(FOUND),$(PYTHON)) benchmarks/gpu.py $(ARGS)

clean:
	@test ! -e .venv || test -L .venv || test -e .venv/.made || \
		{ echo ".venv was not set up by make: remove it yourself" >&2; exit 1; }
	rm -rf .venv
