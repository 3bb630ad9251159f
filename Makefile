# Each target sets up what it needs. The runtime has a virtual environment of its own, so that it stays light.
PYTHON ?= python3
RUNTIME := .venv/runtime
DEV := .venv/dev
CMAKE = PATH="$(abspath $(DEV))/bin:$$PATH" cmake -S sdk/cpp
CPP_OPTIONS = -DMEDSAM_EDGE_GOLDEN=$(CURDIR)/build/golden \
	-DOpenVINO_DIR=$$($(DEV)/bin/python -c 'import openvino; print(openvino.__path__[0])')/cmake
CPP_FILES := $(sort $(wildcard sdk/cpp/*/*.[ch]pp sdk/cpp/*/*/*.[ch]pp sdk/cpp/*/*.[ch] sdk/cpp/*/*/*.h))
INSTALL := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo serve test slow lint check fuzz bench chain default-model docs cpp cpp-lint cpp-sanitize cpp-fuzz clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME)/.done  ## segment synthetic images with the packaged model, draw demo/overlay.png
	$(RUNTIME)/bin/medsam-edge demo

serve: $(RUNTIME)/.server  ## open the page in the browser (IMAGES: a folder to offer there)
	$(RUNTIME)/bin/medsam-edge serve $(IMAGES) --open

test: $(DEV)/.done  ## run the tests
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile \
		--max-worker-restart 0  # a process a core, each with one thread; one that crashes ends the run

slow: $(DEV)/.done  ## run the tests that take long or need tools of the system
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -m slow

lint: $(DEV)/.done  ## check format, style and types
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy

check: lint test  ## lint and test: what every change must pass

fuzz: $(DEV)/.done  ## read damaged and hostile files of every kind (CASES, SEED)
	$(DEV)/bin/python -m tests.sdk.fuzz --cases $(or $(CASES),20000) --seed $(or $(SEED),0)

bench: $(DEV)/.done  ## time the encoder of rep_medsam: PyTorch, fused, OpenVINO f32 and int8
	$(DEV)/bin/medsam-edge bench encoder

chain: $(DEV)/.done  ## run every stage on a little data (DATA, FRACTION, OUT; synthetic images without DATA)
	$(DEV)/bin/medsam-edge bench chain $(if $(DATA),--data $(DATA)) --fraction $(or $(FRACTION),1) \
		--teacher train/checkpoints/efficient_medsam.safetensors -o $(or $(OUT),chain)

default-model: OUT := $(or $(OUT),runs/default)
default-model: $(DEV)/.default-model  ## train the packaged model from DATA (RECIPE, OUT; MINUTES ends a call, the next one resumes)
	$(if $(DATA),,$(error DATA: expected a folder with train/ and val/, got none))
	best=$$($(DEV)/bin/medsam-edge train recipe train/recipes/$(or $(RECIPE),default).yaml --data $(DATA) -o $(OUT) \
		$(if $(MINUTES),--minutes $(MINUTES))) && if [ -n "$$best" ]; then $(DEV)/bin/medsam-edge convert "$$best" \
		-o $(OUT)/bundle --overwrite --ellipse 6 --calibration $(DATA)/train --validation $(DATA)/val --validation-images 1000 \
		--report $(OUT)/report.html; fi

docs: $(DEV)/.done  ## write docs/reference.md from the docstrings, build the site in site/
	$(DEV)/bin/python docs/make_reference.py
	$(DEV)/bin/mkdocs build --strict --quiet

cpp: $(DEV)/.done  ## build sdk/cpp in build/cpp, test it against the Python sdk
	$(CMAKE) --preset default $(CPP_OPTIONS)
	$(DEV)/bin/cmake --build build/cpp
	rm -rf build/golden && OMP_NUM_THREADS=1 $(DEV)/bin/python -m tests.sdk.cpp.golden build/golden
	$(DEV)/bin/ctest --test-dir build/cpp --output-on-failure
	MEDSAM_EDGE_LIBRARY=build/cpp/libmedsam_edge.so $(DEV)/bin/python -m pytest -m slow tests/sdk/cpp

cpp-lint: $(DEV)/.done  ## check the format and style of sdk/cpp
	$(DEV)/bin/clang-format --dry-run -Werror $(CPP_FILES)
	$(CMAKE) --preset default $(CPP_OPTIONS)
	$(DEV)/bin/clang-tidy --quiet -p build/cpp $(filter sdk/cpp/src/%.cpp sdk/cpp/examples/%.cpp,$(CPP_FILES))

cpp-sanitize: $(DEV)/.done  ## test sdk/cpp under ASan, UBSan and TSan, after `make cpp`
	for preset in asan tsan; do \
		$(CMAKE) --preset $$preset $(CPP_OPTIONS) && $(DEV)/bin/cmake --build build/cpp-$$preset && \
		$(DEV)/bin/ctest --test-dir build/cpp-$$preset --output-on-failure || exit 1; done

cpp-fuzz: $(DEV)/.done  ## run sdk/cpp's fuzzers, SECONDS each (needs clang), after `make cpp`
	$(CMAKE) --preset fuzz $(CPP_OPTIONS) && $(DEV)/bin/cmake --build build/cpp-fuzz
	sdk/cpp/fuzz/run build/cpp-fuzz/fuzz build/golden $(or $(SECONDS),60)

clean:  ## delete the virtual environments and what demo, chain, docs and cpp write
	rm -rf .venv build demo chain site

$(RUNTIME)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/python $(INSTALL) --editable .
	touch $@

$(RUNTIME)/.server: $(RUNTIME)/.done
	$(RUNTIME)/bin/python $(INSTALL) --editable '.[server]'
	touch $@

$(DEV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(INSTALL) torch
	$(DEV)/bin/python $(INSTALL) --editable '.[dev]'
	touch $@

$(DEV)/.default-model: $(DEV)/.done
	$(DEV)/bin/python $(INSTALL) --editable '.[dev,train-default]'
	touch $@
