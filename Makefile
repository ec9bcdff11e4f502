# The one door. `make help` lists what there is; README.md shows it in use.
#
# On a fresh Debian or Ubuntu machine `make up` needs nothing but make: it installs what is missing and starts the stack.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

# funcatron.toml and FUNCATRON_* change ports, folders and the rest: see funcatron.toml.example
STACK ?= local
BIN := .venv/bin
FUNCATRON := $(BIN)/funcatron
PYTEST_ARGS ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: setup
setup: ## Install what is missing: Debian's packages, the virtual environment
	@scripts/setup.sh stack

.PHONY: up
up: stack-is-known setup ## Start the stack on this machine and say what to curl
	@$(FUNCATRON) up

.PHONY: down
down: ## Stop the stack; no process is left
	@if [ -x $(FUNCATRON) ]; then $(FUNCATRON) down; else echo "nothing runs: this checkout was never set up"; fi

.PHONY: status
status: setup ## Show how each part of the stack is
	@$(FUNCATRON) status

.PHONY: logs
logs: setup ## Follow the logs of all parts (end with Ctrl-C)
	@$(FUNCATRON) logs --follow

.PHONY: test
test: ## Run all checks and all tests, on real servers of their own
	@scripts/setup.sh stack test
	@scripts/test.sh $(PYTEST_ARGS)

.PHONY: lint
lint: ## Run the linters and type checks only
	@scripts/setup.sh stack test
	@scripts/lint.sh

.PHONY: bench
bench: ## Measure speed and memory beside their peers; writes var/bench.json
	@scripts/setup.sh stack bench
	@$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

.PHONY: clean
clean: down ## Stop the stack and delete what was built; data and secrets in var/ are kept
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: stack-is-known
stack-is-known:
ifeq ($(STACK),local)
	@:
else ifeq ($(STACK),docker)
	@echo "make up STACK=docker: the stack in containers comes with the cluster work; use plain 'make up' until then" >&2; exit 2
else
	@echo "STACK=$(STACK) is unknown: there is 'local' (this machine)" >&2; exit 2
endif
