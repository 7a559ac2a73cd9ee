package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/schemas"
)

// served is what a process serves beside its work.
type served struct{ address string }

var servedLine = regexp.MustCompile(`msg="metrics are served" address=(\S+)`)

// serves waits until the process says where its metrics are.
func (p *process) serves(t *testing.T) served {
	t.Helper()
	p.must(t, "metrics are served")
	at := servedLine.FindStringSubmatch(p.stderr.text())
	if at == nil {
		t.Fatalf("it does not say where; it said:\n%s", p.stderr.text())
	}
	return served{at[1]}
}

// get asks for a path.
func (s served) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	status, body, err := s.try(path)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func (s served) try(path string) (status int, body string, err error) {
	client := http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	r, err := client.Get("http://" + s.address + path)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

// unready gives what the process waits for; nothing is that it is ready.
func (s served) unready(t *testing.T) string {
	t.Helper()
	switch status, body := s.get(t, "/readyz"); status {
	case http.StatusOK:
		return ""
	case http.StatusServiceUnavailable:
		return strings.TrimSpace(body)
	default:
		t.Fatalf("/readyz answers with %d", status)
		return ""
	}
}

// families are the metrics that a process shows.
type families map[string]*dto.MetricFamily

func (s served) metrics(t *testing.T) families {
	t.Helper()
	status, body := s.get(t, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics answers with %d", status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("/metrics is no text for Prometheus: %v", err)
	}
	return families
}

// sum adds up the series of a family that have the labels, given as name=value.
// A family that is not there fails the test.
func (m families) sum(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	f := m["lupa_"+name]
	if f == nil {
		t.Fatalf("no metric %s; there are %v", name, slices.Sorted(maps.Keys(m)))
	}
	for _, s := range f.Metric {
		has := map[string]bool{}
		for _, l := range s.Label {
			has[l.GetName()+"="+l.GetValue()] = true
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !has[l] }) {
			continue
		}
		sum += s.GetCounter().GetValue() + s.GetGauge().GetValue()
	}
	return sum
}

// partitions gives the values of a family by topic/partition.
func (m families) partitions(name string) map[string]float64 {
	values := map[string]float64{}
	f := m["lupa_"+name]
	if f == nil {
		return values
	}
	for _, s := range f.Metric {
		label := map[string]string{}
		for _, l := range s.Label {
			label[l.GetName()] = l.GetValue()
		}
		values[label["topic"]+"/"+label["partition"]] = s.GetGauge().GetValue()
	}
	return values
}

// until waits until something holds, and fails with what it was and what the
// process said if it does not.
func (p *process) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-p.exited:
			t.Fatalf("it ended before this: %s; it said:\n%s", what, p.stderr.text())
		case <-deadline:
			t.Fatalf("never: %s; it said:\n%s", what, p.stderr.text())
		}
	}
}

// waitsFor waits until the process is not ready because of what, and says so.
func (p *process) waitsFor(t *testing.T, s served, what string) {
	t.Helper()
	p.until(t, "not ready for "+what, func() bool { return strings.Contains(s.unready(t), what) })
}

// isReady waits until the process is ready.
func (p *process) isReady(t *testing.T, s served) {
	t.Helper()
	p.until(t, "ready", func() bool { return s.unready(t) == "" })
}

// watched adds an address for metrics to the job.
func (j job) watched(t *testing.T) job {
	t.Helper()
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmetrics: {listen: %q}\n", "127.0.0.1:0"))
	return j
}

