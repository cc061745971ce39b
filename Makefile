# pgweir: what a person types. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CARGO ?= cargo
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR
ifdef CI
# A machine that builds once has no use for what makes the next build quicker, and that fills half of the disk.
export CARGO_INCREMENTAL := 0
endif

# Narrows `make cluster`: make cluster ONLY=never_wrong::
ONLY ?=
# make demo CHECK=1 looks by itself and leaves.
CHECK ?=

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: demo
demo: ## A throw-away cluster, pgweir and the sample application; CHECK=1: without a person
	@deploy/demo/prepare.sh $(if $(CHECK),check,demo)
	$(CARGO) build --release --locked -p pgweir -p pgweir-tests --bins
	@exec $(CARGO_TARGET_DIR)/release/pgweir-demo $(if $(CHECK),--check)

.PHONY: test
test: ## Everything: style, unit tests, the real cluster, drivers, the sample application
	@deploy/demo/prepare.sh test
	$(MAKE) --no-print-directory lint
	# All at once: packages built one by one ask their dependencies for different features, twice.
	$(CARGO) build --locked --workspace --bins --tests
	@ulimit -n "$$(ulimit -Hn)"; $(CARGO) test --locked --workspace
	@exec $(CARGO_TARGET_DIR)/debug/pgweir-demo --test

.PHONY: lint
lint: ## Format and clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: dependencies
dependencies: ## Advisories, licences and sources of the crates that are used (fetches cargo-deny)
	$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

.PHONY: unit
unit: ## What needs no cluster
	$(CARGO) test --locked --quiet

.PHONY: cluster
cluster: ## What needs a cluster (ONLY=… narrows it)
	$(CARGO) build --locked -p pgweir
	@ulimit -n "$$(ulimit -Hn)"; $(CARGO) test --locked -p pgweir-tests -- $(ONLY)

.PHONY: majors
majors: ## The stories on PostgreSQL 14, 16, 17 and 18 (fetches the servers once; MAJORS="17 18" ONLY=never_wrong::)
	@tests/majors/run.sh $(MAJORS) -- $(ONLY)

.PHONY: regress
regress: ## PostgreSQL's own regression and isolation suites, directly and through pgweir (ARGS="--mode session --suite regress")
	@deploy/demo/prepare.sh regress
	$(CARGO) build --release --locked -p pgweir -p pgweir-tests --bins
	@sources="$${PGWEIR_POSTGRES_TESTS:-$$(ls ../shared/postgres-tests-*.tar.xz 2>/dev/null | head -1)}"; \
	[ -n "$$sources" ] || { echo "PGWEIR_POSTGRES_TESTS must name PostgreSQL's src/test (regress, isolation) and contrib/spi: a directory or an archive" >&2; exit 1; }; \
	exec $(CARGO_TARGET_DIR)/release/pgweir-regress --sources "$$sources" --results $(CARGO_TARGET_DIR)/regress $(ARGS)

.PHONY: docs
docs: ## The pages of docs/ as a book with search, in target/book (fetches mdBook once)
	@deploy/docs.sh

.PHONY: dist
dist: ## What a release publishes, in target/dist: archive, Debian package, container image, checksums, SBOM
	@deploy/dist.sh

.PHONY: dist-test
dist-test: ## What make dist has built: unpacked, installed, run, upgraded, purged
	@deploy/dist/test.sh

.PHONY: advisories
advisories: ## Known vulnerabilities of the libraries (cargo install cargo-audit)
	$(CARGO) audit

.PHONY: app
app: ## The sample application's tests: Django's through pgweir, and a browser's
	$(CARGO) build --locked -p pgweir -p pgweir-tests --bins
	@exec $(CARGO_TARGET_DIR)/debug/pgweir-demo --test

.PHONY: manifests
manifests: ## Dockerfiles, Kubernetes manifests and units against linters and schemas (fetches them from PyPI once)
	@deploy/check.sh

.PHONY: day
day: ## An operator's day in a hurry on a throw-away cluster (ARGS="--seconds 1800 --clients 16")
	$(CARGO) build --release --locked -p pgweir -p pgweir-tests --bins
	@ulimit -n "$$(ulimit -Hn)"; $(CARGO_TARGET_DIR)/release/pgweir-day $(ARGS)

.PHONY: apps
apps: ## Real applications, directly and through pgweir, replicas in step and late (ARGS="--only powerdns")
	@deploy/demo/prepare.sh apps
	$(CARGO) build --locked --workspace --bins
	@exec $(CARGO_TARGET_DIR)/debug/pgweir-apps $(ARGS)

.PHONY: bench
bench: ## pgweir beside PgBouncer, HAProxy and a direct connection; its levels (ARGS="--seconds 3 --rounds 2")
	@deploy/demo/prepare.sh bench
	$(CARGO) build --release --locked -p pgweir -p pgweir-benches
	$(CARGO_TARGET_DIR)/release/pgweir-benches side-by-side $(ARGS)
	$(CARGO_TARGET_DIR)/release/pgweir-benches freshness

.PHONY: bench-instructions
bench-instructions: ## pgweir's own instructions per statement, by valgrind; fails where they grow (ARGS="--update")
	$(CARGO) build --release --locked --workspace --bins
	$(CARGO_TARGET_DIR)/release/pgweir-benches instructions $(ARGS)

.PHONY: patroni
patroni: ## What clients feel when a real Patroni changes the primary, behind pgweir and HAProxy (ARGS="--event dead-host --rounds 3")
	@deploy/demo/prepare.sh patroni
	$(CARGO) build --release --locked -p pgweir -p pgweir-tests --bins
	@ulimit -n "$$(ulimit -Hn)"; $(CARGO_TARGET_DIR)/release/pgweir-patroni $(ARGS)

# make fuzz SECONDS=600 CASES=10000000
SECONDS ?= 60
CASES ?= 1000000

.PHONY: trials
trials: ## Every level of consistency against every kind of trouble, ten minutes each (ARGS="--seconds 20 --fault cut")
	@deploy/demo/prepare.sh demo
	$(CARGO) build --release --locked -p pgweir -p pgweir-tests --bins
	$(CARGO_TARGET_DIR)/release/pgweir-trials $(ARGS)

.PHONY: fuzz
fuzz: ## Hostile input: SQL judged by Postgres's own parser, then coverage-guided targets (SECONDS each; CASES)
	@deploy/demo/prepare.sh fuzz
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/oracle $(CARGO) run --release --locked --manifest-path tests/oracle/Cargo.toml -- \
		--cases $(CASES) --seed $$RANDOM $(if $(PGWEIR_CORPUS),--corpus $(PGWEIR_CORPUS)/dev.jsonl)
	tests/fuzz/run.sh $(SECONDS)

.PHONY: drivers
drivers: ## Drivers' feature checks and published suites, directly and through pgweir (ARGS="--only smoke")
	@deploy/demo/prepare.sh drivers
	$(CARGO) build --release --locked -p pgweir -p pgweir-benches
	$(CARGO_TARGET_DIR)/release/pgweir-benches drivers $(ARGS)
