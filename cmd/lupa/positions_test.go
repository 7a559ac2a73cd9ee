package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/oracle"
	"lupa/pipeline"
)

// positions runs `lupa positions` for a job and compares its output, without
// names that differ from run to run, with a file of testdata/positions.
func (j job) positions(t *testing.T, want int, file string, args ...string) (stderr string) {
	t.Helper()
	args = append([]string{"positions"}, args...)
	code, out, errs := command(t, append(args, "-c", j.config, "--log-level", "error")...)
	if code != want {
		t.Fatalf("%s: exit code %d, want %d; stderr %q, stdout:\n%s", file, code, want, errs, out)
	}
	if file != "" {
		if err := os.MkdirAll(filepath.Join("testdata", "positions"), 0o755); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", "positions", file+".txt"), []byte(unchanging(out+errs)))
	}
	return errs
}

// unchanging replaces what differs from run to run.
func unchanging(text string) string {
	for pattern, by := range map[string]string{
		`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`: "OWNER",
		`\b[0-9]+ [0-9a-f]{8}\b`:                      "N OWNER   ", // how often a group shares anew is not for us to say
		`20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,12}Z`: "2026-01-02T03:04:05.678Z",
		`"version": "[^"]*"`:                          `"version": "VERSION"`,
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, by)
	}
	return text
}

// named starts a cluster with a name, so that it may stand in expected output,
// and with little of a ledger, which every run reads.
func named(t *testing.T, name string) *broker {
	t.Helper()
	b := reopen(t, kfake.ClusterID(name), kfake.SeedTopics(demoPartitions, demoEvents), kfake.SeedTopics(1, demoLedger))
	b.produce(t, demoLedger, theSample(t).Ledger()[:1000])
	return b
}

// refusesToStream runs the stream job, which must end by itself.
func (j job) refusesToStream(t *testing.T, want ...string) {
	t.Helper()
	code, out, errs := command(t, "stream", "-c", j.config, "--log-level", "error")
	if code != exitData || out != "" {
		t.Fatalf("code %d, stdout %q, stderr %q; want %d", code, out, errs, exitData)
	}
	for _, w := range want {
		if !strings.Contains(errs, w) {
			t.Errorf("it says %q, want %q", errs, w)
		}
	}
}

// recorded gives the records of moves in the tables, by table, and fails unless
// every table has the same, but for when and under which claim it was moved.
func recorded(t *testing.T, j job) []map[string]any {
	t.Helper()
	var first []map[string]any
	for table, properties := range tableProperties(t, j.warehouse()) {
		var list []map[string]any
		for n := 1; properties["lupa.moved."+strconv.Itoa(n)] != ""; n++ {
			var record map[string]any
			if err := json.Unmarshal([]byte(properties["lupa.moved."+strconv.Itoa(n)]), &record); err != nil {
				t.Fatal(err)
			}
			delete(record, "time")
			delete(record, "epoch")
			list = append(list, record)
		}
		if properties["lupa.moved"] != strconv.Itoa(len(list)) && len(list) > 0 {
			t.Errorf("table %s counts %s moves and has %d", table, properties["lupa.moved"], len(list))
		}
		if first == nil {
			first = list
		}
		if diff := cmp.Diff(first, list); diff != "" {
			t.Errorf("table %s has other records (-others +its):\n%s", table, diff)
		}
	}
	return first
}

// without takes the rows that were read from an interval out of tables, and
// their messages out of no count.
func without(t *testing.T, tables map[string]*storedTable, p pipeline.Partition, from, to int64) map[string]map[place][]string {
	t.Helper()
	left := map[string]map[place][]string{}
	for name, s := range tables {
		left[name] = s.places(t)
		maps.DeleteFunc(left[name], func(at place, _ []string) bool {
			return at.Partition == p && at.Offset >= from && at.Offset < to
		})
	}
	return left
}

// read sums up the messages that the tables count.
func read(t *testing.T, tables map[string]*storedTable) (n int64) {
	t.Helper()
	for _, s := range tables {
		n += s.counted(t, "read")
	}
	return n
}

