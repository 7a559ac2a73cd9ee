package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lupa/pipeline"
	"lupa/schemas"
)

// monitor is what others may see of a running job: /metrics for Prometheus,
// /healthz for who restarts it, /readyz for who waits for it. Nothing in it is
// about anybody: labels are tables, reasons, topics and partitions.
type monitor struct {
	registry *prometheus.Registry
	messages *prometheus.CounterVec
	files    *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	commits  *prometheus.CounterVec
	last     *prometheus.GaugeVec

	mu      sync.Mutex
	waiting map[string]string        // what is not ready, and why
	checks  map[string]func() string // ask for it
}

func newMonitor() *monitor {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "lupa", Name: name, Help: help}, labels)
	}
	m := &monitor{
		registry: prometheus.NewRegistry(),
		messages: counter("messages_total", "Messages whose outcome is committed, by table and reason.", "table", "reason"),
		files:    counter("committed_files_total", "Data files committed.", "table"),
		bytes:    counter("committed_bytes_total", "Bytes of the data files committed.", "table"),
		commits:  counter("commits_total", "Commits that took effect.", "table"),
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "lupa", Name: "last_commit_timestamp_seconds", Help: "When the table's last commit took effect.",
		}, []string{"table"}),
		waiting: map[string]string{"start": "the job has not begun"},
		checks:  map[string]func() string{},
	}
	m.registry.MustRegister(m.messages, m.files, m.bytes, m.commits, m.last,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// tables makes the series of the tables, so that they are there at zero.
func (m *monitor) tables(contracts []*schemas.Contract) {
	for _, c := range contracts {
		m.commits.WithLabelValues(c.Table)
		for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
			m.messages.WithLabelValues(c.Table, r.String())
		}
	}
}

// committed counts a commit of a table.
func (m *monitor) committed(table string, c *pipeline.Commit) {
	for r, n := range c.Counts.Reasons {
		if n > 0 {
			m.messages.WithLabelValues(table, schemas.Reason(r).String()).Add(float64(n))
		}
	}
	m.files.WithLabelValues(table).Add(float64(len(c.Files)))
	for i := range c.Files {
		m.bytes.WithLabelValues(table).Add(float64(c.Files[i].Bytes))
	}
	m.commits.WithLabelValues(table).Inc()
	m.last.WithLabelValues(table).SetToCurrentTime()
}

// counter and gauge add a number that is asked for when somebody looks.
func (m *monitor) counter(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "lupa", Name: name, Help: help}, value))
}

func (m *monitor) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "lupa", Name: name, Help: help}, value))
}

// perPartition adds numbers by partition that are asked for when somebody
// looks.
func (m *monitor) perPartition(name, help string, values func() map[pipeline.Partition]float64) {
	m.registry.MustRegister(partitionGauge{
		prometheus.NewDesc("lupa_"+name, help, []string{"topic", "partition"}, nil), values})
}

type partitionGauge struct {
	desc   *prometheus.Desc
	values func() map[pipeline.Partition]float64
}

// Describe gives the gauge's description.
func (g partitionGauge) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

// Collect gives the numbers as they are.
func (g partitionGauge) Collect(ch chan<- prometheus.Metric) {
	for p, v := range g.values() {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, v, p.Topic, fmt.Sprint(p.ID))
	}
}

// wait says that something has to come before the job is ready, until ready is
// called with the same name.
func (m *monitor) wait(what, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting[what] = why
}

func (m *monitor) ready(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, what)
}

// check has why asked, each time somebody wants to know, for what keeps the job
// from going on; nothing is that it does.
func (m *monitor) check(what string, why func() string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks[what] = why
}

// missing gives what has to come before the job is ready.
func (m *monitor) missing() (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for what, why := range m.waiting {
		list = append(list, what+": "+why)
	}
	for what, check := range m.checks {
		if why := check(); why != "" {
			list = append(list, what+": "+why)
		}
	}
	slices.Sort(list)
	return list
}

// handler answers the three paths. A step that hangs ends the process, so
// whoever is answered at all is answered by a job that goes on.
func (m *monitor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if missing := m.missing(); len(missing) > 0 {
			http.Error(w, strings.Join(missing, "\n"), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// serve listens at the address until the function it gives is called.
func (m *monitor) serve(address string, log *slog.Logger) (stop func() error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	s := &http.Server{
		Handler: m.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	log.Info("metrics are served", "address", l.Addr().String())
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err := s.Shutdown(ctx)
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}
