# make demo      trains, evaluates, exports and uses a small model (minutes)
# make test      runs the tests under TensorFlow; also test-jax, test-torch, test-extras
# make test-all  runs them all, with the slow ones and the notebooks
# make bench     measures the speed of each backend that has an environment, on CPU or GPU (minutes); also bench-all
# make gpu-check tests and measures on a GPU, and writes a report for an issue
# make lint      checks style, types and spelling; make format fixes style where possible
# make reference writes docs/reference from the docstrings; make docs builds the website in docs/_build/html
# make preset NAME=… DESCRIPTION=… makes a preset from the run folder runs/NAME
# make notebooks runs the tutorials and stores their outputs (minutes)
# make soak      runs a load test with 12,000 requests, and all examples of hypothesis
# make mutants   changes the code at random, and prints the changes that no test notices (an hour or two; COUNT=20 for fewer, SEED=1 for others)
# make wheel     builds and checks the distribution, and installs it into an empty environment
# make lock      updates requirements/constraints.txt; make audit checks these versions for known vulnerabilities
#
# Each target creates its virtual environment, and creates it again after `make lock`.

PYTHON      ?= $(shell command -v python3.11 || command -v python3)
# Two processes, because building and tracing Keras models, the largest part of a test, use one core.
PYTEST_ARGS ?= -n 2 --dist loadfile
# Options of pip for torch. On Linux, PyPI's torch includes CUDA. The CPU version has a tenth of its size:
# make test-torch TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=
# Makes `-m` of the extras leave out slow tests.
AND_NOT_SLOW ?= and not slow

RUN := runs/demo
SITE_PACKAGES = $(wildcard .venv/lib/python3*/site-packages)

# Compiling the modules of TensorFlow takes ten seconds of each process if none stores the result.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-tensorflow test-jax test-torch test-lowest test-extras test-notebooks test-quick test-all absolute-links wheel bench bench-all gpu-check lint format docs reference notebooks preset soak mutants lock audit clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# --- environments -----------------------------------------------------------------------------

# All environments have the same versions. uv is much faster than pip, but only pip respects a
# machine's own index for torch.
# They depend on the versions only: `make lock` follows each change of a dependency, but not of another setting.
VERSIONS := requirements/constraints.txt
ENVIRONMENTS := .venv .venv-jax .venv-torch .venv-extras

.venv/installed:        WANTED := tensorflow,tfp,commands,dev
.venv-jax/installed:    WANTED := jax,tfp,commands,dev
.venv-torch/installed:  WANTED := torch,commands,dev
.venv-torch/installed:  BY_PIP := torch $(TORCH_INDEX)
.venv-mutants/installed: WANTED := tensorflow,tfp,commands,dev
.venv-mutants/installed: BY_PIP := cosmic-ray==8.7.0 pytest-cov==7.1.0
# Everything else is in one environment, which the first commands of the README do not wait for.
.venv-extras/installed: WANTED := tensorflow,tfp,commands,serve,ray,app,hub,docs,dev

$(ENVIRONMENTS:%=%/installed) .venv-mutants/installed: $(VERSIONS)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -c $(VERSIONS) uv $(BY_PIP)
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python -c $(VERSIONS) -b $(VERSIONS) --editable ".[$(WANTED)]"
	@touch $@

EXTRAS := tensorflow jax torch tfp commands serve ray app hub docs dev

lock: .venv/installed
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" $(addprefix --extra ,$(EXTRAS)) setup.cfg -o $(VERSIONS)
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --generate-hashes \
		--custom-compile-command "make lock" requirements/release.in -o requirements/release.txt

audit: .venv/installed
	.venv/bin/uvx pip-audit --strict --disable-pip --no-deps -r $(VERSIONS)
	.venv/bin/uvx pip-licenses --python .venv/bin/python --format=markdown --order=license

# --- tests ------------------------------------------------------------------------------------

# Tests marked `slow` run only in `make test-all`; `-m ""` replaces the choice in setup.cfg.
test: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python -m pytest $(PYTEST_ARGS)

# Without this flag, half of the time is spent on optimizing programs that run once.
test-jax: .venv-jax/installed
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" KERAS_BACKEND=jax .venv-jax/bin/python -m pytest $(PYTEST_ARGS)

