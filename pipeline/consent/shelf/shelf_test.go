package shelf

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"

	"lupa/schemas"
)

var seedFlag = flag.Uint64("seed", 0, "seed of random operations; 0 is a random one")

// random gives a source whose seed is told when the test fails.
func random(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

func keyOf(n uint64) (key schemas.Token) {
	binary.LittleEndian.PutUint64(key[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(key[8:], n+1)
	return key
}

// model is a shelf and what must be in it.
type model struct {
	shelf *Shelf
	want  map[schemas.Token][]byte
}

func (m *model) put(t *testing.T, key schemas.Token, value []byte) {
	t.Helper()
	ref := m.shelf.Put(&key, value)
	if got := m.shelf.Bytes(ref); !bytes.Equal(got, value) {
		t.Fatalf("put %d bytes, has %d others", len(value), len(got))
	}
	m.want[key] = bytes.Clone(value)
}

// check compares all that there is, and some keys that are not.
func (m *model) check(t *testing.T) {
	t.Helper()
	if m.shelf.Len() != len(m.want) {
		t.Fatalf("%d keys, want %d", m.shelf.Len(), len(m.want))
	}
	keys := []schemas.Token{{}}
	for key := range m.want {
		unknown := key
		unknown[15] ^= 0x80
		keys = append(keys, key, unknown)
	}
	refs := make([]Ref, len(keys))
	m.shelf.Find(keys, refs)
	for i, key := range keys {
		want, ok := m.want[key]
		got, found := m.shelf.Get(&key)
		if found != ok || !bytes.Equal(got, want) || (refs[i] != 0) != ok || ok && !bytes.Equal(m.shelf.Bytes(refs[i]), want) {
			t.Fatalf("key %d of %d: %d bytes, ref %x, want %d", i, len(keys), len(got), refs[i], len(want))
		}
	}
	all := 0
	for key, value := range m.shelf.All() {
		if want, ok := m.want[*key]; !ok || !bytes.Equal(value, want) {
			t.Fatalf("all has %d bytes of a key, want %d", len(value), len(want))
		}
		all++
	}
	if all != len(m.want) {
		t.Fatalf("all has %d keys, want %d", all, len(m.want))
	}
}

// checkImages compares what is frozen with what it must be, and then with what is
// loaded of it.
func checkImages(t *testing.T, seed Seed, images []Image, want map[schemas.Token][]byte) {
	t.Helper()
	loaded := model{NewSeeded(seed), want}
	defer loaded.shelf.Close()
	var loading sync.WaitGroup
	for i := range images {
		loading.Go(func() {
			if err := loaded.shelf.Load(i, images[i].Keys, images[i].Values); err != nil {
				t.Errorf("shard %d: %v", i, err)
			}
		})
	}
	loading.Wait()
	loaded.check(t)
	// What is loaded can be changed as anything else.
	loaded.want = maps.Clone(want)
	for n := range uint64(300) {
		loaded.put(t, keyOf(n), bytes.Repeat([]byte{byte(n)}, int(n)%50))
	}
	loaded.check(t)
}

// TestModel compares a shelf with a map under random operations, among them
// snapshots that are read while the writer goes on, given up and outgrown.
func TestModel(t *testing.T) {
	for _, c := range []struct {
		keys    uint64
		steps   int
		longest int
	}{{1, 2000, 40}, {40, 4000, 3000}, {3000, 40_000, 60}, {60_000, 250_000, 40}} {
		t.Run(fmt.Sprint(c.keys, " keys"), func(t *testing.T) {
			r := random(t)
			m := model{New(), map[schemas.Token][]byte{}}
			defer m.shelf.Close()
			var frozen *Frozen
			var images []Image
			var want map[schemas.Token][]byte
			var readers sync.RWMutex
			value := make([]byte, c.longest)
			for step := range c.steps {
				switch {
				case frozen == nil && r.IntN(c.steps/6) == 0:
					limit := 1 << 30
					if r.IntN(4) == 0 {
						limit = 1
					}
					var err error
					if frozen, err = m.shelf.Freeze(limit); err != nil {
						t.Fatal(err)
					}
					if _, err := m.shelf.Freeze(limit); err != ErrFrozen {
						t.Fatalf("a second snapshot: %v", err)
					}
					want, images = maps.Clone(m.want), nil
				case frozen != nil && r.IntN(max(2, c.steps/Shards/12)) == 0:
					if r.IntN(2000) == 0 || len(images) == Shards {
						if len(images) == Shards {
							checkImages(t, m.shelf.Seed(), images, want)
						}
						frozen.Release(readers.RLocker())
						frozen = nil
						continue
					}
					var im Image
					if err := frozen.Read(len(images), readers.RLocker(), &im); err == ErrOutgrown && frozen.limit == 1 {
						frozen.Release(readers.RLocker())
						frozen = nil
						continue
					} else if err != nil {
						t.Fatal(err)
					}
					images = append(images, im)
				default:
					n := r.Uint64N(c.keys)
					v := value[:r.IntN(c.longest+1)]
					for i := range v {
						v[i] = byte(r.Uint32())
					}
					if r.IntN(50) == 0 {
						m.shelf.Reserve([]schemas.Token{keyOf(n), keyOf(n + 1), keyOf(n)})
						m.shelf.Settle()
					}
					m.put(t, keyOf(n), v)
				}
				if step%(c.steps/4) == 0 {
					m.check(t)
				}
			}
			m.check(t)
		})
	}
}

// TestZeroKey: it is nobody's, so nothing is put under it.
func TestZeroKey(t *testing.T) {
	s := New()
	defer s.Close()
	refs := []Ref{7}
	if s.Find(make([]schemas.Token, 1), refs); refs[0] != 0 {
		t.Error("an empty shelf has the zero key")
	}
	defer func() {
		if recover() == nil {
			t.Error("the zero key was put")
		}
	}()
	s.Put(&schemas.Token{}, nil)
}

// TestMemory: few keys take little, and what is replaced over and over no more
// than a sixteenth beside what is there.
func TestMemory(t *testing.T) {
	s := New()
	defer s.Close()
	put := func(from, to uint64, size int) {
		for n := from; n < to; n++ {
			key := keyOf(n)
			s.Put(&key, make([]byte, size))
		}
	}
	put(0, 100, 26)
	if got := s.MemoryBytes(); got > 1<<20 {
		t.Errorf("100 keys take %d bytes", got)
	}
	const keys = 1 << 20
	// All of one size after the other, so that none of the old room fits.
	for size := 10; size <= 26; size += 8 {
		put(0, keys, size)
	}
	if got := s.MemoryBytes() / keys; got > 68 {
		t.Errorf("%d bytes a key, want about %d", got, 44*17/16+8+5)
	}
}

// TestMemoryWhileFrozen: what is written and replaced after Freeze is not kept for
// it, however long it takes to be read.
func TestMemoryWhileFrozen(t *testing.T) {
	s := New()
	defer s.Close()
	m := model{s, map[schemas.Token][]byte{}}
	for n := range uint64(1000) {
		m.put(t, keyOf(n), []byte("frozen"))
	}
	want := maps.Clone(m.want)
	f, err := s.Freeze(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	key := keyOf(1)
	for i := range 1 << 20 {
		m.want[key] = make([]byte, 20+i%2*20)
		s.Put(&key, m.want[key])
	}
	if got := s.MemoryBytes(); got > 2<<20 {
		t.Errorf("%d bytes for one key that is written often", got)
	}
	if got := f.kept; got > 1<<10 {
		t.Errorf("%d bytes are kept of one key", got)
	}
	m.check(t)
	images := make([]Image, Shards)
	for i := range images {
		if err := f.Read(i, &sync.Mutex{}, &images[i]); err != nil {
			t.Fatal(err)
		}
	}
	checkImages(t, s.Seed(), images, want)
	f.Release(&sync.Mutex{})
}

// TestCraftedKeys: keys that differ in a few bits only, and those that another seed
// puts into one bucket, spill no more than random ones.
func TestCraftedKeys(t *testing.T) {
	const n = 200_000
	r := random(t)
	other := randomSeed()
	for name, next := range map[string]func(i uint64) schemas.Token{
		"random": func(uint64) (key schemas.Token) {
			binary.LittleEndian.PutUint64(key[:], r.Uint64())
			binary.LittleEndian.PutUint64(key[8:], r.Uint64())
			return key
		},
		"low half":     func(i uint64) (key schemas.Token) { binary.LittleEndian.PutUint64(key[:], i+1); return key },
		"high half":    func(i uint64) (key schemas.Token) { binary.LittleEndian.PutUint64(key[8:], i+1); return key },
		"highest bits": func(i uint64) (key schemas.Token) { binary.BigEndian.PutUint64(key[8:], i+1); return key },
		"both halves alike": func(i uint64) (key schemas.Token) {
			binary.LittleEndian.PutUint64(key[:], i+1)
			binary.LittleEndian.PutUint64(key[8:], i+1)
			return key
		},
		"one shard and bucket of another seed": func(i uint64) schemas.Token {
			for {
				var key schemas.Token
				binary.LittleEndian.PutUint64(key[:], r.Uint64())
				if other.Hash(&key)>>(64-6) == 0 {
					return key
				}
			}
		},
		"one xxhash": func(i uint64) schemas.Token {
			one, key := sameXXHash(1), sameXXHash(i+1)
			if xxhash.Sum64(key[:]) != xxhash.Sum64(one[:]) {
				t.Fatal("the keys have different hashes, so nothing is shown")
			}
			return key
		},
	} {
		s := New()
		for i := range uint64(n) {
			key := next(i)
			s.Put(&key, nil)
		}
		spilt, longest := 0, 0
		for i := range s.shards {
			sh := &s.shards[i]
			longest = max(longest, sh.table.count)
			for j := range sh.table.buckets {
				spilt += int(sh.table.buckets[j].spilt)
			}
		}
		if spilt > n/8 || longest > 2*n/Shards {
			t.Errorf("%s: %d of %d keys spilt, the largest shard has %d", name, spilt, n, longest)
		}
		s.Close()
	}
}

// sameXXHash gives one of many keys whose XXH64 is the same: whatever the first lane
// is, the second makes up for it, as every step is a bijection.
func sameXXHash(first uint64) (key schemas.Token) {
	const p1, p2, p4 = 11400714785074694791, 14029467366897019727, 9650029242287828579
	round := func(x uint64) uint64 { return bits.RotateLeft64(x*p2, 31) * p1 }
	inverse := func(odd uint64) (x uint64) { // modulo 2^64, by Newton's method
		x = odd
		for range 6 {
			x *= 2 - odd*x
		}
		return x
	}
	state := bits.RotateLeft64((2870177450012600261+16)^round(first), 27)*p1 + p4
	second := bits.RotateLeft64((state^0x5eed)*inverse(p1), -31) * inverse(p2)
	binary.LittleEndian.PutUint64(key[:], first)
	binary.LittleEndian.PutUint64(key[8:], second)
	return key
}

// TestLoadRefuses: an image that is none is an error and no panic.
func TestLoadRefuses(t *testing.T) {
	whole := New()
	defer whole.Close()
	for n := range uint64(10_000) {
		key := keyOf(n)
		whole.Put(&key, []byte("0123456789"))
	}
	f, err := whole.Freeze(0)
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.RWMutex
	var im, other Image
	if err := f.Read(7, readers.RLocker(), &im); err != nil || len(im.Keys) < 32 {
		t.Fatalf("%d bytes of keys: %v", len(im.Keys), err)
	}
	if err := f.Read(7, readers.RLocker(), &other); err == nil {
		t.Error("a shard was read twice")
	}
	if err := f.Read(8, readers.RLocker(), &other); err != nil {
		t.Fatal(err)
	}
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]Image{
		"cut keys":             {im.Keys[:len(im.Keys)-1], im.Values},
		"a key less":           {im.Keys[16:], im.Values},
		"a value less":         {im.Keys, im.Values[11:]},
		"a cut value":          {im.Keys, im.Values[:len(im.Values)-1]},
		"no values":            {im.Keys, nil},
		"a length without end": {im.Keys[:16], bytes.Repeat([]byte{0xff}, 20)},
		"the zero key":         {make([]byte, 16), []byte{0}},
		"another shard":        {other.Keys, other.Values},
		"a key twice":          {cat(im.Keys[:16], im.Keys), cat(im.Values[:11], im.Values)},
	} {
		s := NewSeeded(whole.Seed())
		if err := s.Load(7, c.Keys, c.Values); err == nil {
			t.Errorf("%s: loaded", name)
		}
		s.Close()
	}
}

// TestReadersAndWriter: readers see each key as some Put left it, while the writer
// goes on and snapshots are written.
func TestReadersAndWriter(t *testing.T) {
	const keys, rounds = 2000, 40
	s := New()
	defer s.Close()
	var mu sync.RWMutex
	all := make([]schemas.Token, keys)
	for i := range all {
		all[i] = keyOf(uint64(i))
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		refs := make([]Ref, keys)
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.RLock()
			s.Find(all, refs)
			for i, ref := range refs {
				if ref == 0 {
					continue
				}
				if value := s.Bytes(ref); int(value[0]) != i%251 || len(value) != 1+int(value[1])%40*30 && len(value) != 2 {
					t.Errorf("key %d has %d bytes", i, len(value))
				}
			}
			mu.RUnlock()
		}
	})
	frozen := make(chan *Frozen)
	working.Go(func() {
		for f := range frozen {
			var im Image
			for i := range Shards {
				if err := f.Read(i, mu.RLocker(), &im); err != nil {
					t.Error(err)
				}
			}
			f.Release(mu.RLocker())
		}
	})
	for round := range rounds {
		s.Reserve(all)
		mu.Lock()
		s.Settle()
		for i := range all {
			value := make([]byte, max(2, 1+(round%40)*30))
			value[0], value[1] = byte(i%251), byte(round%40)
			s.Put(&all[i], value)
		}
		f, err := s.Freeze(1 << 30)
		mu.Unlock()
		if err == nil {
			frozen <- f
		} else if err != ErrFrozen {
			t.Fatal(err)
		}
	}
	close(frozen)
	close(stop)
	working.Wait()
}

// FuzzLoad: an image is one of its shard, which reads as the same image again, or
// an error.
func FuzzLoad(f *testing.F) {
	seed := Seed{1, 2, 3, 4}
	whole := NewSeeded(seed)
	defer whole.Close()
	for n := range uint64(1500) {
		key := keyOf(n)
		whole.Put(&key, bytes.Repeat([]byte{byte(n)}, int(n)%40))
	}
	frozen, err := whole.Freeze(0)
	if err != nil {
		f.Fatal(err)
	}
	var readers sync.RWMutex
	for i := range 3 {
		var im Image
		if err := frozen.Read(i, readers.RLocker(), &im); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), im.Keys, im.Values)
	}
	f.Fuzz(func(t *testing.T, shard uint8, keys, values []byte) {
		s := NewSeeded(seed)
		defer s.Close()
		if s.Load(int(shard), keys, values) != nil {
			return
		}
		frozen, err := s.Freeze(0)
		if err != nil {
			t.Fatal(err)
		}
		var again Image
		if err := frozen.Read(int(shard), readers.RLocker(), &again); err != nil {
			t.Fatal(err)
		}
		// Lengths may be written longer than they need be.
		if !bytes.Equal(again.Keys, keys) || len(again.Values) > len(values) {
			t.Errorf("%d and %d bytes are read as %d and %d", len(keys), len(values), len(again.Keys), len(again.Values))
		}
	})
}
