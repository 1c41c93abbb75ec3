# make run      set everything up and start the shop on http://127.0.0.1:8000
# make install  only what it needs, for a shop that systemd starts
# make test     the whole suite
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Each process starts in half the time when Python may keep what it compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run install test suite aside check bench soak lock chromium messages pictures

run: .venv/run.stamp
	@exec $(BIN)/python server.py run

install: .venv/run.stamp

test:
	@$(MAKE) --no-print-directory -j2 .venv/test.stamp chromium
	@$(MAKE) --no-print-directory -j2 suite aside

# Two files at a time. A third would save a tenth of the time and starve what waits for an answer.
suite: .venv/test.stamp
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/jobs

# What leaves the processors to the others: lint and types are soon done, and tests of jobs mostly wait.
aside: check
	$(BIN)/pytest -q tests/jobs

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/test.stamp
	@mkdir -p build
	$(BIN)/python tests/bench/run.py

# Faults and races, over and over, and the machine of tests/machine on as many random examples.
ROUNDS ?= 20
EXAMPLES ?= 5000
soak: .venv/test.stamp
	MACHINE_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -q tests/machine
	@for round in $$(seq $(ROUNDS)); do \
		echo "round $$round of $(ROUNDS)"; \
		$(BIN)/pytest -q -n 2 --dist loadfile tests/faults tests/races tests/jobs tests/run || exit 1; \
	done

# The lock files, for every platform and Python from 3.11 on, with no address of a package index in them.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		-q -o requirements.lock requirements.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
		-q -o requirements-test.lock requirements-test.in

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed. Choose one: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "This Python cannot make virtual environments; installing python3-venv."; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv </dev/null; \
	else \
		echo "This Python cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; \
	fi
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.lock | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Of all that the tests could use Python compiles what they do use.
.venv/test.stamp: requirements-test.lock | .venv/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile --no-deps --require-hashes -r $<
	@touch $@ .venv/run.stamp

# The catalogues of texts: new ones in, unused ones out; says what still lacks a translation.
messages: .venv/test.stamp
	$(BIN)/python tools/messages.py

# The browser tests drive Debian's Chromium; Chinese pages need its fonts. Without windows it takes half the time.
APT := DEBIAN_FRONTEND=noninteractive apt-get install -y -q
chromium:
	@has() { fc-list :lang=zh 2>/dev/null | grep -q . && command -v $$1 >/dev/null; }; \
	has chromium-headless-shell && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium and fonts for the browser tests."; \
		apt-get update -q; \
		$(APT) chromium-headless-shell fonts-noto-cjk </dev/null || $(APT) chromium fonts-noto-cjk </dev/null; \
	elif ! has chromium; then \
		echo "The browser tests need Chromium and Chinese fonts:"; \
		echo "apt-get install chromium-headless-shell fonts-noto-cjk"; exit 1; \
	fi

# A picture of every page: phone and desktop, light and dark, Chinese and English, into build/pages.
pictures: .venv/test.stamp chromium
	PICTURES=$(CURDIR)/build/pages $(BIN)/pytest -q tests/quality/pictures.py
