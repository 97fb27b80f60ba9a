# Everything here needs Go and nothing else; `make test` sets up a RabbitMQ for itself (see docs/testing.md).

GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 20s
SOAK        ?= 10m
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS      = -X main.version=$(VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Without cgo no C compiler is needed, and a fifth less is compiled: the store's zstd is not C then.
.PHONY: build
build: ## build bin/eventrouter
	CGO_ENABLED=0 $(GO) build -ldflags "$(LDFLAGS)" -o bin/eventrouter ./cmd/eventrouter

.PHONY: run
run: build ## start the example on the embedded broker (or on EVENTROUTER_BROKER) and watch it work
	CGO_ENABLED=0 $(GO) run ./examples/demo --eventrouter bin/eventrouter

# What runs on RabbitMQ runs by itself: its processes need the machine.
.PHONY: test
test: test-unit ## run all tests, with the race detector, on the embedded broker and on a real RabbitMQ
	$(GO) test -race -timeout 40m ./integration

# The sizes that take too long for every change: see docs/testing.md.
.PHONY: test-long
test-long: ## run the tests on RabbitMQ with their full loads: an hour or so
	EVENTROUTER_TEST_LONG=1 EVENTROUTER_TEST_BURST=100000 EVENTROUTER_TEST_MOVE_EVENTS=100000 EVENTROUTER_TEST_DEAD_LETTERS=100000 EVENTROUTER_TEST_KILL_STEP=1 EVENTROUTER_TEST_ROUNDS=5 EVENTROUTER_TEST_RELOAD_SECONDS=60 EVENTROUTER_TEST_RELOAD_RATE=5000 \
		$(GO) test -timeout 3h ./integration

.PHONY: soak
soak: ## faults by chance under load, for SOAK (10m), with books
	EVENTROUTER_TEST_SOAK=$(SOAK) $(GO) test -timeout 2h -v -run '^TestSoak$$' ./integration

.PHONY: test-unit
test-unit: ## run the tests that need no RabbitMQ
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v '/integration$$')

.PHONY: lint
lint: ## check formatting, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

.PHONY: bench
bench: ## compare with hand-written code and with watermill on one RabbitMQ (docs/benchmarks.md)
	$(GO) run ./integration/bench

.PHONY: fuzz
fuzz: ## run every fuzz test for FUZZTIME (20s each)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: check
check: lint test ## what CI runs
