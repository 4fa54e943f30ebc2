# What one does with this repository. `make help` lists it.

.PHONY: help run build install test test-local-mode test-sandbox-mode lint fmt openapi bench wheel python-docs soak \
	sandbox-build-basic sandbox-build-full sandbox-test dev-full
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 24

run: ## build stigmer and run a first command under its supervision
	@echo 'building stigmer (debug), which takes some minutes the first time ...'
	@cargo build --locked -p stigmer
	@echo '$$ stigmer run "echo hello from stigmer; uname -sr"'
	@cargo run --quiet --locked -p stigmer -- run 'echo hello from stigmer; uname -sr'

build: ## build the release binary, target/release/stigmer, and the sidecar for containers
	cargo build --release --locked -p stigmer
	scripts/build-sidecar

wheel: build ## build the Python package with the programs in it, into target/wheels
	@scripts/build-wheel

python-docs: ## write the reference of the Python package, into target/python-reference
	@scripts/python-reference

install: build ## install both into PREFIX/bin (default ~/.local)
	install -D -t $(or $(PREFIX),$(HOME)/.local)/bin target/release/stigmer \
		target/$$(uname -m)-unknown-linux-gnu/sidecar/stigmer-sidecar

test: ## run every suite, unprivileged, and short fuzzing
	@scripts/install-needs
	@scripts/test tests fuzz

test-local-mode: ## run the suites of local mode only
	@scripts/install-needs
	@scripts/test local

test-sandbox-mode: ## run the suites of sandbox mode and of its images only
	@scripts/install-needs
	@scripts/test sandbox

lint: ## formatting, clippy, documentation, scripts, dependencies and licences
	@scripts/test checks

fmt: ## format the code
	cargo fmt --all

openapi: ## write docs/openapi.json, after a change of the contract
	cargo run --quiet --locked -p stigmer-api --example openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

bench: build ## measure the budgets and write docs/benchmarks.md
	scripts/test-python prepare
	STIGMER_BIN=target/release/stigmer \
		STIGMER_SIDECAR_BIN=target/$$(uname -m)-unknown-linux-gnu/sidecar/stigmer-sidecar \
		STIGMER_BENCH_PYTHON=$(or $(CARGO_TARGET_DIR),target)/python/bin/python \
		cargo run --release --locked -p stigmer-benches -- --write docs/benchmarks.md

soak: ## a million race tries, a thousand kills, 10 GiB of output, 50 sandboxes at once, ten minutes of each fuzz target
	@STIGMER_RACE_TRIES=1000000 STIGMER_KILLS=1000 STIGMER_STREAM_BYTES=10737418240 \
		STIGMER_SANDBOXES=50 STIGMER_ORACLE_EVERY=1 \
		STIGMER_SUITE_LIMIT=36000 scripts/test tests
	@scripts/fuzz 600

sandbox-build-basic: ## build the image stigmer-sandbox-basic:local
	@scripts/with-engine images/build basic

sandbox-build-full: ## build the image stigmer-sandbox-full:local, with the tools of the clouds
	@scripts/with-engine images/build full

sandbox-test: sandbox-build-basic ## test the image stigmer-sandbox-basic:local (or IMAGE=...)
	@scripts/with-engine images/test-sandbox.sh $(or $(IMAGE),stigmer-sandbox-basic:local)

dev-full: build sandbox-build-full ## build all, and start the daemon in sandbox mode with the full image
	STIGMER_EXECUTION_MODE=sandbox STIGMER_SANDBOX_IMAGE=stigmer-sandbox-full:local \
		target/release/stigmer server start
