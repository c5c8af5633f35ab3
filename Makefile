# Open Datalabs: the one door. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
PACKAGES := $(sort $(wildcard libs/*/pyproject.toml services/*/pyproject.toml))
SETUP := .venv/.setup
DASHBOARD := dashboard/dist/index.html
DASHBOARD_SOURCES := $(shell find dashboard -path dashboard/node_modules -prune -o -path dashboard/dist -prune -o -type f -print 2>/dev/null)
PYTEST := $(BIN)/pytest
WORKERS ?= 2
JUNIT = --junitxml=build/junit-$@.xml

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: $(SETUP) ## install everything the platform and its tests need, from the package registries

$(SETUP): requirements.lock $(PACKAGES) tools/setup.sh
	@tools/setup.sh
	@touch $@

dashboard: $(DASHBOARD) ## build the web dashboard (Node from its PyPI wheel when the machine has none)

$(DASHBOARD): $(SETUP) $(DASHBOARD_SOURCES)
	@tools/dashboard.sh

up: $(SETUP) $(DASHBOARD) ## run the platform on this machine; UP="--detach --state DIR --port N"
	@$(BIN)/datalabs up $(UP)

down: $(SETUP) ## stop the platform and its labs; DOWN="--keep-labs --state DIR"
	@$(BIN)/datalabs down $(DOWN)

test: $(SETUP) $(DASHBOARD) ## all tests that need no browser, no container engine and no cluster; WORKERS=1 for one after the other
	@mkdir -p build
	@tools/node.sh npm --prefix dashboard test --silent
	@$(PYTEST) -n $(WORKERS) --dist loadfile \
		-m "not browser and not chaos and not docker and not nomad and not vm and not compose" $(JUNIT) $(TEST)

test-browser: $(SETUP) $(DASHBOARD) ## the whole story in a real browser (installs Debian's chromium when absent)
	@mkdir -p build
	@tools/chromium.sh
	@$(PYTEST) -m browser tests $(JUNIT) $(TEST)

test-nomad: $(SETUP) $(DASHBOARD) ## labs on a real Nomad agent, which the tests start themselves (NOMAD_BINARY, else `nomad` on PATH)
	@mkdir -p build
	@tools/chromium.sh
	@tools/nomad.sh $(PYTEST) -m nomad services libs tests $(JUNIT) $(TEST)

test-chaos: $(SETUP) $(DASHBOARD) ## harm every part at every step of labs' lives, each pair once; DATALABS_CHAOS_SEED=n repeats a selection
	@mkdir -p build
	@tools/faketime.sh
	@tools/chaos.sh $(PYTEST) -m "chaos and not long" $(JUNIT) $(TEST)

test-chaos-full: $(SETUP) $(DASHBOARD) ## all combinations of who, when and how, and what takes long: hours; DATALABS_CHAOS_MINUTES=n for silences
	@mkdir -p build
	@tools/faketime.sh
	@DATALABS_CHAOS_FULL=1 tools/chaos.sh $(PYTEST) -m chaos $(JUNIT) $(TEST)

vm-tools: ## install what virtual machines and their image need, from Debian's packages (needs root)
	@apt-get install --quiet --yes --no-install-recommends qemu-system-x86 qemu-utils mmdebstrap zstd xz-utils e2fsprogs

vm-image: ## build the disk of the Linux desktop under build/vm (needs root and a Debian mirror; DEBIAN_MIRROR=URL)
	@images/vm/build.sh build/vm

test-vm: $(SETUP) ## the tests with real virtual machines; the slow one needs `make vm-image`
	@mkdir -p build
	@tools/vm.sh $(PYTEST) -m "vm and not nomad" $(JUNIT) $(TEST)

test-docker: $(SETUP) ## container labs and their images on a real Docker engine; builds the images first
	@mkdir -p build
	@tools/docker.sh $(BIN)/python tools/images.py build notebook topcat
	@tools/docker.sh $(PYTEST) -m "docker and not nomad" services images $(JUNIT) $(TEST)

base-image: $(SETUP) ## have debian:12-slim: as it is, from a registry, or made from Debian's packages with this site's settings
	@$(BIN)/python tools/images.py base

images: $(SETUP) ## build the labs' images; IMAGES="notebook topcat" or a source folder with a Dockerfile builds only these
	@$(BIN)/python tools/images.py build $(IMAGES)

test-compose: $(SETUP) ## the platform from containers on an emulated cluster (needs a Docker engine and docker-compose)
	@mkdir -p build
	@docker build --quiet -f compose/Dockerfile -t open-datalabs:dev .
	@$(PYTEST) -m compose tests/compose $(JUNIT) $(TEST)

check: $(SETUP) $(DASHBOARD) ## formatting, lint, types, import rules, and that generated files are up to date
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy libs/*/src services/*/src
	@$(BIN)/mypy examples tests
	@$(BIN)/lint-imports
	@tools/node.sh npm --prefix dashboard run check --silent
	@tools/contracts.sh --check

contracts: $(SETUP) ## regenerate AsyncAPI, OpenAPI, the list of codes and the dashboard's types
	@tools/contracts.sh

format: $(SETUP) ## format Python and TypeScript
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet . || true
	@tools/node.sh npm --prefix dashboard run format --silent

lock: ## choose the newest allowed versions and write requirements.lock (hashes, no addresses)
	@tools/lock.sh

bench: $(SETUP) $(DASHBOARD) ## launch, API and edge figures beside their floors, as a table and as JSON under build/
	@mkdir -p build
	@$(BIN)/python -m tests.bench.launch
	@$(BIN)/python -m tests.bench.api

bench-launch: $(SETUP) $(DASHBOARD) ## warm launches in each runtime beside the same by hand, and labs a second on an emulated cluster
	@mkdir -p build
	@$(BIN)/python -m tests.bench.runtimes

bench-scale: $(SETUP) $(DASHBOARD) ## ten thousand live labs on an emulated cluster (LABS=1000 for fewer); takes many minutes
	@mkdir -p build
	@$(BIN)/python -m tests.bench.scale $(LABS)

bench-idle: $(SETUP) $(DASHBOARD) ## memory (PSS) and CPU of every part of an idle platform
	@mkdir -p build
	@$(BIN)/python -m tests.bench.idle

screenshots: $(SETUP) $(DASHBOARD) ## pictures of every page of the running product, light and dark, under build/screenshots
	@tools/chromium.sh
	@$(BIN)/python -m tests.browser.screenshots

clean: ## remove what was built (never a state folder)
	@rm -rf build .venv dashboard/node_modules dashboard/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: test-docker base-image images vm-tools vm-image test-vm help setup dashboard up down test test-browser test-chaos test-chaos-full test-compose check contracts format lock bench bench-idle bench-launch bench-scale screenshots clean
