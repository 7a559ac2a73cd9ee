package signals

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// rule is a value with what it denies.
type rule struct {
	name, value string
	denies      schemas.PurposeSet
}

func checkRules(t *testing.T, r *Reader, kind schemas.SignalKind, rules []rule) {
	t.Helper()
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second time it is remembered
				if got := schemas.AllPurposes &^ r.Permitted(kind, []byte(c.value)); got != c.denies {
					t.Errorf("denies %s, want %s", got, c.denies)
				}
			}
		})
	}
}

func TestEveryKind(t *testing.T) {
	speaks := map[schemas.SignalKind]schemas.PurposeSet{
		schemas.CategorySignal: byCategory, schemas.RudderSignal: byCategory, schemas.PreferenceSignal: byCategory,
		schemas.TCFSignal: byTCF, schemas.GPPSignal: byGPP, schemas.GPCSignal: byGPC, schemas.GoogleSignal: byGoogle,
	}
	for kind := schemas.CategorySignal; int(kind) < schemas.NumSignalKinds; kind++ {
		t.Run(kind.String(), func(t *testing.T) {
			rules := []rule{{"absent", "", 0}, {"null", "null", 0}}
			for name, value := range map[string]string{
				"no JSON": "!", "a list": "[]", "a number": "17", "an empty text": `""`, "a text": `"perhaps"`, "half an object": `{"a":true`,
				"object and more": `{"eventType":"allow_all"} 1`, "object in a list": `[{"C0001":true}]`,
				"too long": `"` + strings.Repeat("1", longestValue) + `"`, "a space": " ", "half a text": `"1`,
			} {
				rules = append(rules, rule{name, value, speaks[kind]})
			}
			checkRules(t, newReader(t, Options{}), kind, rules)
		})
	}
	r := newReader(t, Options{})
	for _, kind := range []schemas.SignalKind{schemas.NoSignal, schemas.SignalKind(schemas.NumSignalKinds), 255} {
		if got := r.Permitted(kind, []byte(`true`)); got != 0 {
			t.Errorf("a signal of kind %d leaves %s", kind, got)
		}
	}
}

func TestCategories(t *testing.T) {
	checkRules(t, newReader(t, Options{}), schemas.CategorySignal, []rule{
		{"all true", `{"C0001":true,"C0002":true,"C0003":true,"C0004":true,"C0005":true}`, 0},
		{"what is not listed is denied", `{"C0001":true,"C0002":true}`, functional | advertising | social},
		{"false", `{"C0001":true,"C0002":false,"C0003":true,"C0004":true,"C0005":true}`, analytics},
		{"empty", `{}`, byCategory},
		{"several ids for a purpose, one is false", `{"C0001":true,"Analytics":true,"Functional":true,"Advertising":true,"DataSharing":false}`, social},
		{"several ids for a purpose, one is true", `{"C0001":true,"Analytics":true,"Functional":true,"Advertising":true}`, 0},
		{"an unknown id is true", `{"C0001":true,"Analytics":true,"Functional":true,"Advertising":true,"Weather":true}`, 0},
		{"an unknown id is false", `{"C0001":true,"Analytics":true,"Functional":true,"Advertising":true,"Weather":false}`, byCategory},
		{"an id twice", `{"C0001":true,"Analytics":false,"Functional":true,"Advertising":true,"Analytics":true}`, analytics},
		{"an id with an escape", `{"C0001":true,"\u00430002":false,"C0003":true,"C0004":true,"C0005":true}`, analytics},
		{"a text for true", `{"C0001":"true"}`, byCategory},
		{"null for true", `{"C0001":true,"C0002":null}`, byCategory},
		{"an object for true", `{"C0001":{"value":true}}`, byCategory},
		{"white space", " {\n\"C0001\" : true , \"Analytics\":true,\"Functional\":true,\"Advertising\":true } ", 0},
	})
}

