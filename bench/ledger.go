package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline/consent"
	"lupa/schemas"
)

// Ledger measures the consent ledger in memory, at 10 and 50 million identifiers of
// three records each: what it takes of memory, how long it takes to be loaded from
// a snapshot, to look identifiers up in batches on one core, and the same while
// 50,000 records a second are applied and a snapshot is written. Each step is a
// process of its own, whose memory the operating system tells.
func Ledger(ctx context.Context, o Options) ([]Result, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	dir, err := os.MkdirTemp("", "lupa-bench-ledger-")
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer os.RemoveAll(dir) // what is left is in the folder for such things
	runs := make([][]Result, o.Runs)
	for i := range runs {
		for _, millions := range []int{10, 50} {
			fmt.Fprintf(o.Log, "run %d of %d: %d million identifiers\n", i+1, o.Runs, millions)
			file := filepath.Join(dir, "snapshot")
			var filled, loaded LedgerStep
			if err := ledgerChild(ctx, o.Log, program, &filled, "fill", millions*1_000_000, file); err != nil {
				return nil, err
			}
			if err := ledgerChild(ctx, o.Log, program, &loaded, "load", millions*1_000_000, file); err != nil {
				return nil, err
			}
			runs[i] = append(runs[i], ledgerResults(fmt.Sprintf("_%dm", millions), &filled, &loaded)...)
		}
	}
	return medians(runs), nil
}

func ledgerResults(size string, filled, loaded *LedgerStep) []Result {
	results := []Result{
		{"bytes_per_subject" + size, filled.BytesPerSubject, "B"},
		{"bytes_per_subject_loaded" + size, loaded.BytesPerSubject, "B"},
		{"apply_ns_per_record" + size, filled.ApplyNs, "ns"},
		{"load" + size + "_s", loaded.LoadS, "s"},
		{"load" + size + "_cpu_s", loaded.LoadCPUS, "s"},
		{"snapshot" + size + "_s", filled.SnapshotS, "s"},
		{"lookup" + size + "_ns", loaded.LookupNs, "ns"},
	}
	under := []Result{
		{"lookup_p50_under_update", filled.UpdateP50Ns, "ns"},
		{"lookup_p99_under_update", filled.UpdateP99Ns, "ns"},
		{"lookup_p99_under_snapshot", filled.SnapshotP99Ns, "ns"},
	}
	for _, r := range under {
		r.Name += "_ns"
		if size != "_10m" {
			r.Name += size
		}
		results = append(results, r)
	}
	return results
}

func ledgerChild(ctx context.Context, log io.Writer, program string, into *LedgerStep, step string, identifiers int, file string) error {
	out, _, err := runChild(ctx, log, program, "ledger-step", step, strconv.Itoa(identifiers), file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("ledger: result of %s: %w", step, err)
	}
	if into.Identifiers != int64(identifiers) {
		return fmt.Errorf("ledger: %s has %d of %d identifiers", step, into.Identifiers, identifiers)
	}
	return nil
}

// LedgerStep is what one process has measured of the ledger.
type LedgerStep struct {
	Identifiers                             int64
	BytesPerSubject                         float64 // of the process, beyond what it had before
	ApplyNs                                 float64 // CPU of a record
	LoadS, LoadCPUS, SnapshotS              float64
	LookupNs                                float64 // CPU of one in a batch, one core
	UpdateP50Ns, UpdateP99Ns, SnapshotP99Ns float64 // wall clock of one in a batch
}

// RunLedgerStep is one step of Ledger, to be run as a process: "fill" fills a view
// and writes its snapshot to the file, "load" loads it.
func RunLedgerStep(ctx context.Context, stdout io.Writer, step string, identifiers int, file string) error {
	l := ledgerStep{identifiers: uint64(identifiers), file: file}
	var err error
	switch step {
	case "fill":
		err = l.fill(ctx)
	case "load":
		err = l.load(ctx)
	default:
		err = fmt.Errorf("there is no step %q", step)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(&l.LedgerStep)
}

type ledgerStep struct {
	LedgerStep
	identifiers uint64
	file        string
	view        *consent.View
}

// anchorOfBench is what the snapshot says that it is of.
func anchorOfBench() consent.Anchor { return consent.Anchor{Cluster: "bench"} }

func (l *ledgerStep) options() consent.Options {
	return consent.Options{Now: func() int64 { return time.Now().UnixMicro() }}
}

func (l *ledgerStep) fill(ctx context.Context) (err error) {
	memory, cpu := residentBytes(), cpuTime()
	if l.view, err = consent.NewView(ownTokens{}, l.options()); err != nil {
		return err
	}
	for from := uint64(0); from < l.identifiers; from += 1000 {
		if _, err := l.view.ApplyRecords(ledgerRecords(from, min(from+1000, l.identifiers))); err != nil {
			return err
		}
	}
	l.ApplyNs = float64((cpuTime() - cpu).Nanoseconds()) / float64(3*l.identifiers)
	l.measure(memory)
	began := time.Now()
	s, err := l.view.Freeze(anchorOfBench())
	if err != nil {
		return err
	}
	if _, err := s.Write(ctx, l.file); err != nil {
		return err
	}
	l.SnapshotS = time.Since(began).Seconds()
	if l.UpdateP50Ns, l.UpdateP99Ns, err = l.underUpdate(ctx, false); err != nil {
		return err
	}
	_, l.SnapshotP99Ns, err = l.underUpdate(ctx, true)
	return err
}

func (l *ledgerStep) load(ctx context.Context) error {
	f, err := os.Open(l.file)
	if err != nil {
		return err
	}
	defer f.Close() // nothing was written
	memory, cpu, began := residentBytes(), cpuTime(), time.Now()
	if l.view, _, err = consent.LoadSnapshot(ctx, f, ownTokens{}, l.options(), anchorOfBench()); err != nil {
		return err
	}
	l.LoadS, l.LoadCPUS = time.Since(began).Seconds(), (cpuTime() - cpu).Seconds()
	l.measure(memory)
	return l.lookUp()
}

func (l *ledgerStep) measure(before float64) {
	runtime.GC()
	l.Identifiers = l.view.Stats().Identifiers
	l.BytesPerSubject = (residentBytes() - before) / float64(l.identifiers)
}

// lookupBatch is how many identifiers are looked up at once, as of one batch.
const lookupBatch = 1024

// lookUp takes the CPU of lookups on one core, of which one in ten is about an
// identifier that is not there.
func (l *ledgerStep) lookUp() error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const batches, rounds = 2048, 4
	r := rand.New(rand.NewPCG(1, 2))
	tokens, named := make([]schemas.Token, batches*lookupBatch), make([]bool, lookupBatch)
	want := 0
	for i := range tokens {
		n := r.Uint64N(l.identifiers)
		if i%10 == 9 {
			n += l.identifiers
		} else {
			want++
		}
		tokens[i] = ledgerToken(n)
	}
	found, began := 0, cpuTime()
	for range rounds {
		for at := 0; at < len(tokens); at += lookupBatch {
			l.view.Named(tokens[at:at+lookupBatch], named)
			for _, is := range named {
				if is {
					found++
				}
			}
		}
	}
	l.LookupNs = float64((cpuTime() - began).Nanoseconds()) / float64(rounds*len(tokens))
	if found != rounds*want {
		return fmt.Errorf("ledger: %d of %d lookups found somebody, %d should have", found, rounds*len(tokens), rounds*want)
	}
	return nil
}

