# Everything a person or CI runs. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ADDRESS ?= 127.0.0.1:8000
DEMO_HOME := $(CURDIR)/var/demo

# Where `make check` finds PostgreSQL and Redis for its second round of tests.
SERVICES_DATABASE_URL ?= postgresql://postgres@127.0.0.1:5432/postgres
SERVICES_BROKER_URL ?= redis://127.0.0.1:6379/0

# One process a core, each with one thread of torch's: several that wait for each other's are slower.
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

.PHONY: help demo demo-reset setup run test check lint format messages types contracts test-services

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/installed  ## one whole weekly cycle on an embedded domain, then the web application
	@PREFLOOP_HOME=$(DEMO_HOME) $(BIN)/python manage.py demo --address $(ADDRESS)
	@PREFLOOP_HOME=$(DEMO_HOME) ADDRESS=$(ADDRESS) PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/honcho start

demo-reset:  ## throw the demonstration's data away
	rm -rf $(DEMO_HOME)

setup: $(VENV)/installed  ## virtual environment, database and secret key
	$(BIN)/python manage.py migrate --verbosity 0

run: setup  ## web application, worker and weekly schedule
	ADDRESS=$(ADDRESS) PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/honcho start

test: $(VENV)/installed-dev  ## all tests; DATABASE_URL and CELERY_BROKER_URL choose the services
	$(TESTS)

check: lint types contracts test test-services  ## what CI runs

lint: $(VENV)/installed-dev  ## style of code and templates
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/djade --check $$(git ls-files '*.html')
	$(BIN)/python manage.py makemigrations --check --dry-run

format: $(VENV)/installed-dev  ## put code and templates into shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	-$(BIN)/djade $$(git ls-files '*.html')

messages: $(VENV)/installed  ## collect the interface's texts for translation, compile the translations
	@command -v xgettext >/dev/null && command -v msgmerge >/dev/null && command -v msgfmt >/dev/null || \
	  { echo 'make messages needs GNU gettext, such as from: apt-get install gettext'; exit 1; }
	$(BIN)/python manage.py makemessages --all --add-location file --no-obsolete \
	  --extension html,txt,py,jinja \
	  --ignore 'var/*' --ignore 'tests/*' --ignore 'docs/*' --ignore 'benchmarks/*'
	@for po in locale/*/LC_MESSAGES/django.po; do \
	  echo "$$po"; msgfmt --check-format --statistics -o "$${po%.po}.mo" "$$po" || exit 1; done

types: $(VENV)/installed-dev  ## mypy, strict
	$(BIN)/mypy annotate rewards training prefloop

contracts: $(VENV)/installed-dev  ## which package may import which
	$(BIN)/lint-imports

# A machine without the two services is told so; CI sets REQUIRE_SERVICES=1 and fails instead.
test-services: $(VENV)/installed-dev  ## all tests, on PostgreSQL and Redis
	@if $(BIN)/python tests/tools/check_services.py '$(SERVICES_DATABASE_URL)' '$(SERVICES_BROKER_URL)'; then \
	  DATABASE_URL='$(SERVICES_DATABASE_URL)' CELERY_BROKER_URL='$(SERVICES_BROKER_URL)' \
	    $(TESTS); \
	elif [ -n "$(REQUIRE_SERVICES)" ]; then exit 1; \
	else echo 'SKIPPED: the round of tests on PostgreSQL and Redis.'; fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Prefloop needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

# torch goes first: what needs it would otherwise bring a build of its own choice.
$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
