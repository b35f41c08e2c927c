# Two commands do everything: `make run` and `make test`. Each sets up what it needs.
#   make run VENV=      use the environment that is active, as it is
#   make run PYTHON=python3.12
VENV ?= .venv
PYTHON ?= python3
BIN := $(if $(VENV),$(VENV)/bin/,)
ON_PATH := $(if $(VENV),PATH="$(abspath $(BIN)):$$PATH",)
READY := $(if $(VENV),$(VENV)/.ready,)
PORT ?= 5055
# MLflow opens in another mode unless told; 1 is the first experiment of a database
UI = http://127.0.0.1:$(PORT)/\#/experiments/1/runs?workflowType=machine_learning
ARGS ?=

.PHONY: help run test lint format ui bench clean

help:
	@echo "make run      the whole workflow on the simulated cohort (ARGS='--config dataset=...' for others)"
	@echo "make test     all tests"
	@echo "make lint     ruff, snakefmt, snakemake --lint, import-linter"
	@echo "make ui       MLflow on http://127.0.0.1:$(PORT)"
	@echo "make bench    quick comparisons with other software"
	@echo "make clean    remove the environment (results stay)"

ifneq ($(VENV),)
$(READY): pyproject.toml requirements.lock
	@echo "Setting up $(VENV): 2 to 4 minutes and about 2 GB, once."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint,imaging]' -c requirements.lock
	@touch $@
endif

run: $(READY)
	$(BIN)snakemake $(ARGS)
	@echo
	@echo "Report:    $$(ls -t results/*/report/index.html | head -1)"
	@echo "MLflow UI: make ui, then $(UI)"

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

ui: $(READY)
	@test -f results/mlflow.db || { echo "No runs yet in results/mlflow.db: \`make run\` makes some. Runs that went to a" \
		"server (MLFLOW_TRACKING_URI) are to be seen there." >&2; exit 1; }
	@$(BIN)python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		{ echo "Port $(PORT) is in use, maybe by another \`make ui\`: stop that, or make ui PORT=5056" >&2; exit 1; }
	@$(BIN)python -c 'from dysconnect.address import LOCAL, settle; settle(LOCAL)'
	@echo "MLflow in half a minute on $(UI)  (Ctrl-C stops it)"
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true $(BIN)mlflow server --workers 1 \
		--host 127.0.0.1 --port $(PORT) --backend-store-uri sqlite:///results/mlflow.db \
		--artifacts-destination results/mlflow-artifacts

bench: $(READY)
	$(BIN)python benchmarks/quick.py

clean:
	rm -rf .venv