// TestMetrics streams the sample and compares what the process shows with what
// its tables hold.
func TestMetrics(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	events := theSample(t).Events()[:6000]
	b.produce(t, demoEvents, events)
	j := newJob(t, b, "", 300*time.Millisecond).watched(t)
	p := j.stream(t)
	s := p.serves(t)
	j.awaits(t, p, b.ends(t))
	p.isReady(t, s)
	// A commit is counted after it stands.
	p.until(t, "all are counted", func() bool { return s.metrics(t).sum(t, "messages_total") == float64(len(events)) })
	m := s.metrics(t)
	_, text := s.get(t, "/metrics")
	p.stop(t, exitOK)
	tables := readTables(t, j.warehouse())

	for name, table := range tables {
		for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
			got := m.sum(t, "messages_total", "table="+name, "reason="+r.String())
			if want := table.counted(t, "reason."+r.String()); int64(got) != want {
				t.Errorf("%v messages of %s are %s, the table counts %d", got, name, r, want)
			}
		}
		if m.sum(t, "commits_total", "table="+name) == 0 || m.sum(t, "last_commit_timestamp_seconds", "table="+name) == 0 {
			t.Errorf("no commit of %s", name)
		}
		if n := m.sum(t, "committed_files_total", "table="+name); n == 0 != (len(table.Rows) == 0) {
			t.Errorf("%v files of %s, which has %d rows", n, name, len(table.Rows))
		}
	}
	position, lag := map[string]float64{}, map[string]float64{}
	for at, end := range b.ends(t) {
		position[fmt.Sprintf("%s/%d", at.Topic, at.ID)], lag[fmt.Sprintf("%s/%d", at.Topic, at.ID)] = float64(end), 0
	}
	for name, want := range map[string]map[string]float64{
		"position": position, "lag": lag, "log_start": lag,
		"ledger_position": ledgerEnds(t, b), "ledger_behind": {},
	} {
		if diff := cmp.Diff(want, m.partitions(name)); diff != "" {
			t.Errorf("%s by partition (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string]float64{
		"messages_read_total": float64(len(events)), "claims_total": float64(len(lag)), "rebalances_total": 1,
		"commits_refused_total": 0, "commit_outcomes_unknown_total": 0, "rows_amended_total": 0,
		"ledger_stalls_total": 0, "ledger_stalled_seconds": 0, "ledger_unreadable_total": 10, "ledger_reviews": 0, "ledger_ties_total": 20,
	} {
		if got := m.sum(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"ledger_barriers_total", "ledger_barrier_seconds_total", "ledger_age_seconds", "ledger_subjects", "ledger_records_total"} {
		if got := m.sum(t, name); got <= 0 {
			t.Errorf("%s is %v, want more than 0", name, got)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "lupa_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
	checkTellsNobody(t, text)
}

// ledgerEnds are the ends of the ledger by topic/partition.
func ledgerEnds(t *testing.T, b *broker) map[string]float64 {
	t.Helper()
	ends, err := b.kafka.EndOffsets(t.Context(), demoLedger)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for at, end := range ends {
		values[fmt.Sprintf("%s/%d", at.Topic, at.ID)] = float64(end)
	}
	return values
}

// checkTellsNobody looks for the sample's secrets, in every form, in a text.
func checkTellsNobody(t *testing.T, text string) {
	t.Helper()
	var list []canary
	for i, secret := range theSample(t).Secrets() {
		list = append(list, canary{value: secret, class: idCanary, place: fmt.Sprintf("secret %d of the sample", i)})
	}
	search := newScanner(list)
	if hits := search.scan(haystack{{place: "what is served", data: []byte(text)}}); len(hits) > 0 {
		t.Errorf("%d secrets are served:\n%s", len(hits), describe(list, hits))
	}
	// The search would see a label of somebody.
	leaking := strings.Replace(text, `reason="erased"`, fmt.Sprintf("reason=\"erased\",subject=%q", list[7].value), 1)
	if hits := search.scan(haystack{{place: "a label", data: []byte(leaking)}}); leaking == text || len(hits) == 0 {
		t.Error("a secret in a label is not found")
	}
}

// TestMetricsAddressTaken: who cannot be seen does not begin.
func TestMetricsAddressTaken(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	j := newJob(t, b, "", time.Second)
	j.change(t, "workers: 2", fmt.Sprintf("workers: 2\nmetrics: {listen: %q}", taken.Addr()))
	code, out, errs := command(t, "stream", "-c", j.config)
	if want := fmt.Sprintf("lupa: metrics: listen tcp %s: bind: address already in use\n", taken.Addr()); code != exitError || out != "" || errs != want {
		t.Errorf("code %d, stdout %q, stderr %q; want %q", code, out, errs, want)
	}
	if _, err := os.Stat(j.warehouse()); err == nil {
		t.Error("it has made tables")
	}
}

// ledgerOutage is one way in which the ledger cannot be asked.
type ledgerOutage struct {
	name string
	// start gives a broker with the events and the ledger; away makes the ledger
	// unavailable, and back ends that.
	start func(t *testing.T) (b *broker, away, back func())
}

func ledgerOutages() []ledgerOutage {
	return []ledgerOutage{
		{"its ends are not told", func(t *testing.T) (*broker, func(), func()) {
			b := startBroker(t)
			var fault *kfake.FaultHandle
			return b, func() {
				fault = b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: demoLedger, Err: kerr.OffsetNotAvailable, Count: -1})
			}, func() { fault.Remove() }
		}},
		{"it cannot be fetched", func(t *testing.T) (*broker, func(), func()) {
			b := startBroker(t)
			var fault *kfake.FaultHandle
			return b, func() {
				fault = b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: demoLedger, Err: kerr.KafkaStorageError, Count: -1})
				// What is not fetched is missed only when there is more of it.
				b.produce(t, demoLedger, theSample(t).Ledger()[:1])
			}, func() { fault.Remove() }
		}},
	}
}

