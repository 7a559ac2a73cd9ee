package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/quarantine"
	"lupa/schemas"
)

// leakCase is a job over real input.
type leakCase struct {
	name     string
	settings leakSettings
	input    func(t *testing.T) leakInput
	// At least so many canaries must remain, of every class but text and of
	// text; and so many rows be kept, so that there is something to search.
	people, texts int
	kept          int64
	// At most so many of a hundred canaries of people may be excluded.
	excluded int
}

// leakCases are the jobs. What is real in them has names, addresses and
// numbers in places where nobody would look for them.
func leakCases() []leakCase {
	return []leakCase{
		{
			name:     "embedded contracts, sealed quarantine",
			settings: leakSettings{defaults: true, sealed: true}, input: segmentInput,
			people: 950, texts: 2500, kept: 800, excluded: 4,
		},
		{
			name:     "embedded contracts, quarantine without messages",
			settings: leakSettings{defaults: true}, input: segmentInput,
			people: 950, texts: 2500, kept: 800, excluded: 4,
		},
		{
			name:     "events of a code host",
			settings: leakSettings{contracts: "testdata/leaks/hub", sealed: true}, input: hubInput,
			people: 2000, texts: 15000, kept: 500, excluded: 1,
		},
		{
			name:     "clickstream",
			settings: leakSettings{contracts: "testdata/leaks/clicks", sealed: true}, input: clicksInput,
			people: 250, texts: 1000, kept: 5000, excluded: 2,
		},
		{
			name:     "page hits",
			settings: leakSettings{contracts: "testdata/leaks/weblog"}, input: weblogInput,
			people: 1700, texts: 6000, kept: 5000, excluded: 2,
		},
	}
}

func segmentInput(t *testing.T) leakInput {
	return leakInput{
		readAll(t, sharedData(t, "rudder-transformer", "events.jsonl")),
		readAll(t, sharedData(t, "segment-docs", "examples.jsonl")),
		readAll(t, sharedData(t, "rudderstack-docs", "examples.jsonl")),
	}
}

func hubInput(t *testing.T) leakInput {
	return leakInput{readAll(t, sharedData(t, "gharchive", "2021-07-21-few-hours.json"))}
}

func clicksInput(t *testing.T) leakInput {
	return leakInput{
		readAll(t, sharedData(t, "aws-clickstream", "collector.jsonl")),
		readAll(t, sharedData(t, "aws-clickstream", "one_line.events.jsonl.gz")),
	}
}

var requestTarget = regexp.MustCompile(`^[A-Z]+ (\S+)`)

// weblogInput gives the hits with their time as RFC 3339 and the target of the
// request by itself. Lines whose time or request is of another form stay.
func weblogInput(t *testing.T) leakInput {
	var out bytes.Buffer
	for line := range bytes.Lines(readAll(t, sharedData(t, "access-log", "apache_logs.jsonl"))) {
		var hit map[string]any
		if err := json.Unmarshal(line, &hit); err != nil {
			t.Fatal("a line is not JSON")
		}
		text, _ := hit["time"].(string)
		if at, err := time.Parse("02/Jan/2006:15:04:05 -0700", text); err == nil {
			hit["time"] = at.Format(time.RFC3339)
		}
		request, _ := hit["request"].(string)
		if m := requestTarget.FindStringSubmatch(request); m != nil {
			hit["url"] = m[1]
		}
		if err := json.NewEncoder(&out).Encode(hit); err != nil {
			t.Fatal(err)
		}
	}
	return leakInput{out.Bytes()}
}

// TestNothingPersonalLeaves runs backfills over real input with ledgers about
// everybody in it. Every message is accounted for, a second run adds nothing,
// and no value that points at a person, nor any text that no contract keeps,
// stands in anything that the runs wrote, printed or logged.
func TestNothingPersonalLeaves(t *testing.T) {
	for _, c := range leakCases() {
		t.Run(c.name, func(t *testing.T) {
			j := newLeakJob(t, c.settings, c.input(t))
			stdout, stderr := j.backfill(t)
			res, again, log := j.checkRepeated(t)
			j.checkCounts(t, res)
			j.checkQuarantine(t, res)

			var kept int64
			for i := range res.Tables {
				kept += res.Tables[i].Total.Kept
			}
			if kept < c.kept {
				t.Errorf("%d rows are kept, want at least %d", kept, c.kept)
			}
			list := j.search(t, &c)
			left := append(readTree(t, j.out()),
				section{place: "stdout", data: []byte(stdout + again)}, section{place: "stderr", data: []byte(stderr + log)})
			if hits := newScanner(list).scan(left); len(hits) > 0 {
				t.Errorf("%d canaries were found:\n%s", len(hits), describe(list, hits))
			}
			t.Logf("%d bytes in %d pieces searched for %d canaries", left.size(), len(left), len(list))
		})
	}
}

