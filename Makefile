# SPDX-License-Identifier: Apache-2.0
# Everything a contributor needs. Only Go is required; bench also wants nginx (apt-get install nginx).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DEFAULT_GOAL := help

FUZZTIME ?= 30s
# One step of minimising an interesting input: the default of a minute stalls short runs, and one that ends meanwhile fails.
FUZZFLAGS ?= -fuzzminimizetime 1x
MODELTIME ?= 60s
BENCHFLAGS ?=
LINT := go tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## List the targets.
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: ## Build bin/umbra.
	go build -o bin/umbra ./cmd/umbra

.PHONY: check
check: lint vet test ## All that must be green before a commit.

.PHONY: test
test: ## Run every test with the race detector, the bench's own too.
	go test -race ./...
	cd bench && go test ./...

.PHONY: test-portable
test-portable: ## Run the data plane's tests on the portable driver, which other systems than Linux have.
	go test -race -tags portable ./internal/dataplane/...

.PHONY: vet
vet: ## Run go vet, for macOS too.
	go vet ./...
	go vet -tags portable ./internal/dataplane/...
	GOOS=darwin go vet ./...
	cd bench && go vet ./...

.PHONY: lint
lint: ## Run the pinned linters (the first run builds them, some minutes).
	$(LINT) run ./...
	root=$$PWD
	cd bench && go tool -modfile="$$root/tools/go.mod" golangci-lint run -c "$$root/.golangci.yml" ./...

.PHONY: fmt
fmt: ## Format the code as lint wants it.
	$(LINT) fmt ./...
	root=$$PWD
	cd bench && go tool -modfile="$$root/tools/go.mod" golangci-lint fmt -c "$$root/.golangci.yml" ./...

.PHONY: golden
golden: ## Rewrite the goldens with what the code gives now: read the difference before you commit it.
	grep -rl --include='*_test.go' 'flag.Bool("update"' internal test 2>/dev/null | xargs -r -n1 dirname | sort -u |
		while read -r dir; do go test "./$$dir" -update </dev/null; done
	git diff --stat

DIR ?=
VERDICTS ?=

.PHONY: corpus
corpus: ## Say what becomes of every YAML file below DIR (VERDICTS=FILE compares; see test/corpus).
	@test -n "$(DIR)" || { echo "make corpus DIR=a-tree-of-yaml"; exit 2; }
	go run ./test/corpus $(if $(VERDICTS),-verdicts $(VERDICTS)) "$(DIR)"

.PHONY: scale
scale: ## Measure start and one change with 10,000 hosts.
	go test ./test/scale -run '^$$' -bench . -benchtime 5x

.PHONY: test-netns
test-netns: ## Test redirected connections in a network namespace (root, iproute2, iptables).
	go test -tags netns ./test/netns

.PHONY: test-limits
test-limits: ## Test what happens when memory and connections run out (root, a cgroup memory controller).
	go test -tags limits -timeout 5m ./test/life

.PHONY: takeover
takeover: ## Take over 20 times under 2,000 new connections a second.
	go test ./test/life -run TestTakeoverRefusesAndResetsNothing -v -count 1 -takeovers 20 -rate 2000

.PHONY: vuln
vuln: ## Look for known vulnerabilities that the code reaches (asks vuln.go.dev).
	go tool -modfile=tools/go.mod govulncheck ./...

.PHONY: compare
compare: ## Play the strict HTTP/1.1 cases through nginx and HAProxy.
	go run ./test/strict/compare

FOR ?= 20m
RATE ?= 0.5

.PHONY: soak
soak: ## Run Umbra at RATE (0.5) of its capacity for FOR (20m) beside far ends that fail in turn.
	go run ./test/soak -for $(FOR) -rate $(RATE)

.PHONY: fuzz
fuzz: ## Fuzz each target in turn for FUZZTIME (30s).
	grep -rn --include='*_test.go' '^func Fuzz' internal |
		sed -E 's|^([^:]*)/[^/]*:[0-9]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' |
		while read -r dir target; do
			echo "== $$target in $$dir"
			# Go's fuzzer may report its own deadline as a failure when the time is over: only an input that fails counts.
			out=$$(go test "./$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $(FUZZFLAGS) </dev/null 2>&1) || {
				if grep -q 'context deadline exceeded' <<<"$$out" && ! grep -q 'Failing input' <<<"$$out"; then
					echo "$$target: time is over"
				else
					echo "$$out"
					exit 1
				fi
			}
			tail -n 3 <<<"$$out"
		done

.PHONY: model
model: ## Run random schedules through the model test for MODELTIME (60s).
	go test ./test/model -run 'TestModel$$' -timeout 0 -count 1 -v -for $(MODELTIME)

.PHONY: model-bugs
model-bugs: ## Demand that the model test finds each seeded bug within a minute.
	go run ./test/model/seeded -time 60s

.PHONY: bench
bench: build ## Compare CPU per request with nginx (BENCHFLAGS='-rounds 1 -cases get'; see bench/README.md).
	cd bench
	go build -o ../bin/bench .
	../bin/bench -umbra ../bin/umbra $(BENCHFLAGS)

.PHONY: isolation
isolation: build ## Measure production beside mirrors that fail, here and in nginx (BENCHFLAGS='-proxies umbra -span 1s').
	cd bench
	go build -o ../bin/bench .
	../bin/bench isolation -umbra ../bin/umbra $(BENCHFLAGS)

.PHONY: demo
demo: ## Show two meshes and a mirror between them, on this machine.
	go run ./cmd/umbra demo
