# make demo   makes .venv, installs the package and plays the shipped ECG through the shipped model
# make test   makes an environment for every supported interpreter and runs all checks (see tests/matrix.py)
# make page   renews what the live page takes from npm (tcnstream/live/page/vendor), as its package-lock.json says
# make arm64  proves the same bytes on 64-bit ARM, in emulation; a part of make test (see tests/arm64.py)
# make wheels  makes the wheels of a release in dist, as far as they can be made here (see tests/wheels.py)
# make coverage   runs the tests of the largest environment and says which lines of the package they reach

PYTHON ?= python3

.PHONY: demo test arm64 wheels page coverage clean

demo: .venv/installed
	.venv/bin/tcnstream demo ecg

.venv/installed: pyproject.toml setup.py $(wildcard tcnstream/core/*.[ch] tcnstream/core/*/*.[ch])
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('tcnstream needs Python 3.11 or newer: make demo PYTHON=/path/to/python3.11')"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[live]"
	@touch $@

test:
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('tcnstream needs Python 3.11 or newer: make test PYTHON=/path/to/python3.11')"
	@$(PYTHON) tests/matrix.py

arm64 wheels: .venv/installed
	@.venv/bin/python tests/$@.py

page:
	@$(PYTHON) tests/vendor.py

coverage:
	@$(PYTHON) tests/matrix.py --coverage

clean:
	rm -rf .venv .venvs build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
