# `make demo` and `make test` are all there is to begin with. Both make .venv first, with the versions that
# constraints.txt names; nothing is installed outside it.
#
#   PYTHON=python3.12   the Python to make .venv with (3.10 or later)
#   JOBS=4              test processes at a time; a full-width net takes gigabytes in each
#   ARGS='-k argmax'    more arguments for pytest (make test, make bench)

PYTHON ?= python3
JOBS ?= 2
ARGS ?=

.DELETE_ON_ERROR:

IN_VENV := .venv/bin/python
PYTEST := $(IN_VENV) -m pytest
# File by file, so that what a file's tests share is made once.
PARALLEL := --numprocesses=$(JOBS) --dist=loadfile
# A selection may leave a process without a test (pytest's exit 5); the whole suite may not.
OR_NONE := $(if $(ARGS),|| test $$? = 5)
INTERPRETER_TESTS := tests/kernels/interpreter
# Installing is told to a person and kept from a log, and never goes to stdout: that is for results.
PIP_INSTALL := $(IN_VENV) -m pip install --disable-pip-version-check $(shell test -t 2 || echo --quiet) \
	--constraint constraints.txt --build-constraint constraints.txt

.PHONY: help demo test fuzz lint bench soak clean

help:
	@echo 'make demo    segment the sample images into demo/ and write fcn8s.pt'
	@echo 'make test    run every test, then those of the Triton kernels in the interpreter'
	@echo 'make fuzz    read every damaged checkpoint of tests/checkpoints/fuzz; make test takes a share of them'
	@echo 'make lint    check style, format and types'
	@echo 'make bench   time fcnrt beside the eager reference on this machine'
	@echo 'make soak    call one model ten thousand times, from one thread and from four: memory flat, results exact'
	@echo 'make clean   remove what the others made, .venv included'

demo: .venv/.installed
	@$(IN_VENV) -m fcnrt.demo

# Two processes, since the interpreter is chosen when triton is imported. The second one runs whatever the first found.
test: .venv/.installed-dev
	@status=0; \
	echo '== tests'; \
	TRITON_INTERPRET=0 $(PYTEST) $(PARALLEL) --ignore=$(INTERPRETER_TESTS) $(ARGS) $(OR_NONE) || status=1; \
	echo '== Triton kernels, interpreted'; \
	TRITON_INTERPRET=1 $(PYTEST) $(PARALLEL) $(INTERPRETER_TESTS) $(ARGS) $(OR_NONE) || status=1; \
	exit $$status

fuzz: .venv/.installed-dev
	@FCNRT_FUZZ=1 $(PYTEST) $(PARALLEL) tests/checkpoints/fuzz $(ARGS)

# Types twice: as they are here, and for the oldest Python, where the types of an installed numpy may say less.
lint: .venv/.installed-dev
	@status=0; \
	$(IN_VENV) -m ruff check || status=1; \
	$(IN_VENV) -m ruff format --check || status=1; \
	$(IN_VENV) -m mypy || status=1; \
	$(IN_VENV) -m mypy --python-version 3.10 --no-warn-unused-ignores || status=1; \
	exit $$status

bench: .venv/.installed-dev
	@$(PYTEST) benchmarks --benchmark-only $(ARGS)

soak: .venv/.installed-dev
	@PYTHONPATH=.:kernels $(IN_VENV) -m benchmarks.soak $(ARGS)
	@PYTHONPATH=.:kernels $(IN_VENV) -m benchmarks.soak --threads 4 $(ARGS)

clean:
	rm -rf .venv demo fcn8s.pt build dist .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are the last thing written, so an install that was cut short is done again.
.venv/.installed-dev: .venv/.installed
	@echo 'Installing the development tools into .venv' >&2
	@$(PIP_INSTALL) --editable '.[dev]' >&2
	@touch $@

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/pip
	@echo 'Installing fcnrt into .venv; the first time this fetches torch (0.2 to 3 GB) and takes minutes' >&2
	@$(IN_VENV) -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --upgrade pip >&2
	@$(PIP_INSTALL) --editable . >&2
	@touch $@

.venv/bin/pip:
	@command -v '$(PYTHON)' >/dev/null || { echo 'No $(PYTHON) here: install Python 3.10 or later, or say make PYTHON=...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 10) else \
	"fcnrt needs Python 3.10 or later, and $(PYTHON) is " + v + ": say make PYTHON=python3.12, for example")'
	@'$(PYTHON)' -m venv .venv
