# The two commands: `make refresh` and `make test`. Both set everything up; both are safe to call again.
PYTHON ?= python3
RECIPE ?= default
VENV := .venv
BIN := $(VENV)/bin
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup refresh land up small-model test test-all check lint types layers format clean bench-curation bench-trigger bench-privacy bench-pilots bench-training bench-methods bench-evaluate audit chaos

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

setup: $(VENV)/.installed  ## .venv from the lock files

$(VENV)/.installed: requirements.lock requirements-data.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "perennial needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

land: setup  ## land the sample workspace's text: the Python language, the libraries installed here, Wikipedia
	@perennial land python-reference --from python:topics
	@perennial land python-docs --from installed:pandas,scikit-learn
	@perennial land wikipedia --from wikipedia:gensim

refresh: setup land  ## the main job: one refresh of a real model on real text (RECIPE=tiny for a quick one)
	perennial refresh $(RECIPE)

up: setup  ## both servers, the schedules and the watcher, until Ctrl-C
	perennial up

small-model: setup  ## train the small base model that experiments use, at most 10 minutes, cached
	perennial small-model

test: setup  ## the tests, without the slow matrix
	$(PYTEST) -m "not slow"

test-all: setup  ## all tests: servers, browser, the slow matrix (Debian: apt-get install chromium postgresql)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-servers.lock -r requirements-slow.lock
	$(PYTEST)

check: setup lint types layers  ## ruff, mypy, import-linter and the fast tests, in CI's order
	$(PYTEST) -m "not slow and not pipeline"

chaos: setup  ## break a real service in 42 ways, and check that nothing was lost; an hour, resumable (docs/chaos.md)
	$(BIN)/python -m benchmarks.chaos

bench-trigger: setup  ## from the arrival of a file to the start of its refresh, in seconds
	$(BIN)/python benchmarks/trigger_latency.py

bench-curation: setup  ## the four rule sets and MinHash against datatrove and rensa, and what a long history costs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-servers.lock -r requirements-slow.lock
	$(BIN)/python -m benchmarks.curation

bench-privacy: setup  ## personal data, languages, mojibake: how much is found, how much of it rightly, how fast
	$(BIN)/python benchmarks/privacy.py

bench-pilots: setup  ## how well pilots predict a ratio: 3 kinds of text, 5 seeds; half an hour on a core, resumable
	$(BIN)/python -m benchmarks.pilots

bench-training: setup  ## a training step beside torch, transformers and trl, and what each method adds to it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-servers.lock -r requirements-slow.lock
	$(BIN)/python -m benchmarks.training

bench-evaluate: setup  ## how fast items are scored, beside lm-evaluation-harness: plain items, and choices that share a prompt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-servers.lock -r requirements-slow.lock
	$(BIN)/python -m benchmarks.evaluate

bench-methods: setup  ## what each training method learns and forgets: 3 kinds of text in turn, 3 seeds; hours on a core, resumable
	$(BIN)/python -m benchmarks.methods

audit: setup  ## known vulnerabilities, bandit, and the licences of everything that is installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-audit.lock
	$(BIN)/python benchmarks/audit.py

lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports --no-cache

format: setup  ## mend the formatting
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what refreshes made here: models, runs, data; keeps the landings
	rm -rf .perennial data/ingest data/split data/clean data/select data/plan data/mix data/train data/merge data/evaluate data/gate data/replay data/pilots data/state data/inputs.json data/recipe.json data/ledger.jsonl
