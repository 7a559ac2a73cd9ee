//go:build unix

package shelf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lupa/schemas"
)

// benchKeys is how many keys benchmarks have; LUPA_SHELF_KEYS says otherwise.
func benchKeys() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("LUPA_SHELF_KEYS"), 10, 40); err == nil {
		return n
	}
	return 1_000_000
}

const benchSize = 26 // of a value: three usual records

func benchValue(n uint64) []byte {
	value := make([]byte, benchSize)
	for i := range value {
		value[i] = byte(n >> (i % 4 * 8) & 0x3f)
	}
	return value
}

var benchShelf = sync.OnceValue(func() *Shelf {
	s := New()
	for n := range benchKeys() {
		key := keyOf(n)
		s.Put(&key, benchValue(n))
	}
	return s
})

// resident gives the process's memory, 0 where the system does not say.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseFloat(strings.Fields(string(status))[1], 64)
	return pages * float64(os.Getpagesize())
}

// cpuTime gives the time that the process has run. Where others run too, it says
// more than that of the clock.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// report tells how long one of n things a round took.
func report(b *testing.B, begun time.Duration, n int, unit string) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/"+unit)
	b.ReportMetric(float64(cpuTime()-begun)/float64(b.N)/float64(n), "cpu-ns/"+unit)
}

// BenchmarkMemory fills a shelf once.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		runtime.GC()
		before, begun := resident(), time.Now()
		s := benchShelf()
		b.ReportMetric(float64(time.Since(begun).Nanoseconds())/float64(benchKeys()), "ns/put")
		runtime.GC()
		b.ReportMetric((resident()-before)/float64(s.Len()), "B/key")
		b.ReportMetric(float64(s.MemoryBytes())/float64(s.Len()), "counted-B/key")
	}
}

// BenchmarkFind finds keys in batches of 1024, one in ten unknown.
func BenchmarkFind(b *testing.B) {
	const size = 1024
	s, r := benchShelf(), rand.New(rand.NewPCG(1, 2))
	keys := make([]schemas.Token, size<<10)
	for i := range keys {
		n := r.Uint64N(benchKeys())
		if i%10 == 9 {
			n += benchKeys()
		}
		keys[i] = keyOf(n)
	}
	refs := make([]Ref, size)
	b.Run("batched", func(b *testing.B) {
		begun := cpuTime()
		for i := 0; b.Loop(); i++ {
			at := i * size % len(keys)
			s.Find(keys[at:at+size], refs)
		}
		report(b, begun, size, "key")
	})
	b.Run("one at a time", func(b *testing.B) {
		begun := cpuTime()
		for i := 0; b.Loop(); i++ {
			at := i * size % len(keys)
			for j := range size {
				s.Get(&keys[at+j])
			}
		}
		report(b, begun, size, "key")
	})
}

// BenchmarkPut changes random keys in batches as a ledger's reader does, each of
// them to a value of another size.
func BenchmarkPut(b *testing.B) {
	const size = 1024
	s, r := benchShelf(), rand.New(rand.NewPCG(1, 2))
	keys, refs := make([]schemas.Token, size), make([]Ref, size)
	begun := cpuTime()
	for b.Loop() {
		for i := range keys {
			keys[i] = keyOf(r.Uint64N(benchKeys()))
		}
		s.Find(keys, refs)
		s.Reserve(keys)
		s.Settle()
		for i := range keys {
			s.Put(&keys[i], benchValue(uint64(i))[:benchSize-r.IntN(2)*8])
		}
	}
	report(b, begun, size, "key")
	b.ReportMetric(float64(s.MemoryBytes())/float64(s.Len()), "counted-B/key")
}

// BenchmarkSnapshot reads what is frozen and loads it again, without a disk.
func BenchmarkSnapshot(b *testing.B) {
	s := benchShelf()
	var readers sync.RWMutex
	images := make([]Image, Shards)
	for b.Loop() {
		f, err := s.Freeze(1 << 30)
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		for i := range images {
			if err := f.Read(i, readers.RLocker(), &images[i]); err != nil {
				b.Fatal(err)
			}
		}
		f.Release(readers.RLocker())
		b.ReportMetric(time.Since(begun).Seconds(), "s-read")
		begun = time.Now()
		loaded := NewSeeded(s.Seed())
		var loading sync.WaitGroup
		for w := range runtime.GOMAXPROCS(0) {
			loading.Go(func() {
				for i := w; i < Shards; i += runtime.GOMAXPROCS(0) {
					if err := loaded.Load(i, images[i].Keys, images[i].Values); err != nil {
						b.Error(err)
					}
				}
			})
		}
		loading.Wait()
		b.ReportMetric(time.Since(begun).Seconds(), "s-load")
		loaded.Close()
	}
}

// BenchmarkFindWhileWriting finds keys in batches of 1024 under the readers' lock
// while a writer changes 50,000 keys a second and snapshots are read, and tells how
// long batches took.
func BenchmarkFindWhileWriting(b *testing.B) {
	const size, perLock, perSecond = 1024, 256, 50_000
	for _, snapshots := range []bool{false, true} {
		b.Run(fmt.Sprint("snapshots ", snapshots), func(b *testing.B) {
			s := benchShelf()
			var mu sync.RWMutex
			stop := make(chan struct{})
			var working sync.WaitGroup
			working.Go(func() {
				r := rand.New(rand.NewPCG(3, 4))
				keys, refs := make([]schemas.Token, perLock), make([]Ref, perLock)
				tick := time.NewTicker(time.Second * perLock / perSecond)
				defer tick.Stop()
				for {
					select {
					case <-stop:
						return
					case <-tick.C:
					}
					for i := range keys {
						keys[i] = keyOf(r.Uint64N(benchKeys()))
					}
					s.Find(keys, refs)
					s.Reserve(keys)
					mu.Lock()
					s.Settle()
					for i := range keys {
						s.Put(&keys[i], benchValue(uint64(i))[:benchSize-r.IntN(2)*8])
					}
					mu.Unlock()
				}
			})
			if snapshots {
				working.Go(func() {
					var im Image
					for {
						mu.Lock()
						f, err := s.Freeze(1 << 30)
						mu.Unlock()
						if err != nil {
							b.Error(err)
							return
						}
						for i := range Shards {
							if err := f.Read(i, mu.RLocker(), &im); err != nil {
								b.Error(err)
							}
							select {
							case <-stop:
								f.Release(mu.RLocker())
								return
							default:
							}
						}
						f.Release(mu.RLocker())
					}
				})
			}
			r := rand.New(rand.NewPCG(1, 2))
			keys, refs := make([]schemas.Token, size), make([]Ref, size)
			var took []time.Duration
			for b.Loop() {
				for i := range keys {
					keys[i] = keyOf(r.Uint64N(benchKeys()))
				}
				begun := time.Now()
				mu.RLock()
				s.Find(keys, refs)
				mu.RUnlock()
				took = append(took, time.Since(begun))
			}
			close(stop)
			working.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(took[len(took)*999/1000].Microseconds()), "p99.9-µs")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
		})
	}
}
