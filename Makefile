# Lupa: `make help` lists what there is. build, demo and test need only Go;
# lint, integration and bench's readers also a C compiler (DuckDB), and
# integration Java 17 with Maven (Apache Kafka, a schema registry) and Python 3
# with venv (PyIceberg).

STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTEST      = go run gotest.tools/gotestsum@v1.13.0 --post-run-command $(CURDIR)/.ci/count --
VENV        = $(CURDIR)/.cache/venv
KAFKA       = $(CURDIR)/.cache/kafka
REGISTRY    = $(CURDIR)/.cache/registry
FUZZTIME    = 10s
export GOTESTSUM_FORMAT = standard-quiet

# The packages of this module that have tests behind the build tag integration.
# Those are named TestReal..., so that the fast ones beside them do not run twice.
INTEGRATION = $(addprefix ./,$(sort $(dir $(shell git grep -l '^//go:build integration' -- '*_test.go' ':!bench'))))

# What `make bench` measures, how large, and of how many runs it takes the median.
CASE        = all
EVENTS      = 2000000
SUBJECTS    = 1000000
WORKERS     = 2
RUNS        = 1
COMPRESSION =

# How many histories of the ledger each test of `make nightly` draws, some twenty
# messages each, and from which seed.
CHECKS      = 100000
SEED        = $(shell date +%s)

.PHONY: help build demo test nightly integration bench lint fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1: /p' Makefile

build: ## build bin/lupa
	go build -o bin/lupa ./cmd/lupa

demo: build ## run the job on made-up events, in one process
	bin/lupa demo

test: ## go vet and every fast test
	go vet ./...
	$(GOTEST) -timeout 20m ./...
	cd bench && go vet ./... && $(GOTEST) ./...

nightly: SEED := $(SEED)
nightly: ## compare the ledger with its model over millions of messages: make nightly CHECKS=1000000 SEED=1
	@echo "make nightly CHECKS=$(CHECKS) SEED=$(SEED)"
	go test -count 1 -timeout 8h -run 'IsTheModel|OrderOfDelivery|IsDecidingAnew' ./pipeline/consent \
		-rapid.checks=$(CHECKS) -rapid.seed=$(SEED) -rapid.nofailfile

integration: export PASSED = $(CURDIR)/.cache/passed
integration: build $(KAFKA)/ready $(REGISTRY)/ready $(VENV)/ready ## tests with other programs: a real Apache Kafka and schema registry; DuckDB and PyIceberg read the tables
	@: > $(PASSED)
	GOTESTSUM_FORMAT=standard-verbose LUPA_KAFKA_JARS=$(KAFKA) LUPA_REGISTRY_APP=$(REGISTRY) \
		$(GOTEST) -tags integration -count 1 -p 1 -timeout 40m -run '^TestReal' $(INTEGRATION)
	cd bench && GOTESTSUM_FORMAT=standard-verbose LUPA=$(CURDIR)/bin/lupa PYICEBERG=$(VENV)/bin/python \
		$(GOTEST) -tags integration -count 1 ./readers
	@awk '!$$1 { none = 1 } { n += $$1 } END { print "RESULT integration tests", n, "passed"; exit !n || none }' $(PASSED)

$(KAFKA)/ready: connectors/kafka/kafkatest/pom.xml
	java -version
	rm -rf $(KAFKA)
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DoutputDirectory=$(KAFKA)
	touch $@

$(REGISTRY)/ready: connectors/registry/registrytest/pom.xml
	rm -rf $(REGISTRY)
	mvn --quiet --batch-mode --file $< dependency:unpack-dependencies \
		-DoutputDirectory=$(REGISTRY) -DmarkersDirectory=$(REGISTRY)/unpacked
	touch $@

$(VENV)/ready: bench/readers/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	touch $@

bench: ## measure whole runs: make bench CASE=backfill-jsonl EVENTS=2000000 RUNS=3
	cd bench && go run ./cmd/bench run -case '$(CASE)' -events $(EVENTS) -subjects $(SUBJECTS) \
		-workers $(WORKERS) -runs $(RUNS) -compression '$(COMPRESSION)'

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	$(STATICCHECK) -version
	go vet -tags integration ./... && $(STATICCHECK) -tags integration ./...
	cd bench && go vet -tags integration ./... && $(STATICCHECK) -tags integration ./...

fuzz: ## run every fuzz target for FUZZTIME
	@grep -rEo --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file target; do \
		go -C "$$(dirname "$$file")" test -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) . || exit 1; \
	done

clean: ## remove what was built, downloaded and measured, but not the results
	rm -rf bin .cache bench/.cache
