# Everything that is done to this repository, by name. `make help` lists it; .ci/run calls `make lint test`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := $(TARGET)/debug/policyhub

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
.PHONY: test
test: ## Run every test: units, both databases, doc tests, other verifiers, quickstart, README, corpus
	$(call timed,postgres) ./scripts/postgres.sh
	$(call timed,cargo test) cargo test --workspace
	$(call timed,tools) ./scripts/tools.sh venv grpcurl
	$(call timed,vectors by PyJWT) target/tools/venv/bin/python tests/vectors/verify.py
	$(call timed,quickstart) ./scripts/quickstart.sh $(BINARY)
	$(call timed,README) ./scripts/readme.py $(BINARY)
	$(call timed,corpus) $(MAKE) --no-print-directory corpus

.PHONY: lint
lint: ## Check form, lints, the library alone, docs, the contract, the chart; warnings are errors
	$(call timed,fmt) cargo fmt --all --check
	$(call timed,clippy) cargo clippy --workspace --all-targets -- -D warnings
	$(call timed,library alone) cargo clippy --lib --no-default-features --features client -- -D warnings
	$(call timed,doc) $(MAKE) --no-print-directory doc
	$(call timed,tools) ./scripts/tools.sh buf venv
	$(call timed,buf lint) target/tools/bin/buf lint proto
	$(call timed,helm) $(MAKE) --no-print-directory helm
	$(call timed,tidy) cargo test --test tidy

.PHONY: corpus
corpus: ## Replay the corpus of real policies through a server
	cargo test --test it corpus -- --ignored --nocapture | tee $(TARGET)/corpus.log
	@grep -Eq '^test result: ok\. [1-9]' $(TARGET)/corpus.log || { echo 'corpus: no test ran' >&2; exit 1; }

.PHONY: docs-check
docs-check: build ## Run the commands of README.md and compare what comes out
	./scripts/readme.py $(BINARY)

.PHONY: doc
doc: ## Build the API documentation; warnings are errors
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

.PHONY: helm
helm: ## Lint, render and judge the chart
	./scripts/check_helm.py

.PHONY: postgres
postgres: ## Make sure that a PostgreSQL server is installed for the tests
	./scripts/postgres.sh

.PHONY: tools
tools: ## Install the outside tools into target/tools
	./scripts/tools.sh

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
