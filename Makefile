# Versions of the tools that go.mod does not pin.
CONTROLLER_GEN_VERSION := v0.20.0
GOLANGCI_LINT_VERSION := v2.6.0
HELM_DOCS_VERSION := v1.14.2
CYCLONEDX_GOMOD_VERSION := v1.10.0
GOVULNCHECK_VERSION := v1.9.0

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

# What test-chaos does; the same seed makes the same plan.
SEED := 1
WORKFLOWS := 300
FAULTS := 100

# What test-upgrade upgrades from. Until there is a release: the last commit whose chart had CRDs in its folder crds.
FROM := c186edd88e23a5995425b8973ff4a35b46f38717

# What is released, of which commit. The version is the tag's without its v; a commit without a tag adds its own name to
# the last one, or to the chart's.
CHART := charts/argo-workflow-multicluster
VERSION ?= $(shell git describe --tags --match='v*' --dirty 2>/dev/null | sed 's/^v//' | grep . || \
	echo "$$(awk '/^appVersion:/ {gsub(/"/, ""); print $$2}' $(CHART)/Chart.yaml)-g$$(git describe --always --dirty)")
VERSION := $(VERSION)
REVISION ?= $(shell git rev-parse HEAD)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
IMAGE ?= quay.io/open-cluster-management/argo-multicluster
TARGETOS ?= linux
TARGETARCH ?= $(shell go env GOARCH)
PLATFORMS ?= $(if $(PUSH),linux/amd64$(COMMA)linux/arm64,linux/$(TARGETARCH))
COMMA := ,
BINARY := _output/argo-multicluster-$(VERSION)
CHART_ARCHIVE := _output/argo-workflow-multicluster-$(VERSION).tgz
INSTALL_MANIFEST := _output/install.yaml
RELEASE := $(foreach arch,amd64 arm64,$(addprefix $(BINARY)-,linux-$(arch) linux-$(arch).tar linux-$(arch).cdx.json darwin-$(arch))) \
	$(CHART_ARCHIVE) $(INSTALL_MANIFEST)

BIN := $(CURDIR)/bin
CONTROLLER_GEN := $(BIN)/controller-gen-$(CONTROLLER_GEN_VERSION)
GOLANGCI_LINT := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
HELM_DOCS := $(BIN)/helm-docs-$(HELM_DOCS_VERSION)
CYCLONEDX_GOMOD := $(BIN)/cyclonedx-gomod-$(CYCLONEDX_GOMOD_VERSION)
GOVULNCHECK := $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)
CRDS := $(CHART)/files/crds
UNIT := ./cmd/... ./pkg/... ./test/chart/... ./test/env/... ./test/docs/... ./test/gen/... ./test/lab/... \
	./test/e2e/verbs/... ./test/e2e/chaos/verdict/... ./test/bench/hollow/... ./test/bench/measure/... ./test/bench/report/...

# How much memory these need is measured without the race detector, under which it is another, and they take minutes.
MEMORY := MostExpensive|GzipBomb

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: test-steps help build generate verify lint fmt vulncheck test test-unit test-integration test-e2e test-slow test-e2e-real test-upgrade test-capacity test-chaos test-chaos-checker bench bench-quick run \
	lab-up lab-status lab-down demo demo-down binary image image-archive sbom release clean FORCE

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/argo-multicluster.
	go build -o bin/argo-multicluster ./cmd/argo-multicluster

generate: $(CONTROLLER_GEN) $(HELM_DOCS) ## Generate the deep copies and the CRD, the chart's README and schema, docs/reference and the table of docs/verbs.md.
	$(CONTROLLER_GEN) object paths=./pkg/apis/...
	$(CONTROLLER_GEN) crd paths=./pkg/apis/... output:crd:dir=$(CRDS)
	$(HELM_DOCS) --chart-search-root=$(CHART) --log-level=warning
	UPDATE_DOCS=1 go test -count=1 -run='Documented|TheSchemaDescribes' ./test/e2e/verbs ./test/chart ./test/docs ./cmd/argo-multicluster

verify: generate lint ## Check that generated files are up to date, and lint.
	git diff --exit-code -- $(CRDS) $(CHART)/README.md $(CHART)/values.schema.json docs/reference docs/verbs.md ':(glob)**/zz_generated*'

lint: $(GOLANGCI_LINT) ## Lint the Go modules and the chart.
	$(LAB) build helm
	$(BIN)/lab/helm lint --strict --quiet $(CHART)
	$(GOLANGCI_LINT) run
	cd test/lab/tools && $(GOLANGCI_LINT) run
	cd test/lab/tools/s3 && $(GOLANGCI_LINT) run

fmt: $(GOLANGCI_LINT) ## Format the Go code.
	$(GOLANGCI_LINT) fmt

