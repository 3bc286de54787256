# Bento. `make demo` shows the whole idea; `make test` proves it. Both set the machine up first.
PYTHON ?= /usr/bin/python3
BIN := .venv/bin
PACKAGES := packaging/debian-packages.txt

.PHONY: setup demo check test test-in-two unit campaign vm bench experiment-scale experiment-balancer experiment-fingerprinting \
	experiment-download lock clean
.DELETE_ON_ERROR:

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml $(PACKAGES) packaging/install-debian
	packaging/install-debian $(PACKAGES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/python -m bento.cli.demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup
	$(BIN)/python -m pytest

# The same in two processes, a core each, in 11 minutes; what they keep together stands in tests/lanes.py.
# Tests that are not alone on the machine wait for each other now and then longer than they should.
test-in-two: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

# The tests that start no process: less than a minute.
unit: setup
	$(BIN)/python -m pytest -m "unit and not campaign"

# The full counts of every promise; ONLY=R7 runs one.
campaign: setup
	$(BIN)/python -m pytest -m campaign $(if $(ONLY),-k "$(ONLY)")

# The sandbox's tests on Debian's own kernel with control groups of version 2 alone, under qemu
# without acceleration: two minutes.
vm: setup
	packaging/install-debian packaging/debian-packages-vm.txt
	$(BIN)/python -m tests.vm

# Each figure as one JSON line; ONLY=P1 runs one.
bench: setup
	@$(BIN)/python -m benchmarks $(ONLY)

# LoadBalancer with 100 to 100,000 visitors, by simulation; CONSENSUS=FILE reads a tor's own.
experiment-scale: setup
	@$(BIN)/python -m experiments.scale $(if $(CONSENSUS),--consensus $(CONSENSUS))

# The paper's figure 5: thirteen clients, four servers, on a private network; four minutes.
experiment-balancer: setup
	@$(BIN)/python -m experiments.balancer

# Who can tell which of 52 sites was visited, from cells before the guard; ROUNDS=N visits to each, STORED=1
# attacks the stored visits, PUBLISHED=1 by DF and Tik-Tok as published (hours), COVER=N visits under Cover
# instead. Fetches the sites (300 MB of packages) once.
experiment-fingerprinting: .venv/.ready-experiments
	@$(BIN)/python -m experiments.fingerprinting $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(STORED),--stored) \
		$(if $(PUBLISHED),--published) $(if $(COVER),--cover $(COVER))

# Five pages over Tor with 50 ms links, Chromium v. Browser at each padding; memory of an instance.
experiment-download: setup
	@$(BIN)/python -m experiments.download $(if $(ROUNDS),--rounds $(ROUNDS))

.venv/.ready-experiments: .venv/.ready requirements-experiments.lock
	command -v npm >/dev/null || packaging/install-debian packaging/debian-packages-experiments.txt
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements-experiments.lock
	@touch $@

PIP_COMPILE := pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
  --no-emit-find-links --no-emit-trusted-host --no-emit-options

lock:
	$(PIP_COMPILE) -o requirements.lock requirements.in
	$(PIP_COMPILE) -o requirements-experiments.lock requirements-experiments.in

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo-output