func TestRudder(t *testing.T) {
	checkRules(t, newReader(t, Options{}), schemas.RudderSignal, []rule{
		{"nothing denied", `{"provider":"oneTrust","deniedConsentIds":[]}`, 0},
		{"denied", `{"provider":"oneTrust","deniedConsentIds":["C0002","C0004"]}`, analytics | advertising},
		{"denied by or", `{"resolutionStrategy":"or","allowedConsentIds":["C0001","C0003","C0005","Advertising","Analytics"],"deniedConsentIds":["C0004"]}`, advertising},
		{"denied by and", `{"resolutionStrategy":"and","allowedConsentIds":["C0001","C0003","C0005","Analytics"],"deniedConsentIds":["C0004"]}`, advertising},
		{"allowed and denied", `{"allowedConsentIds":["C0001","C0002","C0003","C0004","C0005"],"deniedConsentIds":["C0002"]}`, analytics},
		{"not among the allowed", `{"allowedConsentIds":["C0001"],"deniedConsentIds":[]}`, analytics | functional | advertising | social},
		{"none allowed", `{"allowedConsentIds":[],"deniedConsentIds":[]}`, byCategory},
		{"only allowed", `{"allowedConsentIds":["C0001","C0002","C0003","C0004","C0005"]}`, 0},
		{"an unknown id is denied", `{"deniedConsentIds":["weather"]}`, byCategory},
		{"an unknown id is allowed", `{"allowedConsentIds":["weather","C0001"],"deniedConsentIds":[]}`, byCategory &^ necessary},
		{"neither list", `{"provider":"custom"}`, byCategory},
		{"empty", `{}`, byCategory},
		{"another strategy", `{"resolutionStrategy":"any","deniedConsentIds":[]}`, byCategory},
		{"denied is no list", `{"deniedConsentIds":"C0002"}`, byCategory},
		{"denied is null", `{"deniedConsentIds":null}`, byCategory},
		{"denied has a number", `{"deniedConsentIds":[2]}`, byCategory},
		{"denied has a null", `{"deniedConsentIds":[null]}`, byCategory},
		{"denied twice", `{"deniedConsentIds":["C0002"],"deniedConsentIds":[]}`, byCategory},
		{"allowed is an object", `{"allowedConsentIds":{"C0001":true},"deniedConsentIds":[]}`, byCategory},
	})
}

func TestPreferences(t *testing.T) {
	checkRules(t, newReader(t, Options{}), schemas.PreferenceSignal, []rule{
		{"allow_all", `{"eventType":"allow_all","consentVersion":"1"}`, 0},
		{"deny_all", `{"eventType":"deny_all","consentScopes":["C0002"]}`, byCategory},
		{"withdrawn", `{"eventType":"withdrawn"}`, byCategory},
		{"expired", `{"eventType":"expired"}`, byCategory},
		{"pending", `{"eventType":"pending"}`, byCategory},
		{"implicit_consent", `{"eventType":"implicit_consent","consentScopes":["C0002"]}`, byCategory},
		{"allow_selected", `{"eventType":"allow_selected","consentScopes":["C0001","C0002"]}`, functional | advertising | social},
		{"as columns are called", `{"event_type":"allow_selected","consent_scopes":["C0001","C0002"]}`, functional | advertising | social},
		{"nothing selected", `{"eventType":"allow_selected"}`, byCategory},
		{"scopes are no list", `{"eventType":"allow_selected","consentScopes":"C0001"}`, byCategory},
		{"two types", `{"event_type":"allow_all","eventType":"deny_all"}`, byCategory},
		{"no type", `{}`, byCategory},
	})
}

func TestGPC(t *testing.T) {
	var rules []rule
	for _, on := range []string{"true", "1", `"1"`, `"true"`, "1.0", "{}"} {
		rules = append(rules, rule{on, on, byGPC})
	}
	for _, off := range []string{"false", "0", `"0"`, `"false"`} {
		rules = append(rules, rule{off, off, 0})
	}
	checkRules(t, newReader(t, Options{}), schemas.GPCSignal, rules)
}

