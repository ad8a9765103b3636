# `make lab` and `make test` set up all that they need. What a target runs here, anybody can run by hand in .venv.
# IN runs a command in .venv with the development tools; NEEDS adds system packages, listed before they are installed.
IN := python3 -m kubesmith.bootstrap --dev
NEEDS := --needs podman --needs bundle --yes

.PHONY: test-restore test-tour test-faults test-soak test-security test-lifecycle test-machines test-airgap fuzz help lab test test-vagrant lint unit sanity collection controllers molecule faults man bench bench-scale clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

lab: ## a verified cluster on this machine: one control plane and two workers
	python3 runner.py --inventory lab --yes

test: ## every group of tests below
	$(IN) $(NEEDS) python tests/run.py

lint unit sanity collection controllers: ## the code as written; without machines; Ansible's own; as published; many controllers
	$(IN) python tests/run.py $@

faults: ## a lab of its own, broken in every known way; long, and not part of `test`
	$(IN) $(NEEDS) python tests/run.py faults

test-vagrant: ## two virtual machines, from the box to destroy; software emulation where there is no KVM, then an hour
	$(IN) --needs libvirt --needs box --needs bundle --yes python tests/run.py vagrant

test-machines: ## a lab rebooted, cut off and brought back by a snapshot; two plain hosts with a user, by SSH
	$(IN) $(NEEDS) python tests/run.py machines

test-airgap: ## a lab from one exported file, with no way out; and a private registry with a password
	$(IN) $(NEEDS) python tests/run.py airgap

test-lifecycle: ## a cluster's whole life on labs of its own: reset that leaves nothing, certificates renewed, upgrades
	$(IN) $(NEEDS) python tests/run.py lifecycle

test-security: ## profile cis, keys of secrets and firewalls on a lab; planted secrets are looked for in all that is written
	$(IN) $(NEEDS) python tests/run.py security

test-faults: ## a lab interrupted at every phase, 60 cases chosen by a seed; KUBESMITH_SEED, KUBESMITH_PART=1/6 and so on
	$(IN) $(NEEDS) python tests/run.py interruptions

test-soak: ## an hour of writing while nodes restart: no record is lost; KUBESMITH_SOAK is another number of seconds
	$(IN) $(NEEDS) python tests/run.py soak

test-tour: ## a lab that every tour is taken on, with `verify` after each; kill -9 in the middle; every exercise solved
	$(IN) $(NEEDS) python tests/run.py tour

test-restore: ## drills: clusters brought back from backups, in place and on new machines; what is refused
	$(IN) $(NEEDS) python tests/run.py restore

molecule: ## the scenario `default`, and one for each role: real nodes, built, tested, removed
	$(IN) $(NEEDS) python tests/run.py molecule

fuzz: ## ten minutes of guided nonsense into the cluster file; what breaks it is kept in artifacts/fuzz
	$(IN) python tests/run.py fuzz

man: ## the manual pages, docs/man, from the command line's parser
	$(IN) python docs/man_page.py

bench: ## three ways to the same cluster, timed: a plain shell script, ansible-playbook, runner.py; into the docs
	$(IN) $(NEEDS) python -m bench.run --document

bench-scale: ## the controller with 10 to 1,000 simulated workers beside a real control plane; hours on two processors
	$(IN) $(NEEDS) python -m bench.scale --document

clean: ## remove what was made in this folder; labs and caches stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible dist artifacts
	find . -name __pycache__ -prune -exec rm -rf {} +
