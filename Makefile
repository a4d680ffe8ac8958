# Two commands on a bare machine with Python ≥ 3.11: `make demo` and `make test`. The rest is for daily work.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

PAGES := service/fundus_relay/guide/site/content-security-policy.txt

.PHONY: setup pages demo test test-peers test-faults test-faults-mutants test-deploy deploy-tools test-image test-cluster cluster-tools image standin-image peers orthanc clients check bench profiles serve lock clean
.DEFAULT_GOAL := demo

setup: .venv/.installed  ## the virtual environment with everything that the laptop needs

.venv/.installed: requirements-laptop.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements-laptop.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

pages: $(PAGES)  ## the guide for people, which the service shows under /guide

$(PAGES): .venv/.installed profiles/pages.py profiles/mkdocs.yml $(wildcard profiles/pages/* service/fundus_relay/guide/compiled/*.json)
	@$(BIN)/python profiles/pages.py

demo: setup pages  ## one picture from EHR to report; IMAGE=path for one of your own
	@$(BIN)/fundus-relay demo $(if $(IMAGE),--image "$(IMAGE)")

serve: setup pages  ## service, analyser stand-in and demonstration EHR until SIGTERM
	@exec $(BIN)/fundus-relay up

test: setup pages clients  ## every test that needs no server of somebody else; what the service says in them stays in out/said
	@rm -rf out/said
	TESTS_SAID=out/said $(BIN)/python -m pytest $(SIDE_BY_SIDE) --ignore=tests/peers --ignore=tests/cluster

test-peers: setup peers profiles  ## the service with HAPI FHIR, Medplum's router, Orthanc, HL7's validator and the guide
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/peers tests/profiles

test-faults: setup  ## processes killed, connections cut, clocks set; FAULT_SEED=1 FAULT_RUNS=25 is what it begins with
	$(BIN)/python -m tests.system.faults

test-faults-mutants: setup  ## the same on services that are broken on purpose, which it has to notice
	$(BIN)/python -m tests.system.faults.mutants

test-deploy: setup deploy-tools  ## deploy/ as kustomize and helm render it, before kubeconform, kube-score and promtool
	$(BIN)/python -m pytest tests/deploy

deploy-tools:  ## into a cache outside the checkout; some five minutes the first time on two cores
	@tests/deploy/tools.sh

image: setup pages  ## out/image/fundus-relay.tar, without Docker: needs root, buildah and debootstrap of Debian
	@deploy/image/build.sh

standin-image: setup pages  ## out/image/fundus-relay-standin.tar, likewise: what overlays/local has for Netra
	@deploy/image/build.sh standin

test-image: image  ## the image as a pod runs it, without Docker
	TESTS_IMAGE=1 $(BIN)/python -m pytest tests/deploy/test_image.py

test-cluster: setup pages  ## the images in a Kubernetes of one node, on this machine; `TESTS=tests/cluster/test_loss.py` for some
	@tests/cluster/run.sh $(TESTS)

cluster-tools:  ## Kubernetes itself into a cache outside the checkout; some seven minutes the first time on two cores
	@tests/cluster/build.sh

peers: .peers/hapi/.built .peers/judge/.built tests/peers/router/node_modules/.installed orthanc  ## programs that nobody here wrote

orthanc:  ## a PACS, from Debian's packages: installed for all of the machine, so not remembered here
	@tests/peers/orthanc/install.sh || echo "NOT RUN: no archive is asked, because Orthanc needs root and apt to install"

.peers/%/.built: $(shell find tests/peers -path '*/src/*' -type f) tests/peers/hapi/pom.xml tests/peers/judge/pom.xml
	@if command -v mvn >/dev/null && command -v javac >/dev/null; then mvn -q -B -f tests/peers/$*/pom.xml package && touch $@ || echo "NOT RUN: $* does not build here"; \
	else echo "NOT RUN: $* is not built, because there is no Maven with a JDK (17 or newer) here"; fi

clients: setup tests/clients/node_modules/.installed .venv-kindling/.installed  ## stock clients that the tests run

tests/clients/node_modules/.installed: tests/clients/package-lock.json
	@if command -v npm >/dev/null && node --eval 'process.exit(Number(parseInt(process.versions.node) < 20))'; \
	then cd tests/clients && npm ci --ignore-scripts --loglevel=error && touch node_modules/.installed; \
	else echo "NOT RUN: the clients of npm are not tested, because there is no npm with Node 20 here"; fi

.venv-kindling/.installed: tests/clients/requirements-kindling.lock
	@$(PYTHON) -m venv .venv-kindling && .venv-kindling/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --require-hashes --requirement $< && touch $@ || echo "NOT RUN: fhir-kindling does not install here"

tests/peers/router/node_modules/.installed: tests/peers/router/package-lock.json
	@if command -v npm >/dev/null && node --eval 'process.exit(Number(parseInt(process.versions.node) < 20))'; \
	then cd tests/peers/router && npm ci --ignore-scripts --loglevel=error && touch node_modules/.installed; \
	else echo "NOT RUN: Medplum's router takes no delivery, because there is no npm with Node 20 here"; fi

check: setup  ## before a commit: format, lint, types, imports, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "not slow" tests/unit tests/contract

bench: setup .venv-image/.installed  ## ratios against floors measured in the same run
	$(BIN)/python -m tests.bench

.venv-image/.installed: requirements.lock  ## what the image has, and nothing of a developer's
	$(PYTHON) -m venv .venv-image
	.venv-image/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement $<
	@touch $@

profiles: profiles/node_modules/.installed  ## compile the implementation guide into out/profiles
	@if test -e $<; then node profiles/build.mjs out/profiles; fi

profiles/node_modules/.installed: profiles/package-lock.json
	@if command -v npm >/dev/null && node --eval 'process.exit(Number(parseInt(process.versions.node) < 20))'; \
	then cd profiles && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.installed; \
	else echo "NOT RUN: the guide is not compiled, because there is no npm with Node 20 here"; fi

lock:  ## choose new versions: needs uv on the PATH
	$(LOCK) --output-file requirements.lock pyproject.toml
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-laptop.lock pyproject.toml

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
  --no-annotate --no-emit-package fundus-relay

clean:
	rm -rf .peers .venv .venv-* tests/clients/node_modules tests/peers/router/node_modules profiles/node_modules out var service/fundus_relay/guide/site \
	  .mypy_cache .ruff_cache .pytest_cache