func TestConsentMode(t *testing.T) {
	all := func(but ...string) string {
		var parts []string
		for _, name := range googleSignals {
			value := "granted"
			for i := 0; i < len(but); i += 2 {
				if but[i] == name {
					value = but[i+1]
				}
			}
			if value != "" {
				parts = append(parts, fmt.Sprintf("%q:%q", name, value))
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	checkRules(t, newReader(t, Options{}), schemas.GoogleSignal, []rule{
		{"all granted", all(), 0},
		{"analytics denied", all("analytics_storage", "denied"), analytics},
		{"ad_user_data denied", all("ad_user_data", "denied"), advertising | social | sharing},
		{"one of two denied", all("personalization_storage", "denied"), functional},
		{"missing", all("analytics_storage", ""), analytics},
		{"another word", all("analytics_storage", "Granted"), analytics},
		{"empty", `{}`, byGoogle},
		{"twice", strings.Replace(all(), "{", `{"analytics_storage":"denied",`, 1), analytics},
		{"true", `{"analytics_storage":true}`, byGoogle},
		{"others", strings.Replace(all(), "{", `{"wait_for_update":500,`, 1), 0},
		{"G111", `"G111"`, 0},
		{"G110", `"G110"`, analytics},
		{"G101", `"G101"`, advertising | social | sharing},
		{"G100", `"G100"`, analytics | advertising | social | sharing},
		{"G1--", `"G1--"`, byGoogle},
		{"G1111", `"G1111"`, byGoogle},
		{"g111", `"g111"`, byGoogle},
	})
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{TCFVendor: -1}, {TCFVendor: 1 << 16}, {CacheBytes: -1}} {
		if _, err := NewReader(words{}, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func column(t *testing.T, values ...any) *array.BinaryView {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := array.NewBinaryViewBuilder(alloc)
	for _, v := range values {
		if v == nil {
			b.AppendNull()
			continue
		}
		b.Append([]byte(v.(string)))
	}
	a := b.NewBinaryViewArray()
	t.Cleanup(func() { a.Release(); b.Release(); alloc.AssertSize(t, 0) })
	return a
}

func TestNarrow(t *testing.T) {
	r := newReader(t, Options{})
	long := `{"C0001":true,"C0002":false,"C0003":true,"C0004":true,"C0005":true}`
	permitted := []schemas.PurposeSet{schemas.AllPurposes, schemas.AllPurposes, analytics | functional, functional, 0}
	if err := r.Narrow(schemas.CategorySignal, column(t, nil, long, long, `{}`, long), permitted); err != nil {
		t.Fatal(err)
	}
	want := []schemas.PurposeSet{schemas.AllPurposes, schemas.AllPurposes &^ analytics, functional, 0, 0}
	for row := range want {
		if permitted[row] != want[row] {
			t.Errorf("row %d: %s, want %s", row, permitted[row], want[row])
		}
	}
	if err := r.Narrow(schemas.CategorySignal, column(t, nil, long), permitted); err == nil {
		t.Error("a column of another length is taken")
	}
}

// TestCacheIsBounded gives more values than are remembered.
func TestCacheIsBounded(t *testing.T) {
	r := newReader(t, Options{CacheBytes: 2000})
	for i := range 1000 {
		value := fmt.Sprintf(`{"C0001":true,"C0002":%t,"weather %d":true}`, i%2 == 0, i)
		want := schemas.AllPurposes &^ (functional | advertising | social)
		if i%2 > 0 {
			want &^= analytics
		}
		if got := r.Permitted(schemas.CategorySignal, []byte(value)); got != want {
			t.Fatalf("value %d leaves %s", i, got)
		}
		entries, bytes := 0, 0
		for _, seen := range r.seen {
			for value := range seen {
				entries, bytes = entries+1, bytes+len(value)+entryBytes
			}
		}
		if bytes > 2000 || entries == 0 || bytes != r.bytes {
			t.Fatalf("after %d values, %d are remembered in %d bytes, counted as %d", i+1, entries, bytes, r.bytes)
		}
	}
}

func TestKnownValuesTakeNoMemory(t *testing.T) {
	r := newReader(t, Options{})
	text := quote(goodTC().String())
	values := column(t, text, nil, text, `"x"`)
	permitted := make([]schemas.PurposeSet, values.Len())
	narrow := func() {
		if err := r.Narrow(schemas.TCFSignal, values, permitted); err != nil {
			t.Fatal(err)
		}
	}
	narrow()
	if n := testing.AllocsPerRun(100, narrow); n != 0 {
		t.Errorf("%v allocations for values that were seen before", n)
	}
}

func BenchmarkPermitted(b *testing.B) {
	values := map[schemas.SignalKind]string{
		schemas.CategorySignal: `{"C0001":true,"C0002":false,"C0003":true,"C0004":true,"C0005":true}`,
		schemas.TCFSignal:      quote(goodTC().String()),
		schemas.GPPSignal:      `"DBABrWA~BVVqAAEABCA~BVoYYZoI~BVoYYYI~BVoYYQg~BVaGGGCA~BVoYYYQg~Bqqqqqqo~Bqqqqqqo"`,
	}
	for kind, value := range values {
		raw := []byte(value)
		b.Run(kind.String()+"/seen", func(b *testing.B) {
			r := newReader(b, Options{})
			b.ReportAllocs()
			for range b.N {
				r.Permitted(kind, raw)
			}
		})
		b.Run(kind.String()+"/new", func(b *testing.B) {
			r := newReader(b, Options{})
			b.ReportAllocs()
			for range b.N {
				r.read(kind, raw)
			}
		})
	}
}
