# Everything a person does here has a name; `make` alone lists them. The work is in cargo and in scripts/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build web test test-web screenshots test-postgres test-backups test-services test-openapi test-docker test-kubernetes kube-up kube-down bench bench-kubernetes soak fmt

# Where the target directory is: cargo's own rule, so that the demo finds what was built.
BADGER = $${CARGO_TARGET_DIR:-target}/release/badger

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: build ## builds, then moves a running game server between two daemons (no Docker, no root); ARGS="--size 1G"
	$(BADGER) demo $(ARGS)

build: ## the executable, optimised, with the web interface inside if npm is there
	scripts/build-web.sh --if-possible
	cargo build --release --locked --bin badger

web: ## the web interface, into web/dist, from where the next build of the executable takes it
	scripts/build-web.sh

test: ## all that a change must pass: format, lints, every test this machine can run
	scripts/test.sh

test-postgres: ## only the panel's tests on a PostgreSQL server that it starts
	scripts/test-postgres.sh

test-services: ## only the tests against MariaDB and BIND, which it starts
	scripts/test-services.sh

test-web: ## only the web interface: types, lints, unit tests, and a browser against a real panel with two daemons
	scripts/test-web.sh

screenshots: ## the pictures of the user guide, into docs/images
	scripts/test-web.sh --screenshots

test-openapi: ## only the fuzzer that compares the API with its document, on SQLite (two minutes)
	scripts/test-openapi.sh

test-docker: ## only the tests against two Docker engines and a real game server (root)
	scripts/test-docker.sh

test-kubernetes: ## only the tests against two Kubernetes clusters (and two Docker engines) that it starts (root); THOROUGH=1 for all
	BADGER_TEST_THOROUGH=$(THOROUGH) scripts/test-kubernetes.sh

test-backups: ## only the tests of backups with object storage, which they start (Go, to build it once)
	scripts/test-backups.sh

kube-up: ## starts the two clusters that the tests use, and leaves them up; prints their kubeconfigs (root)
	scripts/kube-up.sh

kube-down: ## ends them and removes all that they made
	scripts/kube-down.sh

bench: build ## ourselves beside rsync and tar, into bench/RESULTS.md; ARGS=--quick for a look
	python3 bench/run.py --badger $(BADGER) $(ARGS)

bench-kubernetes: ## migrations on two clusters beside Docker's, into bench/KUBERNETES.md (root); ARGS=--quick for a look
	BADGER_IMAGE_PROFILE=release scripts/test-kubernetes.sh python3 bench/kubernetes.py $(ARGS)

soak: ## migrations under random kills for MINUTES (10)
	BADGER_SOAK_MINUTES=$${MINUTES:-10} cargo test --locked -p badger --test e2e soak -- --ignored --nocapture

fmt: ## formats the code
	cargo fmt --all
