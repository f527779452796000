# Every target is listed by `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
MARKET := simulate marketplace --users 1000 --seed 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix bench bench-peers docs clean

help:  ## List what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP)  ## Create .venv with amiss and everything its tests need

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)  ## Simulate two days of a marketplace, scan the second, write a report to demo/
	@mkdir -p demo
	$(BIN)/amiss $(MARKET) --date 2026-01-05 -o demo/monday.jsonl
	$(BIN)/amiss $(MARKET) --date 2026-01-06 -o demo/tuesday.jsonl --truth demo/truth.csv
	$(BIN)/amiss scan demo/tuesday.jsonl --learn demo/monday.jsonl --top 10 --report demo/report.html
	@echo
	@echo "Open demo/report.html in a browser. Who was really odd: demo/truth.csv"

test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)  ## Run all tests and the examples in the docstrings
	$(BIN)/python tests/compiled.py
	$(BIN)/pytest -q -n 3 --dist worksteal

check: $(STAMP)  ## Check format, lint, types, layers, and that the docs are current
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/build.py --check

fix: $(STAMP)  ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Measure scans against merely parsing, streams, networks, bands, activity, groups (minutes, gigabytes in bench/out)
	$(BIN)/python bench/run.py
	$(BIN)/python bench/stream.py
	$(BIN)/python bench/purchases.py
	$(BIN)/python bench/sql.py
	$(BIN)/python bench/purchases_quality.py
	$(BIN)/python bench/bands.py
	$(BIN)/python bench/activity.py
	$(BIN)/python bench/groups.py

bench-peers: $(PEERS)/.installed  ## Measure amiss beside others, write docs/benchmarks.md (DATA=DIR, ONLY="PART ...", PAGE=1)
	$(PEERS)/bin/python -m bench.peers $(if $(DATA),--data "$(DATA)") $(if $(ONLY),--only $(ONLY)) $(if $(PAGE),--page)

$(PEERS)/.installed: pyproject.toml bench/peers/requirements.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python bench/peers/environment.py
	@touch $@

docs: $(STAMP)  ## Write the generated pages of docs/ anew
	$(BIN)/python docs/build.py

clean:  ## Remove what make wrote, except .venv and .venv-peers
	rm -rf demo bench/out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
