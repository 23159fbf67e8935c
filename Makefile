# Every target sets itself up: a virtual environment in .venv, shared by all of them.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# A file's tests stay together, since they share what they look at; files begin in order.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -q
SCRATCH := runs
SYSTEM ?= camstyle
SEEDS ?= 5
SWEEP ?=
SYSTEMS ?=
MOMENTS ?= 30
OVERRIDE ?=

.PHONY: help demo test test-slow lint docs proofs bench growth lowering faults evidence evidence-table clean

help:
	@echo "make demo       CamStyle end to end on the embedded world (about 10 minutes on 2 cores)"
	@echo "make test       the test suite"
	@echo "make test-slow  the tests that take minutes, too"
	@echo "make lint       ruff and pyright"
	@echo "make docs       the reference pages, in build/site"
	@echo "make proofs     runs the tests of losses, networks, evaluation and features and writes docs/proofs.md"
	@echo "make bench      timings: ranking, renderer, loading, networks, Frechet distance, single convolutions"
	@echo "make growth     how time and memory grow with the data; writes docs/growth.md"
	@echo "make lowering   every training step of the papers, lowered for a TPU; writes docs/lowering.md"
	@echo "make faults     kills, damages and starves runs of SYSTEMS at MOMENTS=30 per stage and kind (days for all)"
	@echo "make evidence   SYSTEM=camstyle over SEEDS=5 seeds, stored in evidence/ (also SWEEP=NAME, OVERRIDE=\"KEY=VALUE ...\")"
	@echo "make evidence-table  writes EVIDENCE.md from what is stored; runs nothing"
	@echo "make clean      removes .venv and runs/"

demo: .venv/ready
	$(BIN)/python launch.py --config=configs/camstyle.py --workdir=$(SCRATCH)/demo

test: .venv/dev
	$(PYTEST)

test-slow: .venv/dev
	$(PYTEST) -m "slow or not slow"

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open build/site/index.html"

proofs: .venv/dev
	$(PYTEST) tests/losses tests/nets tests/evaluation tests/features --write-proofs=docs/proofs.md

bench: .venv/ready
	$(BIN)/python -m benchmarks.world
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.nets
	$(BIN)/python -m benchmarks.frechet
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.convolutions

growth: .venv/ready
	$(BIN)/python -m benchmarks.growth --store=$(SCRATCH)/growth

lowering: .venv/ready
	$(BIN)/python -m benchmarks.lowering --workdir=$(SCRATCH)/lowering

faults: .venv/ready
	$(BIN)/python -m benchmarks.faults --moments $(MOMENTS) --workdir $(SCRATCH)/faults $(if $(SYSTEMS),--system $(SYSTEMS))

evidence: .venv/ready
	$(BIN)/python -m benchmarks.evidence --system=$(SYSTEM) --seeds=$(SEEDS) --sweep=$(SWEEP) $(addprefix --override=,$(OVERRIDE)) --workdir=$(SCRATCH)/evidence

evidence-table: .venv/ready
	$(BIN)/python -m benchmarks.evidence --table

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('jaxreid needs Python 3.11 or newer; say make PYTHON=/path/to/python')"
	@echo "setting up .venv (once, a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) -e .
	@touch $@

.venv/dev: .venv/ready
	@$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv $(SCRATCH)
