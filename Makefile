# make help lists the targets.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
ENVOY   := $(CURDIR)/bin/envoy
# Tests that need Envoy fail without it when this is set.
export FAIRWAY_ENVOY ?= $(ENVOY)

# A real kube-apiserver and etcd for the tests; see hack/kube-assets.
export KUBEBUILDER_ASSETS ?= $(CURDIR)/bin/kube
IMAGE ?= fairway:dev

# The packages whose tests run under the race detector: those with goroutines.
CONCURRENT := ./scheduler/... ./pool/... ./extproc/... ./epp/... ./aibackend/credentials/... ./gateway/... ./sim/... ./bench/...
FUZZTIME   ?= 3s
TRACE      ?= examples/traces/sample.jsonl

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/fairway.
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/fairway ./cmd/fairway

$(ENVOY): hack/fetch-envoy
	hack/fetch-envoy $(ENVOY)
	@touch -h $(ENVOY)

.PHONY: envoy
envoy: $(ENVOY) ## Fetch Envoy into bin/envoy.

.PHONY: run
run: build $(ENVOY) ## Start Envoy, simulated vLLM servers and the picker; ARGS="…" adds flags.
	bin/fairway run $(ARGS)

.PHONY: kube
kube: ## Build kube-apiserver and etcd for the tests, once.
	@hack/kube-assets >/dev/null

.PHONY: test
test: $(ENVOY) kube ## Run every test that needs no cluster, with real Envoy and kube-apiserver, and what fuzzing has found.
	hack/helm
	hack/pysdk
	$(GO) test $$($(GO) list ./... | grep -v -e /test/ -e /conformance/ -e /internal/imports)
	$(GO) test -p 1 -count 1 ./internal/imports ./conformance/... ./test/...

.PHONY: sdk-test
sdk-test: $(ENVOY) ## Run the tests with Python's SDKs.
	hack/pysdk
	$(GO) test -count 1 ./test/sdk

.PHONY: race
race: $(ENVOY) ## Run the tests of the concurrent packages under the race detector.
	$(GO) test -race -short $(CONCURRENT)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (3s).
	hack/fuzz $(FUZZTIME)

.PHONY: lint
lint: ## Check formatting, go vet, staticcheck.
	@test -z "$$(gofmt -l .)" || { echo "not formatted (gofmt -w):"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: generate
generate: ## Write the generated code of the API types.
	hack/generate

.PHONY: verify
verify: ## Check that generated files and go.mod are up to date.
	$(GO) mod tidy -diff
	$(GO) mod verify
	hack/generate --check
	$(GO) test ./scheduler -run Transcript -count 1

.PHONY: chart
chart: ## Lint the Helm chart and render it with every set of values.
	hack/chart-lint

.PHONY: image
image: ## Build the container image into bin/fairway-image.tar, without docker.
	$(GO) run ./hack/image --version $(VERSION) --tag $(IMAGE) --output bin/fairway-image.tar

.PHONY: conformance
conformance: ## Run the GAIE conformance suite in a cluster (KUBECONFIG, kind, or TESTCLUSTER), twice; reports go to conformance/reports.
	hack/conformance suites

.PHONY: e2e
e2e: ## Install Fairway in a cluster and run the end-to-end tests and every Kubernetes example.
	hack/conformance install
	hack/conformance e2e

.PHONY: bench
bench: build $(ENVOY) ## Run the benchmarks in the README.
	hack/bench $(TRACE)

.PHONY: clean
clean: ## Remove what was built and fetched.
	rm -rf bin
