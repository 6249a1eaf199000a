# `make` alone lists what there is.
TARGET  := x86_64-unknown-linux-musl
BIN     := target/$(TARGET)/release/cutover
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
RUN_TESTS := $(if $(NEXTEST),cargo nextest run,cargo test)

help:            ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

check:           ## the edit loop: types and lints
	cargo clippy --workspace --all-targets

build:           ## the static release binary
	scripts/setup build
	cargo build --release --target $(TARGET) -p cutover

lint:            ## formatting and lints, as CI has them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test:            ## installs what it needs and passes every test
	scripts/setup test
	$(MAKE) --no-print-directory lint
	cargo build --release --target $(TARGET) -p cutover
	CUTOVER_BIN=$(CURDIR)/$(BIN) $(RUN_TESTS) --workspace

test-v2:         ## in a virtual machine: control groups of version 2, systemd, a reboot; slow
	scripts/setup vm
	cargo build --release --target $(TARGET) -p cutover
	CUTOVER_BIN=$(CURDIR)/$(BIN) scripts/vm

demo:            ## the whole story, live
	scripts/setup demo
	cargo build --release --target $(TARGET) -p cutover
	CUTOVER_BIN=$(CURDIR)/$(BIN) scripts/demo

bench:           ## side by side with the peers; prints the tables of docs/benchmarks.md
	scripts/setup bench
	cargo build --release --target $(TARGET) -p cutover
	CUTOVER_BIN=$(CURDIR)/$(BIN) scripts/bench

cases:           ## the Dockerfile cases, compared with BuildKit's own results (when they are here)
	cargo build -p cutover
	scripts/cases

fuzz:            ## hostile input for FUZZ_SECONDS (60) for each target; needs a nightly compiler
	scripts/fuzz

docs: build      ## docs/cli.md, man pages and completions from the one definition of each flag
	$(BIN) docs --reference docs/cli.md --man target/man --completions target/completions

deny:            ## licences, sources and duplicates of dependencies (needs cargo-deny)
	cargo deny check licenses bans sources

.PHONY: help check build lint test test-v2 demo bench cases fuzz docs deny
