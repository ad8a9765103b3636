# `make lab` and `make test` set up all that they need. What a target runs here, anybody can run by hand in .venv.
# IN runs a command in .venv with the development tools; NEEDS adds system packages, listed before they are installed.
IN := python3 -m kubesmith.bootstrap --dev
NEEDS := --needs podman --needs bundle --yes

.PHONY: help lab test lint unit sanity molecule bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

lab: ## a verified cluster on this machine: one control plane and two workers
	python3 runner.py --inventory lab --yes

test: lint unit sanity molecule ## everything below, in this order

lint: ## ruff, mypy, yamllint, ansible-lint
	$(IN) ruff check
	$(IN) ruff format --check
	$(IN) mypy kubesmith runner.py
	$(IN) yamllint --strict .
	$(IN) ansible-lint --offline --profile production

unit: ## the unit tests
	$(IN) pytest

sanity: ## ansible-test sanity on a built collection
	$(IN) sh tests/sanity/run

molecule: ## a lab through every step of the scenario `default`, and each role by itself
	$(IN) $(NEEDS) molecule test --all

bench: ## times and task counts beside a plain shell script that does the same
	$(IN) $(NEEDS) python tests/bench/run.py

clean: ## remove what was made in this folder; labs and caches stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible dist artifacts
	find . -name __pycache__ -prune -exec rm -rf {} +