// search gives the canaries of a job that must not be found: all but those
// that stand in what may leave.
func (j *leakJob) search(t *testing.T, c *leakCase) []canary {
	t.Helper()
	all := j.canaries(t)
	s := newScanner(all.list)
	// The search can see: it finds in the input what it collected there, but
	// for what is packed or escaped in ways that nothing here writes.
	if n := len(s.found(j.text())); n < len(all.list)*95/100 {
		t.Errorf("%d of %d canaries are found in the input", n, len(all.list))
	}
	// What also leaves when nobody is in the input is of the program.
	program := newLeakJob(t, c.settings, nobody(j.contracts, len(j.files)))
	stdout, stderr := program.backfill(t)
	again, _ := program.backfill(t, "--json")
	constant := s.found(append(readTree(t, program.out()),
		section{place: "stdout", data: []byte(stdout + again)}, section{place: "stderr", data: []byte(stderr)}))
	kept, urls, networks := s.found(j.keptValues()), s.found(j.strippedURLs()), s.found(j.networks())

	var list []canary
	var people, texts, excluded int
	byColumn := map[string]int{}
	for i := range all.list {
		x := &all.list[i]
		why := ""
		switch {
		case kept[i] != "":
			why = kept[i]
		case constant[i] != "":
			why = "the program"
		case x.class == textCanary && urls[i] != "":
			why = urls[i]
		case x.class == ipCanary && networks[i] != "":
			why = networks[i]
		}
		if x.class == textCanary {
			texts++
		} else {
			people++
		}
		if why == "" {
			list = append(list, *x)
			continue
		}
		if x.class == textCanary {
			texts--
			continue
		}
		excluded++
		byColumn[why]++
		// No name of a column or of a thing looks like one of these.
		if x.class == emailCanary || x.class == phoneCanary || x.class == ipCanary && networks[i] == "" {
			t.Errorf("%s holds an %s: that of %s", why, x.class, x.place)
		}
	}
	t.Logf("%d canaries of people, %d of them excluded; %d texts; %d values too short: %v", people, excluded, texts, all.short, byColumn)
	if people-excluded < c.people || texts < c.texts || excluded*100 > c.excluded*people {
		t.Errorf("%d canaries of people and %d texts are left, %d excluded, want at least %d, %d, and at most %d %% excluded",
			people-excluded, texts, excluded, c.people, c.texts, c.excluded)
	}
	return list
}

// text is the input itself.
func (j *leakJob) text() (h haystack) {
	for _, m := range j.messages {
		h = append(h, section{place: "input", data: m.raw})
	}
	return h
}

// checkQuarantine compares the quarantine with the counts, and what is sealed
// in it with the messages.
func (j *leakJob) checkQuarantine(t *testing.T, res *result) {
	t.Helper()
	var want int64
	for i := range res.Tables {
		want += res.Tables[i].Total.Rejected
	}
	raw := map[origin][]byte{}
	for _, m := range j.messages {
		raw[origin{m.file, m.line}] = m.raw
	}
	files, err := filepath.Glob(filepath.Join(j.out(), "quarantine", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var entries int64
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var e quarantine.Entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal("an entry is not JSON")
			}
			entries++
			j.checkEntry(t, &e, raw[origin{e.Topic, e.Offset}])
		}
	}
	if entries != want || (want > 0) != (len(files) > 0) {
		t.Errorf("%d entries in %d quarantine files, want %d", entries, len(files), want)
	}
}

func (j *leakJob) checkEntry(t *testing.T, e *quarantine.Entry, raw []byte) {
	t.Helper()
	if j.identity == nil {
		if len(e.Payload) > 0 {
			t.Errorf("the entry of offset %d holds a message", e.Offset)
		}
		return
	}
	opened, err := quarantine.Open(*e, j.identity)
	if err != nil || !bytes.Equal(opened, raw) {
		t.Errorf("the entry of offset %d does not hold its message", e.Offset)
	}
}

// TestDemoShowsNobody runs the demo and looks for everything that its made-up
// people must not be known by.
func TestDemoShowsNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	stdout, stderr := overheard(t, "demo", "--dir", dir, "--log-level", "debug")
	s, err := sample.New(demoSeed)
	if err != nil {
		t.Fatal(err)
	}
	var list []canary
	for i, secret := range s.Secrets() {
		list = append(list, canary{value: secret, class: idCanary, place: fmt.Sprintf("secret %d of the sample", i)})
	}
	left := append(readTree(t, dir), section{place: "stdout", data: []byte(stdout)}, section{place: "stderr", data: []byte(stderr)})
	if len(list) < 10000 || left.size() < 1<<20 {
		t.Fatalf("%d secrets in %d bytes: too few to tell anything", len(list), left.size())
	}
	search := newScanner(list)
	if hits := search.scan(left); len(hits) > 0 {
		t.Errorf("%d secrets were found:\n%s", len(hits), describe(list, hits))
	}
	var events []byte
	for _, m := range s.Events() {
		events = append(append(events, m.Value...), '\n')
	}
	if n := len(search.found(haystack{{place: "events", data: events}})); n < len(list)*9/10 {
		t.Errorf("%d of %d secrets are found where they stand", n, len(list))
	}
	for _, table := range schemas.DefaultContracts() {
		if !slices.ContainsFunc(left, func(s section) bool {
			return strings.HasPrefix(s.place, "warehouse/"+table.Table+"/data/") && strings.HasSuffix(s.place, " column subject_token")
		}) {
			t.Errorf("no row of %s was searched", table.Table)
		}
	}
}
