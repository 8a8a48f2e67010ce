# serve · test · test-full · lint · bench · bench-full · clean. Each makes what it needs and may be the first thing run on a fresh clone.

VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The suite starts Ray clusters; keep a token of a user's own cluster, and its address, out of it.
TEST_ENV := env -u RAY_ADDRESS -u RAY_SERVE_ENABLE_HA_PROXY -u RAY_SERVE_THROUGHPUT_OPTIMIZED OPENBLAS_NUM_THREADS=1

.PHONY: serve test test-full lint bench bench-full clean

serve: $(READY)
	@exec $(BIN)/ascend-serve run deployments/resnet.yaml

test: $(READY)
	$(TEST_ENV) $(BIN)/python -m pytest

# Clients of others, each in an environment of its own, against a port that is served here.
test-full: test
	$(BIN)/python -m tests.judges.environments
	$(TEST_ENV) $(BIN)/python -m pytest -m judge tests/judges

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m benchmarks bench

bench-full: $(READY)
	$(BIN)/python -m benchmarks bench-full

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv where it is installed, else venv and pip of the standard library. On a machine with CANN the emulator is
# installed too but idle: set_env.sh puts the real acl on PYTHONPATH, which comes before site-packages.
$(READY): pyproject.toml emulator/pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  set -ex; uv venv --allow-existing --python $(PYTHON) $(VENV); \
	  uv pip install --quiet --python $(BIN)/python -e ./emulator -e '.[dev]'; \
	else \
	  set -ex; $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./emulator -e '.[dev]'; \
	fi
	@touch $@