// TestPositionBehindTheLogStart: records are deleted before they are read. The
// stream stops and names the command; it shows first what it would do, does it
// with --yes, and the stream goes on with all that is left.
func TestPositionBehindTheLogStart(t *testing.T) {
	t.Parallel()
	b := named(t, "cluster-a")
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:1000])
	j := newJob(t, b, "", 200*time.Millisecond)
	j.streamTo(t, b.ends(t))
	stood := b.ends(t)
	b.produce(t, demoEvents, events[1000:2000])
	whole := newJob(t, b, "", time.Second).sharing(t, j)
	whole.streamTo(t, b.ends(t))

	lossy := pipeline.Partition{Topic: demoEvents, ID: 2}
	start := stood[lossy] + 30
	if err := b.DeleteRecords(demoEvents, 2, start); err != nil {
		t.Fatal(err)
	}
	j.refusesToStream(t, fmt.Sprintf("events/2: offset %d was deleted before it was read: the log starts at %d", stood[lossy], start),
		"lupa positions set --partition events/2")
	before := tableProperties(t, j.warehouse())
	j.positions(t, exitOK, "lost_list")
	set := []string{"set", "--partition", "events/2", "--next", "start", "--reason", "retention was shorter than the outage"}
	j.positions(t, exitOK, "lost_dry_run", set...)
	errs := j.positions(t, exitUsage, "", "set", "--partition", "events/2", "--next", fmt.Sprint(start-1), "--reason", "r", "--yes")
	if want := fmt.Sprintf("allowed are start, end and the offsets from %d to %d", start, b.ends(t)[lossy]); !strings.Contains(errs, want) {
		t.Errorf("it says %q, want %q", errs, want)
	}
	if diff := cmp.Diff(before, tableProperties(t, j.warehouse())); diff != "" {
		t.Fatalf("the dry run changed the tables (-before +after):\n%s", diff)
	}
	j.positions(t, exitOK, "lost_set", append(set, "--yes")...)
	j.positions(t, exitOK, "lost_set_again", append(set, "--yes")...)
	j.streamTo(t, b.ends(t))

	want, got := readTables(t, whole.warehouse()), readTables(t, j.warehouse())
	standAt(t, got, b.ends(t))
	for table, rows := range without(t, want, lossy, stood[lossy], start) {
		sameRows(t, table, rows, got[table].places(t))
	}
	if n, all := read(t, got), read(t, want); n != all-30 {
		t.Errorf("%d messages are counted of %d, want 30 less", n, all)
	}
	records := recorded(t, j)
	if len(records) != 1 || records[0]["found"] != "deleted" || records[0]["partition"] != "events/2" ||
		records[0]["reason"] != "retention was shorter than the outage" {
		t.Errorf("records %v", records)
	}
	j.positions(t, exitOK, "lost_list_after")
	j.listsAsJSON(t, lossy, b.ends(t)[lossy], start)
}

// listsAsJSON holds the list for programs to what must be in it.
func (j job) listsAsJSON(t *testing.T, p pipeline.Partition, end, start int64) {
	t.Helper()
	code, out, errs := command(t, "positions", "--json", "-c", j.config, "--log-level", "error")
	var list positionList
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitOK {
		t.Fatalf("code %d, error %v, stderr %q", code, err, errs)
	}
	if len(list.Partitions) != demoPartitions || len(list.Moves) != 7 || list.Dropped != 0 {
		t.Fatalf("%d partitions, %d moves, %d dropped", len(list.Partitions), len(list.Moves), list.Dropped)
	}
	l := list.Partitions[p.ID]
	for i := range l.Tables {
		if l.Tables[i].Owner == "" {
			t.Error("a claim has no owner")
		}
		l.Tables[i].Table, l.Tables[i].Owner, l.Tables[i].Claim = "", "", min(l.Tables[i].Claim, 4)
	}
	lag, left := int64(0), end-start
	stand := listedTable{Next: &end, Lag: &lag, Left: &left, Found: "fits", Cluster: "cluster-a", Claim: 4}
	want := listedPartition{Partition: p.String(), Start: &start, End: &end, Cluster: "cluster-a", Tables: slices.Repeat([]listedTable{stand}, 7)}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Errorf("partition (-want +got):\n%s", diff)
	}
}

