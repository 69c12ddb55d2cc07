# make run    serve the embedded default (installs what is missing first)
# make test   install what the tests need, check everything, run the tests
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
BIN := .venv/bin
PIPECAT := pipecat-ai==1.14.0
PACKAGES := gcc libc6-dev python3-dev chromium firefox-esr coturn baresip-core sip-tester iproute2 dnsmasq-base kamailio kamailio-tls-modules kamailio-websocket-modules linphone-cli espeak-ng

.PHONY: run test check lint types imports spelling web unit real judging calm soak bench certs prompts format clean

run: .venv/run.stamp
	@$(BIN)/python -m gateway serve

test: .venv/test.stamp
	@$(MAKE) --no-print-directory check unit real

check: lint types imports spelling web

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test.stamp
	$(BIN)/mypy

imports: .venv/test.stamp
	$(BIN)/lint-imports

spelling: .venv/test.stamp
	$(BIN)/codespell

web: .venv/test.stamp
	web/node_modules/.bin/tsc -p web/jsconfig.json

# Side by side: virtual time, and of real sockets and browsers what judges neither time nor sound.
# Then the rest of the real ones, and the peers, one at a time; those that only wait in a row of their own.
unit: .venv/test.stamp .venv-pipecat/pipecat.stamp
	$(BIN)/python -m pytest -q -n 2 -m "(not real or beside) and not soak"

real: .venv/test.stamp .venv-pipecat/pipecat.stamp
	@$(MAKE) --no-print-directory -j 2 judging calm

judging:
	$(BIN)/python -m pytest -q -m "real and not calm and not beside and not soak"

calm:
	$(BIN)/python -m pytest -q -m "calm and not soak"

soak: .venv/test.stamp
	$(BIN)/python -m pytest -q -m soak

# Media at 70 % of a core, calls a second, a flood of strangers; see bench/README.md.
bench: .venv/test.stamp
	$(BIN)/python -m bench bridge --load 70
	$(BIN)/python -m bench signalling
	$(BIN)/python -m bench flood

# A development CA and a leaf for HTTPS and SIP over TLS, in certs/.
certs: .venv/run.stamp
	@$(BIN)/python -m gateway certs

# The recorded prompts are part of the project; this is how they were made (espeak-ng, sox).
prompts: .venv/run.stamp
	$(BIN)/python -m gateway.agents.make_prompts examples/ivr/prompts examples/openai-realtime gateway/agents/receptionist gateway/agents/sounds gateway/lab/prompts

format: .venv/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-pipecat web/node_modules tests/softphone/node_modules tests/softphone/.made .mypy_cache .ruff_cache .pytest_cache

.venv/bin/python:
	@echo "Making a virtual environment in .venv …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make run PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv && $(PYTHON) -m venv --clear .venv; }

.venv/run.stamp: pyproject.toml | .venv/bin/python
	@echo "Installing the gateway into .venv, which takes a minute once …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/test.stamp: Makefile pyproject.toml web/package.json tests/softphone/package.json .venv/run.stamp
	@echo "Installing what the tests need …"
	@missing=; for package in $(PACKAGES); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends $$missing; fi
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@cd web && npm install --silent --no-audit --no-fund --no-package-lock
	@cd tests/softphone && npm install --silent --no-audit --no-fund --no-package-lock
	@touch $@

# pipecat, whose agents the tests talk with, in an environment of its own; see its requirements.
.venv-pipecat/pipecat.stamp: Makefile tests/pipecat/requirements.txt | .venv/bin/python
	@echo "Installing pipecat into .venv-pipecat …"
	@$(PYTHON) -m venv --clear .venv-pipecat
	@.venv-pipecat/bin/python -m pip install -q --disable-pip-version-check -r tests/pipecat/requirements.txt
	@.venv-pipecat/bin/python -m pip install -q --disable-pip-version-check --no-deps $(PIPECAT)
	@touch $@