# It needs the Go vulnerability database: https://vuln.go.dev, or another place that GOVULNDB names (https:// or file://). So it is not part
# of verify, which runs without; CI runs it as a job of its own.
vulncheck: $(GOVULNCHECK) ## Look whether the program calls code with known vulnerabilities; needs vuln.go.dev, or GOVULNDB=<URL>.
	$(GOVULNCHECK) $(if $(GOVULNDB),-db=$(GOVULNDB)) ./cmd/...

test: test-unit test-integration test-e2e ## Run all tests, with all their set-up.

test-unit: ## Run the unit tests; with the race detector where there is the C compiler that it needs.
	@if echo '#include <stdlib.h>' | $$(go env CC) -E -xc - >/dev/null 2>&1; \
	then echo "unit tests, with the race detector"; CGO_ENABLED=1 go test -timeout=5m -race -skip='$(MEMORY)' $(UNIT) && \
		go test -timeout=5m -run='$(MEMORY)' ./pkg/hub/report; \
	else echo "unit tests, without the race detector: there is no C compiler"; go test -timeout=5m $(UNIT); fi
	cd test/lab/tools/s3 && go test -timeout=5m ./...

test-integration: ## Run the tests on real API servers, without pods.
	$(LAB) build etcd kube-apiserver
	KUBEBUILDER_ASSETS=$(BIN)/lab go test -count=1 -timeout=20m -p=2 ./test/integration/...
	KUBEBUILDER_ASSETS=$(BIN)/lab go test -count=1 -timeout=20m ./test/bench

# Those of test/e2e for which it matters that something is executed in the pods. The others take a third of the time with simulated ones.
REAL := Examples|Manifests|DeletingTheHubsCopy|CutOff|TenantIsSetUp|ArtifactsAreRead
REAL_STEPS := FilesGo|ArgosOwnProposal|RunTogether

# A lab keeps two cores busy. But the long one of test/e2e/install, with two clusters, waits more than it works.
test-e2e: ## Run the tests on a lab of their own: where it matters with real pods, as root on Linux, and else with simulated ones.
	E2E_PODS=$(PODS) go test -count=1 -timeout=40m -p=1 -v -run='$(REAL)' ./test/e2e
	E2E_PODS=$(PODS) go test -count=1 -timeout=40m -p=2 -v ./test/e2e/install ./test/e2e/capacity
	E2E_PODS=$(PODS) go test -count=1 -timeout=20m -v ./test/e2e/twohubs
	E2E_PODS=$(PODS) go test -count=1 -timeout=20m -p=1 -v -run='$(REAL_STEPS)' ./test/e2e/steps
	E2E_PODS=simulated go test -count=1 -timeout=20m -p=1 -v -skip='$(REAL)|$(REAL_STEPS)' \
		./test/e2e ./test/e2e/steps ./test/e2e/chaos

test-e2e-real: ## Run all of test/e2e with real pods, as root on Linux.
	E2E_PODS=$(PODS) go test -count=1 -timeout=60m -v ./test/e2e

# What does not fit into every change: about an hour.
test-slow: test-e2e-real test-steps test-capacity test-chaos test-chaos-checker test-upgrade ## Run the tests that are too slow for every change.

test-steps: ## Run all tests of steps in other clusters with real pods, as root on Linux.
	E2E_PODS=$(PODS) go test -count=1 -timeout=30m -v ./test/e2e/steps
	E2E_PODS=simulated STEPS_AT_ONCE=true go test -count=1 -timeout=30m -v -run=SixHundred ./test/e2e/steps

test-upgrade: ## Upgrade the product from FROM=<revision> while Workflows run, with real pods, as root on Linux.
	E2E_PODS=$(PODS) UPGRADE_FROM=$(FROM) go test -count=1 -timeout=30m -v -run=AnEarlierVersion ./test/e2e/install

test-capacity: ## Run WORKFLOWS=300 at once on three simulated clusters of different size, and check that they go where there is room.
	CAPACITY_WORKFLOWS=$(WORKFLOWS) go test -count=1 -timeout=40m -v ./test/e2e/capacity

test-chaos: ## Run WORKFLOWS=300 through FAULTS=100 that SEED=1 brings, and check that each ran once and its end was seen.
	E2E_PODS=$(PODS) CHAOS_SEED=$(SEED) CHAOS_WORKFLOWS=$(WORKFLOWS) CHAOS_FAULTS=$(FAULTS) \
		go test -count=1 -timeout=60m -v -run=EveryWorkflow ./test/e2e/chaos

test-chaos-checker: ## Run Workflows through faults with the product broken in each way, and check that test-chaos notices.
	E2E_PODS=$(PODS) CHAOS_CHECKER=all go test -count=1 -timeout=60m -v -run=BrokenProduct ./test/e2e/chaos

