//go:build unix

package consent

import (
	"bufio"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// largeIdentifiers is how many identifiers BenchmarkLarge has;
// LUPA_LEDGER_IDENTIFIERS says otherwise.
func largeIdentifiers() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("LUPA_LEDGER_IDENTIFIERS"), 10, 40); err == nil {
		return n
	}
	return 200_000
}

// largeToken is the token of an identifier that a ledger source has made.
func largeToken(n uint64) (token schemas.Token) {
	binary.LittleEndian.PutUint64(token[:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(token[8:], (n+1)*0xd6e8feb86659fd93)
	token[0] = 1
	return token
}

// largeRecords are three usual records an identifier.
func largeRecords(from, to uint64) (all []schemas.Record) {
	terms := schemas.Terms{Method: "web_form", Notice: "privacy/2026-01", System: "crm"}
	for n := from; n < to; n++ {
		token, at := largeToken(n), (1_700_000_000+int64(n%50_000_000))*1_000_000
		for i, p := range []schemas.Purpose{email, stats, prof} {
			r := schemas.Record{Verb: schemas.Grant, Token: token, Purpose: p, Proven: true, Time: at + int64(i)*60_000_000, Version: int64(i + 1), Terms: terms}
			if i == 2 && n%3 == 0 {
				r.Verb, r.Terms = schemas.Withdraw, schemas.Terms{}
			}
			all = append(all, r)
		}
	}
	return all
}

func processTime() time.Duration {
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
	pages, _ := strconv.ParseFloat(strings.Fields(string(status))[1], 64)
	return pages * float64(os.Getpagesize())
}

var largeView = sync.OnceValue(func() *View {
	v, err := NewView(cheap{}, clocked(Options{}))
	if err != nil {
		panic("a view cannot be made")
	}
	for from := uint64(0); from < largeIdentifiers(); from += 1000 {
		if _, err := v.ApplyRecords(largeRecords(from, min(from+1000, largeIdentifiers()))); err != nil {
			panic("records cannot be applied")
		}
	}
	return v
})

// BenchmarkLarge takes a ledger of many identifiers with three records each through
// all that a view does: it is filled by its records, looked up, written as a
// snapshot and loaded from that. Run it alone, once (-benchtime=1x).
func BenchmarkLarge(b *testing.B) {
	n := float64(largeIdentifiers())
	runtime.GC()
	memory, begun := residentBytes(), processTime()
	v := largeView()
	b.Run("fill", func(b *testing.B) {
		for b.Loop() {
		}
		b.ReportMetric(float64(processTime()-begun)/n/3, "cpu-ns/record")
		runtime.GC()
		b.ReportMetric((residentBytes()-memory)/n, "B/identifier")
		b.ReportMetric(float64(v.MemoryBytes())/n, "counted-B/identifier")
	})
	b.Run("find", func(b *testing.B) {
		const size = 1024
		r := rand.New(rand.NewPCG(1, 2))
		tokens, refs := make([]schemas.Token, size<<8), make([]shelf.Ref, size)
		for i := range tokens {
			tokens[i] = largeToken(r.Uint64N(largeIdentifiers()))
			if i%10 == 9 {
				tokens[i] = largeToken(r.Uint64N(largeIdentifiers()) + largeIdentifiers())
			}
		}
		begun := processTime()
		for b.Loop() {
			for at := 0; at < len(tokens); at += size {
				v.store.shelf.Find(tokens[at:at+size], refs)
			}
		}
		b.ReportMetric(float64(processTime()-begun)/float64(b.N)/float64(len(tokens)), "cpu-ns/token")
	})
	b.Run("snapshot", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "snapshot")
		for b.Loop() {
			begun, cpu := time.Now(), processTime()
			s, err := v.Freeze(anchored())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(time.Since(begun).Microseconds()), "µs-freeze")
			size, err := s.Write(b.Context(), path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(begun).Seconds(), "s-write")
			b.ReportMetric((processTime() - cpu).Seconds(), "cpu-s-write")
			b.ReportMetric(float64(size)/n, "B-file/identifier")
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			memory := residentBytes()
			begun, cpu = time.Now(), processTime()
			loaded, _, err := LoadSnapshot(b.Context(), bufio.NewReader(f), cheap{}, clocked(Options{}), anchored())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(begun).Seconds(), "s-load")
			b.ReportMetric((processTime() - cpu).Seconds(), "cpu-s-load")
			runtime.GC()
			b.ReportMetric((residentBytes()-memory)/n, "B-loaded/identifier")
			if loaded.Stats().Identifiers != v.Stats().Identifiers {
				b.Fatal("identifiers are missing")
			}
			f.Close()
			loaded.store.shelf.Close()
		}
	})
	b.Run("find while 50,000 records a second and a snapshot are written", func(b *testing.B) {
		const size, each, perSecond = 1024, 256, 50_000
		stop := make(chan struct{})
		var working sync.WaitGroup
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
					said[i] = schemas.Record{Verb: schemas.Withdraw, Token: largeToken(r.Uint64N(largeIdentifiers())), Purpose: email, Time: version, Version: version}
				}
				if _, err := v.ApplyRecords(said); err != nil {
					b.Error(err)
				}
			}
		})
		working.Go(func() {
			path := filepath.Join(b.TempDir(), "snapshot")
			for {
				s, err := v.Freeze(anchored())
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := s.Write(b.Context(), path); err != nil {
					b.Error(err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		r := rand.New(rand.NewPCG(1, 2))
		tokens, refs := make([]schemas.Token, size), make([]shelf.Ref, size)
		var took []time.Duration
		for b.Loop() {
			for range 2000 {
				for i := range tokens {
					tokens[i] = largeToken(r.Uint64N(largeIdentifiers()))
				}
				begun := time.Now()
				v.mu.RLock()
				v.store.shelf.Find(tokens, refs)
				v.mu.RUnlock()
				took = append(took, time.Since(begun))
			}
		}
		close(stop)
		working.Wait()
		slices.Sort(took)
		for name, part := range map[string]int{"p50-µs": 500, "p99-µs": 990, "p99.9-µs": 999} {
			b.ReportMetric(float64(took[len(took)*part/1000].Microseconds()), name)
		}
	})
}
