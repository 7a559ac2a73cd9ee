package consent

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// cheap makes tokens of the last bytes of a value, so that benchmarks measure
// the join and not the MAC.
type cheap struct{}

func (cheap) Token(kind schemas.IdentifierKind, value []byte) (t schemas.Token) {
	t[0], t[1] = 1, byte(kind)
	copy(t[2:], value[max(0, len(value)-14):])
	return t
}

func (cheap) Current(t schemas.Token) schemas.Token { return t }

func (c cheap) Tokens(kind schemas.IdentifierKind, values *array.BinaryView, dst []schemas.Token) {
	for i := range dst {
		if values.IsValid(i) {
			dst[i] = c.Token(kind, values.Value(i))
		}
	}
}

const benchSubjects = 1_000_000

// benchName is a name of 12 bytes, which an Arrow view holds in itself.
func benchName(n uint64) string {
	var b [12]byte
	binary.LittleEndian.PutUint64(b[4:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint32(b[:4], uint32(n))
	return string(b[:])
}

// benchView has a million subjects with a user id and an anonymous id each;
// nine in ten granted two purposes, a third of those withdrew one of them.
var benchView = sync.OnceValue(func() *View {
	v, err := NewView(cheap{}, clocked(Options{}))
	if err != nil {
		panic("a view cannot be made")
	}
	for from := uint64(0); from < benchSubjects; from += 1000 {
		if _, err := v.ApplyRecords(benchRecords(from, from+1000)); err != nil {
			panic("records cannot be applied")
		}
	}
	return v
})

func benchRecords(from, to uint64) (all []schemas.Record) {
	for n := from; n < to; n++ {
		id := user(benchName(n))
		if n%10 == 0 {
			all = append(all, of(id, refuse(email, 1)).Record)
			continue
		}
		all = append(all, of(id, grant(email, 1)).Record, of(id, grant(stats, 1)).Record)
		if n%3 == 0 {
			all = append(all, of(id, withdraw(stats, 2)).Record)
		}
	}
	return all
}

// BenchmarkStage decides batches of 1024 rows over a million subjects.
func BenchmarkStage(b *testing.B) {
	const size = 1024
	for _, c := range []struct {
		name string
		draw func(*rand.Rand) func() uint64
		anon bool
	}{
		{"zipf", zipf, false},
		{"uniform", uniform, false},
		{"zipf with an unknown anonymous id", zipf, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := benchView()
			tracks := contract()
			tracks.Fields[contactColumn].Identifiers = nil
			if !c.anon {
				tracks.Fields[anonColumn].Identifiers = nil
			}
			draw := c.draw(rand.New(rand.NewPCG(1, 2)))
			batches := make([]*pipeline.Batch, 512)
			for i := range batches {
				rows := make([]row, size)
				for j := range rows {
					n := draw()
					if j%10 == 9 {
						n += benchSubjects // unknown to the ledger
					}
					rows[j] = row{time: 5, user: benchName(n)}
					if c.anon {
						rows[j].anon = rows[j].user
					}
				}
				batches[i] = batch(memory.DefaultAllocator, tracks, rows...)
				defer batches[i].Raw.Release()
			}
			stage := NewStage(v, cheap{})
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if err := stage.Apply(b.Context(), batches[i%len(batches)]); err != nil {
					b.Fatal(err)
				}
				if i%len(batches) == len(batches)-1 {
					stage.Hold().(*Held).Release()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/row")
		})
	}
}

// BenchmarkRecheck rechecks a million held rows of three identifiers each, of
// which the ledger knows two, after changes that permit what they did.
func BenchmarkRecheck(b *testing.B) {
	const rows, size = 1_000_000, 1000
	v, err := NewView(cheap{}, clocked(Options{}))
	if err != nil {
		b.Fatal(err)
	}
	tracks := contract()
	tracks.Fields[contactColumn].Identifiers = []schemas.IdentifierKind{schemas.Email}
	stage := NewStage(v, cheap{})
	for from := uint64(0); from < rows; from += size {
		var said []schemas.Record
		var batched []row
		for n := from; n < from+size; n++ {
			name := benchName(n)
			said = append(said, of(user(name), grant(email, 1)).Record, of(anon(name), grant(email, 1)).Record)
			batched = append(batched, row{time: 5, user: name, anon: name, contact: name})
		}
		if _, err := v.ApplyRecords(said); err != nil {
			b.Fatal(err)
		}
		applyTo(b, stage, tracks, 0, pipeline.Partition{}, int64(from), batched...)
	}
	held := stage.Hold()
	recheck(b, held, 0) // of what was said while the rows were made
	r := rand.New(rand.NewPCG(1, 2))
	version := int64(2)
	for _, changes := range []int{0, 100, 10_000, 100_000, 2_000_000} {
		b.Run(fmt.Sprint(changes, " changes"), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				said := make([]schemas.Record, 0, changes)
				for i := range changes {
					name, s := benchName(r.Uint64N(rows)), grant(stats, 1).v(version)
					switch i % 3 {
					case 0:
						said = append(said, of(user(name), s).Record)
					case 1:
						said = append(said, of(anon(name), s).Record)
					case 2: // who was not known
						said = append(said, of(mail(name), s).Record)
					}
				}
				version++
				if _, err := v.ApplyRecords(said); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if amended, err := held.Recheck(0); amended != nil || err != nil {
					b.Fatal(len(amended), err)
				}
			}
		})
	}
}

func zipf(r *rand.Rand) func() uint64 {
	z := rand.NewZipf(r, 1.1, 1, benchSubjects-1)
	return func() uint64 { return z.Uint64() * 7919 % benchSubjects }
}

func uniform(r *rand.Rand) func() uint64 {
	return func() uint64 { return r.Uint64N(benchSubjects) }
}

// BenchmarkApply applies batches of 1024 messages of new subjects, read from
// their JSON, and again as records.
func BenchmarkApply(b *testing.B) {
	const size = 1024
	b.Run("messages", func(b *testing.B) {
		v, _ := NewView(cheap{}, clocked(Options{}))
		var batches []messages
		for i := range 64 {
			var m messages
			for j := range size {
				m.say(of(user(fmt.Sprintf("user-%08d", i*size+j)), grant(email, 1)))
			}
			batches = append(batches, m)
		}
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; b.Loop(); i++ {
			m := batches[i%len(batches)]
			if _, err := v.Apply(m.keys, m.values); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/record")
	})
	b.Run("records", func(b *testing.B) {
		v, _ := NewView(cheap{}, clocked(Options{}))
		var batches [][]schemas.Record
		for i := range uint64(512) {
			batches = append(batches, benchRecords(i*size, (i+1)*size))
		}
		b.ReportAllocs()
		b.ResetTimer()
		records := 0
		for i := 0; b.Loop(); i++ {
			batch := batches[i%len(batches)]
			if _, err := v.ApplyRecords(batch); err != nil {
				b.Fatal(err)
			}
			records += len(batch)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
	})
}
