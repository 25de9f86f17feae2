# make demo        the main job on embedded data: two to three minutes after the first installation
# make test        all tests but the slow ones        make test-slow   the slow ones
# make check       format, lint, types                make format      mend format and lint
# make bench       benchmarks                         make docs        write the docs' tables anew
# make evidence    work through docs/results/queue.yaml, on one core at the lowest priority; stopped, it goes on
# make evidence-status   what is done, what is running, time left      make evidence-pages   its pages, to be committed
# make clean       remove what make made
# make constraints pin the newest versions again (needs the package index)
# make hashes      write the hashes of the image's packages, on its platform and Python (needs the package index)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# One thread per process: replicas and test workers run side by side.
RUN := OMP_NUM_THREADS=1

.PHONY: demo test test-slow check format types bench docs evidence evidence-status evidence-pages constraints hashes clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n 's/^# make/make/p' Makefile

# Made once; again when what is to be installed changes.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)
	$(RUN) $(BIN)/frisket run demo --data embedded

# Those that stay in their process side by side, a file at a time; those that start others, as Ray does, by themselves.
test: $(READY)
	$(RUN) $(BIN)/python -m pytest -m "not slow and not process" --numprocesses auto --dist loadfile
	$(RUN) $(BIN)/python -m pytest -m "process and not slow"

test-slow: $(READY)
	$(RUN) $(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) types

# pyright cannot follow frisket.__path__, which makes `frisket.platform` out of platform/; so it is shown a real
# installation, in build/tree, and its messages are led back to the sources.
types: $(READY)
	rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target build/tree .
	bash -o pipefail -c "$(BIN)/pyright | sed -E -e 's,build/tree/frisket/(platform|envs|algos|tune_configs)/,\1/,' -e 's,build/tree/,,'"

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	for name in inner_step fewshot_step fewshot_run gems_step la_maml_step la_maml_conv baseline_step powerprop_step generative_step sac_step robot_step stream_service; do $(RUN) $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: $(READY)
	$(RUN) $(BIN)/python -m docs.tables

# Days of work, of which nothing is lost however it ends. FRISKET_DATA says where real data are.
evidence: $(READY)
	$(RUN) $(BIN)/python -m docs.evidence

evidence-status: $(READY)
	@$(RUN) $(BIN)/python -m docs.evidence status

evidence-pages: $(READY)
	$(RUN) $(BIN)/python -m docs.evidence pages

constraints:
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet '.[dev]'
	{ sed -n '/^#/p' constraints.txt; build/pins/bin/python -m pip freeze --exclude frisket \
	  | sed -e 's/+[a-z0-9.]*$$//' -e '/ @ /d' | sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

hashes: $(READY)
	mkdir -p build
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report build/report.json \
	  --constraint constraints.txt --requirement k8s/requirements.txt setuptools .
	$(BIN)/python k8s/hashes.py build/report.json > build/hashes.txt
	mv build/hashes.txt k8s/hashes.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
