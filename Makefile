PYTHON ?= python3
VENV ?= .venv
CORPORA ?= ../shared/corpora
BASE ?= ../shared/base-de-en
OPTIONS ?=
STORE ?= .work/experiment/runs/fmalloc-private-1-1/fmalloc-private-it-koran-law-medical-subtitles/store
MARIAN ?=
LIBRETRANSLATE ?=
TUNING_MINUTES ?= 0
TASK ?= it
BUNDLES ?= .work/demo/bundles
SCALE_VENV ?= .venv-scale

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-long test-scale check docs experiment soak fuzz bench-routing bench-compaction bench-distil bench-protection bench-desk bench-train bench-newcomer bench-corpora bench gpu clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# Brought up to date whenever what it was made from changes; marked ready only once it is complete.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY) ## learn, compile and serve four domains of a toy corpus, in at most five minutes
	$(BIN)/python -m examples.demo

test: $(READY) ## run the tests but the slow ones, on all cores (seven to sixteen minutes on two)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(READY) ## run the slow tests: kills, whole runs, thousands of examples, the wheel (ten to thirty minutes on two cores)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m slow

test-long: $(READY) ## the slow tests that draw examples, ten times as many: 500 lives of a store, 10,000 texts (over an hour)
	TESTS_LONG=1 $(BIN)/python -m pytest -n auto --dist load -m slow -k 'many' tests

test-scale: ## run the tests of Ray Serve, Triton and the image, in an environment of their own (three minutes)
	$(PYTHON) -m venv $(SCALE_VENV)
	$(SCALE_VENV)/bin/python -m pip install --quiet -e '.[scale]'
	$(SCALE_VENV)/bin/python -m pytest tests/scale

check: $(READY) ## lint, format, types, import rules, Markdown and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mdformat --check *.md docs benchmarks
	$(BIN)/typos

docs: $(READY) ## make a site of the documentation in .work/site/html; a dead link is an error
	$(BIN)/python -m docs.reference
	$(BIN)/python -m docs.site

experiment: $(READY) ## every method on five domains of a real base; BASE=, CORPORA=, OPTIONS= (evenings; what is finished is kept)
	$(BIN)/python -m benchmarks.experiment --base $(BASE) --corpora $(CORPORA) $(OPTIONS)
	$(BIN)/python -m benchmarks.experiment.page

bench: $(READY) ## fmalloc beside what people would use instead; STORE=, CORPORA=; MARIAN= and LIBRETRANSLATE= Pythons that have them (some three hours)
	$(BIN)/python -m benchmarks.scoreboard --store $(STORE) --corpora $(CORPORA) --tuning-minutes $(TUNING_MINUTES) $(if $(MARIAN),--marian $(MARIAN)) $(if $(LIBRETRANSLATE),--libretranslate $(LIBRETRANSLATE))
	$(BIN)/python -m benchmarks.scoreboard.page

bench-routing: $(READY) ## measure routing on real text; CORPORA= says where it is
	$(BIN)/python -m benchmarks.serving.routing --corpora $(CORPORA)

bench-compaction: $(READY) ## what choosing and refitting cells is worth; STORE= of a real base, CORPORA= its text (minutes per domain)
	$(BIN)/python -m benchmarks.compiler.compaction --store $(STORE) --corpora $(CORPORA)

bench-distil: $(READY) ## quality of students; STORE= of a real base, CORPORA= its text, TASK= of the store (an hour per domain)
	$(BIN)/python -m benchmarks.compiler.distil --store $(STORE) --corpora $(CORPORA) --domain $(TASK)

bench-desk: $(READY) ## measure terms that are kept; BUNDLES= of domains in CORPORA= (ten minutes per domain on one core)
	$(BIN)/python -m benchmarks.serving.desk --bundles $(BUNDLES) --corpora $(CORPORA)

bench-protection: $(READY) ## measure what keeping placeholders and numbers costs; BUNDLES= of domains in CORPORA= (fifteen minutes)
	$(BIN)/python -m benchmarks.serving.protection --bundles $(BUNDLES) --corpora $(CORPORA)

bench-train: $(READY) ## measure learning against gradient masking and full fine-tuning; CORPORA= and BASE= (seven minutes)
	$(BIN)/python -m benchmarks.learning.train --base $(BASE) --corpora $(CORPORA)

bench-newcomer: $(READY) ## time the README's first command; CORPORA= and a real BASE= (a quarter of an hour)
	$(BIN)/python -m benchmarks.learning.newcomer --base $(BASE) --corpora $(CORPORA)

bench-corpora: $(READY) ## clean and tokenise ten million pairs; CORPORA=, BASE= and 8 GB of disk (ten minutes)
	$(BIN)/python -m benchmarks.learning.corpora --base $(BASE) --corpora $(CORPORA)

gpu: ## all that only a GPU can show, in at most eight minutes, without a network; installs nothing (PYTHON= has PyTorch with CUDA)
	PYTHONPATH=.:export:runtime $(PYTHON) -m benchmarks.gpu

soak: $(READY) ## try to break the server in every way we know; BUNDLES= with two bundles per domain (six minutes)
	$(BIN)/python -m benchmarks.soak --bundles $(BUNDLES)

fuzz: $(READY) ## mutate all that is read from disk, 20,000 times (twenty minutes on one core)
	$(BIN)/python -m tests.fuzz

clean: ## remove everything made here but the environment
	rm -rf .work build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