test-torch: .venv-torch/installed
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest $(PYTEST_ARGS)

# Tests that need one of the extras `serve`, `ray`, `app` and `hub`.
test-extras: .venv-extras/installed
	KERAS_BACKEND=tensorflow .venv-extras/bin/python -m pytest $(PYTEST_ARGS) -m "extras $(AND_NOT_SLOW)" tests/commands tests/savedmodel tests/app tests/presets/test_hub.py

# The package as a wheel installs it, without copies of files that have moved.
INSTALLED := build/installed
INSTALL := rm -rf build && uv pip install --quiet --reinstall --no-deps -b $(VERSIONS) --target $(INSTALLED) .

# Runs the tutorials with one epoch per model, and with the package of a wheel instead of this folder.
test-notebooks: .venv-extras/installed
	. .venv-extras/bin/activate && $(INSTALL)
	PYTHONPATH=$(CURDIR)/$(INSTALLED) .venv-extras/bin/python docs/run_notebooks.py

test-tensorflow: test

test-quick: test test-jax test-torch test-extras

test-all: PYTEST_ARGS += -m ""
test-all: AND_NOT_SLOW =
test-all: test-quick test-notebooks

# Tests the oldest versions that setup.cfg allows: under TensorFlow all tests, under JAX and torch what uses their own interfaces.
LOWEST := .venv-lowest .venv-lowest-jax .venv-lowest-torch
.venv-lowest/installed:       WANTED := tensorflow,tfp,commands,dev
.venv-lowest-jax/installed:   WANTED := jax,commands,dev
.venv-lowest-torch/installed: WANTED := torch,commands,dev
.venv-lowest-torch/installed: BY_PIP := "$(shell sed -n 's/^ *\(torch\)>=/\1==/p' setup.cfg)" $(TORCH_INDEX)
OF_BACKENDS := tests/utils/test_backend.py tests/models/test_torch_network.py tests/codec/test_exact.py tests/sampling/test_torch_program.py

$(LOWEST:%=%/installed): $(VERSIONS)
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check uv $(BY_PIP)
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --resolution lowest-direct --editable ".[$(WANTED)]"
	@touch $@

test-lowest: $(LOWEST:%=%/installed)
	KERAS_BACKEND=tensorflow .venv-lowest/bin/python -m pytest $(PYTEST_ARGS)
	KERAS_BACKEND=jax .venv-lowest-jax/bin/python -m pytest $(OF_BACKENDS)
	KERAS_BACKEND=torch .venv-lowest-torch/bin/python -m pytest $(OF_BACKENDS)

# --- distribution -----------------------------------------------------------------------------

# The tools that build a release, with the hashes of their files. The other environments have no
# hashes, because pip and uv would then also want one of this folder.
.venv-release/installed: requirements/release.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Runs the first command of the README in another folder, without the files of this one.
wheel: .venv-release/installed
	rm -rf dist
	.venv-release/bin/python -m build --no-isolation --outdir dist .
	.venv-release/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/pip install --quiet -c $(VERSIONS) "$$(echo dist/*.whl)[tensorflow,commands]"
	cd .venv-wheel && KERAS_BACKEND=tensorflow bin/pixelcnnpp sample --preset fashion_mnist --output samples.png

# Before `wheel` in a release: on PyPI, the README needs absolute links.
REPOSITORY := https://github.com/keras-pixelcnnpp/keras-pixelcnnpp
absolute-links:
	@tag="$${TAG:-main}"; case "$$tag" in *[!A-Za-z0-9._-]*) \
		echo "TAG: expected letters, digits, '.', '_' and '-'" >&2; exit 1;; esac; \
	sed -i -E -e 's#(!\[[^]]*\]\()([a-z_]+/)#\1$(REPOSITORY)/raw/'"$$tag"'/\2#g' -e 's#\]\(\.\./\.\./#]($(REPOSITORY)/#g' \
		-e 's#\]\(([A-Za-z_]+[/.)])#]($(REPOSITORY)/blob/'"$$tag"'/\1#g' README.md

# mypy checks the installed package, in which it finds the folders that setup.cfg moves there.
lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	. .venv/bin/activate && $(INSTALL)
	cd $(INSTALLED) && $(CURDIR)/.venv/bin/mypy --config-file $(CURDIR)/setup.cfg --cache-dir $(CURDIR)/.mypy_cache -p keras_pixelcnnpp
	.venv/bin/codespell

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