// TestLedgerStalls: while the ledger cannot be asked nothing is decided. It is
// told once, counted, and passes.
func TestLedgerStalls(t *testing.T) {
	t.Parallel()
	for _, c := range ledgerOutages() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, away, back := c.start(t)
			checkLedgerStall(t, b, away, back)
		})
	}
}

// TestLedgerBrokerIsAway takes the only broker of the ledger away, which is not
// that of the events.
func TestLedgerBrokerIsAway(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	disk := []kfake.Opt{kfake.DataDir(t.TempDir()), kfake.SyncWrites(), kfake.Ports(freePort(t)), kfake.SeedTopics(2, demoLedger)}
	ledger := reopen(t, disk...)
	ledger.produce(t, demoLedger, theSample(t).Ledger())
	b.ledger = ledger
	checkLedgerStall(t, b, ledger.Close, func() { b.ledger = reopen(t, disk...) })
}

func checkLedgerStall(t *testing.T, b *broker, away, back func()) {
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:1000])
	j := newJob(t, b, "", 200*time.Millisecond).watched(t)
	p := j.stream(t)
	s := p.serves(t)
	j.awaits(t, p, b.ends(t))
	p.isReady(t, s)
	before := readTables(t, j.warehouse())

	away()
	shown := s.metrics(t)
	b.produce(t, demoEvents, events[1000:2000])
	p.waitsFor(t, s, "ledger: stalled since")
	stalled(t, p, s, shown, 1000)
	b.produce(t, demoEvents, events[2000:2500])
	stalled(t, p, s, shown, 1500)
	sameTables(t, before, readTables(t, j.warehouse()))
	now := s.metrics(t)
	if now.sum(t, "ledger_stalls_total") == 0 || now.sum(t, "ledger_stalled_seconds") == 0 || now.sum(t, "ledger_behind") == 0 {
		t.Error("the metrics tell of no stall")
	}
	if n, _ := p.stderr.count(`msg="ledger barrier has stalled"`); n != 1 {
		t.Errorf("it says %d times that the ledger has stalled, want once:\n%s", n, p.stderr.text())
	}

	back()
	p.isReady(t, s)
	j.awaits(t, p, b.ends(t))
	if now := s.metrics(t); now.sum(t, "lag") != 0 || now.sum(t, "ledger_stalled_seconds") != 0 {
		t.Error("the metrics still tell of a stall")
	}
	p.stop(t, exitOK)
	if n, _ := p.stderr.count(`msg="ledger barrier goes on"`); n != 1 {
		t.Errorf("it says %d times that the ledger is back, want once:\n%s", n, p.stderr.text())
	}
	undisturbed := newJob(t, b, "", time.Second).sharing(t, j)
	undisturbed.streamTo(t, b.ends(t))
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, j.warehouse()))
}

