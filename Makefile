# make test           a virtual environment in .venv, what requirements.txt asks for, and the tests
# make demo           a question whose answer is known, from nothing to a table and pictures in minutes
# make torture        a run killed at 200 random moments, 2,000 random settings; some 20 minutes
# make bench          speeds and memory on this machine
# make known-answer   how near training comes to the exact answer, on three families of processes; 18 minutes with OMP_NUM_THREADS=1 make -j2

PYTHON ?= .venv/bin/python
KNOWN = known-coins known-mess3 known-markov

.PHONY: test demo bench known-answer torture
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
