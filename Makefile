# make demo           a question whose answer is known, from nothing to a table in minutes
# make test           a virtual environment in .venv, what requirements.txt asks for, and the tests
# make lint           the style of the code: ruff.toml
# make sweep          mixtures, tagged, diluted and specialist runs for each K and seed, and the
#                     shuffled control, J at a time; then their tables and pictures. It leaves what
#                     is done, resumes what is not, and names at the end what failed:
#                     make sweep CONFIG=config/cpu.py K="1 2 3 4 5" SEEDS="0 1 2" J=2
# make known-answer   how near training comes to the exact answer, on three families of processes;
#                     18 minutes with OMP_NUM_THREADS=1 make known-answer -j2
# make bench          speeds and memory on this machine
# make torture        a run killed at 200 random moments, 2,000 random settings; some 20 minutes

PYTHON ?= .venv/bin/python
CONFIG ?= config/cpu.py
K ?= 1 2 3 4 5
SEEDS ?= 0 1 2
# runs at a time, and threads of each of them on the CPU: J times THREADS is the number of cores
J ?= $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),1)
THREADS ?= 1
VARIABLES := PYTHON CONFIG K SEEDS J THREADS

$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$(if $(filter-out $(VARIABLES),$v),\
  $(error $v=$($v): no such variable, there are $(VARIABLES)))))

VENV := $(filter .venv/bin/python,$(PYTHON))
INSTALLED := $(VENV:.venv/bin/python=.venv/installed)

.PHONY: help demo test lint sweep known-answer bench torture
.SECONDARY:

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

test: $(INSTALLED)
	$(PYTHON) -m pytest -q tests

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .

torture: $(INSTALLED)
	KILLS=200 EXAMPLES=2000 $(PYTHON) -m pytest -q tests/test_survive.py

bench: $(INSTALLED)
	$(PYTHON) tests/bench.py

# Each line of sweep.py's list is a run, the folder that it ends with. What a run prints goes to
# out/NAME.log, beside its folder. Where there are GPUs, the runs under way share them in turn, and
# the cores that compile for them.
SWEEP = results/$(notdir $(basename $(CONFIG)))
# The GPUs: those of CUDA_VISIBLE_DEVICES where it is set, else all.
ALL_GPUS := $(shell nvidia-smi -L 2>/dev/null | sed -n 's/^GPU \([0-9]*\):.*/\1/p')
GPU_LIST := $(if $(filter undefined,$(origin CUDA_VISIBLE_DEVICES)),$(ALL_GPUS),\
  $(shell echo '$(CUDA_VISIBLE_DEVICES)' | tr ',' ' '))
GPUS := $(words $(GPU_LIST))
define RUN_ONE
run=$${0##*--out_dir=}; python() { command $(PYTHON) "$$@"; }; \
cores=$$(($$(getconf _NPROCESSORS_ONLN) / $(J))); \
export TORCHINDUCTOR_COMPILE_THREADS=$$((cores > 1 ? cores : 1)); \
if [ $(GPUS) = 0 ]; then export OMP_NUM_THREADS=$(THREADS); \
else set -- $(GPU_LIST); shift $$((SLOT % $(GPUS))); export CUDA_VISIBLE_DEVICES=$$1; fi; \
eval "$$0" >$$run.log 2>&1 || { \
echo "$$run failed, $$run.log ends: $$(tr "\r" "\n" <$$run.log | tail -n1)" >&2; exit 1; }
endef

sweep: $(INSTALLED)
	@mkdir -p $(SWEEP) out
	$(PYTHON) sweep.py $(CONFIG) --k='$(K)' --seeds='$(SEEDS)' >$(SWEEP)/commands.txt
	@failed=0; tr '\n' '\0' <$(SWEEP)/commands.txt | xargs -0 -n1 -P$(J) \
	$(if $(filter 0,$(GPUS)),,--process-slot-var=SLOT) sh -c '$(RUN_ONE)' || failed=1; \
	$(PYTHON) eval_xe.py --results_dir=$(SWEEP) \
	--runs=$$(sed 's/.*--out_dir=//' $(SWEEP)/commands.txt | paste -sd,) || exit; \
	[ $$failed = 0 ] || { echo 'the table lacks the runs that failed; the same command tries' \
	'them again' >&2; exit 1; }

# For a config/NAME.py whose dataset is NAME, of synthetic processes: the data, runs at K = 1, 2, 4
# and 8, and their table. A run ends by touching `done`: one that was cut short starts again.
KNOWN := known-coins known-mess3 known-markov

demo: results/demo/table.txt
	@cat $<

known-answer: $(KNOWN:%=results/%/table.txt)
	@tail -n +1 $^

data/%/meta.json: config/%.py prepare.py processes.py | $(INSTALLED)
	$(PYTHON) prepare.py $< --overwrite=True

train = $(PYTHON) train.py config/$(1).py --k=$(2) --out_dir=$(@D) --overwrite=True && touch $@
CODE = train.py model.py sample_mix.py configurator.py
out/%-k1-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,1)
out/%-k2-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,2)
out/%-k4-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,4)
out/%-k8-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,8)

results/%/table.txt: eval_xe.py out/%-k1-s0/done out/%-k2-s0/done out/%-k4-s0/done \
  out/%-k8-s0/done
	$(PYTHON) eval_xe.py --runs='out/$*-k?-s0' --results_dir=results/$* >/dev/null
