# The front door. It needs python3 (3.11 or later, with venv) and make, and nothing installed beforehand.
# Everything goes into VENV; `make help` lists what there is.

VENV ?= .venv
PYTHON ?= python3
WORKERS ?= $(if $(CI),3,2)
SEEDS ?= $(if $(CI),4,20)
TORCH ?= torch==2.13.0
EPYNN ?= epynn==1.2.13
FLINT ?= python-flint>=0.7
JAX ?= jax==0.10.2 flax==0.12.8 equinox==0.13.8 dm-haiku==0.0.17
# MLX computes on a processor in a distribution of its own.
MLX ?= mlx==0.32.4 mlx-cpu==0.32.4
FRAMEWORKS ?= $(JAX) keras==3.15.1 onnx==1.23.2 onnxruntime==1.32.0 tinygrad==0.14.0 safetensors==0.8.0 \
  distributed==2026.8.0 $(MLX)
BROWSER ?= selenium>=4.20
AXE ?= axe-core@4.14.1
EXTRAS ?= torch jax flax equinox haiku keras onnx safetensors dask certify compiled html low
BENCH ?=
# What skips itself under `make test`, which does without python-flint and ml_dtypes unless `make lint` came before it.
WITH_PEERS ?= tests/benchmarks/test_calibrate.py tests/certified/test_certify.py tests/commands/test_cli_certified.py tests/certified/test_vectors.py \
  tests/weights/test_layouts.py tests/test_formats.py tests/judging/test_low_precision.py tests/faults/test_low_precision_faults.py \
  tests/certified/test_low_vectors.py tests/certified/test_vectors_of_cells.py tests/benchmarks/test_calibrate_low.py tests/benchmarks/test_tolerances.py

# What each extra must do in an environment that has no other.
alone-torch := tests/targets/test_peer_torch.py tests/targets/test_peer_examples.py -k 'torch_module or refused or tensors'
alone-jax := tests/targets/test_peer_examples.py -k jax
alone-flax := tests/targets/test_peer_flax.py tests/targets/test_peer_examples.py -k 'flax and not passes'
alone-equinox := tests/targets/test_peer_equinox.py tests/targets/test_peer_examples.py -k 'equinox and not passes'
alone-haiku := tests/targets/test_peer_haiku.py
alone-keras := tests/targets/test_peer_keras.py tests/targets/test_peer_examples.py -k 'keras and not passes'
alone-onnx := tests/targets/test_peer_onnx.py
alone-safetensors := tests/weights/test_layouts.py -k safetensors
alone-dask := tests/campaign/test_campaign.py -m peer
alone-low := tests/test_formats.py tests/judging/test_low_precision.py tests/faults/test_low_precision_faults.py tests/certified/test_low_vectors.py tests/certified/test_vectors_of_cells.py tests/benchmarks/test_calibrate_low.py tests/benchmarks/test_tolerances.py
alone-certify := tests/commands/test_cli_certified.py
alone-html := tests/html/test_page.py
alone-compiled := tests/layers/test_fast_layer.py -k 'numba or panels'

# A CI service sets CI. Which profiles there are is said in tests/README.md.
ifneq ($(CI),)
export HYPOTHESIS_PROFILE ?= ci
endif

bin := $(VENV)/bin
pip := $(bin)/python -m pip install -q --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help verify test kills gate lint peers extras bench docs clean

help: ## say what there is
	@echo 'make verify   prove lstm_fast against the reference, the complex step and scipy.optimize.check_grad'
	@echo 'make test     run the whole test suite, but for what needs another implementation'
	@echo 'make kills    require that SEEDS times 100 examples kill every catalogued fault and blame no right layer'
	@echo 'make gate     judge lstm_fast against lstm-checks-baseline.json: right, as accurate, as fast'
	@echo 'make lint     ruff check, ruff format --check, mypy'
	@echo 'make peers    the tests with real PyTorch, Flax, Equinox, Keras, ONNX Runtime, EpyNN, python-flint, Dask'
	@echo 'make extras   each extra of pyproject.toml by itself, in an environment that has no other: its tests and example'
	@echo 'make bench    time lstm_fast against the others, and the checks; writes docs/benchmarks.md and'
	@echo '              docs/check-times.md (12 minutes); less of it: make bench BENCH="--dtype float64 --points 0 1 2"'
	@echo 'make docs     the documentation as a site in build/site, with example reports; broken links fail'
	@echo 'make clean    remove $(VENV) and all caches'
	@echo
	@echo 'Each installs what it needs into $(VENV) first. Variables:'
	@echo '  PYTHON=python3.13   the interpreter (default: python3, at least 3.11)'
	@echo '  VENV=DIRECTORY      where to install (default: .venv)'
	@echo '  WORKERS=N           processes for make test (default: 2, where CI is set 3)'
	@echo '  SEEDS=N             seeds for make kills (default: 20, where CI is set 4)'
	@echo '  TORCH=...           what make peers and make bench install (default: $(TORCH))'
	@echo '  FRAMEWORKS=...      what else make peers installs; the tests of what is not there are skipped'