// TestReadiness: a process is alive from the start, and ready once the ledger
// is read and the group has given it its partitions.
func TestReadiness(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.produce(t, demoEvents, theSample(t).Events()[:100])
	ledger := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: demoLedger, Err: kerr.KafkaStorageError, Count: -1})
	group := b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
	j := newJob(t, b, "", 200*time.Millisecond).watched(t)
	p := j.stream(t)
	s := p.serves(t)
	if why := s.unready(t); why != "start: the job has not begun" {
		t.Errorf("before the ledger is read it waits for %q", why)
	}
	ledger.Remove()
	p.waitsFor(t, s, "partitions: the group has not given any yet")
	if why := s.unready(t); strings.Contains(why, "start") {
		t.Errorf("after the ledger is read it waits for %q", why)
	}
	group.Remove()
	p.isReady(t, s)
	j.awaits(t, p, b.ends(t))
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/debug/pprof/": 404, "/metrics/x": 404} {
		if status, body := s.get(t, path); status != want || path == "/healthz" && body != "ok\n" {
			t.Errorf("GET %s gives %d, want %d", path, status, want)
		}
	}
	if r, err := http.Post("http://"+s.address+"/metrics", "text/plain", nil); err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered: %v", err)
	}
	p.stop(t, exitOK)
	if _, _, err := s.try("/healthz"); err == nil {
		t.Error("somebody still answers")
	}
}

// TestDrain: who is told to stop commits what it has read and leaves the group
// so that the others go on at once and need not wait for the end of its session,
// which is longer here than this test has patience.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:2000])
	j := newJob(t, b, "", 100*time.Millisecond).watched(t)
	j.change(t, "session_timeout: 1s", "session_timeout: 5m")
	first := j.stream(t)
	first.must(t, "msg=streaming generation=1 partitions=4")
	second := j.stream(t)
	first.must(t, "partitions=2")
	second.must(t, "partitions=2")
	second.until(t, "the first half is committed", func() bool { return caughtUp(t, j.warehouse(), b.ends(t)) })
	j.change(t, "interval: 100ms", "interval: 30m")
	third := j.stream(t) // commits only when it is told to stop
	third.must(t, "partitions=1")
	b.produce(t, demoEvents, events[2000:4000])
	s := third.serves(t)
	third.until(t, "its share is read", func() bool {
		m := s.metrics(t)
		return m.sum(t, "messages_read_total") > 300 && m.sum(t, "lag") == 0
	})
	read := s.metrics(t)
	if read.sum(t, "messages_total") != 0 {
		t.Fatal("it has committed before it was stopped: nothing is tested")
	}
	third.stop(t, exitOK)
	var r result
	if err := json.Unmarshal(third.stdout.Bytes(), &r); err != nil || r.Run.Read != int64(read.sum(t, "messages_read_total")) {
		t.Errorf("it says that %d messages were committed, %v were read; %v", r.Run.Read, read.sum(t, "messages_read_total"), err)
	}
	first.says(t, "msg=streaming", 3) // alone, with the second, with the third
	first.stop(t, exitOK)
	second.until(t, "all partitions are the second's", func() bool {
		n, _ := second.stderr.count("partitions=4")
		return n > 0
	})
	second.until(t, "all of it is committed", func() bool { return caughtUp(t, j.warehouse(), b.ends(t)) })
	second.stop(t, exitOK)
	undisturbed := newJob(t, b, "", time.Second).sharing(t, j)
	undisturbed.streamTo(t, b.ends(t))
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, j.warehouse()))
}
