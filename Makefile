# make test           a virtual environment in .venv, what requirements.txt asks for, and the tests
# make demo           a question whose answer is known, from nothing to a table and pictures in minutes
# make sweep          mixtures, specialists, tagged runs and the shuffled control for each K and seed, then their tables and pictures;
#                     it leaves what is done, resumes what is not, and names at the end what failed:
#                     make sweep CONFIG=config/cpu.py K="1 2 3 4 5" SEEDS="0 1 2" -j2
#                     make -n sweep ... | grep train.py | xargs -P2 -I{} sh -c '{}'
# make torture        a run killed at 200 random moments, 2,000 random settings; some 20 minutes
# make bench          speeds and memory on this machine
# make known-answer   how near training comes to the exact answer, on three families of processes; 18 minutes with OMP_NUM_THREADS=1 make -j2

PYTHON ?= .venv/bin/python
CONFIG ?= config/cpu.py
K ?= 1 2 3 4 5
SEEDS ?= 0 1 2
# of each run on the CPU: -j times this is the number of cores
THREADS ?= 1
KNOWN = known-coins known-mess3 known-markov

.PHONY: test demo sweep bench known-answer torture
.SECONDARY:

test: .venv/installed
	$(PYTHON) -m pytest -q tests

torture: .venv/installed
	KILLS=200 EXAMPLES=2000 $(PYTHON) -m pytest -q tests/test_survive.py

bench: .venv/installed
	$(PYTHON) tests/bench.py

demo: results/demo/table.txt
	@cat $<

known-answer: $(KNOWN:%=results/%/table.txt)
	@tail -n +1 $^

# A sweep's runs are the lines that sample_mix.py prints, and a run is the folder that its line ends with. Where there are GPUs, line i
# has the GPU i modulo their number. What a run prints goes to out/NAME.log, beside its folder.
ifneq ($(filter sweep,$(MAKECMDGOALS)),)
SWEEP := results/$(notdir $(basename $(CONFIG)))
RUNS := $(shell mkdir -p $(SWEEP) out && $(PYTHON) sample_mix.py $(CONFIG) --sweep_k='$(K)' --sweep_seeds='$(SEEDS)' >$(SWEEP)/commands.txt; \
          sed 's/.*--out_dir=//' $(SWEEP)/commands.txt)
ifeq ($(strip $(RUNS)),)
$(error no runs to make: mend what the line above says)
endif
GPUS := $(shell nvidia-smi -L 2>/dev/null | wc -l)
command = $(shell awk -v n=$(GPUS) '$$NF == "--out_dir=$(1)" {$$1 = "$(PYTHON)"; print (n ? "CUDA_VISIBLE_DEVICES=" NR % n : "OMP_NUM_THREADS=$(THREADS)"), $$0}' $(SWEEP)/commands.txt)

sweep: $(RUNS:%=%/done)
	$(PYTHON) eval_xe.py --results_dir=$(SWEEP) --runs=$$(sed 's/.*--out_dir=//' $(SWEEP)/commands.txt | paste -sd,)
	@failed=0; for run in $(RUNS); do [ -e $$run/done ] || { failed=1; echo "$$run failed, $$run.log ends: $$(tr '\r' '\n' <$$run.log | tail -n1)" >&2; }; done; \
	[ $$failed = 0 ] || { echo 'the table lacks these runs; the same command tries them again' >&2; exit 1; }

# the - lets the sweep go on past a run that fails
$(RUNS:%=%/done): out/%/done: $(CONFIG)
	-rm -f $@; $(call command,out/$*) >out/$*.log 2>&1 && touch $@
endif

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

# For a config/NAME.py whose dataset is NAME, of synthetic processes: the data, runs at K = 1, 2, 4 and 8, and their table.
# A run ends by touching `done`, so that one that was cut short starts again.
data/%/meta.json: config/%.py prepare.py | .venv/installed
	$(PYTHON) prepare.py $< --overwrite=True

train = $(PYTHON) train.py config/$(1).py --k=$(2) --overwrite=True && touch $@
CODE = train.py model.py sample_mix.py
out/%-k1-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,1)
out/%-k2-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,2)
out/%-k4-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,4)
out/%-k8-s0/done: data/%/meta.json $(CODE) ; $(call train,$*,8)

results/%/table.txt: eval_xe.py out/%-k1-s0/done out/%-k2-s0/done out/%-k4-s0/done out/%-k8-s0/done
	$(PYTHON) eval_xe.py --runs='out/$*-k?-s0' --results_dir=results/$* >/dev/null
