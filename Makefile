# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
BIN := .venv/bin
# Not by its name: pip writes no script that starts in a folder with a quote or a dollar sign in its name.
PROXYBENCH := $(BIN)/python -m proxybench
RUN := $(PROXYBENCH) run

RELEASES := v1.30.14 v1.33.13 v1.36.3 v1.37.2
CLUSTERS := v1.25.0 v1.30.14 v1.37.2

.PHONY: help setup dev run quick test unit coverage lab-tests wheel test-releases test-clusters golden check fmt lint types imports dead gate calibrate findings bench-stats bench-report bench-fleet fuzz lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv and install what the lab runs on
	@.ci/setup run

dev: ## the same, with what tests and checks need
	@.ci/setup dev

run: setup ## the main job: kube-proxy's work in a VM, then its time on this kernel; ends with a report each
	@code=0; for name in scale native; do $(RUN) experiments/$$name.yaml || code=$$?; done; exit $$code

quick: setup ## a first look, in a VM: 10, 100 and 1,000 Services
	$(RUN) experiments/quickstart.yaml

test: coverage lab-tests wheel ## all tests: unit, lab, and the wheel

unit: dev ## tests that need neither root nor a lab
	$(BIN)/python -m pytest tests/unit -n auto

coverage: dev ## the same, with the branches that they take, and a floor below which that fails
	$(BIN)/python -m pytest tests/unit -n auto --cov --cov-report=term

lab-tests: dev ## tests in network namespaces and in the VM; what only emulates beside the rest (tests/lab/conftest.py)
	$(BIN)/python -m pytest tests/lab -n 2

wheel: dev ## build the wheel, install it into an empty venv, and measure with it
	$(BIN)/python -m pytest tests/wheel

test-releases: dev ## lab tests of kube-proxy with every release of RELEASES
	PROXYBENCH_TEST_RELEASES="$(RELEASES)" $(BIN)/python -m pytest tests/lab/test_kube_proxy.py tests/lab/test_binaries.py

test-clusters: dev ## lab tests of your own cluster, with a real control plane of every release of CLUSTERS
	set -e; for release in $(CLUSTERS); do PROXYBENCH_TEST_CLUSTER="$$release" \
		$(BIN)/python -m pytest tests/lab/test_cluster_*.py tests/lab/test_own_cluster.py tests/lab/test_profile.py; done

golden: dev ## make tests/golden/kube-proxy-* anew, of the RELEASES, in the VM lab (12 minutes; see the README there)
	$(BIN)/python -m tests.golden.make $(RELEASES)

check: lint types imports dead ## everything that reads the code without running it

fmt: dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: dev ## ruff: style and mistakes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: dev ## mypy --strict
	$(BIN)/mypy

imports: dev ## the arrows of the architecture
	$(BIN)/lint-imports

dead: dev ## vulture: what nothing calls
	$(BIN)/vulture

calibrate: setup ## the same kube-proxy by both clocks (7 minutes), into docs/calibration.md
	$(RUN) experiments/calibrate.yaml
	$(BIN)/python -m benchmarks.pages results/calibrate/latest

findings: setup ## docs/findings.md and README's table from results/findings; RUNS="results/native/latest …" adds runs to it
	$(BIN)/python -m benchmarks.pages $(RUNS)

gate: setup ## experiments/gate.yaml against the committed baseline (3 minutes); exit code as in docs/ci.md
	$(RUN) experiments/gate.yaml
	$(PROXYBENCH) gate results/gate/latest --baseline results/baselines/gate.json \
		--junit results/gate.xml --markdown results/gate.md --annotations

bench-stats: dev ## coverage, false alarms and power of the statistics, by simulation
	$(BIN)/python -m benchmarks.stats_coverage

bench-report: dev ## reports of ten million samples (limits: 20 s, 1.5 GiB) and of 60 sizes (10 s, 3 MB)
	$(BIN)/python benchmarks/report_ten_million.py
	$(BIN)/python -m benchmarks.report_sixty_sizes

bench-fleet: dev ## 100 sshds in namespaces against one: connections, commands, agents, the doctor; a whole run (root; eight minutes)
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.whole_run

fuzz: dev ## ten thousand mutated experiment files through `proxybench validate`, against its limits of 2 s and 200 MiB
	$(BIN)/python benchmarks/fuzz_experiments.py

lock: dev ## write the locks anew
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --no-strip-extras --generate-hashes --no-emit-options \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o .ci/requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --upgrade --no-strip-extras --generate-hashes --no-emit-options --extra dev \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o .ci/requirements-dev.txt pyproject.toml

clean: ## remove what was built here (results stay)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