soak: .venv/installed .venv-extras/installed
	.venv-extras/bin/python benchmarks/serving.py
	PIXELCNNPP_TESTS=full .venv/bin/python -m pytest $(PYTEST_ARGS) -m hypothesis

# The tool changes the files of a copy.
COUNT ?= 200
SEED ?= 0
mutants: .venv-mutants/installed
	rm -rf build/mutants
	git clone --quiet . build/mutants
	cd build/mutants && KERAS_BACKEND=tensorflow $(CURDIR)/.venv-mutants/bin/python benchmarks/mutants.py --count $(COUNT) --seed $(SEED)

# --- documentation ----------------------------------------------------------------------------

# Warnings are errors.
SPHINX := TF_CPP_MIN_LOG_LEVEL=3 .venv-extras/bin/python -m sphinx -W --keep-going -n -b html -d docs/_build/doctrees

# Writes the pages of docs/reference from the docstrings and the options of the commands.
reference: .venv/installed
	cd docs/extensions && ../../.venv/bin/python reference.py && ../../.venv/bin/python names.py

docs: .venv-extras/installed
	$(SPHINX) docs docs/_build/html

# Changes the stored outputs of the notebooks: check the difference before you commit it.
notebooks: .venv-extras/installed
	.venv-extras/bin/python docs/run_notebooks.py --store

# --- speed ------------------------------------------------------------------------------------

BENCH := .venv/bin/python benchmarks
RESULTS := benchmarks/results

bench: .venv/installed
	$(BENCH)/throughput.py --output $(RESULTS)/throughput.json
	$(BENCH)/results.py

gpu-check: .venv/installed
	@$(BENCH)/gpu_check.py

bench-all: bench
	$(BENCH)/throughput.py --candidates --output $(RESULTS)/candidates.json
	$(BENCH)/sampling.py --batches 25,100 --output $(RESULTS)/sampling.json
	$(BENCH)/results.py

# --- presets ----------------------------------------------------------------------------------

# The weights are rounded before they are measured. See benchmarks/preset.py for each step.
preset: .venv/installed
	@test -n "$(NAME)" || { echo "Expected: make preset NAME=…, for the run folder runs/NAME" >&2; exit 1; }
	$(BENCH)/preset.py round "runs/$(NAME)"
	.venv/bin/pixelcnnpp evaluate classification --run "runs/$(NAME)"
	$(BENCH)/results.py keep "runs/$(NAME)"
	$(BENCH)/preset.py write "runs/$(NAME)" --description "$(DESCRIPTION)"
	$(BENCH)/preset.py card "$(NAME)"

# --- demo -------------------------------------------------------------------------------------

# For a shorter demo: make demo TRAIN_ARGS="--epochs 2"
# make prints each command before running it. To run them yourself, add .venv/bin to the PATH.
demo: export PATH := $(CURDIR)/.venv/bin:$(PATH)
demo: .venv/installed
	@rm -rf $(RUN)
	pixelcnnpp train --data digits --run $(RUN) $(TRAIN_ARGS)
	pixelcnnpp train-baseline --data digits --run $(RUN) --epochs 15 $(TRAIN_ARGS)
	pixelcnnpp evaluate classification --run $(RUN)
	pixelcnnpp evaluate generation --run $(RUN) --per-class 10
	pixelcnnpp export --run $(RUN)
	pixelcnnpp data digits --count 20 --output $(RUN)/images
	pixelcnnpp classify --run $(RUN) $(RUN)/images/test --csv $(RUN)/images.csv
	@echo "# With -S, Python finds TensorFlow in the given folder, but not this package:"
	PYTHONPATH=$(SITE_PACKAGES) python -S examples/use_savedmodel.py $(RUN)/savedmodel/1 \
		--classify $(RUN)/images/test/*/*.png --sample $(RUN)/served
	@echo "Look at $(RUN)/reports, $(RUN)/served, and: .venv/bin/tensorboard --logdir runs"

clean:
	rm -rf $(ENVIRONMENTS) $(LOWEST) .venv-mutants .venv-release .venv-wheel docs/_build build dist *.egg-info
