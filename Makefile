# make demo           a question whose answer is known, from nothing to a table in minutes
# make test           a virtual environment in .venv, what requirements.txt asks for, and the tests
# make lint           the style of the code: ruff.toml
# make sweep          mixtures, tagged, diluted and specialist runs for each K and seed, and the
#                     shuffled control, J at a time; then their tables and pictures (sweep.py):
#                     make sweep CONFIG=config/cpu.py K="1 2 3 4 5" SEEDS="0 1 2" J=2
# make known-answer   how near training comes to the exact answer, on three families of processes
# make bench          speeds and memory on this machine
# make torture        a run killed at 200 random moments, 2,000 random settings; some 20 minutes

PYTHON ?= .venv/bin/python
CONFIG ?= config/cpu.py
K ?= 1 2 3 4 5
SEEDS ?= 0 1 2
J ?= $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),1)
VARIABLES := PYTHON CONFIG K SEEDS J

$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$(if $(filter-out $(VARIABLES),$v),\
  $(error $v=$($v): no such variable, there are $(VARIABLES)))))

VENV := $(filter .venv/bin/python,$(PYTHON))
INSTALLED := $(VENV:.venv/bin/python=.venv/installed)

.PHONY: help demo test lint sweep known-answer bench torture

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

test: $(INSTALLED)
	$(PYTHON) -m pytest -q -n 2 tests

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .

torture: $(INSTALLED)
	KILLS=200 EXAMPLES=2000 $(PYTHON) -m pytest -q tests/test_survive.py

bench: $(INSTALLED)
	$(PYTHON) tests/bench.py

sweep: $(INSTALLED)
	$(PYTHON) sweep.py $(CONFIG) --k='$(K)' --seeds='$(SEEDS)' --jobs=$(J)

# The data of config/NAME.py, of synthetic processes, then mixtures of K = 1, 2, 4 and 8 of them.
# Data that are the same as before stay, and so do the runs on them.
define answer
$(PYTHON) prepare.py config/$(1).py --overwrite=True
$(PYTHON) sweep.py config/$(1).py --k='1 2 4 8' --seeds=0 --parts=False --control=0 --jobs=$(J) \
  --overwrite=True
endef

demo: $(INSTALLED)
	$(call answer,demo)

known-answer: $(INSTALLED)
	$(call answer,known-coins)
	$(call answer,known-mess3)
	$(call answer,known-markov)
