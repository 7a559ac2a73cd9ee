package keys

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"lupa/schemas"
)

// fixedHandle is a Tink keyset of one key that counts up from first.
func fixedHandle(t testing.TB, first byte) *keyset.Handle {
	t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	return handleOf(t, secret, hmacprf.SHA256)
}

func handleOf(t testing.TB, secret []byte, hash hmacprf.HashType) *keyset.Handle {
	t.Helper()
	parameters, err := hmacprf.NewParameters(len(secret), hash)
	if err != nil {
		t.Fatal(err)
	}
	key, err := hmacprf.NewKey(secretdata.NewBytesFromData(secret, insecuresecretdataaccess.Token{}), parameters)
	if err != nil {
		t.Fatal(err)
	}
	m := keyset.NewManager()
	id, err := m.AddKey(key)
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := m.Handle()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// fixedKeyset has the keys of the vectors of FORMAT.md.
func fixedKeyset(t testing.TB, epochs int) *Keyset {
	t.Helper()
	k := &Keyset{}
	for i := range epochs {
		set, err := newEpochKey(fixedHandle(t, byte(32*i)))
		if err != nil {
			t.Fatal(err)
		}
		k.epochs = append(k.epochs, epochKey{EpochInfo{Epoch: uint8(i + 1)}, set})
	}
	return k
}

func domainOf(t testing.TB, k *Keyset, name string, o Options) *Domain {
	t.Helper()
	d, err := k.DomainWith(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func uuid(t schemas.Token) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", t[:4], t[4:6], t[6:8], t[8:10], t[10:])
}

func TestVectors(t *testing.T) {
	for _, c := range []struct {
		epochs int
		domain string
		kind   schemas.IdentifierKind
		in     string
		want   string
	}{
		{1, "warehouse", schemas.Email, " Jane.Doe@Example.com", "0184f633-a597-89b9-9b19-e76c3157c2c9"},
		{1, "warehouse", schemas.Email, "jane@Bücher.example", "01fbac68-aee3-895c-a4ad-f354fbccdaf3"},
		{1, "warehouse", schemas.Phone, "+358 (40) 123-4567", "01926a9b-0b28-8734-b21c-02d8be1588b1"},
		{1, "warehouse", schemas.Phone, "040 1234567", "012a45ea-c4a5-8892-85f0-a9543af4c36f"},
		{1, "warehouse", schemas.UserID, "7", "01096bbf-4f3a-8780-ba7d-a866562edb76"},
		{1, "warehouse", schemas.AnonymousID, "7", "01c44d37-f67f-809c-a2d0-6d6281804034"},
		{1, "warehouse", schemas.NoIdentifier, "7", "014c6777-62e4-8c23-aeb0-ff07b82dc5db"},
		{1, "ledger", schemas.UserID, "7", "01fd0f76-c458-8918-b925-41f5cfb00208"},
		{2, "warehouse", schemas.UserID, "7", "02ab94ee-4ee5-8a47-a412-29f32dd1f8ca"},
	} {
		d := domainOf(t, fixedKeyset(t, c.epochs), c.domain, Options{})
		got := d.Token(c.kind, []byte(c.in))
		if uuid(got) != c.want {
			t.Errorf("epochs %d, domain %s, kind %q: got %s, want %s", c.epochs, c.domain, c.kind, uuid(got), c.want)
		}
		if int(got.Epoch()) != c.epochs {
			t.Errorf("epoch %d, want %d", got.Epoch(), c.epochs)
		}
	}
}

// The token of any epoch leads to that of the last, as a table's do when it is
// given new ones.
func TestCurrent(t *testing.T) {
	now := domainOf(t, fixedKeyset(t, 3), "ledger", Options{})
	want := now.Token(schemas.UserID, []byte("7"))
	for epochs := 1; epochs <= 3; epochs++ {
		then := domainOf(t, fixedKeyset(t, epochs), "ledger", Options{}).Token(schemas.UserID, []byte("7"))
		if got := now.Current(then); got != want {
			t.Errorf("the token of epoch %d became %s, want %s", epochs, uuid(got), uuid(want))
		}
	}
	later := domainOf(t, fixedKeyset(t, 4), "ledger", Options{}).Token(schemas.UserID, []byte("7"))
	if got := now.Current(later); !got.IsZero() {
		t.Errorf("the token of an epoch without a key became %s", uuid(got))
	}
	if got := now.Current(schemas.Token{}); !got.IsZero() {
		t.Errorf("no token became %s", uuid(got))
	}
}

// TestMAC checks the core against the vectors of RFC 4231.
func TestMAC(t *testing.T) {
	for _, c := range []struct {
		name      string
		key, data []byte
		want      string
	}{
		{"case 1", bytes.Repeat([]byte{0x0b}, 20), []byte("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		{"case 2, short key", []byte("Jefe"), []byte("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"case 3", bytes.Repeat([]byte{0xaa}, 20), bytes.Repeat([]byte{0xdd}, 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		{"case 4", fromHex("0102030405060708090a0b0c0d0e0f10111213141516171819"), bytes.Repeat([]byte{0xcd}, 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
		{"case 5, truncated", bytes.Repeat([]byte{0x0c}, 20), []byte("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
		{"case 6, key longer than a block", bytes.Repeat([]byte{0xaa}, 131), []byte("Test Using Larger Than Block-Size Key - Hash Key First"), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		{"case 7, both longer than a block", bytes.Repeat([]byte{0xaa}, 131), []byte("This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."), "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMAC(c.key)
			for range 2 { // the state starts anew
				for cut := range len(c.data) + 1 {
					got := m.of(c.data[:cut], c.data[cut:])
					if h := hex.EncodeToString(got[:len(c.want)/2]); h != c.want {
						t.Fatalf("cut at %d: got %s, want %s", cut, h, c.want)
					}
				}
			}
		})
	}
}

func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestTokensAreDistinct makes tokens of equal values in every domain, kind and
// epoch: each is another one, and each has the layout of its epoch.
func TestTokensAreDistinct(t *testing.T) {
	seen := map[schemas.Token]string{}
	masked := map[schemas.Token]string{} // without the epoch byte
	for epochs := 1; epochs <= 3; epochs++ {
		for _, domain := range []string{"warehouse", "ledger", "warehouse2", "w"} {
			d := domainOf(t, fixedKeyset(t, epochs), domain, Options{})
			for kind := schemas.NoIdentifier; int(kind) < len(d.labels); kind++ {
				for _, value := range []string{"7", "70", "+358401234567", "user_id\x007", "token\x00", "a\x00b", "a/b", "a\nb", "../a"} {
					name := fmt.Sprintf("%d %s %s %q", epochs, domain, kind, value)
					token := d.Token(kind, []byte(value))
					if token.IsZero() {
						if kind == schemas.Phone {
							continue // no digit
						}
						t.Fatalf("%s: no token", name)
					}
					if int(token[0]) != epochs || token[6]>>4 != 8 || token[8]>>6 != 2 {
						t.Fatalf("%s: layout of %s", name, uuid(token))
					}
					rest := token
					rest[0] = 0
					if other, ok := masked[rest]; ok && kind != schemas.Phone {
						t.Fatalf("%s has the token of %s", name, other)
					}
					seen[token], masked[rest] = name, name
				}
			}
		}
	}
	if len(seen) < 500 {
		t.Fatalf("only %d tokens", len(seen))
	}
}

// TestChain re-tokens without the raw identifier: what another epoch makes of
// a token is what it makes of the identifier.
func TestChain(t *testing.T) {
	two, three := domainOf(t, fixedKeyset(t, 2), "warehouse", Options{}), domainOf(t, fixedKeyset(t, 3), "warehouse", Options{})
	old := two.Token(schemas.Email, []byte("jane@example.com"))
	want := three.Token(schemas.Email, []byte("jane@example.com"))
	if got := three.macs[2].token(3, []byte(chainLabel), old[:]); got != want {
		t.Errorf("got %s, want %s", uuid(got), uuid(want))
	}
}

func TestEqualIdentifiersAreOneToken(t *testing.T) {
	k := fixedKeyset(t, 1)
	one, other := domainOf(t, k, "warehouse", Options{PhoneRegion: "FI"}), domainOf(t, fixedKeyset(t, 1), "warehouse", Options{PhoneRegion: "FI", CacheBytes: -1})
	for _, c := range []struct {
		kind schemas.IdentifierKind
		a, b string
		same bool
	}{
		{schemas.Email, "jane@bücher.example", " JANE@xn--bcher-kva.EXAMPLE ", true},
		{schemas.Phone, "040 1234567", "+358-40-1234567", true},
		{schemas.Phone, "+358401234567", "+358401234568", false},
		{schemas.UserID, "A", "a", false},
		{schemas.UserID, "a", "a ", false},
		{schemas.DeviceID, "é", "e\u0301", false},
	} {
		for range 2 {
			a, b := one.Token(c.kind, []byte(c.a)), other.Token(c.kind, []byte(c.b))
			if a.IsZero() || (a == b) != c.same {
				t.Errorf("%s: %q and %q: %s, %s", c.kind, c.a, c.b, uuid(a), uuid(b))
			}
		}
	}
}

func TestKeysetIsShared(t *testing.T) {
	k := fixedKeyset(t, 2)
	tokens := make([]schemas.Token, 4)
	var group sync.WaitGroup
	for i := range tokens {
		group.Go(func() {
			if d, err := k.Domain("warehouse"); err == nil {
				for range 10 {
					tokens[i] = d.Token(schemas.Email, []byte("jane@example.com"))
				}
			}
		})
	}
	group.Wait()
	for _, token := range tokens {
		if token.IsZero() || token != tokens[0] {
			t.Fatalf("tokens %v", tokens)
		}
	}
}

func TestNobody(t *testing.T) {
	d := domainOf(t, fixedKeyset(t, 2), "warehouse", Options{})
	for _, c := range []struct {
		name  string
		kind  schemas.IdentifierKind
		value string
	}{
		{"empty id", schemas.UserID, ""},
		{"blank address", schemas.Email, " \u2003"},
		{"phone without a digit", schemas.Phone, "unknown"},
		{"no such kind", schemas.IdentifierKind(len(d.labels)), "7"},
		{"no such kind", 255, "7"},
	} {
		for range 2 {
			if got := d.Token(c.kind, []byte(c.value)); !got.IsZero() {
				t.Errorf("%s: got %s", c.name, uuid(got))
			}
		}
	}
}

func TestDomainNames(t *testing.T) {
	k := fixedKeyset(t, 1)
	for _, name := range []string{"", "Warehouse", "1a", "_a", "-a", "a b", "a\x00", "ä", "a.b", "a/b", string(bytes.Repeat([]byte("a"), 65))} {
		if _, err := k.Domain(name); err == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	for _, name := range []string{"a", "a-b_c9", "warehouse", string(bytes.Repeat([]byte("a"), 64))} {
		if _, err := k.Domain(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := k.DomainWith("a", Options{PhoneRegion: "XX"}); err == nil {
		t.Error("an unknown region was accepted")
	}
}

func views(t testing.TB, mem memory.Allocator, values ...any) *array.BinaryView {
	t.Helper()
	b := array.NewBinaryViewBuilder(mem)
	defer b.Release()
	for _, v := range values {
		if v == nil {
			b.AppendNull()
		} else {
			b.Append([]byte(v.(string)))
		}
	}
	return b.NewBinaryViewArray()
}

func TestColumns(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	whole := views(t, mem, "skipped", "jane@example.com", nil, "", "a very long local part@example.com")
	defer whole.Release()
	slice := array.NewSlice(whole, 1, 5).(*array.BinaryView)
	defer slice.Release()

	d := domainOf(t, fixedKeyset(t, 1), "warehouse", Options{})
	stale := schemas.Token{9}
	dst := []schemas.Token{stale, stale, stale, stale}
	d.Tokens(schemas.Email, slice, dst)
	jane, long := d.Token(schemas.Email, []byte("jane@example.com")), d.Token(schemas.Email, []byte("a very long local part@example.com"))
	if want := (schemas.Token{}); dst[0] != jane || dst[1] != want || dst[2] != want || dst[3] != long {
		t.Errorf("got %v", dst)
	}
	dst = []schemas.Token{stale, stale, stale, stale}
	d.TokensAt(schemas.Email, slice, []int32{3, -1, 1, 0}, dst)
	if want := (schemas.Token{}); dst[0] != long || dst[1] != want || dst[2] != want || dst[3] != jane {
		t.Errorf("got %v", dst)
	}
}

// TestCacheGivesWhatTheKeysGive runs a small cache through many generations
// beside a domain without one.
func TestCacheGivesWhatTheKeysGive(t *testing.T) {
	seed := rand.Int63()
	rnd := rand.New(rand.NewSource(seed))
	k := fixedKeyset(t, 2)
	cached, plain := domainOf(t, k, "warehouse", Options{CacheBytes: 1}), domainOf(t, k, "warehouse", Options{CacheBytes: -1})
	if plain.cache != nil {
		t.Fatal("a cache where none was asked for")
	}
	hits := 0
	for range 20_000 {
		kind := []schemas.IdentifierKind{schemas.UserID, schemas.AnonymousID, schemas.Email, schemas.Phone}[rnd.Intn(4)]
		value := bytes.Repeat([]byte{'0' + byte(rnd.Intn(3))}, rnd.Intn(8))
		if rnd.Intn(50) == 0 {
			value = bytes.Repeat([]byte{'1'}, maxCached-1+rnd.Intn(3))
		}
		if len(value) > 0 && len(value) <= maxCached {
			if _, found := cached.cache.find(cached.cache.hash(kind, value), kind, value); found {
				hits++
			}
		}
		if got, want := cached.Token(kind, value), plain.Token(kind, value); got != want {
			t.Fatalf("seed %d: %s %q: got %s, want %s", seed, kind, value, uuid(got), uuid(want))
		}
	}
	if hits < 1000 || hits > 19_000 {
		t.Errorf("%d hits: the cache was not at work, or never full", hits)
	}
}

// TestCacheComparesWhatItFinds: equal hashes are not equal values.
func TestCacheComparesWhatItFinds(t *testing.T) {
	c, h := newCache(1<<16), uint64(1)<<40|7
	values := []string{"7", "8", "77"}
	for i, value := range values {
		for kind := range schemas.IdentifierKind(3) {
			if _, found := c.find(h, kind, []byte(value)); found {
				t.Fatalf("%d %q was found before it was put", kind, value)
			}
			c.put(h, kind, []byte(value), schemas.Token{byte(i), byte(kind), 1})
		}
	}
	for i, value := range values {
		for kind := range schemas.IdentifierKind(3) {
			if got, found := c.find(h, kind, []byte(value)); !found || got != (schemas.Token{byte(i), byte(kind), 1}) {
				t.Errorf("%d %q: %v, %v", kind, value, got, found)
			}
		}
	}
}

func TestCacheKeepsItsBound(t *testing.T) {
	for _, limit := range []int{1 << 10, 1 << 16, 8 << 20, 100 << 20} {
		c := newCache(limit)
		if got := len(c.slots)*slotBytes + cap(c.arena); got > limit {
			t.Errorf("limit %d: %d bytes", limit, got)
		}
	}
}

// BenchmarkDomain compares the cache with the keys alone, over values that
// come as often as identifiers do (Zipf, a million of them), and over ones that
// never come again.
func BenchmarkDomain(b *testing.B) {
	rnd := rand.New(rand.NewSource(1))
	zipf := rand.NewZipf(rnd, 1.1, 8, 1<<20-1)
	const n = 1 << 16
	draws := map[string]func(i int) uint64{
		"zipf":   func(int) uint64 { return zipf.Uint64() },
		"unique": func(i int) uint64 { return uint64(i) },
	}
	formats := []struct {
		kind   schemas.IdentifierKind
		format string
	}{
		{schemas.UserID, "user-%012d"}, {schemas.AnonymousID, "507f191e-810c-4197-a9de-%012d"},
		{schemas.Email, "Jane.Doe%d@Example.com"}, {schemas.Phone, "+35840%07d"}, {schemas.Phone, "040%07d"},
	}
	for _, f := range formats {
		for _, draw := range []string{"zipf", "unique"} {
			for _, cacheBytes := range []int{-1, 8 << 20} {
				name := fmt.Sprintf("%s/%s/cache=%d", f.format, draw, max(cacheBytes, 0)>>20)
				b.Run(name, func(b *testing.B) {
					values := make([][]byte, 16*n)
					for i := range values {
						values[i] = fmt.Appendf(nil, f.format, draws[draw](i))
					}
					d := domainOf(b, fixedKeyset(b, 1), "warehouse", Options{PhoneRegion: "FI", CacheBytes: cacheBytes})
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						d.Token(f.kind, values[i%len(values)])
						i++
					}
				})
			}
		}
	}
}
