# The words of CI: .ci/run calls these targets and nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=

.PHONY: help setup demo test lint format types wheel readme docs bench soak clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv from requirements.lock, graphrec in it; at once when nothing changed
	@python3 .ci/setup.py

demo: setup ## train a small multi-task model on synthetic data
	$(BIN)/graphrec train recipes/shop.yaml

test: setup ## every test, side by side; PYTEST_ARGS="-k lower -x" to choose
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist worksteal $(PYTEST_ARGS)

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## ruff: fix what it can, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup ## mypy, strict, on graphrec/
	$(BIN)/mypy

wheel: setup ## build the wheel, install it in a clean environment, compile a recipe there
	.ci/check_wheel.sh

readme: setup ## run the marked code blocks of the documentation
	$(BIN)/python .ci/readme_commands.py

docs: setup ## the generated pages of docs/ again, and the manual as a site in site/
	$(BIN)/python -m pytest -q tests/views/test_manual.py tests/views/test_documentation.py --update-golden
	$(BIN)/python -m mkdocs build --strict --quiet

bench: setup ## the table of goals on this machine, into bench/results; BENCH_ARGS="--only P3"
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m bench $(BENCH_ARGS)

soak: setup ## the long form of the enumerated tests: hours
	$(BIN)/python -m pytest --soak $(PYTEST_ARGS)

clean: ## remove caches and builds; keeps .venv and runs
	rm -rf dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
