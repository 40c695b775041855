# What you can do with the sources. Most targets need only Go and make. e2e and
# bench install what they need with apt.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# A static program. -trimpath removes the directory names, so that a build in any
# directory gives the same bytes. Only builds ask git for the version: git describe changes
# .git, and then go test would run tests again that it could take from its cache.
GOBUILD   = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

GOTOOL    := $(GO) tool -modfile=tools/go.mod

.PHONY: all help build demo test faults fma race e2e e2e-nixpkgs e2e-sigstore bench bench-check bench-plan fuzz lint vulncheck docs picture cross init init-check release vendor-hash clean

all: build

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/nixoci
	$(GOBUILD) -o bin/ ./cmd/...

demo: build ## push the sample system for two platforms to an embedded registry, and verify it
	./testdata/demo.sh bin/nixoci

# The tests write thousands of small files, which is faster in memory. TESTTMP is /dev/shm if
# programs can run there and 4 GB are free. Otherwise TESTTMP is empty.
TESTTMP = $(shell grep -q ' /dev/shm tmpfs rw' /proc/mounts 2>/dev/null && ! grep -q ' /dev/shm tmpfs .*noexec' /proc/mounts \
	&& df -Pk /dev/shm | awk 'NR == 2 && $$4 > 4000000 { print "/dev/shm" }')

# Some tests wait for processes and connections. So at least four packages are tested at once.
ATONCE = $(shell n=$$(getconf _NPROCESSORS_ONLN); [ "$$n" -gt 4 ] && echo "$$n" || echo 4)

# As in the program that users get, there is no cgo. Such a program starts faster.
# cmd/nixoci takes longest, so it begins first.
test: ## run all tests that need only Go
	TMPDIR=$(or $(TMPDIR),$(TESTTMP)) CGO_ENABLED=0 $(GO) test -short -p $(ATONCE) ./cmd/nixoci ./...

# With -short, test uses a tenth of the seeds, a few of the kills, and no hostile
# inputs.
faults: ## all seeds of a registry that fails, all kills, and hostile inputs with their memory
	$(GO) test -run 'TestSeeded|TestLasting|TestKilled|TestMemory|TestPlan' ./internal/push ./internal/verify ./internal/plan ./cmd/nixoci

fma: ## check that the planner rounds the same way on arm64
	./.ci/fma

race: ## run the tests with the race detector (needs a C compiler): RACE=PACKAGES, or all
	CGO_ENABLED=1 $(GO) test -short -race -timeout 40m $(or $(RACE),./...)

e2e: build ## test with real registries, engines and Nix; installs them with apt
	./e2e/run.sh

e2e-nixpkgs: build ## build and boot a system of the real NixOS modules: NIXPKGS=DIR
	@[ -f "$(NIXPKGS)/nixos/modules/module-list.nix" ] || { echo "make e2e-nixpkgs: NIXPKGS=$(NIXPKGS) is not a checkout of nixpkgs" >&2; exit 2; }
	NIXOCI_E2E_TAGS=e2e,nixpkgs NIXPKGS="$(abspath $(NIXPKGS))" ./e2e/run.sh -run TestNixpkgs

# Building Fulcio, Rekor and the timestamp authority takes minutes, so make e2e simulates
# them.
e2e-sigstore: build ## sign without keys, with a real Fulcio, Rekor 2 and timestamp authority
	NIXOCI_E2E_TAGS=e2e,sigstore NIXOCI_E2E_TOOLS="github.com/sigstore/fulcio@v1.7.1 github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@v2.3.0 github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@v2.1.3" ./e2e/run.sh -run TestSigstore

bench: build ## measure docs/benchmarks.md with a real system and a real registry
	./bench/run.sh

bench-check: ## compare the speed with the commit BASE: make bench-check BASE=main~1
	./.ci/bench-check $(BASE)

bench-plan: ## compute docs/plan-benchmarks.md
	$(GO) run ./bench/plan

fuzz: ## run every fuzz target, for FUZZTIME each
	./.ci/fuzz $(or $(FUZZTIME),10s)

lint: ## run gofmt, vet, staticcheck, and actionlint for the workflows
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt-ed: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e,nixpkgs,sigstore ./...
	$(GOTOOL) staticcheck -tags e2e,nixpkgs,sigstore ./...
	$(GOTOOL) actionlint .github/workflows/*.yml

vulncheck: ## find known vulnerabilities in called code; asks vuln.go.dev
	$(GOTOOL) govulncheck ./...

docs: ## generate docs/reference.md and the fields of docs/specification.md and docs/policy.md from the code
	$(GO) test ./cmd/nixoci ./internal/spec ./internal/policy -run "TestReference|TestSchema" -update

picture: ## renew docs/plan-page.png; needs Chromium
	./docs/picture.sh

cross: ## build dist/nixoci-OS-ARCH for all platforms
	@set -e; for p in $(PLATFORMS); do \
		out=dist/nixoci-$${p%/*}-$${p#*/}; echo $$out; \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(GOBUILD) -o $$out ./cmd/nixoci; \
	done
	@set -e; for a in amd64 arm64; do \
		GOOS=linux GOARCH=$$a $(GOBUILD) -o dist/nixoci-init-linux-$$a ./cmd/nixoci-init; \
	done

init: ## build the embedded nixoci-init again, after a change of cmd/nixoci-init or internal/guest
	$(GO) run ./internal/initbin/renew

init-check: ## check that building nixoci-init from source gives the embedded one
	$(GO) run ./internal/initbin/renew -check

release: ## write dist/release: archives, bill of materials and checksums of VERSION
	VERSION=$(VERSION) ./.ci/release

vendor-hash: ## update nix/nixoci.nix after a change of go.mod; needs nix
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; $(GO) mod vendor -o $$tmp/vendor; \
		hash=$$(nix --extra-experimental-features nix-command hash path $$tmp/vendor); \
		sed -i "s|vendorHash = .*;|vendorHash = \"$$hash\";|" nix/nixoci.nix; echo $$hash

clean:
	rm -rf bin dist