// TestTopicMadeAnew: offsets begin anew, so going on at the start needs a word
// more, and rows of both topics are there afterwards.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	b := named(t, "cluster-a")
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:1000])
	j := newJob(t, b, "", 200*time.Millisecond)
	j.streamTo(t, b.ends(t))
	old := readTables(t, j.warehouse())
	if err := b.DeleteTopic(demoEvents); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopic(demoEvents, demoPartitions, nil); err != nil {
		t.Fatal(err)
	}
	b.produce(t, demoEvents, events[1000:1400])
	j.refusesToStream(t, "the topic was recreated or truncated", "lupa positions set --partition events/")

	for i := range demoPartitions {
		set := []string{"set", "--partition", fmt.Sprint("events/", i), "--next", "start", "--reason", "topic made anew by mistake"}
		if i > 0 {
			j.positions(t, exitOK, "", append(set, "--allow-duplicates", "--yes")...)
			continue
		}
		j.positions(t, exitData, "anew_refused", append(set, "--yes")...)
		set = append(set, "--allow-duplicates")
		j.positions(t, exitOK, "anew_dry_run", set...)
		// As if it had been interrupted between the tables.
		j.positions(t, exitOK, "anew_some_tables", append(set, "--yes", "--table", "tracks", "--table", "pages")...)
		j.refusesToStream(t, "the topic was recreated or truncated")
		j.positions(t, exitOK, "anew_set", append(set, "--yes", "--json")...)
	}
	j.positions(t, exitOK, "anew_list")
	j.streamTo(t, b.ends(t))
	fresh := newJob(t, b, "", time.Second).sharing(t, j)
	fresh.streamTo(t, b.ends(t))
	now, added := readTables(t, j.warehouse()), readTables(t, fresh.warehouse())
	standAt(t, now, b.ends(t))
	for table := range now {
		if got, want := len(now[table].Rows), len(old[table].Rows)+len(added[table].Rows); got != want {
			t.Errorf("table %s has %d rows, want %d", table, got, want)
		}
	}
	if got, want := read(t, now), read(t, old)+read(t, added); got != want {
		t.Errorf("%d messages are counted, want %d", got, want)
	}
	for _, r := range recorded(t, j) {
		if r["found"] != "recreated" {
			t.Errorf("record %v", r)
		}
	}
	// Rows of the old topic are no longer what the position is about.
	in, err := verifyInput(verifyOptions{config: j.config})
	if err != nil {
		t.Fatal(err)
	}
	report, err := oracle.Check(t.Context(), *in)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Holds() {
		t.Errorf("violated: %v", report.Violated())
	}
}

// TestAnotherCluster: a job is given other brokers.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	first, second := named(t, "cluster-a"), named(t, "cluster-b")
	events := theSample(t).Events()
	first.produce(t, demoEvents, events[:400])
	second.produce(t, demoEvents, events[:800])
	j := newJob(t, first, "", 200*time.Millisecond)
	j.streamTo(t, first.ends(t))
	for range 2 {
		j.change(t, strings.Join(first.ListenAddrs(), ", "), strings.Join(second.ListenAddrs(), ", "))
	}
	j.refusesToStream(t, "is a position in the cluster cluster-a, this one is cluster-b", "lupa positions set --partition events/")
	j.positions(t, exitOK, "cluster_list")
	left := int64(0)
	for i := range demoPartitions {
		next := first.ends(t)[pipeline.Partition{Topic: demoEvents, ID: int32(i)}] + int64(i)
		left += next - int64(i)
		args := []string{"set", "--partition", fmt.Sprint("events/", i), "--next", fmt.Sprint(next), "--reason", "moved to cluster-b", "--yes"}
		file := ""
		if i == 3 {
			file = "cluster_set"
		}
		j.positions(t, exitOK, file, args...)
	}
	j.streamTo(t, second.ends(t))
	if got := read(t, readTables(t, j.warehouse())); left != 400 || got != 800-1-2-3 {
		t.Errorf("%d messages are counted", got)
	}
}

