# demo and test set up all they need; each in a virtual environment of its own, so that the runtime stays light.
PYTHON ?= python3
RUNTIME := .venv/runtime
DEV := .venv/dev
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint check fuzz bench chain default-model docs clean

demo: $(RUNTIME)/.done  ## segment synthetic images with the packaged model; writes demo/overlay.png
	$(RUNTIME)/bin/medsam-edge demo

test: $(DEV)/.done  ## run the tests
	$(DEV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(DEV)/.done
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy

check: lint test  ## everything a change must pass

fuzz: $(DEV)/.done  ## read thousands of damaged and hostile files, each kind there is
	$(DEV)/bin/python -m tests.sdk.fuzz --cases $(or $(CASES),20000) --seed $(or $(SEED),0)

bench: $(DEV)/.done  ## encoder of rep_medsam: PyTorch, fused, OpenVINO f32 and int8 in one interleaved run
	$(DEV)/bin/medsam-edge bench encoder

# every stage of training, conversion and segmentation on a little data (none given: synthetic images)
chain: $(DEV)/.done
	$(DEV)/bin/medsam-edge bench chain $(if $(DATA),--data $(DATA)) --fraction $(or $(FRACTION),1) \
		--teacher train/checkpoints/efficient_medsam.safetensors -o $(or $(OUT),chain)

# the packaged model, trained anew from DATA (train/ and val/); with MINUTES a call ends then, and the next goes on from there
default-model: OUT := $(or $(OUT),runs/default)
default-model: $(DEV)/.default-model
	$(if $(DATA),,$(error DATA: expected a folder with train/ and val/, got none))
	best=$$($(DEV)/bin/medsam-edge train recipe train/recipes/$(or $(RECIPE),default).yaml --data $(DATA) -o $(OUT) \
		$(if $(MINUTES),--minutes $(MINUTES))) && if [ -n "$$best" ]; then $(DEV)/bin/medsam-edge convert "$$best" \
		-o $(OUT)/bundle --overwrite --calibration $(DATA)/train --validation $(DATA)/val --validation-images 1000 \
		--report $(OUT)/report.html; fi

docs: $(DEV)/.done  ## docs/reference.md from the docstrings
	$(DEV)/bin/python docs/make_reference.py

clean:
	rm -rf .venv demo chain

$(RUNTIME)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/python $(INSTALL) --editable .
	touch $@

$(DEV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(INSTALL) torch
	$(DEV)/bin/python $(INSTALL) --editable '.[dev]'
	touch $@

$(DEV)/.default-model: $(DEV)/.done
	$(DEV)/bin/python $(INSTALL) --editable '.[dev,train-default]'
	touch $@
