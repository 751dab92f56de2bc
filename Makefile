# make test: a virtual environment in .venv, what requirements.txt asks for, and the tests.

PYTHON ?= .venv/bin/python

.PHONY: test
test: .venv/installed
	$(PYTHON) -m pytest -q tests

.venv/installed: requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements.txt
	touch $@
