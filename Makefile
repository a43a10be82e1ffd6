# make demo      train, evaluate, export and use a small model (minutes)
# make test      tests under TensorFlow; also test-jax, test-torch, test-all
# make bench     speed, side by side with peers; writes benchmarks/results and RESULTS.md
# make lint      style; make format mends what can be mended
#
# Each makes its own environment when there is none, and again when setup.cfg has changed.

PYTHON      ?= $(shell command -v python3.11 || command -v python3)
# Two processes: most of a test's time is Keras building and tracing, on one core.
PYTEST_ARGS ?= -n 2 --dist loadfile
# What pip is given for torch. On Linux, PyPI's torch brings CUDA; a tenth of the size, for CPUs only:
# make test-torch TORCH_INDEX="--extra-index-url https://download.pytorch.org/whl/cpu"
TORCH_INDEX ?=

RUN := runs/demo
SITE_PACKAGES = $(wildcard .venv/lib/python3*/site-packages)

.PHONY: help demo test test-jax test-torch test-all bench lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# --- environments -----------------------------------------------------------------------------

# $(call environment,FOLDER,EXTRAS,PIP OPTIONS)
define environment
@echo "Making the environment $(1) with [$(2)] (a few minutes)"
@$(PYTHON) -c "import ensurepip, venv" 2>/dev/null || \
	{ echo "$(PYTHON) has no venv module. On Debian: apt install python3-venv" >&2; exit 1; }
$(PYTHON) -m venv $(1)
$(1)/bin/pip install --quiet --disable-pip-version-check $(3) --editable ".[$(2)]"
@touch $(1)/installed
endef

.venv/installed: setup.cfg pyproject.toml
	$(call environment,.venv,tensorflow$(,)dev)

.venv-jax/installed: setup.cfg pyproject.toml
	$(call environment,.venv-jax,jax$(,)dev)

.venv-torch/installed: setup.cfg pyproject.toml
	$(call environment,.venv-torch,torch$(,)dev,$(TORCH_INDEX))

, := ,

# --- tests ------------------------------------------------------------------------------------

test: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python -m pytest $(PYTEST_ARGS)

test-jax: .venv-jax/installed
	KERAS_BACKEND=jax .venv-jax/bin/python -m pytest $(PYTEST_ARGS)

test-torch: .venv-torch/installed
	KERAS_BACKEND=torch .venv-torch/bin/python -m pytest $(PYTEST_ARGS)

test-all: test test-jax test-torch

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# --- speed ------------------------------------------------------------------------------------

BENCH := .venv/bin/python benchmarks
RESULTS := benchmarks/results

bench: .venv/installed
	$(BENCH)/throughput.py --variants --output $(RESULTS)/throughput.json
	$(BENCH)/startup.py --output $(RESULTS)/startup.json
	$(BENCH)/sampling.py --batches 25 100 --output $(RESULTS)/sampling.json
	$(BENCH)/results.py

# --- demo -------------------------------------------------------------------------------------

# make prints each command before it runs it; type them yourself with .venv/bin on the PATH.
demo: export PATH := $(CURDIR)/.venv/bin:$(PATH)
demo: export TF_CPP_MIN_LOG_LEVEL := 2
demo: .venv/installed
	@rm -rf $(RUN)
	pixelcnnpp train pixelcnnpp --data digits --run $(RUN)
	pixelcnnpp train baseline --data digits --run $(RUN) --epochs 15
	pixelcnnpp evaluate classification --run $(RUN) --split test
	pixelcnnpp evaluate generation --run $(RUN) --per-class 10
	pixelcnnpp savedmodel export --run $(RUN)
	python examples/write_digits.py $(RUN)/pictures
	pixelcnnpp savedmodel classify $(RUN)/savedmodel $(RUN)/pictures/*.png --csv $(RUN)/pictures.csv
	@echo "# With -S, Python sees TensorFlow in the folder named, but not this package:"
	PYTHONPATH=$(SITE_PACKAGES) python -S examples/use_savedmodel.py $(RUN)/savedmodel/1 \
		--classify $(RUN)/pictures/*.png --draw $(RUN)/drawn
	@echo "Look at $(RUN)/reports, $(RUN)/samples, $(RUN)/drawn, and: .venv/bin/tensorboard --logdir runs"

clean:
	rm -rf .venv .venv-jax .venv-torch build dist *.egg-info
