# make demo      train, evaluate, export and use a small model (minutes)
# make test      tests under TensorFlow; also test-jax, test-torch, test-extras, test-notebooks, test-all
# make bench     speed under each backend that has an environment, on CPU or GPU: one table (minutes); also bench-all
# make lint      style, types and spelling; make format mends what can be mended
# make docs      the site, in docs/_build/html
# make notebooks runs the tutorials (minutes) and stores what they print
# make soak      serves 12,000 requests, and runs all examples of hypothesis
# make wheel     the distribution, checked, and installed into an empty environment
# make lock      chooses new versions for requirements/constraints.txt; make audit looks for known holes in them
#
# Each makes its own environment when there is none, and again when setup.cfg or the versions have changed.

PYTHON      ?= $(shell command -v python3.11 || command -v python3)
# Two processes: most of a test's time is Keras building and tracing, on one core.
PYTEST_ARGS ?= -n 2 --dist loadfile
# What pip is given for torch. On Linux, PyPI's torch brings CUDA; a tenth of the size, for CPUs only:
# make test-torch TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=

RUN := runs/demo
SITE_PACKAGES = $(wildcard .venv/lib/python3*/site-packages)

.PHONY: help demo test test-tensorflow test-jax test-torch test-lowest test-extras test-notebooks test-all absolute-links wheel bench bench-all lint format docs notebooks soak lock audit clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# --- environments -----------------------------------------------------------------------------

# One set of versions for all of them. uv takes seconds where pip takes minutes, but pip alone knows
# where a machine keeps its torch.
VERSIONS := requirements/constraints.txt
ENVIRONMENTS := .venv .venv-jax .venv-torch .venv-extras .venv-docs

.venv/installed:        WANTED := tensorflow,tfp,commands,dev
.venv-jax/installed:    WANTED := jax,tfp,commands,dev
.venv-torch/installed:  WANTED := torch,commands,dev
.venv-torch/installed:  BY_PIP := torch $(TORCH_INDEX)
.venv-extras/installed: WANTED := tensorflow,commands,serve,ray,app,hub,dev
.venv-docs/installed:   WANTED := tensorflow,tfp,commands,docs

$(ENVIRONMENTS:%=%/installed): setup.cfg pyproject.toml $(VERSIONS)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -c $(VERSIONS) uv $(BY_PIP)
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python -c $(VERSIONS) -b $(VERSIONS) --editable ".[$(WANTED)]"
	@touch $@

EXTRAS := tensorflow jax torch tfp commands serve ray app hub docs dev

lock: .venv/installed
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" $(addprefix --extra ,$(EXTRAS)) setup.cfg -o $(VERSIONS)

audit: .venv/installed
	.venv/bin/uvx pip-audit --strict --disable-pip --no-deps -r $(VERSIONS)
	.venv/bin/uvx pip-licenses --python .venv/bin/python --format=markdown --order=license

# --- tests ------------------------------------------------------------------------------------

test: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python -m pytest $(PYTEST_ARGS)

# Otherwise half of the time is spent on optimizing programs that run once.
test-jax: .venv-jax/installed
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" KERAS_BACKEND=jax .venv-jax/bin/python -m pytest $(PYTEST_ARGS)

test-torch: .venv-torch/installed
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest $(PYTEST_ARGS)

# What only the extras `serve`, `ray`, `app` and `hub`, or a library of theirs, make possible; the rest of the suite needs none.
test-extras: .venv-extras/installed
	KERAS_BACKEND=tensorflow .venv-extras/bin/python -m pytest $(PYTEST_ARGS) -m extras tests/savedmodel tests/app tests/presets/test_hub.py

# The tutorials, with one epoch of each training.
test-notebooks: .venv-docs/installed
	.venv-docs/bin/python docs/run_notebooks.py

test-tensorflow: test

test-all: test test-jax test-torch test-extras test-notebooks

# The oldest versions that setup.cfg names, under TensorFlow.
.venv-lowest/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check uv
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --resolution lowest-direct --editable ".[tensorflow,tfp,commands,dev]"
	@touch $@

