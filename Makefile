# make test   everything that must hold before a commit (some minutes)
# make check  the thorough part: real corpora, kills, longer fuzzing (CI runs it too)
# make reliability   every cell of the attack matrix, for the figures of docs/RELIABILITY.md (about two hours, as root)
# make bench  the figures of docs/PERFORMANCE.md (make bench-ksn, bench-matcher: one part alone; bench/ is a module of its own)

SHELL      := /bin/bash -o pipefail
GO         ?= go
FUZZTIME   ?= 2s
VECTORSCAN := $(shell pkg-config --exists libhs 2>/dev/null && echo -tags vectorscan) # which bench/ compares with where it is installed
PLATFORMS  := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
CROSS      := $(addprefix cross-,$(subst /,-,$(PLATFORMS)))

.PHONY: all build test check reliability bench bench-ksn bench-matcher format vet static tidy unit fuzz cross $(CROSS)

all: test

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o avdb ./cmd/avdb

test: format vet static tidy unit fuzz cross

format:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "run gofmt -w on:"; echo "$$out"; exit 1; }

vet:
	$(GO) vet ./...
	$(GO) vet -tags check ./...
	cd bench && $(GO) vet ./...

static:
	$(GO) tool staticcheck -tags check ./...
	tool=$$($(GO) tool -n staticcheck) && cd bench && $$tool ./...

tidy:
	$(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff

# The race detector needs cgo (what we ship is built without) and sleeps for a second at each exit unless told not to. House rules read what `go list`
# says, which the test cache does not see. Generated files are compared with their generators here.
unit:
	GORACE=atexit_sleep_ms=0 CGO_ENABLED=1 $(GO) test -race -timeout 40m ./...
	$(GO) test -count=1 .

# Each fuzz target for FUZZTIME, two at a time with one worker each: most of their time is building and starting. On a busy machine go's fuzzer
# sometimes misses its own deadline, says so, and fails without a finding; a finding is kept as a seed, so that the next try fails too.
fuzz:
	@for p in $$($(GO) list ./...); do \
	  $(GO) test -list '^Fuzz' $$p | sed -n "s#^Fuzz.*#$$p &#p"; \
	done | xargs -P 2 -L 1 bash -c 'set -o pipefail; \
	  run() { $(GO) test -run "^$$1\$$" -fuzz "^$$1\$$" -fuzztime $(FUZZTIME) -parallel 1 $$0 | grep -v "^fuzz: elapsed"; }; \
	  for try in 1 2 3 4 5; do \
	    out=$$(run "$$1") && echo "$$out" && exit; \
	    [ $$try = 1 ] || [[ $$out == *"context deadline exceeded"* ]] || break; \
	  done; \
	  echo "$$out"; exit 255'

cross: $(CROSS)
$(CROSS):
	CGO_ENABLED=0 GOOS=$(word 2,$(subst -, ,$@)) GOARCH=$(word 3,$(subst -, ,$@)) $(GO) build ./...
	CGO_ENABLED=0 GOOS=$(word 2,$(subst -, ,$@)) GOARCH=$(word 3,$(subst -, ,$@)) $(GO) vet ./...

check:
	$(GO) test -tags check -timeout 40m ./...
	cd bench && $(GO) vet $(VECTORSCAN) ./... && $(GO) test -count=1 -timeout 40m $(VECTORSCAN) ./...

# One package after the other, for some of them measure; the lines are what each row of the matrix came to.
reliability:
	AVDB_CELLS=all $(GO) test -tags check -count=1 -p 1 -timeout 6h -v ./reliability/... ./signing/... | grep -E 'cells|^(ok|FAIL|---|panic)|--- FAIL'

bench:
	$(GO) test -run '^$$' -bench '^Benchmark(Build|ReadBundle|ApplyDelta)$$' -benchtime 3x ./dbformat
	$(GO) test -run '^$$' -bench '^Benchmark(Install|Open)$$' -benchtime 3x ./store
	$(GO) test -run '^$$' -bench '^Benchmark(Open|LookupHit|LookupMiss|LookupMany|ScanFile)$$' ./matcher
	cd bench && $(GO) run $(VECTORSCAN) .

# In processes of their own, against wrk and nginx where they are installed; pages and pictures are in bench/out.
bench-ksn:
	cd bench && $(GO) run . ksn

# Against clamscan, yara and Vectorscan, each where it is installed; about half an hour.
bench-matcher:
	cd bench && $(GO) run $(VECTORSCAN) . matcher
