# `make demo` and `make test` need Python 3.11 or later and nothing else: the first that is there, by any name.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$name -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin

# Qualcomm AI Hub's client and onnx need different protobufs, so it has an environment of its own.
AIHUB := $(VENV)/aihub

.PHONY: demo demo-all docs pictures test test-fast lint benchmark kills fuzz clean

$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "There is no Python 3.11 or later with venv here: install one, or make PYTHON=/path/to/it"; exit 3; }
	@echo "Installing into $(VENV): some minutes and gigabytes, most of them torch. Your own environments are left alone."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(AIHUB)/installed: pyproject.toml constraints.txt $(VENV)/installed
	$(PYTHON) -m venv $(AIHUB)
	$(AIHUB)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[aihub]'
	touch $@

# The emulator of AI Hub that tests use: a distribution of its own, which registers the verb hub-emulator.
HUB_EMULATOR := $(VENV)/hub-emulator
$(HUB_EMULATOR): tests/hub_emulator/pyproject.toml constraints.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e tests/hub_emulator
	touch $@

# Convert the sample detector, detect, profile, and write the HTML report to demo/.
demo: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash samples/demo.sh

# The same, a Snapdragon's package in Qualcomm's simulator, and a language model.
demo-all: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" bash samples/demo.sh all

# docs/api.md and docs/cli.md, from docstrings and --help.
docs: $(VENV)/installed
	$(BIN)/python docs/tools/reference.py

# The pictures of README.md, from a real run; needs Chromium.
pictures: $(VENV)/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/tools/pictures.py

# Twice as many processes as two cores: tests wait for services, children and locks.
JOBS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(HUB_EMULATOR) $(AIHUB)/installed lint
	EDGEKIT_AIHUB_PYTHON=$(CURDIR)/$(AIHUB)/bin/python $(PYTEST)

# What is not marked slow.
test-fast: $(HUB_EMULATOR)
	$(PYTEST) -m "not slow"

lint: $(HUB_EMULATOR)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/runtime.py

# A hundred runs are killed, and nothing is lost or left behind; some eight minutes.
kills: $(HUB_EMULATOR) $(AIHUB)/installed
	EDGEKIT_AIHUB_PYTHON=$(CURDIR)/$(AIHUB)/bin/python $(BIN)/python -m tests.attacks.kills --kills 100

# Changed and hostile inputs for all that reads a stranger's file, a minute each; FUZZ="--reader gguf --seed 7".
fuzz: $(VENV)/installed
	$(BIN)/python -m tests.attacks.fuzz $(FUZZ)

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache
