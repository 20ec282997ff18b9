# Two commands do all the set-up: `make search` and `make test`. `make docs` and `make lint` are for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# Whole files go to as many processes as there are processors, those with slow tests first. A process that dies
# ends the run: replaced by another, as is the default, xdist may wait for ever for the tests that it had.
SHARED_OUT := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: search test test-all stress lint docs examples clean

search: $(STAMP)
	$(BIN)/bitfront search $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(SHARED_OUT) -m "not thorough" $(ARGS)

# What a change must pass; `make test` without the long way round what it has shorter tests of.
test-all: $(STAMP)
	$(BIN)/python -m pytest $(SHARED_OUT) $(ARGS)

# Damaged files, kills and full disks, as often as ARGS says (`--help`); rewrites the table in docs/stress.md.
stress: $(STAMP)
	$(BIN)/python tests/stress/run.py --table docs/stress.md $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Warnings are errors: a link to a page that has moved, an option of a command that is gone.
docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx -W --keep-going -b html docs build/docs

# Copies in a folder of their own: neither the runs nor the output of the notebook belong in the checkout.
examples: $(DOCS_STAMP)
	rm -rf build/examples && mkdir -p build && cp -r examples build/examples
	cd build/examples && for script in *.py; do ../../$(BIN)/python $$script || exit 1; done
	cd build/examples && ../../$(BIN)/python -c 'from nbclient.cli import main; main()' --inplace front.ipynb

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache evaluators/quantized/kernels/__pycache__

# torch first and pinned: left to itself, pip may take a CUDA build of several gigabytes.
$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV), once: about 600 MB of packages, 2 GB on disk (some GB more where pip's index has only"
	@echo "CUDA builds of torch); 2 to 5 minutes on two cores, and as long as the downloads take"
	$(PYTHON) -m venv $(VENV)
	@echo "Step 1 of 2: torch, the largest part"
	$(PIP) $$(grep -E '^(torch|setuptools|wheel)==' constraints.txt)
	@echo "Step 2 of 2: bitfront, with the runtimes and what the tests need"
	$(PIP) --constraint constraints.txt --editable '.[dev,runtimes]'
	@touch $(STAMP)
	@echo "$(VENV) is ready: later calls start at once"

$(DOCS_STAMP): $(STAMP)
	@echo "Installing what the documentation needs: about a minute"
	$(PIP) --constraint constraints.txt --editable '.[docs]'
	touch $(DOCS_STAMP)
