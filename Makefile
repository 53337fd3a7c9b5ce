# make demo   the whole path: install, parts, data, training, evaluation, report      make test   everything that is checked
# make bench  speed and memory beside peers, an hour or two; writes benchmarks/results/ and docs/performance.svg
# PYTHON=python3.12 make demo  takes another Python (3.11 or newer)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test bench

demo: $(VENV)/installed
	$(BIN)/isthmus demo

# The models in the tests are tiny: two processes of one thread take half of the time of one process of two.
test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal

bench: $(VENV)/installed-bench
	for file in benchmarks/[!_]*.py benchmarks/_plot.py; do $(BIN)/python $$file || exit 1; done

# Stamps: a second run installs nothing, a changed list of packages does.
$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/created
	@echo "installing pinned packages (about 1 GB unpacked, more where torch comes with CUDA) ..."
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) --editable ".[test]"
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-test
	$(INSTALL) --editable ".[bench]"
	touch $@
