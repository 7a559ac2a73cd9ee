package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
)

func one(delta int64, value string) []rec { return []rec{{delta, nil, []byte(value)}} }

// zeros compresses n zero bytes without saying how many they are.
func zeros(t testing.TB, codec compress.Compression, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := codec.Codec().NewWriter(&b)
	block := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(block)) {
		if _, err := w.Write(block[:min(n, int64(len(block)))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileBatchesEndTheRun(t *testing.T) {
	good := made{base: 0, lastDelta: 0, count: -1, recs: one(0, "good")}
	for _, test := range []struct {
		name  string
		batch made
		want  error
	}{
		{"negative count", made{base: 1, count: -5, recs: one(0, "v")}, errMalformed},
		{"a count that nothing follows", made{base: 1, lastDelta: 1<<27 - 1, count: 1 << 27, recs: one(0, "v")}, errMalformed},
		{"fewer records than offsets", made{base: 1, lastDelta: 4, count: -1, recs: one(0, "v")}, errHole},
		{"bytes left over", made{base: 1, count: 1, payload: append(appendRecord(nil, one(0, "v")[0]), 0)}, errMalformed},
		{"a value longer than its record", made{base: 1, count: 1, payload: []byte{12, 0, 0, 0, 1, 100, 'v'}}, errMalformed},
		{"unknown codec", made{base: 1, attributes: 7, count: 1, payload: []byte("abc")}, errCodec},
		{"not the codec's format", made{base: 1, attributes: 4, count: 1, payload: []byte("abcdefghijkl")}, errMalformed},
		{"a gap before the batch", made{base: 3, count: -1, recs: one(0, "v")}, errHole},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := test.batch
			raw := bad.encode()
			if test.name == "negative count" {
				bad.count = 0
				raw = bad.encode()
				binary.BigEndian.PutUint32(raw[57:], uint32(0xffffffff))
				seal(raw)
			}
			c, s := scripted(t, "delete", 10, good)
			s.batches = append(s.batches, raw)
			e := open(t, c, nil, "x")
			n, err := readUntilError(t, e)
			if n != 1 || !errors.Is(err, test.want) || !strings.Contains(err.Error(), "x/0") {
				t.Errorf("%d messages before %v, want one before %v", n, err, test.want)
			}
		})
	}
}

// seal makes the checksum of a batch right again.
func seal(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
}

func TestBitFlipIsAnErrorAndNotData(t *testing.T) {
	const marker = "the value that is damaged"
	c, s := scripted(t, "delete", 1, made{count: -1, recs: one(0, marker)})
	i := bytes.Index(s.batches[0], []byte(marker))
	s.batches[0][i] ^= 1
	e := open(t, c, nil, "x")
	n, err := readUntilError(t, e)
	if n != 0 || !errors.Is(err, errChecksum) {
		t.Fatalf("%d messages, %v", n, err)
	}
	if strings.Contains(err.Error(), "value") {
		t.Fatal("the error holds the value")
	}
	if s.fetches < corruptTries {
		t.Errorf("gave up after %d fetches", s.fetches)
	}
	// Damage that was done on the way is gone at the next fetch.
	c, s = scripted(t, "delete", 1, made{count: -1, recs: one(0, marker)})
	s.batches[0][i] ^= 1
	s.before = func() {
		if s.fetches == 3 {
			s.batches[0][i] ^= 1
		}
	}
	e = open(t, c, nil, "x")
	if d := cmp.Diff([]message{{0, marker}}, collect(t, e, map[int32]int64{0: 1})[0]); d != "" {
		t.Fatal(d)
	}
}

// peak is the most memory that the process has ever held.
func peak(t testing.TB) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("MEMORY IS NOT MEASURED HERE:", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal("VmHWM is no number")
			}
			return kb << 10
		}
	}
	t.Fatal("/proc/self/status does not tell VmHWM")
	return 0
}

