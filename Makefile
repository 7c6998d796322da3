# Two commands: `make demo` sets everything up and runs the main job; `make test` sets up and
# passes all tests, lint and types. Both share one environment, .venv.
PYTHON ?= python3
BIN := .venv/bin
OPTUNA_4 := 4.3.0

.PHONY: demo test lint types clean

demo: .venv/ready
	$(BIN)/metahpo demo --out demo

test: .venv/ready .venv/optuna-$(OPTUNA_4) lint types
	PYTHONPATH=.venv/optuna-$(OPTUNA_4) $(BIN)/python -m pytest tests/test_sampler.py
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# the sampler promises to run on the lowest Optuna 4 as well as on the version in constraints.txt
.venv/optuna-$(OPTUNA_4): .venv/ready
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ optuna==$(OPTUNA_4)
	touch $@

clean:
	rm -rf .venv demo
