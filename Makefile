# make help    this text; so does make alone
# make demo    tune an array of 256 boards, three ways (examples/telescope.py)
# make test    the test suite; also: make tests
# make oldest  the same with the oldest releases claimed in pyproject.toml; on 3.11
# make cpython-tests  CPython's own tests of asyncio, in loops that we drive
# make hosts   the core of the contract on every host; writes docs/tested.md
# make duals   dual() on the clients of libraries, Django: against real servers
# make bench   ratios against await and the peers
# make beside  what the peers do with the same small programs (docs/beside.md)
# make docs    the site of docs/ in build/docs; the code in it is run before
# make instruments  examples/instruments, with real servers on this machine
# make typing  what mypy, pyright, ty and pyrefly say of tests/typing
# make dask    Dask's distributed: tasks on processes and on threads
# make observatory  four sites tuned by Dask's workers, one of which is killed
# make lint    format, warnings as errors with gcc and clang, ruff
# make asan    the test suite under AddressSanitizer and UBSan
# make hard    the test suite where calls park wherever they may, with assertions
# make arm64   the tests of the core on 64-bit ARM, by qemu on another processor
# make sdist   dist/*.tar.gz, after its own tests have passed in it
# make wheel   dist/*.whl for each CPython here, tested where no compiler is
# make clean   delete what was built, and the virtual environments
#
# Each sets up what it needs in a virtual environment of its own.  PYTHON
# chooses the interpreter: make test PYTHON=python3.13
# Where Debian has no CPython 3.14 or 3.15: tools/pythons setup, and then
# tools/pythons run make test PYTHON=python3.15

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV ?= .venv/$(VERSION)
BIN = $(VENV)/bin
SOURCES = pyproject.toml setup.py MANIFEST.in $(shell find core -name '*.[ch]') $(wildcard src/tworoutine/*.py*)
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test tests oldest cpython-tests hosts duals bench beside docs instruments \
    typing dask observatory lint asan hard arm64 sdist wheel clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	$(BIN)/python -W error::RuntimeWarning -W error::ResourceWarning examples/telescope.py $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -X dev -W error -m pytest $(ARGS)

tests: test

# Some of these releases have no wheels for later Pythons.
oldest:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	    { echo "the oldest releases run on CPython 3.11: make oldest PYTHON=python3.11" >&2; exit 1; }
	$(MAKE) $(VENV)-oldest/.hosts VENV=$(VENV)-oldest OLDEST=tests/oldest.txt
	ORACLE_PROGRAMS=1000 $(VENV)-oldest/bin/python -X dev -W error -m pytest $(ARGS)

cpython-tests: $(VENV)/.test
	$(BIN)/python tests/cpython/run.py $(ARGS)

hosts: $(VENV)/.hosts
	$(BIN)/python tests/hosts_table.py $(ARGS)

duals: $(VENV)/.duals
	$(BIN)/python -X dev -m pytest -rs tests/test_dual_libraries.py \
	    tests/test_django_postgres.py $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python bench/run.py $(ARGS)

beside: $(VENV)/.beside
	$(BIN)/python bench/beside.py $(ARGS)

# In environments of their own: what these need is not to be there in the tests.
docs:
	$(MAKE) $(VENV)-docs/.docs VENV=$(VENV)-docs
	$(VENV)-docs/bin/python -m pytest -q tests/test_docs.py tests/test_demo.py $(ARGS)
	$(VENV)-docs/bin/python -m sphinx -q -W -n --keep-going -d build/docs-doctrees docs build/docs
	$(VENV)-docs/bin/python docs/phone.py build/docs
	@echo "the site: $(abspath build/docs/index.html)"

instruments:
	$(MAKE) $(VENV)-instruments/.instruments VENV=$(VENV)-instruments
	$(VENV)-instruments/bin/python -m pytest tests/test_instruments.py $(ARGS)

typing:
	$(MAKE) $(VENV)-typing/.typing VENV=$(VENV)-typing
	$(VENV)-typing/bin/python -m pytest tests/typing $(ARGS)

dask:
	$(MAKE) $(VENV)-dask/.dask VENV=$(VENV)-dask
	$(VENV)-dask/bin/python -m pytest tests/test_dask.py $(ARGS)

observatory:
	$(MAKE) $(VENV)-dask/.dask VENV=$(VENV)-dask
	$(VENV)-dask/bin/python examples/observatory.py $(ARGS)

# The stamp of an extra: the package as it is now, installed with the extra.
$(VENV)/.%: $(VENV)/bin/python $(SOURCES) $(OLDEST)
	$(PIP) install --force-reinstall --no-deps .
	$(PIP) install $(addprefix --constraint ,$(OLDEST)) '.[$*]'
	@touch $@

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON) here: make PYTHON=python3.x ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "tworoutine needs CPython 3.11 or later: make PYTHON=python3.x ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The last step builds what is taken where there is no epoll, and imports it.
lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(find core -name '*.[ch]')
	for cc in gcc clang; do \
	    command -v $$cc >/dev/null || { echo "no $$cc here: not checked"; continue; }; \
	    CC=$$cc TWR_STRICT=1 $(BIN)/python setup.py -q build --force \
	        --build-base $(VENV)/strict-$$cc || exit 1; \
	done
	CFLAGS=-U__linux__ TWR_STRICT=1 $(BIN)/python setup.py -q build --force \
	    --build-base $(VENV)/no-epoll-build --build-lib $(VENV)/no-epoll
	PYTHONPATH=$(VENV)/no-epoll $(BIN)/python -c 'import tworoutine'

# greenlet throws C++ exceptions, which AddressSanitizer must know how to pass
# on before greenlet is loaded: hence libstdc++.
asan: $(VENV)/.test $(VENV)/.lint
	TWR_SANITIZE=1 $(BIN)/python setup.py -q build --force \
	    --build-base $(VENV)/asan-build --build-lib $(VENV)/asan
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" \
	PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	PYTHONPATH=$(abspath $(VENV)/asan) TWR_SANITIZE=1 ORACLE_PROGRAMS=1000 \
	$(BIN)/python -X dev -W error -m pytest $(ARGS)

hard: $(VENV)/.test
	TWR_HARD=1 $(BIN)/python setup.py -q build --force \
	    --build-base $(VENV)/hard-build --build-lib $(VENV)/hard
	PYTHONPATH=$(abspath $(VENV)/hard) TWR_HARD=1 ORACLE_PROGRAMS=1000 \
	$(BIN)/python -X dev -W error -m pytest $(ARGS)

arm64:
	tools/arm64 $(ARGS)

sdist wheel: $(VENV)/.dist
	$(BIN)/python tools/dist.py $@ $(ARGS)

clean:
	rm -rf .venv build dist src/*.egg-info src/tworoutine/*.so