// TestPositionsMoveBack: going back writes rows again, if that is meant.
func TestPositionsMoveBack(t *testing.T) {
	t.Parallel()
	b := named(t, "cluster-a")
	b.produce(t, demoEvents, theSample(t).Events()[:400])
	j := newJob(t, b, "", 200*time.Millisecond)
	j.streamTo(t, b.ends(t))
	before := read(t, readTables(t, j.warehouse()))
	back := []string{"set", "--partition", "events/1", "--next", "10", "--reason", "a table was restored", "--table", "tracks", "--yes"}
	j.positions(t, exitData, "back_refused", back...)
	j.positions(t, exitOK, "back_set", append(back, "--allow-duplicates")...)
	j.streamTo(t, b.ends(t))
	ends := b.ends(t)[pipeline.Partition{Topic: demoEvents, ID: 1}]
	now := readTables(t, j.warehouse())
	again := 0
	seen := map[string]bool{}
	partition, offset := now["tracks"].column(t, "_src_partition"), now["tracks"].column(t, "_src_offset")
	for _, row := range now["tracks"].Rows {
		at := row[partition] + "/" + row[offset]
		if seen[at] {
			again++
		}
		seen[at] = true
	}
	if again == 0 || int64(again) > ends-10 || read(t, now) <= before {
		t.Errorf("%d rows twice, %d messages counted before and %d after", again, before, read(t, now))
	}

	// What the tables say alone, of a topic that nobody can be asked about.
	j.change(t, "topics: [events]", "topics: [absent]")
	j.positions(t, exitOK, "unknown_list")
}

// TestPositionOfAJobThatRuns: the job is fenced off. What it has read and not
// committed does not count, and it goes on from the new position.
func TestPositionOfAJobThatRuns(t *testing.T) {
	t.Parallel()
	b := named(t, "cluster-a")
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:400])
	hasRead := b.readTo(t, b.ends(t))
	j := newJob(t, b, "", longInterval)
	p := j.stream(t)
	select {
	case <-hasRead:
	case <-p.exited:
		t.Fatal(p.stderr.text())
	}
	for i := range demoPartitions {
		args := []string{"set", "--partition", fmt.Sprint("events/", i), "--next", "end", "--reason", "test data", "--yes"}
		j.positions(t, exitOK, "", args...)
	}
	p.stop(t, exitOK)
	tables := readTables(t, j.warehouse())
	standAt(t, tables, b.ends(t))
	if n := rowsIn(tables); n != 0 || read(t, tables) != 0 {
		t.Errorf("%d rows of %d messages were committed", n, read(t, tables))
	}
	b.produce(t, demoEvents, events[400:800])
	j.change(t, "interval: 30m0s", "interval: 200ms")
	j.streamTo(t, b.ends(t))
	if got := read(t, readTables(t, j.warehouse())); got != 400 {
		t.Errorf("%d messages are counted, want 400", got)
	}
}