bench: ## Measure all that docs/performance.md lists on a lab of its own: some two hours. BENCH=… adds flags, such as --before FILE.
	go run ./test/bench --pods simulated $(BENCH)

bench-quick: ## Measure the same with small numbers: minutes. BENCH=… as for bench.
	go run ./test/bench --pods simulated --quick $(BENCH)

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

binary: $(BINARY)-$(TARGETOS)-$(TARGETARCH) ## Build the program as it is released, for TARGETOS=linux TARGETARCH=<this machine's>.

image: ## Build the image with Docker, for TARGETARCH; with PUSH=1 push IMAGE:VERSION for all PLATFORMS, with SBOM and provenance.
	@docker buildx version >/dev/null 2>&1 || \
		{ echo "make image needs Docker with buildx; make image-archive does without" >&2; exit 1; }
	docker buildx build --platform=$(PLATFORMS) --tag=$(IMAGE):$(VERSION) --build-arg=SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
		--build-arg=VERSION=$(VERSION) --build-arg=REVISION=$(REVISION) \
		$(if $(PUSH),--output=type=image$(COMMA)push=true$(COMMA)rewrite-timestamp=true --sbom=true --provenance=mode=max,--load) .

image-archive: $(BINARY)-linux-$(TARGETARCH).tar ## Build the image without Docker, as a file for docker load, ctr images import, kind load image-archive.

sbom: $(BINARY)-linux-$(TARGETARCH).cdx.json ## List the modules and licenses in the program for TARGETARCH (CycloneDX).

release: $(RELEASE) ## Build what a release consists of into _output/release: programs, images, SBOMs, chart, install.yaml, checksums.
	rm -rf _output/release
	mkdir _output/release
	cp $(RELEASE) _output/release
	cd _output/release && sha256sum -- argo-* install.yaml >SHA256SUMS
	ls -l _output/release

clean: ## Remove what was built. Stop labs first.
	rm -rf bin _output

# The same commit makes the same files, byte for byte. go itself knows what it has to build again.
$(BINARY)-%: FORCE
	GOOS=$(word 1,$(subst -, ,$*)) GOARCH=$(word 2,$(subst -, ,$*)) \
		go build -buildvcs=false -ldflags='-s -w -X main.version=$(VERSION)' -o $@ ./cmd/argo-multicluster

$(BINARY)-linux-%.tar: $(BINARY)-linux-%
	$(LAB) build images
	$(BIN)/lab/images archive --argo-multicluster=$< --architecture=$* --repository=$(IMAGE) --version=$(VERSION) \
		--revision=$(REVISION) --created=$(SOURCE_DATE_EPOCH) --out=$@

$(BINARY)-linux-%.cdx.json: $(CYCLONEDX_GOMOD) FORCE
	mkdir -p $(@D)
	GOOS=linux GOARCH=$* $(CYCLONEDX_GOMOD) app -json -licenses -std -noserial -notimestamp -main=cmd/argo-multicluster -output=$@ .

# Helm notes the time at which it packages; the second archive has the commit's instead.
$(CHART_ARCHIVE): FORCE
	$(LAB) build helm
	rm -rf _output/chart
	mkdir -p _output/chart
	$(BIN)/lab/helm package $(CHART) --version=$(VERSION) --app-version=$(VERSION) --destination=_output/chart
	tar -xzmf _output/chart/*.tgz -C _output/chart
	tar --sort=name --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		-C _output/chart -cf - $(notdir $(CHART)) | gzip -n >$@

# The chart without Helm: its default values, on a hub that serves the addon API v1beta1. Without hooks, of which the chart has only that of
# its uninstallation.
$(INSTALL_MANIFEST): $(CHART_ARCHIVE)
	$(BIN)/lab/helm template $(notdir $(CHART)) $< --namespace=$(notdir $(CHART)) --no-hooks \
		>_output/chart/install.yaml
	sed -f charts/install.sed _output/chart/install.yaml >$@

$(CONTROLLER_GEN):
	$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen,$(CONTROLLER_GEN_VERSION))

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION))

$(HELM_DOCS):
	$(call install,github.com/norwoodj/helm-docs/cmd/helm-docs,$(HELM_DOCS_VERSION))

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION))

# Not go install, which asks the proxy for all versions; not every proxy can list those of this module.
$(CYCLONEDX_GOMOD):
	rm -rf _output/cyclonedx-gomod
	mkdir -p _output/cyclonedx-gomod
	cd _output/cyclonedx-gomod && go mod init cyclonedx-gomod && \
		go get -tool github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_GOMOD_VERSION) && \
		go build -o $@ github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

# $(call install,package,version) installs a Go program as bin/<its name>-<version>.
define install
GOBIN=$(BIN) go install $(1)@$(2)
mv $(BIN)/$(notdir $(1)) $(BIN)/$(notdir $(1))-$(2)
endef
