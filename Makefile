# `make sweep` and `make test` set everything up on a fresh Linux machine with Python 3.11, 3.12 or 3.13.

PYTHON ?= python3
HOME_DIR ?= runs
NAME := demo-$(shell date +%Y%m%d-%H%M%S)
BIN := .venv/bin
WORKERS ?= 2
# Files of tests go to processes in their order: long ones first, short ones fill the end.
IN_PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
CORPUS := $(HOME_DIR)/corpora/synthetic
STORE := $(HOME_DIR)/stores/synthetic.arrow

.DEFAULT_GOAL := help
.PHONY: help setup sweep dashboard test test-faults test-browser check format

help:  ## Say what can be made.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/installed  ## Make .venv and install the project in it.

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=...")'
	@echo 'installing into .venv: about 6 GB, some minutes'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@# pip compiles on one core. Left to the first import, it is repeated by each process where PYTHONDONTWRITEBYTECODE is set.
	@# Some packages hold templates that do not compile: ignored.
	@echo 'compiling: about a minute'
	@$(BIN)/python -m compileall -q -j 0 .venv/lib jobs search sermodels tests > /dev/null || true
	touch $@

sweep: setup  ## Search on the built-in corpus, export the best configuration to best/.
	$(BIN)/python jobs/build_store.py --corpus synthetic --root $(CORPUS) --out $(STORE)
	$(BIN)/python jobs/sweep.py --store $(STORE) --preset demo --name $(NAME) --home $(HOME_DIR)
	$(BIN)/python jobs/export_best.py --sweep $(NAME) --home $(HOME_DIR) --out best --store $(STORE) --recordings $(CORPUS)

dashboard: setup  ## Open a sweep's study in optuna-dashboard: make dashboard SWEEP=first
	@test -f '$(HOME_DIR)/studies/$(SWEEP).journal' || { echo "error: SWEEP='$(SWEEP)': there are: $$(cd $(HOME_DIR)/studies && ls | sed 's/.journal$$//' | xargs)" >&2; exit 2; }
	$(BIN)/optuna-dashboard --storage-class JournalFileStorage $(HOME_DIR)/studies/$(SWEEP).journal

test: setup  ## Run the tests, in two processes (WORKERS=4 for more).
	$(BIN)/python -m pytest $(IN_PARALLEL)

# What holds a deadline of seconds has the machine to itself.
test-faults: setup  ## Kill processes, stop servers, fill disks (KILLS=10 for more).
	$(BIN)/python -m pytest -m 'faults and not deadline' $(IN_PARALLEL)
	$(BIN)/python -m pytest -m 'faults and deadline'

test-browser: setup  ## Look at MLflow's pages and the report in headless Chromium (Debian: apt-get install chromium).
	$(BIN)/python -m pytest -m browser

check: setup  ## Look at format, lint and types, changing nothing.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## Format, and mend what lint can mend.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
