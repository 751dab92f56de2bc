# make test   a virtual environment in .venv, what requirements.txt asks for, and the tests
# make demo   a question whose answer is known, from nothing to a table and pictures in minutes

PYTHON ?= .venv/bin/python
CODE = model.py sample_mix.py

.PHONY: test demo
test: .venv/installed
	$(PYTHON) -m pytest -q tests

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@

# Each run ends by touching `done`, so that one that was cut short starts again.
demo: results/demo/table.txt
	@cat $<

results/demo/table.txt: eval_xe.py $(foreach k,1 2 4 8,out/demo-k$k-s0/done)
	$(PYTHON) eval_xe.py --runs='out/demo-k?-s0' --results_dir=results/demo >/dev/null

out/demo-k%-s0/done: data/demo/meta.json train.py $(CODE)
	$(PYTHON) train.py config/demo.py --k=$* --overwrite=True
	@touch $@

data/demo/meta.json: prepare.py config/demo.py | .venv/installed
	$(PYTHON) prepare.py config/demo.py --overwrite=True
