# What one does with this repository. `make help` lists it.

.PHONY: help run build test lint fmt openapi bench soak
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: ## build stigmer and run a first command under its supervision
	@echo 'building stigmer (debug) ...'
	@cargo build --quiet --locked -p stigmer
	@echo '$$ stigmer run "echo hello from stigmer; uname -sr"'
	@cargo run --quiet --locked -p stigmer -- run 'echo hello from stigmer; uname -sr'

build: ## build the release binary, target/release/stigmer
	cargo build --release --locked -p stigmer

test: ## run every suite, unprivileged, and short fuzzing
	@scripts/install-needs
	@scripts/test tests fuzz

lint: ## formatting, clippy, documentation, scripts, dependencies and licences
	@scripts/test checks

fmt: ## format the code
	cargo fmt --all

openapi: ## write docs/openapi.json, after a change of the contract
	cargo run --quiet --locked -p stigmer-api --example openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

bench: build ## measure the budgets and write docs/benchmarks.md
	scripts/build-sidecar
	STIGMER_BIN=target/release/stigmer \
		STIGMER_SIDECAR_BIN=target/$$(uname -m)-unknown-linux-gnu/sidecar/stigmer-sidecar \
		cargo run --release --locked -p stigmer-benches -- --write docs/benchmarks.md

soak: ## a million race tries, a thousand kills, 10 GiB of output, ten minutes of each fuzz target
	@STIGMER_RACE_TRIES=1000000 STIGMER_KILLS=1000 STIGMER_STREAM_BYTES=10737418240 \
		STIGMER_SUITE_LIMIT=36000 scripts/test tests
	@scripts/fuzz 600
