package warehouse

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"lupa/pipeline"
	"lupa/schemas"
)

// wide is a contract whose table has 20 columns: the shape of a track event.
func wide() *schemas.Contract {
	c := &schemas.Contract{ID: "bench", Version: "1.0.0", Table: "wide", LegalBasis: "eu-gdpr:A6-1-a",
		Purposes: schemas.Purposes(schemas.Analytics), EventTime: 1, RetentionDays: 30}
	add := func(name string, typ schemas.Type, technique schemas.Technique) {
		c.Fields = append(c.Fields, schemas.Field{Name: name, Type: typ, Treatment: schemas.Treatment{Technique: technique}})
	}
	add("user_id", schemas.Text, schemas.Pseudonymize)
	c.Fields[0].Identifiers = []schemas.IdentifierKind{schemas.UserID}
	add("at", schemas.Timestamp, schemas.Keep)
	add("message_id", schemas.Text, schemas.Keep)
	add("url", schemas.Text, schemas.StripQuery)
	for _, name := range []string{"event", "country", "browser", "campaign", "currency"} {
		add(name, schemas.Text, schemas.Keep)
	}
	add("value", schemas.Number, schemas.Keep)
	add("count", schemas.Integer, schemas.Keep)
	return c
}

func wideBatch(n int, from int64) *pipeline.Batch {
	random := rand.New(rand.NewPCG(1, uint64(from)))
	b := &pipeline.Batch{Contract: wide(), Partition: events}
	token := &arrow.FixedSizeBinaryType{ByteWidth: 16}
	fields := []arrow.Field{{Name: "subject_token", Type: token, Nullable: true}, {Name: "user_id", Type: token, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true}}
	for _, name := range []string{"message_id", "url", "event", "country", "browser", "campaign", "currency"} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: "value", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		arrow.Field{Name: "count", Type: arrow.PrimitiveTypes.Int64, Nullable: true})
	build := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for i := range n {
		b.Offsets = append(b.Offsets, from+int64(i))
		b.Verdicts = append(b.Verdicts, pipeline.KeepRow)
		b.Reasons = append(b.Reasons, schemas.ConsentGiven)
		b.Granted = append(b.Granted, schemas.Purposes(schemas.Analytics))
		b.Selected = append(b.Selected, int32(i))
		t := make([]byte, 16)
		for j := range t {
			t[j] = byte(random.Uint32())
		}
		build.Field(0).(*array.FixedSizeBinaryBuilder).Append(t)
		build.Field(1).(*array.FixedSizeBinaryBuilder).Append(t)
		build.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(day.UnixMicro() + int64(random.Uint32())))
		build.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("%016x-%016x", random.Uint64(), random.Uint64()))
		build.Field(4).(*array.StringBuilder).Append(fmt.Sprintf("https://shop.example/category/%d/product/%d", random.IntN(40), random.IntN(5000)))
		for f := 5; f < 10; f++ {
			build.Field(f).(*array.StringBuilder).Append(fmt.Sprintf("%s-%d", fields[f].Name, random.IntN(12)))
		}
		build.Field(10).(*array.Float64Builder).Append(float64(random.IntN(10000)) / 100)
		build.Field(11).(*array.Int64Builder).Append(int64(random.IntN(10)))
	}
	b.Out = build.NewRecord()
	return b
}

// BenchmarkWrite appends and flushes 20 columns of a hundred thousand rows;
// the file is synced, so the disk has its share.
func BenchmarkWrite(b *testing.B) {
	const batch, batches = 4000, 25
	dir, err := os.MkdirTemp("/dev/shm", "warehouse")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := openSink(b, Options{Dir: dir, Contracts: []*schemas.Contract{wide()}})
	w := s.Writer()
	defer w.Close()
	var in []*pipeline.Batch
	for i := range batches {
		in = append(in, wideBatch(batch, int64(i*batch)))
	}
	var size int64
	for b.Loop() {
		for _, batch := range in {
			if err := w.Append(batch); err != nil {
				b.Fatal(err)
			}
		}
		files, err := w.Flush(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		size = 0
		for _, f := range files {
			size += f.Bytes
			if err := os.Remove(f.Path); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch*batches), "ns/row")
	b.ReportMetric(float64(size)/(batch*batches), "B/row")
}

// BenchmarkParts shows which part of a write costs what.
func BenchmarkParts(b *testing.B) {
	const batch, batches = 4000, 25
	s, err := newSink(Options{Dir: b.TempDir(), Contracts: []*schemas.Contract{wide()}}, &disk{})
	if err != nil {
		b.Fatal(err)
	}
	in := wideBatch(batch, 0)
	next := func() *block { return newBlock(s.tables[0]) }
	fill := func() *buffer {
		buf := &buffer{table: s.tables[0]}
		for i := range batches {
			if err := buf.append(wideBatch(batch, int64(i*batch)), 0, nil, next); err != nil {
				b.Fatal(err)
			}
		}
		return buf
	}
	b.Run("append", func(b *testing.B) {
		w := s.Writer().(*writer)
		for b.Loop() {
			buf := &buffer{table: s.tables[0]}
			if err := buf.append(in, 0, nil, func() *block { return w.block(buf.table) }); err != nil {
				b.Fatal(err)
			}
			w.release(buf)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/row")
	})
	b.Run("sort", func(b *testing.B) {
		buf, e := fill(), newEncoder(s.tables[0], &zstd.Codec{Level: zstd.SpeedFastest})
		for b.Loop() {
			e.sort(buf)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch*batches), "ns/row")
	})
	b.Run("encode", func(b *testing.B) {
		buf, e := fill(), newEncoder(s.tables[0], &zstd.Codec{Level: zstd.SpeedFastest})
		for b.Loop() {
			if err := e.encode(io.Discard, buf, []pipeline.Partition{events}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch*batches), "ns/row")
	})
}

// manyPartitions are as many as a worker of a large topic may have.
func manyPartitions() (list []pipeline.Partition) {
	for i := range int32(50) {
		list = append(list, pipeline.Partition{Topic: "events", ID: i})
	}
	return list
}

// BenchmarkClaim claims fifty partitions in seven tables on the disk.
func BenchmarkClaim(b *testing.B) {
	s := openSink(b, Options{Dir: b.TempDir(), Contracts: append(schemas.DefaultContracts(), schemas.Rejects())})
	partitions := manyPartitions()
	for b.Loop() {
		if _, _, err := s.Claim(context.Background(), partitions); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit commits one small file, on the disk, with and without claims
// in the table.
func BenchmarkCommit(b *testing.B) {
	for _, claimed := range []bool{false, true} {
		b.Run(fmt.Sprintf("claimed=%t", claimed), func(b *testing.B) {
			s := openSink(b, Options{Dir: b.TempDir(), Contracts: contracts()})
			var claims pipeline.Claims
			if claimed {
				claims = claim(b, s, manyPartitions()...)
			}
			w := s.Writer()
			defer w.Close()
			at := int64(0)
			for b.Loop() {
				b.StopTimer()
				rows := makeClicks(at, 10)
				for i := range rows {
					rows[i].at = day
				}
				c := clicksCommit(write(b, w, events, rows), events, at, at+10, rows)
				c.Claims = claims
				at += 10
				b.StartTimer()
				if err := s.Commit(context.Background(), c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
