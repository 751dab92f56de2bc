# make demo           a question whose answer is known, from nothing to a table in minutes
# make arxiv          the texts of the laptop's experiment, arXiv's titles and abstracts, to arxiv/
# make arxiv32        those of 32 categories, to arxiv32/, for config/arxiv32.py
# make test           a virtual environment in .venv, what requirements.txt asks for, and the tests
# make lint           the style of the code: ruff.toml
# make sweep          mixtures, tagged, diluted and specialist runs for each K and seed, and the
#                     shuffled control, J at a time; then their tables and pictures (sweep.py):
#                     make sweep CONFIG=config/cpu.py K="1 2 3 4 5" SEEDS="0 1 2" J=2
# make known-answer   how near training comes to the exact answer, on three families of processes,
#                     and whether that is near enough
# make bench          speeds and memory on this machine
# make torture        a run killed at 200 random moments, a sweep at 20, 2,000 random settings

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
define SUMS_OF_24_MORE
6a04265aba461ed8f578cb4eb66e77907ea7317b86b8326bd4596dff8ee5ff15 cond-mat.quant-gas.tsv.xz
bf3260c25890fcbfdc6a22bdfb0134a95abaf2611f33040b7b7898e62959a07a cs.CG.tsv.xz
00e8e16b179649f2fbfebaa0ff6301a6f7a6333fc9c3ca522d49f9422543749a cs.CL.tsv.xz
3e1ed96daeffca6a1343a337f945afb69311fb4a52930985a8fa9c935fda64f1 cs.CR.tsv.xz
978930e07511d283f456ebf947e00633407f09a90a3b921b323c44ebc9d010d7 cs.DB.tsv.xz
b70dc1092efc1983f8d9ecece0a86f63dd73b45612434eceb90d484acafef10a cs.DC.tsv.xz
d2ac602406eb628c268d20a9654400648f8273ba4290160755cac91f013dd652 cs.GT.tsv.xz
0875e63a074c8ea0b40df295bbbcf0e2ed44232194c3e8f9e21650ca84b41e98 cs.HC.tsv.xz
c528e59cdad03c3bd148d296aa4054b1353292b532ab7e205a3d0b606e8b49ab cs.LO.tsv.xz
63712875f5d432b3b5c46f75848c8ee418e25396d28b785113c77dfd8e2bfa49 cs.RO.tsv.xz
5eebba6f1f121c0fa22c563ba7420f38fd551d3ccf6c593cdb329caaf7759299 cs.SE.tsv.xz
c06d8d8ba87c665bd37a03274a8c1ed83fe45a4d72dc6a6478d636fa9a41d8f4 cs.SI.tsv.xz
94fa46edc3259964827ffadf3a8208a804ca1aec0a6bf57a5025b2afdafd2aa1 math.CA.tsv.xz
e9ac568b67af10154102d8f8c3de4e1935f3f017441275f77e6b51cc4f781be8 math.GT.tsv.xz
893b7a9dca198a6f855840e82a464d75484def18b361c073983b8c0cea2ea213 math.LO.tsv.xz
700b7ad4d4ebc29e12d56ced3fd3a629c0c80b6c51e2dbc07ca2262a7414d1f7 math.QA.tsv.xz
f312d097229a8ebe28f96ad3f7213c18f1348f7c32a4596aa3e6c4b2d58578c8 math.RT.tsv.xz
9d1103c5bc3ce15363ec167a368c4448d8f85947e35c01f93ba337c2cd5b1888 nlin.CD.tsv.xz
97acb487c8f297d42d467479a443b7e7db9d50fa18426589720aad9d04632c9c physics.bio-ph.tsv.xz
b16bdb66edc4ae1237e05e2cd4af1ec4e69574731878ae6e8e201792b63e7740 physics.plasm-ph.tsv.xz
b9b680b042a806e3c615e6bd69c51480484734b6f448aa1c518f8d486fb37ebe q-bio.NC.tsv.xz
7100ea95d844e0327bd1edbe660a2475c25c410cbb8fb101fbe54adeccbde340 q-bio.PE.tsv.xz
41f6e7e6cf43dfbb6f9198fbb4a865f2062487aff7176cff8147779fa0db38c4 stat.AP.tsv.xz
0b48404be1a4b22aa8d18b2a74505635bad4bc6ec0d978d9604e6a2fb53c914f stat.ME.tsv.xz
endef
export SUMS SUMS_OF_24_MORE

.PHONY: help arxiv arxiv32 demo test lint sweep known-answer bench torture

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

.venv/installed: requirements.txt
	[ -x .venv/bin/python ] || python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

# What is there is not fetched again, but checked.
arxiv arxiv32:
	@mkdir -p $@ && { echo "$$SUMS"; [ $@ = arxiv ] || echo "$$SUMS_OF_24_MORE"; } | \
	while read -r sum file; do \
	  [ -e "$@/$$file" ] || { echo "$@/$$file ..." && \
	    why=$$(curl -fsSL --connect-timeout 20 -o $@/.part "$(ARCHIVE)/$$file" 2>&1) && \
	    mv $@/.part "$@/$$file"; } || \
	    { echo "make $@: $$file cannot be fetched: $$why" >&2; exit 1; }; \
	  [ "$$($(SHA256) < "$@/$$file")" = "$$sum  -" ] || \
	    { echo "make $@: $@/$$file has another sha256: remove it, and again" >&2; exit 1; }; \
	done
	@echo "$@/ has all its files"

test: $(INSTALLED)
	$(PYTHON) -m pytest -q -n 3 --dist worksteal tests

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .

torture: $(INSTALLED)
	KILLS=200 EXAMPLES=2000 $(PYTHON) -m pytest -q tests/test_survive.py
	KILLS=20 $(PYTHON) -m pytest -q tests/test_sweep.py -k killed_at_random

bench: $(INSTALLED)
	$(PYTHON) tests/bench.py

sweep: $(INSTALLED)
	$(PYTHON) sweep.py $(CONFIG) --k='$(K)' --seeds='$(SEEDS)' --jobs=$(J)

# The data of config/NAME.py, of synthetic processes, then mixtures of K = 1, 2, 4 and 8 of them,
# with one seed or more. Data that are the same as before stay, and so do the runs on them.
define answer
$(PYTHON) prepare.py config/$(1).py --overwrite=True
$(PYTHON) sweep.py config/$(1).py --k='1 2 4 8' --seeds='$(2)' --parts=False --control=0 --jobs=2 \
  --overwrite=True
endef

demo: $(INSTALLED)
	$(call answer,demo,0)

known-answer: $(INSTALLED)
	$(call answer,known-coins,0 1)
	$(call answer,known-mess3,0 1)
	$(call answer,known-markov,0)
	$(PYTHON) studies/known_answer.py $(addprefix results/known-,coins mess3 markov)
