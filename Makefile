# The commands of pixelcnn-lit. Everything is set up on the first call and nothing on the second.

VARIANT ?= pp
DATA ?= digits
SIZE ?= small
ARGS ?=
PYTHON3 ?= python3

VENV := .venv
PYTHON := $(VENV)/bin/python
PIXELCNN := $(VENV)/bin/pixelcnn-lit
INSTALLED := $(VENV)/.installed
ENGINE := $(VENV)/.sweep-engine
# what `train` and `slurm` run: a recipe, or a model on data
ifdef EXPERIMENT
  RUN_OPTIONS = $(foreach name,VARIANT DATA SIZE,$(if $(filter command,$(origin $(name))),$(error \
    EXPERIMENT=$(EXPERIMENT) says what $(name) is; leave $(name)=$($(name)) out, or use ARGS)))experiment=$(EXPERIMENT)
else
  RUN_OPTIONS = model=$(VARIANT) data=$(DATA) size=$(SIZE)
endif
# two processes with a thread each: the small arrays of the tests gain nothing from more threads
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install check format test test-all smoke train sample evaluate sweep slurm mutants clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
	  | awk -F '\t' '{ printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2 }'

install: $(INSTALLED) ## Create .venv with everything pinned (all other commands do it when needed)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "pixelcnn-lit needs Python 3.11 or newer; $(PYTHON3) is $$($(PYTHON3) --version 2>&1)." \
	       "Name another one: make PYTHON3=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c '' 2>/dev/null || $(PYTHON3) -m venv --clear $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	UV_FIND_LINKS="$(PIP_FIND_LINKS)" VIRTUAL_ENV="$(CURDIR)/$(VENV)" \
	  $(VENV)/bin/uv pip install --quiet --compile-bytecode -e '.[dev]' -c constraints.txt
	@touch $@

check: $(INSTALLED) ## Lint, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

format: $(INSTALLED) ## Let ruff repair what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

test: $(INSTALLED) $(ENGINE) ## All tests but the slow ones
	$(PYTEST) -m "not slow and not network" $(ARGS)

test-all: $(INSTALLED) $(ENGINE) ## All tests, the slow ones included (SLURM's need slurm-wlm and munge, and root)
	$(PYTEST) -m "not network" $(ARGS)

smoke: $(INSTALLED) ## A tiny run from start to end, under a minute
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	  WANDB_MODE=offline $(PIXELCNN) train model=$(VARIANT) data=digits trainer=cpu \
	  run_dir=$$folder/run trainer.max_epochs=1 trainer.limit_train_batches=5 model.network.num_filters=16 \
	  trainer.limit_val_batches=1 trainer.limit_test_batches=1 $(ARGS) && \
	  test -s $$folder/run/checkpoints/best.ckpt && ls $$folder/run/*/epoch=000.png >/dev/null && \
	  grep -q test/ $$folder/run/metrics.csv && echo "smoke: all there"

train: $(INSTALLED) ## VARIANT=pp|gated|pixelcnn|autoencoder|conv_autoencoder DATA=digits|… SIZE=small|paper EXPERIMENT=… ARGS="…"
	$(PIXELCNN) train $(RUN_OPTIONS) $(ARGS)

sample: $(INSTALLED) ## RUN=runs/… ARGS="…": draw images from the best checkpoint of a run
	$(PIXELCNN) sample $(if $(RUN),'checkpoint=$(RUN)') $(ARGS)

evaluate: $(INSTALLED) ## RUN=runs/… ARGS="…": bits/dim of the best checkpoint of a run
	$(PIXELCNN) evaluate $(if $(RUN),'checkpoint=$(RUN)') $(ARGS)

sweep: $(INSTALLED) $(if $(OFFLINE),$(ENGINE)) ## SWEEP=pp_architecture|FILE.yaml [OFFLINE=1] [COUNT=4] ARGS="…": many runs, to find good options
	$(PIXELCNN) sweep '$(or $(SWEEP),pp_architecture)' $(if $(OFFLINE),--offline) \
	  $(if $(COUNT),--count $(COUNT)) $(ARGS)

# W&B's sweep engine asks for an old numpy that it does not need
$(ENGINE): $(INSTALLED) sweeps/requirements.txt
	UV_FIND_LINKS="$(PIP_FIND_LINKS)" VIRTUAL_ENV="$(CURDIR)/$(VENV)" \
	  $(VENV)/bin/uv pip install --quiet --no-deps -r sweeps/requirements.txt
	@touch $@

slurm: $(INSTALLED) ## VARIANT=pp or EXPERIMENT=…, NODES=4 GPUS=8 ARGS="…" SBATCH="--partition=…": submit a multi-node run
	@mkdir -p runs
	sbatch --nodes=$(or $(NODES),1) --gpus-per-node=$(or $(GPUS),1) --ntasks-per-node=$(or $(GPUS),1) \
	  $(SBATCH) slurm/train.sbatch $(RUN_OPTIONS) $(ARGS)

mutants: $(INSTALLED) ## Plant classic PixelCNN bugs; the tests must catch every one
	$(PYTHON) tests/mutants.py $(ARGS)

clean: ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