// TestPoisonIsForgiven: a partition that the breaker holds is read again once
// an operator says so, and not before. What stands before the records is
// committed, so that leaving them out leaves out nothing else.
func TestPoisonIsForgiven(t *testing.T) {
	t.Parallel()
	b := named(t, "cluster-a")
	held := pipeline.Partition{Topic: demoEvents, ID: 1}
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:400])
	from := b.ends(t)[held]
	b.produce(t, demoEvents, events[400:800])
	to := b.ends(t)[held]
	b.produce(t, demoEvents, events[800:1200])
	forgiven, skipped := newJob(t, b, "", longInterval), newJob(t, b, "", longInterval)
	skipped.sharing(t, forgiven)
	for _, j := range []job{forgiven, skipped} {
		write(t, j.warehouse(), ".inflight/deaths.json", fmt.Sprintf(
			`{"version":1,"deaths":[{"topic":"events","partition":1,"offset":%d,"end":%d,"count":3}]}`, from, to+20))
		j.refusesToStream(t, fmt.Sprintf("events/1: offset %d: the process died 3 times", from), "lupa positions forgive --partition events/1",
			fmt.Sprintf("lupa positions set --partition events/1 --next %d", to))
		for table, s := range readTables(t, j.warehouse()) {
			if s.Positions["events/1"] != from {
				t.Errorf("table %s stands at %d, the records at %d", table, s.Positions["events/1"], from)
			}
		}
		j.change(t, "interval: 30m0s", "interval: 200ms")
	}
	_, out, _ := command(t, "positions", "-c", forgiven.config, "--log-level", "error")
	if !regexp.MustCompile(fmt.Sprintf(` 3 at %d +all\n`, from)).MatchString(out) {
		t.Errorf("the deaths are not listed:\n%s", out)
	}

	forgive := []string{"forgive", "--partition", "events/1", "--reason", "fixed in this version"}
	forgiven.positions(t, exitOK, "poison_forgive", forgive...)
	forgiven.positions(t, exitOK, "poison_forgive_again", forgive...)
	forgiven.streamTo(t, b.ends(t))
	want := readTables(t, forgiven.warehouse())
	standAt(t, want, b.ends(t))
	if r := recorded(t, forgiven); len(r) != 1 || r[0]["found"] != "poisoned" || r[0]["reason"] != "fixed in this version" || r[0]["to"] != nil {
		t.Errorf("records %v", r)
	}
	forgiven.positions(t, exitOK, "poison_list")

	skipped.positions(t, exitOK, "poison_back", "set", "--partition", "events/1", "--next", fmt.Sprint(from-1), "--allow-duplicates", "--reason", "x")
	skipped.positions(t, exitOK, "poison_set", "set", "--partition", "events/1", "--next", fmt.Sprint(to), "--reason", "left out", "--yes")
	skipped.streamTo(t, b.ends(t))
	got := readTables(t, skipped.warehouse())
	for table, rows := range without(t, want, held, from, to) {
		sameRows(t, table, rows, got[table].places(t))
	}
	if left := read(t, want) - read(t, got); left != to-from {
		t.Errorf("%d messages are left out, want %d", left, to-from)
	}
}

// TestPositionsUsage: what is refused before anything is asked.
func TestPositionsUsage(t *testing.T) {
	t.Parallel()
	dir := world(t)
	j := job{dir: dir, config: filepath.Join(dir, "lupa.yaml")}
	set := func(more ...string) []string {
		return append([]string{"set", "--partition", "web/0", "--next", "start", "--reason", "r"}, more...)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":                 {[]string{"set"}, `--partition "": allowed is a topic and a number, such as events/3`},
		"no number":               {set("--partition", "web"), `--partition "web": allowed is a topic and a number`},
		"no topic":                {set("--partition", "/1"), `--partition "/1": allowed is a topic and a number`},
		"below zero":              {set("--partition", "web/-1"), `--partition "web/-1": allowed is a topic and a number`},
		"another topic":           {set("--partition", "consent/0"), "consent is none of the topics of events.kafka"},
		"a file":                  {set("--partition", dir+"/events/a.jsonl/0"), "is none of the topics of events.kafka"},
		"no reason":               {set("--reason", ""), "--reason: the reason has 0 characters"},
		"two lines":               {set("--reason", "a\nb"), "--reason: the reason has line breaks"},
		"a person":                {set("--reason", "asked by ada@example.org"), "--reason: the reason seems to hold an e-mail address"},
		"forgive without reason":  {[]string{"forgive", "--partition", "web/0"}, "--reason: the reason has 0 characters"},
		"an argument":             {set("now"), "lupa positions set takes no arguments, only flags"},
		"no such command":         {[]string{"sett"}, `"sett" is no command of lupa positions; did you mean set?`},
		"nothing was ever stored": {set(), "warehouse.dir: "},
		"nothing to list":         {nil, "warehouse.dir: "},
	} {
		errs := j.positions(t, exitUsage, "", c.args...)
		if !strings.Contains(errs, c.want) || strings.Contains(errs, "ada") {
			t.Errorf("%s: it says %q, want %q", name, errs, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "warehouse")); !os.IsNotExist(err) {
		t.Errorf("the folder of the warehouse was made (%v)", err)
	}
}
