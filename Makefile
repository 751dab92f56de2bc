# make demo           a question whose answer is known, from nothing to a table in minutes
# make arxiv          the texts of the laptop's experiment, arXiv's titles and abstracts, to arxiv/
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

# R. Stuart Geiger, "ArXiV Archive" (2020), doi:10.5281/zenodo.1463242. arXiv's metadata are CC0.
ARCHIVE := https://raw.githubusercontent.com/staeiou/arxiv_archive
ARCHIVE := $(ARCHIVE)/f043eb1d71da6ed2fb9eac63ab8707359ff606ea/processed_data/20190101/per_category
SHA256 := $(shell command -v sha256sum || echo shasum -a 256)
define SUMS
13e04f587f5b07a39eb5bd7d16abe0228f5ead3a77a5dd83263403110f84dcf1 cs.CE.tsv.xz
f801bcad1dbaf0bc6f97796e676e5094f6a4c2e45cb2bf2f6e97d25b00cbe5fe cs.DS.tsv.xz
738fe859f8f29e5971e83cfe2384dd72073c1ad85a18a474e1fc14af99becf91 cs.NE.tsv.xz
35d60e8b58cd14c69e1103bddb49d7e88c2e4c00c1cf0efebd9ae428bd97bf38 cs.PL.tsv.xz
7f29ce1b86a5fb456fc17a40e330b5248b14f2924e90eddfe36e960cfb9fbee4 cs.SY.tsv.xz
0c9f7e4d4c9cf7f4e0fea015e69b4b27dec5f5405ffa5b5b7e12a2665ce06dfe math.AC.tsv.xz
24d3f9ecf7da7f8628ae72f7c3af0262e51e1b8601088edf2e3b6918a035ee53 math.GR.tsv.xz
390dcb376732262546360d02eb3273415568b1a233b3b6bf752c8212f7ca399b math.ST.tsv.xz
endef
export SUMS

.PHONY: help arxiv demo test lint sweep known-answer bench torture

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

# What is there is not fetched again, but checked.
arxiv:
	@mkdir -p arxiv && echo "$$SUMS" | while read -r sum file; do \
	  [ -e "arxiv/$$file" ] || { echo "arxiv/$$file ..." && \
	    why=$$(curl -fsSL --connect-timeout 20 -o arxiv/.part "$(ARCHIVE)/$$file" 2>&1) && \
	    mv arxiv/.part "arxiv/$$file"; } || \
	    { echo "make arxiv: $$file cannot be fetched: $$why" >&2; exit 1; }; \
	  [ "$$($(SHA256) < "arxiv/$$file")" = "$$sum  -" ] || \
	    { echo "make arxiv: arxiv/$$file has another sha256: remove it, and again" >&2; exit 1; }; \
	done
	@echo "arxiv/ has the eight files"

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
$(PYTHON) sweep.py config/$(1).py --k='1 2 4 8' --seeds=0 --parts=False --control=0 --jobs=2 \
  --overwrite=True
endef

demo: $(INSTALLED)
	$(call answer,demo)

known-answer: $(INSTALLED)
	$(call answer,known-coins)
	$(call answer,known-mess3)
	$(call answer,known-markov)