verify: $(VENV)/.test
	$(bin)/lstm-checks verify

# Each of the WORKERS computes with one thread: several BLAS on the same processors wait for each other.
test peers: export OMP_NUM_THREADS = 1

test: $(VENV)/.test
	$(bin)/python -m pytest -n $(WORKERS) -m "not peer"

kills: $(VENV)/.test
	$(bin)/python -m benchmarks.kill_campaign --seeds $(SEEDS) --processes $(WORKERS)

# The baseline's times are those without Numba.
gate: $(VENV)/.test
	LSTM_FAST_COMPILED=0 $(bin)/lstm-checks gate

lint: $(VENV)/.dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

peers: $(VENV)/.peers
	$(bin)/python -m pytest -n $(WORKERS) -m peer
	$(if $(WITH_PEERS),$(bin)/python -m pytest -n $(WORKERS) -m "not peer" $(WITH_PEERS))
	$(bin)/lstm-checks verify torch --examples 100 --dtype float64
	$(bin)/lstm-checks verify torch --examples 100 --dtype float32

# A framework that works beside another may lack something alone.
extras: $(EXTRAS:%=extra-%)

extra-%: $(VENV)-base/.done
	@echo 'Installing the extra $* alone into $(VENV)-alone ...'
	@rm -rf '$(VENV)-alone' && cp -al '$(VENV)-base' '$(VENV)-alone'
	@printf '%s\n' '$(TORCH)' '$(FLINT)' $(FRAMEWORKS:%='%') > '$(VENV)-alone/versions'
	@$(VENV)-alone/bin/python -m pip install -q --no-compile --disable-pip-version-check -c '$(VENV)-alone/versions' -e '.[$*,test]'
	$(VENV)-alone/bin/python -m pytest -q $(alone-$*)
	@rm -rf '$(VENV)-alone'

# What all extras have below them; each gets a copy by hard links.
$(VENV)-base/.done: pyproject.toml
	@rm -rf '$(VENV)-base' && '$(PYTHON)' -m venv '$(VENV)-base'
	@$(VENV)-base/bin/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

bench: $(VENV)/.bench
	$(bin)/python -m benchmarks.bench_layers $(BENCH)
	$(bin)/python -m benchmarks.bench_checks

docs: $(VENV)/.site
	$(bin)/python docs/site/build.py build/site-pages
	$(bin)/python -m mkdocs build --strict -f docs/site/mkdocs.yml

$(VENV)/.site: $(VENV)/.test
	@echo 'Installing MkDocs into $(VENV) ...'
	@$(pip) -e '.[site]'
	@touch $@

# Each file says that something has been installed, since pyproject.toml last changed.
$(VENV)/.test: pyproject.toml
	@command -v '$(PYTHON)' >/dev/null || { \
		echo 'lstm-checks needs Python 3.11 or later, but there is no $(PYTHON). Name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11) and ( \
		"lstm-checks needs Python 3.11 or later, but $(PYTHON) is %s (%s). Name another one: make PYTHON=python3.12 ..." \
		% (sys.version.split()[0], sys.executable)))'
	@echo 'Installing into $(VENV) ...'
	@$(bin)/python -m pip --version >/dev/null 2>&1 || '$(PYTHON)' -m venv --clear $(VENV)
	@$(pip) -e '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	@echo 'Installing ruff and mypy into $(VENV) ...'
	@$(pip) -e '.[dev]'
	@touch $@

# On Linux the default brings CUDA's libraries too, unless the package index holds a build for the CPU alone.
# Elsewhere, or for another version, set TORCH: make peers TORCH='torch>=2.2'
$(VENV)/.torch: $(VENV)/.test
	@echo 'Installing $(TORCH) into $(VENV); that can take minutes ...'
	@$(pip) '$(TORCH)'
	@touch $@

# The tests of pages in a browser need chromium with chromedriver besides, and are skipped where there is none.
# EpyNN without what it depends on: its layer needs NumPy alone.
$(VENV)/.peers: $(VENV)/.torch
	@echo 'Installing $(EPYNN), $(FLINT) and $(FRAMEWORKS) into $(VENV) ...'
	@$(pip) --no-deps '$(EPYNN)'
	@$(pip) '$(FLINT)' $(FRAMEWORKS) '$(BROWSER)'
	@npm install --silent --no-save --prefix '$(VENV)' '$(AXE)' || \
		echo 'npm did not install $(AXE): the check of pages by it will be skipped'
	@touch $@

$(VENV)/.bench: $(VENV)/.peers
	@echo 'Installing Numba and matplotlib into $(VENV) ...'
	@$(pip) -e '.[bench]'
	@touch $@

clean:
	@if [ -e '$(VENV)' ] && [ ! -f '$(VENV)/pyvenv.cfg' ]; then \
		echo '$(VENV) is no virtual environment; not removed' >&2; exit 1; fi
	rm -rf '$(VENV)' '$(VENV)-base' '$(VENV)-alone' build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