// underUpdate takes the wall clock of a lookup in a batch while 50,000 records a
// second are applied and, if asked for, one snapshot after the other is written.
func (l *ledgerStep) underUpdate(ctx context.Context, snapshots bool) (p50, p99 float64, err error) {
	const each, perSecond, batches = 256, 50_000, 20_000
	stop := make(chan struct{})
	var working sync.WaitGroup
	faults := make(chan error, 2)
	working.Go(func() {
		r := rand.New(rand.NewPCG(3, 4))
		tick := time.NewTicker(time.Second * each / perSecond)
		defer tick.Stop()
		for version := int64(10); ; version++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			said := make([]schemas.Record, each)
			for i := range said {
				said[i] = schemas.Record{Verb: schemas.Withdraw, Token: ledgerToken(r.Uint64N(l.identifiers)), Purpose: schemas.Analytics, Time: version, Version: version}
			}
			if _, err := l.view.ApplyRecords(said); err != nil {
				faults <- err
				return
			}
		}
	})
	if snapshots {
		working.Go(func() {
			for {
				s, err := l.view.Freeze(anchorOfBench())
				if err == nil {
					_, err = s.Write(ctx, l.file+".under")
				}
				if err != nil {
					faults <- err
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(5, 6))
	tokens, named := make([]schemas.Token, lookupBatch), make([]bool, lookupBatch)
	took := make([]time.Duration, batches)
	for i := range took {
		for j := range tokens {
			tokens[j] = ledgerToken(r.Uint64N(l.identifiers))
		}
		began := time.Now()
		l.view.Named(tokens, named)
		took[i] = time.Since(began)
	}
	close(stop)
	working.Wait()
	select {
	case err := <-faults:
		return 0, 0, err
	default:
	}
	slices.Sort(took)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / lookupBatch }
	return per(took[batches/2]), per(took[batches*99/100]), nil
}

// ledgerToken is the token of an identifier that a ledger source has made.
func ledgerToken(n uint64) (token schemas.Token) {
	binary.LittleEndian.PutUint64(token[:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(token[8:], (n+1)*0xd6e8feb86659fd93)
	token[0] = 1
	return token
}

// ledgerRecords are three usual records an identifier: grants with their evidence,
// and of every third one withdrawal.
func ledgerRecords(from, to uint64) (all []schemas.Record) {
	terms := schemas.Terms{Method: "web_form", Notice: "privacy/2026-01", System: "crm"}
	for n := from; n < to; n++ {
		token, at := ledgerToken(n), (1_700_000_000_000+int64(n%50_000_000)*1000+int64(n%997))*1000
		for i, p := range []schemas.Purpose{schemas.Analytics, schemas.DirectMarketingEmail, schemas.Profiling} {
			r := schemas.Record{Verb: schemas.Grant, Token: token, Purpose: p, Proven: true, Time: at + int64(i)*60_000_000, Version: int64(i + 1), Terms: terms}
			if i == 2 && n%3 == 0 {
				r.Verb, r.Proven, r.Terms = schemas.Withdraw, false, schemas.Terms{}
			}
			all = append(all, r)
		}
	}
	return all
}

// ownTokens are for a source that makes the tokens itself.
type ownTokens struct{}

func (ownTokens) Token(schemas.IdentifierKind, []byte) schemas.Token { return schemas.Token{} }
func (ownTokens) Current(t schemas.Token) schemas.Token              { return t }
func (ownTokens) Tokens(_ schemas.IdentifierKind, _ *array.BinaryView, dst []schemas.Token) {
	clear(dst)
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// residentBytes gives the process's memory, 0 where the system does not say.
func residentBytes() float64 {
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(status))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	if err != nil {
		return 0
	}
	return pages * float64(os.Getpagesize())
}