func TestBombsAreBounded(t *testing.T) {
	sizes := map[compress.Compression]int64{compress.Zstd: 3 << 30, compress.Gzip: 1 << 30, compress.Lz4: 1 << 30}
	for codec, size := range sizes {
		t.Run(codec.String(), func(t *testing.T) {
			bomb := made{attributes: int16(codec), count: 1, payload: zeros(t, codec, size)}
			debug.FreeOSMemory()
			before := peak(t)
			c, _ := scripted(t, "delete", 1, bomb)
			n, err := readUntilError(t, open(t, c, nil, "x"))
			if n != 0 || !errors.Is(err, errBomb) {
				t.Fatalf("%d messages, %v", n, err)
			}
			// Without a bound it is over a GiB; the race detector alone takes
			// several times what the decoder does.
			if grown := peak(t) - before; grown > 800<<20 {
				t.Errorf("memory grew by %d MiB", grown>>20)
			}
		})
	}
}

func TestCodecsKeepTheirLimit(t *testing.T) {
	const limit = 1 << 20
	c, err := newCodecs(limit)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	claim := binary.AppendUvarint(nil, 3<<30) // a snappy block that says it is 3 GiB
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	frames := bytes.Repeat(enc.EncodeAll(make([]byte, limit/2), nil), 5)
	var unknown []byte // frames that do not state their size
	for range 5 {
		unknown = append(unknown, zeros(t, compress.Zstd, limit/2)...)
	}
	xerialFrame := func(blocks ...[]byte) []byte {
		b := append([]byte(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
		for _, p := range blocks {
			p = snappy.Encode(nil, p)
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
		}
		return b
	}
	half := make([]byte, limit/2)
	for _, test := range []struct {
		name  string
		codec compress.Compression
		src   []byte
		want  error
		size  int
	}{
		{"none", compress.None, make([]byte, limit), nil, limit},
		{"none above", compress.None, make([]byte, limit+1), errBomb, 0},
		{"snappy claim", compress.Snappy, claim, errBomb, 0},
		{"snappy at the limit", compress.Snappy, xerialFrame(half, half), nil, limit},
		{"snappy above", compress.Snappy, xerialFrame(half, half, []byte{1}), errBomb, 0},
		{"snappy cut", compress.Snappy, xerialFrame(half)[:40], errMalformed, 0},
		{"zstd at the limit", compress.Zstd, frames[:2*len(frames)/5], nil, limit},
		{"zstd above", compress.Zstd, frames, errBomb, 0},
		{"zstd frames of unknown size at the limit", compress.Zstd, unknown[:2*len(unknown)/5], nil, limit},
		{"zstd frames of unknown size", compress.Zstd, unknown, errBomb, 0},
		{"gzip at the limit", compress.Gzip, zeros(t, compress.Gzip, limit), nil, limit},
		{"gzip above", compress.Gzip, zeros(t, compress.Gzip, limit+1), errBomb, 0},
		{"lz4 at the limit", compress.Lz4, zeros(t, compress.Lz4, limit), nil, limit},
		{"lz4 above", compress.Lz4, zeros(t, compress.Lz4, limit+1), errBomb, 0},
	} {
		for _, before := range [][]byte{nil, []byte("what stands before"), make([]byte, 3, limit*3)} {
			got, err := c.append(before, test.codec, test.src)
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
			if err == nil && (len(got) != len(before)+test.size || !bytes.HasPrefix(got, before)) {
				t.Errorf("%s: %d bytes behind %d", test.name, len(got), len(before))
			}
		}
	}
}

func TestCodecsRoundTrip(t *testing.T) {
	c, err := newCodecs(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	text := []byte(strings.Repeat("round and round ", 5000))
	arena := []byte("before")
	for _, codec := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		for range 2 { // the decoders are used again
			var b bytes.Buffer
			w := codec.Codec().NewWriter(&b)
			w.Write(text)
			w.Close()
			got, err := c.append(arena, codec, b.Bytes())
			if err != nil || string(got) != "before"+string(text) {
				t.Errorf("%s: %d bytes, %v", codec, len(got), err)
			}
			for _, cut := range []int{1, b.Len() / 2, b.Len() - 1} {
				if got, err := c.append(nil, codec, b.Bytes()[:cut]); err == nil && bytes.Equal(got, text) {
					t.Errorf("%s cut to %d bytes passes for whole", codec, cut)
				}
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(made{count: -1, recs: one(0, "v")}.encode(), int64(0), true)
	f.Add(made{base: 7, lastDelta: 1, count: -1, recs: []rec{{0, []byte("k"), nil}, {1, nil, []byte("v")}}}.encode(), int64(8), false)
	f.Add(made{base: 7, attributes: 4, count: -1, recs: one(0, "v")}.encode(), int64(7), true)
	f.Add(made{attributes: 32, count: -1, recs: []rec{{0, []byte{0, 0, 0, 0}, []byte{0}}}}.encode(), int64(0), true)
	f.Fuzz(func(t *testing.T, raw []byte, from int64, strict bool) {
		if len(raw) >= batchHeader {
			seal(raw) // else nothing gets past the checksum
		}
		sound, after, err := survey(raw, from, strict)
		if err == nil && after < from {
			t.Fatal("the position went back")
		}
		c, err := newCodecs(1 << 16)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		d := reader{codecs: c, keys: true}
		var r records
		for len(sound) > 0 {
			b, rest, ok, err := nextBatch(sound)
			if err != nil || !ok {
				t.Fatal("survey let a batch pass that is none")
			}
			isAbort(b.records)
			before := len(r.values)
			if err := d.decode(&r, &b, from, strict); err != nil && len(r.values) != before {
				t.Fatal("a batch that does not decode left records")
			}
			sound = rest
		}
		last := from - 1
		for i, o := range r.offsets {
			if o <= last || o >= after {
				t.Fatalf("offset %d after %d, position %d", o, last, after)
			}
			last = o
			r.bytes(r.keys[i])
			r.bytes(r.values[i])
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(int16(11), []byte{})
	f.Add(int16(9), bytes.Repeat([]byte{0, 0, 0, 1}, 30))
	f.Fuzz(func(t *testing.T, version int16, frame []byte) {
		r := fetchResponse{version, frame}
		list, err := r.parse()
		size := 0
		for _, p := range list {
			size += len(p.batches) + 16*len(p.aborted)
		}
		if err == nil && size > len(frame) {
			t.Fatal("more came out than went in")
		}
	})
}

// FuzzZstdMost: what a batch decodes to is never more than its blocks tell.
func FuzzZstdMost(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	sized := enc.EncodeAll([]byte(strings.Repeat("sized ", 50000)), nil)
	f.Add(sized)
	f.Add(zeros(f, compress.Zstd, 1<<20))
	f.Add(append(bytes.Clone(sized), zeros(f, compress.Zstd, 1<<20)...))
	f.Add(append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, sized...)) // a frame to skip
	f.Fuzz(func(t *testing.T, raw []byte) {
		const limit = 4 << 20
		c, err := newCodecs(limit)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		most, ok := zstdMost(raw, limit)
		plain, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(limit), zstd.WithDecoderMaxWindow(usualWindow))
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		want, err := plain.DecodeAll(raw, nil)
		if err == nil && (!ok || len(want) > most) {
			t.Fatalf("%d bytes of at most %d, %v", len(want), most, ok)
		}
		got, failure := c.append([]byte("before"), compress.Zstd, raw)
		if err == nil && len(want) <= limit && (failure != nil || !bytes.Equal(got[6:], want)) {
			t.Fatalf("%d bytes of %d, %v", len(got)-6, len(want), failure)
		}
		if failure == nil && len(got)-6 > limit {
			t.Fatalf("%d bytes over the limit", len(got)-6-limit)
		}
	})
}
