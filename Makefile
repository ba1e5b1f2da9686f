# Versions of the tools that go.mod does not pin.
CONTROLLER_GEN_VERSION := v0.20.0
GOLANGCI_LINT_VERSION := v2.6.0

# One set of flags for every build: each combination fills a build cache of its own, of some gigabytes.
# The tag is Argo's: its protobuf messages need it with this version of Kubernetes.
TAGS := kubernetes_protomessage_one_more_release
export CGO_ENABLED := 0
export GOFLAGS := $(shell go env GOFLAGS) -trimpath -tags=$(TAGS)

# The lab, see CONTRIBUTING.md.
CLUSTERS := 2
PODS := auto
NAME := default
LAB := go run ./test/lab/cmd/lab

BIN := $(CURDIR)/bin
CONTROLLER_GEN := $(BIN)/controller-gen-$(CONTROLLER_GEN_VERSION)
GOLANGCI_LINT := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
CRDS := charts/argo-workflow-multicluster/crds
UNIT := ./cmd/... ./pkg/... ./test/env/... ./test/gen/... ./test/lab/...

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build generate verify lint fmt test test-unit test-integration test-e2e bench run \
	lab-up lab-status lab-down demo demo-down clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/argo-multicluster.
	go build -o bin/argo-multicluster ./cmd/argo-multicluster

generate: $(CONTROLLER_GEN) ## Generate the deep copies and the CRD from pkg/apis.
	$(CONTROLLER_GEN) object paths=./pkg/apis/...
	$(CONTROLLER_GEN) crd paths=./pkg/apis/... output:crd:dir=$(CRDS)

verify: generate lint ## Check that generated files are up to date, and lint.
	git diff --exit-code -- $(CRDS) ':(glob)**/zz_generated*'

lint: $(GOLANGCI_LINT) ## Lint both Go modules.
	$(GOLANGCI_LINT) run
	cd test/lab/tools && $(GOLANGCI_LINT) run

fmt: $(GOLANGCI_LINT) ## Format the Go code.
	$(GOLANGCI_LINT) fmt

test: test-unit test-integration test-e2e ## Run all tests, with all their set-up.

test-unit: ## Run the unit tests; with the race detector where there is the C compiler that it needs.
	@if echo '#include <stdlib.h>' | $$(go env CC) -E -xc - >/dev/null 2>&1; \
	then echo "unit tests, with the race detector"; CGO_ENABLED=1 go test -timeout=5m -race $(UNIT); \
	else echo "unit tests, without the race detector: there is no C compiler"; go test -timeout=5m $(UNIT); fi

test-integration: ## Run the tests on real API servers, without pods.
	$(LAB) build etcd kube-apiserver
	KUBEBUILDER_ASSETS=$(BIN)/lab go test -count=1 -timeout=20m ./test/integration/...

test-e2e: ## Run the tests on a lab of their own: real pods as root on Linux, else simulated ones.
	E2E_PODS=$(PODS) go test -count=1 -timeout=40m -v ./test/e2e/...

bench: ## Measure the product on a lab of its own, against the same Workflows without it; PODS as for lab-up.
	BENCH_PODS=$(PODS) go test -count=1 -timeout=2h -v -run=NONE -bench=. -benchtime=1x ./test/bench/...

run: ## Run the hub manager against $KUBECONFIG.
	go run ./cmd/argo-multicluster hub

lab-up: ## Start a hub and CLUSTERS=2 managed clusters with PODS=auto|real|simulated, named NAME=default.
	@echo "compiling the lab's own program: some minutes the first time"
	$(LAB) up --clusters $(CLUSTERS) --pods $(PODS) --name $(NAME)

lab-status: ## Say what of the lab NAME=default runs, and where its files are.
	$(LAB) status --name $(NAME)

lab-down: ## Stop the lab NAME=default and leave nothing of it behind.
	$(LAB) down --name $(NAME)

demo: ## Start a lab with the product and run the Workflows in example/ on it; PODS as for lab-up.
	@echo "compiling the demo itself: some minutes the first time"
	go run ./test/lab/cmd/demo --pods $(PODS)

demo-down: ## Stop what demo left running.
	go run ./test/lab/cmd/demo --down

clean: ## Remove what was built. Stop labs first.
	rm -rf bin _output

$(CONTROLLER_GEN):
	$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen,$(CONTROLLER_GEN_VERSION))

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))

# $(call install,package,version) installs a Go program as bin/<its name>-<version>.
define install
GOBIN=$(BIN) go install $(1)@$(2)
mv $(BIN)/$(notdir $(1)) $(BIN)/$(notdir $(1))-$(2)
endef
