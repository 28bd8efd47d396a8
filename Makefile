# Needs only make and Python 3.11 or later; each target sets up what it needs in .venv.

PYTHON_ENV = .venv/bin
DEMO = var/demo
DEMO_PORTS = 5222,5223,5280,5443
SOAK_CLIENTS = 5000

.PHONY: help demo test lint bench bench-100k plot soak fuzz clean runtime tools

help:
	@echo "make demo    a connection manager with a server behind it, on this machine"
	@echo "make test    the gates (ruff, mypy, coverage) and all tests; CMANAGER_WORKERS=3 for as many"
	@echo "             processes in all acts, CMANAGER_ENGINE=python for the other engine"
	@echo "make lint    the gates without the tests"
	@echo "make bench   what it costs, beside HAProxy: five minutes; BENCH=--quick for one"
	@echo "make bench-100k    a hundred thousand clients at once: twenty minutes"
	@echo "make plot    draw in docs what that has measured"
	@echo "make soak    $(SOAK_CLIENTS) clients at once over TLS; SOAK_CLIENTS=N for another number"
	@echo "make fuzz    a million broken streams through both scanners; FUZZ='--inputs N --seed N'"
	@echo "make clean   remove what was built and measured here; $(DEMO) stays"

demo: runtime
	@mkdir -p $(DEMO)
	@# In a terminal, a job of its own: otherwise Ctrl-C ends make too, with an error of its own.
	@if [ -t 0 ]; then set -m; fi; $(PYTHON_ENV)/twistd -n --pidfile= cmanager --demo $(DEMO) \
		--demo-ports $(DEMO_PORTS)

test: tools
	@$(PYTHON_ENV)/python tests/gates.py

lint: tools
	@$(PYTHON_ENV)/python tests/gates.py --lint

bench: tools
	@$(PYTHON_ENV)/python -m bench.cost $(BENCH)

bench-100k: tools
	@$(PYTHON_ENV)/python -m bench.many $(MANY)

plot: tools
	@$(PYTHON_ENV)/python -m bench.plot $(PLOT)

soak: tools
	@$(PYTHON_ENV)/python -m bench.soak --clients $(SOAK_CLIENTS)

fuzz: tools
	@$(PYTHON_ENV)/python -m bench.fuzz $(FUZZ)

clean:
	rm -rf .venv build dist var/bench cmanager/*.so *.egg-info .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* _trial_temp*
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name dropin.cache -delete

runtime:
	@sh requirements/install runtime

tools:
	@sh requirements/install test
