# make run     start a relay on this machine and print what to paste into a second terminal
# make test    every check there is: style, types, floors, tests, foreign clients where present
# make check   the quick part of it: style, types, floors
# make bench   measure what relaying costs on this machine, beside the Rust stack; ARGS='--case fan-16'
# make profile  see where our relay's time goes meanwhile; ARGS='--case fan-16'
# make bench-decisions   measure what a decision about a token costs
# make clean   remove whatever the others made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/interop/node
SPEEDUPS := $(wildcard src/relay/net/*.[ch])
ADDRESS ?= [::]:4443

# Most tests wait for other programs, so there are more workers than cores. They take files in the
# order of tests/conftest.py, and one that dies ends the run.
WORKERS ?= 3
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Images for containers set it; then each relay of the tests would compile all of its source again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check bench profile bench-decisions clean

run: $(VENV)/.relay
	@$(BIN)/python certs/make.py
	@test -f certs/demo.jwk || $(BIN)/relay token generate --out certs/demo.jwk
	@$(BIN)/relay run --listen '$(ADDRESS)' --web-http-listen '$(ADDRESS)' \
		--tls-cert certs/relay.pem --tls-key certs/relay.key \
		--auth-key certs/demo.jwk --auth-public anon --demo

test: check $(NODE)/node_modules/.made
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

check: $(VENV)/.dev
	$(BIN)/ruff check src tests certs bench
	$(BIN)/ruff format --check src tests certs bench
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.bench
	@$(BIN)/python bench/relaying.py $(ARGS)

profile: $(VENV)/.bench
	@$(BIN)/python bench/profiling.py $(ARGS)

bench-decisions: $(VENV)/.relay
	@$(BIN)/python bench/decisions.py

clean:
	rm -rf $(VENV) $(NODE)/node_modules build dist src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f certs/*.pem certs/*.key certs/*.jwk src/relay/net/speedups.*.so
	find src tests certs bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.relay: pyproject.toml $(SPEEDUPS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.bench: pyproject.toml $(SPEEDUPS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/.relay

$(VENV)/.dev: pyproject.toml $(SPEEDUPS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.relay

# Without npm the tests that need it say so and are skipped.
$(NODE)/node_modules/.made: $(wildcard $(NODE)/package-lock.json)
	@if command -v npm >/dev/null && test -f $(NODE)/package-lock.json; then \
		npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund && touch $@; \
	fi
