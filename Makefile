# `make` alone explains itself. Needs Python >= 3.11 and make; everything else goes into .venv.

PYTHON ?= python3
# PyTorch's build: empty for what the package index has (on Linux x86-64 the CUDA build), cpu, cu130 …, or auto: see `make help`.
TORCH ?=
CASES ?= 10000
SEED ?= 20
UV_VERSION := 0.13.9
AXE_VERSION := 4.14.1

BIN := .venv/bin
LOCK := requirements.lock
CUDA_ONLY := ^(nvidia-|cuda-|triton)

.PHONY: help demo test test-slow campaign check lock golden study-tables benchmark cluster-test kind-test kubeconfig clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  PYTHON=python3.12   the interpreter that makes .venv'
	@echo '  TORCH=cpu           the build of PyTorch: cpu, cu130, auto, …; without it what the package index has'

demo: .venv/installed ## train, survey and compare three networks on the embedded digits (minutes)
	$(BIN)/lossmap run digits-linear digits-resnet20-noshort digits-resnet20

test: .venv/installed ## the tests that need no cluster, on all cores
	$(BIN)/python -m pytest -m "not cluster and not slow"

test-slow: .venv/installed build/axe/$(AXE_VERSION) ## the wheel by itself, networks of transformers and timm, pages in a browser
	$(BIN)/python -m pytest -m slow

campaign: .venv/installed ## hostile files and damaged stores, many of them: CASES=10000 SEED=20
	LOSSMAP_CASES=$(CASES) LOSSMAP_SEED=$(SEED) $(BIN)/python -m pytest --numprocesses=0 tests/campaigns

check: .venv/installed build/mypy/lossmap ## style, types, and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/mypy $(BIN)/mypy -p lossmap.components -p lossmap.pipelines
	$(BIN)/lint-imports

cluster-test: kubeconfig .venv/installed ## the tests on a Kubernetes cluster; needs KUBECONFIG
	$(BIN)/python -m pytest -m cluster --numprocesses=0

kind-test: ## the tests on a Kubernetes cluster, on one that kind makes in Docker and that is gone afterwards
	TORCH=$(or $(TORCH),cpu) k8s/kind/up.sh
	kind get kubeconfig --name lossmap > build/kind.kubeconfig
	KUBECONFIG=$(CURDIR)/build/kind.kubeconfig $(MAKE) cluster-test
	k8s/kind/down.sh

kubeconfig:
	@test -n "$$KUBECONFIG" || { echo 'cluster-test: KUBECONFIG is not set; point it at a cluster' >&2; exit 2; }

benchmark: .venv/installed ## ratios of speed against the obvious ways
	$(BIN)/python tests/benchmarks/surface.py
	$(BIN)/python tests/benchmarks/importing.py
	$(BIN)/python tests/benchmarks/training.py
	$(BIN)/python tests/benchmarks/start.py

lock: .venv/installed ## resolve the dependencies of pyproject.toml again, for every Python from 3.11
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate \
	    --custom-compile-command 'make lock' --extra dev --extra server --output-file $(LOCK) pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate \
	    --custom-compile-command 'make lock' --constraint $(LOCK) --extra server --output-file k8s/image/requirements.lock pyproject.toml

golden: .venv/installed ## write the list of commands and options that tests/contract holds the CLI to
	LOSSMAP_UPDATE_GOLDEN=1 $(BIN)/python -m pytest tests/contract/test_command_line.py

study-tables: .venv/installed ## write the tables of pipelines/studies/README.md from what the studies found
	$(BIN)/python tests/readmes/study_tables.py

clean: ## remove what make made, not the runs
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The stamp is there only between whole installations; without it .venv is made anew, because uv takes a half-written package for installed.
.venv/installed: $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo 'lossmap needs Python 3.11 or newer; name one: make PYTHON=python3.12' >&2; exit 1; }
	@test -e $@ || rm -rf .venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@rm -f $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@mkdir -p build
ifeq ($(TORCH),cpu)
	grep -vE '$(CUDA_ONLY)' $(LOCK) > build/requirements.txt
else
	cp $(LOCK) build/requirements.txt
endif
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(if $(TORCH),--torch-backend=$(TORCH)) --no-deps -r build/requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# What judges whether everybody can use the pages. Without npm its tests are skipped.
build/axe/$(AXE_VERSION):
	@mkdir -p build/axe
	@command -v npm >/dev/null || { echo 'no npm: no axe-core, whose tests are skipped' >&2; exit 0; }; \
	    npm install --silent --no-save --no-package-lock --prefix build/axe axe-core@$(AXE_VERSION) && touch $@

# mypy does not follow setuptools' editable finder; it follows links.
build/mypy/lossmap:
	@mkdir -p $@
	@ln -sfn ../../../components $@/components
	@ln -sfn ../../../pipelines $@/pipelines
