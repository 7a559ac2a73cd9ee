package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
