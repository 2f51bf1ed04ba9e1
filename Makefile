# Two commands do all set-up by themselves: `make demo` and `make test`.
# Everything goes into .venv; PYTHON may name another Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
NAME ?= Tuna
AUTHOR ?= Tunery Labs
TYPESCRIPT := 5.9.3

.PHONY: help demo test test-browser test-all check lint types format docs clean

help:
	@echo "Usage: make TARGET [VARIABLE=value]"
	@echo
	@echo "Start:"
	@echo "  demo          Install Tunery into .venv, train the demo model and compare it before and after"
	@echo "  test          Install the development packages and run the everyday tests"
	@echo
	@echo "Develop:"
	@echo "  test-browser  Test the page in Chromium (needs: apt-get install chromium nginx-light openssh-server)"
	@echo "  test-all      Run all tests except those that need a GPU, the slow ones too"
	@echo "  lint          Check style and layers"
	@echo "  types         Check types (Python, and the page's scripts where node is installed)"
	@echo "  format        Format the code"
	@echo "  docs          Write the generated pages of docs/ again"
	@echo "  check         Run lint, types, test and test-browser, as CI does"
	@echo "  clean         Delete .venv, build and dist"
	@echo
	@echo "Variables:"
	@echo "  PYTHON        Python 3.11 or newer to make .venv with (now: $(PYTHON))"
	@echo "  NAME, AUTHOR  The name and the author that demo teaches (now: $(NAME), $(AUTHOR))"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tunery needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv .venv || \
	  { echo "python -m venv failed. On Debian and Ubuntu: apt-get install python3-venv"; rm -rf .venv; exit 2; }

.venv/train.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[train,cloud,dev]'
	@touch .venv/train.stamp $@

demo: .venv/train.stamp
	$(BIN)/tunery train --preset identity --data.variables.name "$(NAME)" --data.variables.author "$(AUTHOR)"

# Nothing is rerun: a test waits for what it needs and never for the clock (tests/waiting.py).
test: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow and not gpu and not browser" --durations=10 tests

# In a real Chromium, with nginx and sshd beside it; skipped with the reason where they are missing.
test-browser: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "browser and not slow" --reruns 2 tests

test-all: .venv/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not gpu" tests

lint: .venv/dev.stamp
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/lint-imports

types: .venv/dev.stamp
	$(BIN)/pyright --warnings
	@if command -v npx >/dev/null; then \
	  echo "tsc $(TYPESCRIPT)"; npx --yes --prefer-offline --package typescript@$(TYPESCRIPT) tsc --project jsconfig.json; \
	else \
	  echo "The page's scripts were not checked, because node is missing: apt-get install nodejs npm"; \
	  test -z "$$TUNERY_REQUIRE_NODE"; \
	fi

format: .venv/dev.stamp
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: .venv/dev.stamp
	$(BIN)/python -m tunery.config.reference
	$(BIN)/python -m tunery.cli.reference
	$(BIN)/python -m tunery.cli.codes

check: lint types test test-browser

clean:
	rm -rf .venv build dist
