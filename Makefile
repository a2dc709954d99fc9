# The venv and its stamps make a second run quick: a recipe runs again only when
# pyproject.toml has changed. Everything is installed into $(VENV), nothing elsewhere,
# except the peers of `make test` (see tools/install_peers.sh).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'

# What pytest makes of the test files is kept for the next run, like what is compiled below:
# without that each of its processes begins with three seconds of it.
#
# Tests wait for the disk only where they are about the disk: their folders are in memory
# if there is room. What is about the disk mounts one of its own.
IN_MEMORY := $(shell df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 2048 { print "PYTEST_DEBUG_TEMPROOT=/dev/shm" }')

.DEFAULT_GOAL := help
.PHONY: demo test crash bench fuzz image-check man docs package lint format clean help

SECONDS := 60

demo: $(VENV)/.stamp-install ## show what pypx does: a PACS in a box, no network needed
	@$(BIN)/px demo

test: $(VENV)/.stamp-test ## run the tests; make test ARGS="-k echo" runs some of them
	@tools/install_peers.sh
	$(IN_MEMORY) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

bench: $(VENV)/.stamp-test ## measure pypx beside others; make bench ARGS="--quick" in a minute
	@tools/install_peers.sh
	@$(BIN)/python -m benchmarks $(ARGS)

crash: $(VENV)/.stamp-test ## kill the receiver, cut its power, fill its disk, fail its system calls
	@tools/install_peers.sh
	PYPX_CRASH=1 $(BIN)/python -m pytest --numprocesses 2 tests/crash tests/link $(ARGS)

fuzz: $(VENV)/.stamp-fuzz ## feed any bytes to what reads the network; make fuzz SECONDS=600
	@$(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

image-check: $(VENV)/.stamp-test ## build the Dockerfile without Docker, run the image, and check it (root)
	@tools/install_peers.sh
	@$(BIN)/python tools/image_check.py

man: $(VENV)/.stamp-install ## write the man pages into build/man
	@$(BIN)/python tools/make_man.py build/man

docs: $(VENV)/.stamp-docs ## build the site into build/site; make docs ARGS=serve shows it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build --strict)

package: $(VENV)/.stamp-test ## build sdist and wheel into dist
	$(BIN)/python -m build

lint: $(VENV)/.stamp-lint ## check format, style, types and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

format: $(VENV)/.stamp-lint ## put the code into the format that lint wants
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the venv, all caches and the downloaded test files
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist
	find src tests tools -name __pycache__ -prune -exec rm -rf {} +

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(VENV)/.stamp-venv:
	@$(PYTHON) $(NEW_ENOUGH) || { echo >&2 "pypx needs Python 3.11 or newer, and $(PYTHON) is not: name one with  make PYTHON=python3.12"; exit 1; }
	@$(BIN)/python $(NEW_ENOUGH) 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { echo >&2 "No venv could be made with $(PYTHON); on Debian and Ubuntu install python3-venv first."; exit 1; }
	$(PIP) install --upgrade pip
	@touch $@

# Compiled at once, as pip compiles what is not editable: where PYTHONDONTWRITEBYTECODE
# is set, every command would otherwise compile all of it again.
$(VENV)/.stamp-install: $(VENV)/.stamp-venv pyproject.toml
	$(PIP) install --editable .
	$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-install
	$(PIP) install --group test --group package
	@touch $@

$(VENV)/.stamp-fuzz: $(VENV)/.stamp-test
	$(PIP) install --group fuzz
	@touch $@

$(VENV)/.stamp-docs: $(VENV)/.stamp-install
	$(PIP) install --group docs
	@touch $@

$(VENV)/.stamp-lint: $(VENV)/.stamp-install
	$(PIP) install --group lint
	@touch $@
