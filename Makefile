# Every target sets up .venv by itself. PYTHON makes it, TORCH_INDEX is one more
# place for torch, JOBS processes test.
PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2
MODE := $(or $(AELAB_EXTENSION),auto)# or require, or off
BIN := .venv/bin
OP := tests/test_ops.py tests/test_ops_mutants.py tests/test_exercises.py
PIP := $(BIN)/pip --quiet --disable-pip-version-check
LAB := .venv/share/jupyter/lab/settings
NEWS := '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}'
PYTEST := PYTHONWARNINGS=error::RuntimeWarning,error::FutureWarning \
  $(BIN)/pytest -n $(JOBS) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout 300

# Threads that wait asleep, else two programs on two cores are ten times slower:
lectures lab test test-matrix faults sanitize store: export OMP_WAIT_POLICY = PASSIVE
.PHONY: help lectures lab test test-matrix faults sanitize check bench store exercises clean
help:           ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:[^#]*##/\t/' | expand -t 16
lectures: .venv/.aelab-$(MODE)  ## execute every lecture into build/lectures/
	$(BIN)/python lectures/run.py
test: .venv/.aelab-$(MODE) check  ## style, unit tests, and the lectures under nbval
	$(PYTEST) --cov=aelab tests lectures
test-matrix: .venv/.aelab-$(MODE)  ## op, lectures and exercises in three corners of machines
	AELAB_SEEDS=20 OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default $(PYTEST) $(OP) lectures
	AELAB_SEEDS=20 OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 $(PYTEST) $(OP) lectures
	AELAB_EXTENSION=off $(PYTEST) $(OP) lectures
faults: .venv/.packages  ## plant faults in csrc, and see which test rejects each
	$(BIN)/python tests/csrc_faults.py
sanitize: .venv/.packages  ## the op's tests on csrc under sanitizers
	$(BIN)/python tests/csrc_sanitize.py

check: .venv/.packages  ## style and types: ruff, clang-format, mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror csrc/*.h csrc/*.cpp csrc/*.cu
	$(BIN)/mypy
bench: .venv/.aelab-$(MODE)  ## time an epoch of training, and the fused op, beside others
	[ -d build/peers ] || $(PIP) install -t build/peers --no-deps -r benchmarks/requirements.txt
	PYTHONPATH=build/peers $(BIN)/python benchmarks/bench_training.py && $(BIN)/python benchmarks/bench_reparam_kl.py
lab: .venv/.aelab-$(MODE)  ## open JupyterLab on the first lecture
	$(BIN)/jupyter lab --ip 127.0.0.1 $(firstword $(wildcard lectures/*.ipynb))
store: .venv/.aelab-$(MODE)  ## execute the lectures and store their outputs
	$(BIN)/python lectures/run.py --store
exercises: .venv/.aelab-$(MODE)  ## make what students get of the exercises, in build/release/
	$(BIN)/python lectures/exercises/release.py
clean:          ## remove all that the other targets made
	rm -rf .venv build .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

.venv/.packages: constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' || { echo "Python 3.11 or newer is needed: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install --requirement constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	mkdir -p $(LAB) && echo $(NEWS) > $(LAB)/overrides.json
	touch $@
# The package itself, editable. One stamp a mode, so that a change of mode builds anew.
.venv/.aelab-$(MODE): .venv/.packages pyproject.toml $(wildcard csrc/*)
	rm -f .venv/.aelab-*
	export AELAB_EXTENSION=$(MODE); $(PIP) install --no-build-isolation --no-deps -e . \
	  && $(BIN)/python -c 'import aelab.ops' && touch $@
