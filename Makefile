# Every target sets up what it needs; Python 3.11 and make are enough to begin.

BIN := .venv/bin
READY := .venv/.ready
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup run demo test fmt lint check protos protos-check diagrams diagrams-check lock locks-check bench bench-distributed bench-stats-peers up down test-integration test-browser hook clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with every package, pinned and hashed (once per lock)
	@:

$(READY): requirements.txt requirements-dev.txt pyproject.toml scripts/setup.sh
	@scripts/setup.sh

run: setup  ## start the server with a demo workspace; its data lies in .journeys
	@$(BIN)/journeys serve --demo --data .journeys

demo: setup  ## walk the example events through the example journeys and print the counts
	@$(BIN)/journeys demo

test: setup  ## run the tests that need nothing but this machine (ARGS="-k wait" for some)
	@$(BIN)/python -m pytest -q -n 2 -m "not integration" $(ARGS)

fmt: setup  ## format the code and mend what ruff can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

lint: setup locks-check protos-check diagrams-check  ## ruff, mypy, import contracts, protos, diagrams, locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos

# Modified files count too, hence the checksum beside the status.
check: setup  ## what a commit must pass: lint, test, nothing generated is stale
	@state() { git status --porcelain && git diff | cksum; }; \
	before=$$(state) && $(MAKE) --no-print-directory lint diagrams-check test && after=$$(state) && \
	if [ "$$before" != "$$after" ]; then echo "The checks changed the tree: see git status" >&2; exit 1; fi

protos: setup  ## generate protos/gen from the protos
	@$(BIN)/python scripts/protos.py

protos-check: setup  ## fail when protos/gen is stale
	@$(BIN)/python scripts/protos.py --check

diagrams: setup  ## draw the state diagrams of ARCHITECTURE.md from the tables
	@$(BIN)/python scripts/diagrams.py

diagrams-check: setup  ## fail when a diagram no longer fits its table
	@$(BIN)/python scripts/diagrams.py --check

lock: setup  ## renew requirements*.txt from requirements*.in
	@$(COMPILE) requirements.in -o requirements.txt >/dev/null
	@$(COMPILE) requirements-dev.in -o requirements-dev.txt >/dev/null

# An address in a lock ties everybody to one machine's package index.
locks-check:  ## fail when a lock holds an address
	@if grep -nE '://|--(extra-)?index|--find-links' requirements*.txt; then echo "A lock holds an address: see make lock" >&2; exit 1; fi

bench: setup  ## measure; prints BENCH lines, never fails on a slow machine
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-distributed: setup  ## measure separate processes on Kafka and a document server (ARGS="--help" for its options)
	@$(BIN)/python deploy/local/local.py run -- $(BIN)/python -m tests.benchmarks.distributed $(ARGS)

up: setup  ## start Kafka and a document server here, without containers (see deploy/local/local.py)
	@$(BIN)/python deploy/local/local.py up

down: setup  ## stop both; their data stays in .local
	@$(BIN)/python deploy/local/local.py down

# Where a tool is missing it says so in one line and passes, unless JOURNEYS_REQUIRE_INTEGRATION=1. Two at a time: most
# of them wait for sessions and leases to end.
test-integration: setup  ## run the tests that need both, on fresh data and free ports (ARGS="-k contract" for some)
	@JOURNEYS_LOCAL_SECONDS=$${JOURNEYS_LOCAL_SECONDS:-1500} $(BIN)/python deploy/local/local.py run -- \
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m integration $(ARGS) || { \
	status=$$?; [ $$status -eq 3 ] && [ "$${JOURNEYS_REQUIRE_INTEGRATION:-0}" != 1 ] && \
	echo "test-integration: skipped, a tool is missing" || exit $$status; }

test-browser: setup  ## run the tests of the pages in a real browser, where there is chromium with its driver
	@$(BIN)/python -m pytest -q -rs tests/e2e/test_pages.py $(ARGS)

bench-stats-peers: setup  ## our statistics beside MABWiser's and GrowthBook's, which it installs apart
	@$(BIN)/python scripts/statistics_peers.py $(ARGS)

hook: setup  ## run `make check` before each commit of this clone
	@printf '#!/bin/sh\nexec make check\n' > "$$(git rev-parse --git-path hooks)/pre-commit"
	@chmod +x "$$(git rev-parse --git-path hooks)/pre-commit"

clean:  ## remove .venv and what the tools left; keeps .journeys
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov dist build