test-lowest: .venv-lowest/installed
	KERAS_BACKEND=tensorflow .venv-lowest/bin/python -m pytest $(PYTEST_ARGS)

# --- distribution -----------------------------------------------------------------------------

# The first command of the README, from another folder and without this one's files.
wheel: .venv/installed
	rm -rf dist
	.venv/bin/python -m build --outdir dist .
	.venv/bin/uvx twine check --strict dist/*
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet -c $(VERSIONS) "$$(echo dist/*.whl)[tensorflow,commands]"
	cd .venv-wheel && KERAS_BACKEND=tensorflow bin/pixelcnnpp sample --preset fashion_mnist --output samples.png

# Before `wheel` in a release: on PyPI, the links of the README have no repository to be relative to.
REPOSITORY := https://github.com/keras-pixelcnnpp/keras-pixelcnnpp
TAG ?= main
absolute-links:
	sed -i -E -e 's#(!\[[^]]*\]\()([a-z_]+/)#\1$(REPOSITORY)/raw/$(TAG)/\2#g' -e 's#\]\(\.\./\.\./#]($(REPOSITORY)/#g' \
		-e 's#\]\(([A-Za-z_]+[/.)])#]($(REPOSITORY)/blob/$(TAG)/\1#g' README.md

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/codespell
	@# The field's words: docs/glossary.md.
	! git grep -niwE 'pictures?|drawn|judged?|familiar|alarms?|spoilt' -- '*.py' '*.j2' '*.ipynb' docs

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

soak: .venv/installed .venv-extras/installed
	.venv-extras/bin/python benchmarks/serving.py
	PIXELCNNPP_TESTS=full .venv/bin/python -m pytest $(PYTEST_ARGS) -m hypothesis

# --- documentation ----------------------------------------------------------------------------

# Warnings are errors.
SPHINX := TF_CPP_MIN_LOG_LEVEL=3 .venv-docs/bin/python -m sphinx -W --keep-going -n -b html -d docs/_build/doctrees

docs: .venv-docs/installed
	$(SPHINX) docs docs/_build/html

# Stored with the notebooks: look at the difference before you commit it.
notebooks: .venv-docs/installed
	.venv-docs/bin/python docs/run_notebooks.py --store

# --- speed ------------------------------------------------------------------------------------

BENCH := .venv/bin/python benchmarks
RESULTS := benchmarks/results

bench: .venv/installed
	$(BENCH)/throughput.py --output $(RESULTS)/throughput.json
	$(BENCH)/results.py

bench-all: bench
	$(BENCH)/throughput.py --candidates --output $(RESULTS)/candidates.json
	$(BENCH)/sampling.py --batches 25,100 --output $(RESULTS)/sampling.json
	$(BENCH)/results.py

# --- demo -------------------------------------------------------------------------------------

# make prints each command before it runs it; type them yourself with .venv/bin on the PATH.
demo: export PATH := $(CURDIR)/.venv/bin:$(PATH)
demo: .venv/installed
	@rm -rf $(RUN)
	pixelcnnpp train --data digits --run $(RUN)
	pixelcnnpp train-baseline --data digits --run $(RUN) --epochs 15
	pixelcnnpp evaluate classification --run $(RUN) --split test
	pixelcnnpp evaluate generation --run $(RUN) --per-class 10
	pixelcnnpp evaluate report --run $(RUN)
	pixelcnnpp export --run $(RUN)
	python examples/write_digits.py $(RUN)/images
	pixelcnnpp classify --run $(RUN) $(RUN)/images/*.png --csv $(RUN)/images.csv
	@echo "# With -S, Python sees TensorFlow in the folder named, but not this package:"
	PYTHONPATH=$(SITE_PACKAGES) python -S examples/use_savedmodel.py $(RUN)/savedmodel/1 \
		--classify $(RUN)/images/*.png --sample $(RUN)/served
	@echo "Look at $(RUN)/reports, $(RUN)/samples, $(RUN)/served, and: .venv/bin/tensorboard --logdir runs"

clean:
	rm -rf $(ENVIRONMENTS) .venv-lowest .venv-wheel docs/_build build dist *.egg-info
