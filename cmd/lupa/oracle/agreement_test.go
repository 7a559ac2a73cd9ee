package oracle

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/pipeline"
	"lupa/schemas"
	"lupa/schemas/decode"
	"lupa/transforms/keys"
)

// The tests here compare this package with what it judges, piece by piece: two
// programs that were written apart and must agree. They alone import the other.

// judged is both programs, ready for the same input.
type judged struct {
	check   *check
	decoder *decode.JSON
	keys    *keys.Keyset
}

const (
	region      = "FI"
	destination = "FI"
)

func newJudged(t testing.TB, contracts []*schemas.Contract) *judged {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := keys.Init(file, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	keyset, err := keys.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := decode.NewJSON(contracts, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := &Input{Warehouse: "none", Contracts: contracts, Keys: file, PhoneRegion: region, Region: destination}
	if err := in.fill(); err != nil {
		t.Fatal(err)
	}
	c := &check{in: in}
	for _, k := range append(slices.Clone(contracts), schemas.Rejects()) {
		c.tables = append(c.tables, &table{name: k.Table, contract: newContract(k)})
	}
	if err := c.readKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &judged{c, decoder, keyset}
}

// place0 is where made-up ledgers are.
var place0 = place{"consent", 0}

// emptyLedger is a ledger in memory, of one partition that ends at end.
func (j *judged) emptyLedger(end int64) *ledger {
	l := newLedger(j.check.policy())
	l.ends = map[place]extent{place0: {end: end}}
	return l
}

func defaults(t testing.TB) []*schemas.Contract {
	t.Helper()
	contracts, err := schemas.LoadContracts("")
	if err != nil {
		t.Fatal(err)
	}
	return contracts
}

// decoded is what the decoder makes of one message.
func (j *judged) decoded(t testing.TB, m *message) (list []outcome, rows []schemas.Rows) {
	t.Helper()
	arena := append(slices.Clone(m.value), make([]byte, pipeline.ArenaSlack)...)
	rows, rejects, err := j.decoder.Decode(t.Context(), "events", &schemas.Messages{
		Arena: arena, Values: []schemas.Span{{Off: 0, Len: uint32(len(m.value))}}, Times: []int64{m.time}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if rows[i].Record == nil {
			continue
		}
		o := outcome{table: i}
		for n, column := range rows[i].Record.Columns() {
			if j.check.tables[i].contract.Fields[n].Type == schemas.JSON {
				o.signals = o.signals || !column.IsNull(0)
				o.cells = append(o.cells, nil) // it is only told whether it is there
				continue
			}
			o.cells = append(o.cells, cellOf(t, column))
		}
		list = append(list, o)
	}
	for _, r := range rejects {
		o := outcome{table: int(r.Contract), reason: r.Reason}
		if r.Contract == schemas.NoContract {
			o.table = len(j.check.tables) - 1
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b outcome) int { return a.table - b.table })
	return list, rows
}

func cellOf(t testing.TB, column arrow.Array) any {
	if column.IsNull(0) {
		return nil
	}
	switch a := column.(type) {
	case *array.BinaryView:
		return string(a.Value(0))
	case *array.Int64:
		return a.Value(0)
	case *array.Float64:
		return a.Value(0)
	case *array.Boolean:
		return a.Value(0)
	case *array.Timestamp:
		return int64(a.Value(0))
	case *array.Date32:
		return int64(a.Value(0))
	}
	t.Fatalf("a column of %s", column.DataType())
	return nil
}

// sameOutcomes compares both programs on one message.
func (j *judged) sameOutcomes(t testing.TB, m *message) {
	t.Helper()
	want, _ := j.decoded(t, m)
	got, _, _ := j.check.outcomes(m)
	if len(got) != len(want) {
		t.Fatalf("%d outcomes, the decoder has %d, of %s", len(got), len(want), m.value)
	}
	for i := range got {
		same := got[i].reason == want[i].reason ||
			got[i].either && (want[i].reason == schemas.IdentityConflict || want[i].reason == schemas.WrongType)
		if got[i].table != want[i].table || !same {
			t.Fatalf("table %d: %s, the decoder says table %d: %s, of %s", got[i].table, got[i].reason, want[i].table, want[i].reason, m.value)
		}
		if got[i].reason == schemas.NoReason {
			if got[i].signals != want[i].signals {
				t.Fatalf("table %d: consent in the event %t, the decoder says %t, of %s", got[i].table, got[i].signals, want[i].signals, m.value)
			}
			if diff := cmp.Diff(want[i].cells, got[i].cells); diff != "" {
				t.Fatalf("cells of table %d (-decoder +oracle):\n%s\nof %s", got[i].table, diff, m.value)
			}
		}
	}
}

// TestOutcomesAreTheDecoders compares the programs on messages that are made up
// of what contracts name, in all types and spellings.
func TestOutcomesAreTheDecoders(t *testing.T) {
	contracts := append(defaults(t), oddContract())
	j := newJudged(t, contracts)
	rapid.Check(t, func(rt *rapid.T) {
		j.sameOutcomes(t, drawMessage(rt, contracts))
	})
}

func FuzzOutcomes(f *testing.F) {
	for _, text := range []string{
		`{"type":"track","userId":"u","timestamp":"2026-03-02T10:00:00Z","traits":{"email":"a@b.example"}}`,
		`{"type":"page","userId":7,"userId":7.0,"timestamp":1772445600}`, "[1]", "{", `{"a":"\ud800"}`, "", "\xff",
		strings.Repeat("[", 70) + strings.Repeat("]", 70),
	} {
		f.Add([]byte(text), int64(1))
	}
	j := newJudged(f, append(defaults(f), oddContract()))
	f.Fuzz(func(t *testing.T, value []byte, told int64) {
		if strings.Count(string(value), "{")+strings.Count(string(value), "[") > 64 && !json.Valid(value) {
			return // both too deep and malformed: either may be told
		}
		j.sameOutcomes(t, &message{value: value, time: told})
	})
}

// oddContract has a field of every type, with and without coercion.
func oddContract() *schemas.Contract {
	c := &schemas.Contract{ID: "odd", Table: "odd", EventTime: 0, Domain: "odd",
		Purposes: schemas.Purposes(schemas.Analytics), Where: []schemas.Match{{Path: schemas.Path{"Kind"}, Value: "Odd"}}}
	add := func(f schemas.Field) { c.Fields = append(c.Fields, f) }
	keep := schemas.Treatment{Technique: schemas.Keep}
	add(schemas.Field{Name: "day", Type: schemas.Date, Paths: []schemas.Path{{"day"}, {"when"}}, Coerce: true, Treatment: keep})
	add(schemas.Field{Name: "who", Type: schemas.Text, Paths: []schemas.Path{{"who"}, {"deep", "who"}}, Coerce: true,
		Identifiers: []schemas.IdentifierKind{schemas.UserID, schemas.Phone}, Treatment: schemas.Treatment{Technique: schemas.Pseudonymize}})
	for kind := schemas.Text; kind <= schemas.Date; kind++ {
		for i, name := range []string{"strict", "loose"} {
			path := []schemas.Path{{fmt.Sprintf("%s_%d", name, kind)}, {"deep", "other"}}
			add(schemas.Field{Name: path[0][0], Type: kind, Paths: path, Coerce: i == 1, Treatment: keep})
		}
	}
	add(schemas.Field{Name: "gone", Type: schemas.Integer, Paths: []schemas.Path{{"gone"}}, Required: true})
	return c
}

// drawMessage makes up a message of the paths that the contracts name.
func drawMessage(rt *rapid.T, contracts []*schemas.Contract) *message {
	k := rapid.SampledFrom(contracts).Draw(rt, "contract")
	var b strings.Builder
	b.WriteString("{")
	member := func(steps schemas.Path, value string) {
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		for i, s := range steps {
			fmt.Fprintf(&b, "%q:", s)
			if i < len(steps)-1 {
				b.WriteString("{")
			}
		}
		b.WriteString(value + strings.Repeat("}", len(steps)-1))
	}
	for _, m := range k.Where {
		if rapid.IntRange(0, 9).Draw(rt, "routed") > 0 {
			member(m.Path, fmt.Sprintf("%q", m.Value))
		}
	}
	member(k.Fields[k.EventTime].Paths[0], rapid.SampledFrom(append(times, `"2026-03-02T10:00:00.123Z"`)).Draw(rt, "time"))
	if len(k.Fields) > 0 && k.Table == "odd" {
		member(schemas.Path{"gone"}, "0")
	}
	for range rapid.IntRange(0, 8).Draw(rt, "members") {
		f := &k.Fields[rapid.IntRange(0, len(k.Fields)-1).Draw(rt, "field")]
		member(rapid.SampledFrom(f.Paths).Draw(rt, "path"), drawValue(rt))
	}
	b.WriteString("}")
	return &message{value: []byte(b.String()), time: rapid.SampledFrom([]int64{noTime, 1_772_445_600_123_000, 0}).Draw(rt, "told")}
}

var times = []string{
	`"2026-03-02T10:00:00Z"`, `"2026-03-02 10:00:00.1234567+02:30"`, `"2026-03-02"`, `"2026-03-02T10:00"`, `"2026-03-02T23:59:60Z"`,
	`"2026-02-30T10:00:00Z"`, `"20260302"`, `1772445600`, `1772445600123`, `"1772445600.5"`, `17724456`, `1.7724456e9`, `""`, `"eilen"`,
	`"2026-03-02T10:00:00,5z"`, `"2026-03-02T24:00:00Z"`, `"0001-01-01T00:00:00-23:59"`,
}

func drawValue(rt *rapid.T) string {
	odd := []string{
		"null", "true", "false", "7", "7.0", "0.7e1", "-0", "-0.0", "1e400", "1e-400", "9223372036854775808", "-9223372036854775808", "12.5", "[]", "{}",
		`{"who":"a"}`, `["a"]`, `"true"`, `"7"`, `"7.0"`, `" 7"`, `"a"`, `"b"`, `"a"`, `"A@Posti.Example"`, `"+358 45 1234567"`, `"0451234567"`,
		`"\ud83d\ude00"`, `"x\ny"`, `"äö"`, `""`, "123456789012345678901234567890.0e-20",
	}
	return rapid.SampledFrom(append(odd, times...)).Draw(rt, "value")
}

// people are the principals of made-up ledgers and events; some spellings are of
// one person.
var people = []schemas.Subject{
	schemas.NewSubject(schemas.UserID, "7"), schemas.NewSubject(schemas.UserID, "jane@posti.example"),
	schemas.NewSubject(schemas.AnonymousID, "7"), schemas.NewSubject(schemas.Email, "jane@posti.example"),
	schemas.NewSubject(schemas.Email, " Jane@POSTI.example"), schemas.NewSubject(schemas.Phone, "0451234567"),
	schemas.NewSubject(schemas.Phone, "+358 45 123 4567"), schemas.NewSubject(schemas.DeviceID, "x|y%z"),
}

// unit is between the times of made-up ledgers: short enough for two birthdays
// between the first and the last.
const unit = int64(6 * time.Hour / time.Microsecond)

// drawLedger makes up the key and value of a ledger message.
func drawLedger(rt *rapid.T) (key, value []byte) {
	r := drawRecord(rt)
	key, value = schemas.AppendRecordKey(nil, r), schemas.AppendRecord(nil, r)
	switch rapid.IntRange(0, 29).Draw(rt, "message") {
	case 0:
		return key, nil
	case 1:
		return key, value[:len(value)/2]
	case 2:
		return nil, value
	case 3: // the key says less than the value
		return []byte("?"), []byte(strings.Replace(string(value), `"sequence":`, `"sequence":"x","was":`, 1))
	case 4:
		change := rapid.SampledFrom([][2]string{
			{`"ConsentGiven"`, `"dpv:RenewedConsentGiven"`}, {`"analytics"`, `"dpv:ServiceUsageAnalytics"`}, {`"analytics"`, `"Ana-Lytics"`},
			{`"profiling"`, `"https://w3id.org/dpv#Marketing"`}, {`"profiling"`, `"TargetedAdvertising"`}, {`"profiling"`, `"odd:dpv#Whatever"`},
			{`"system":"preference_centre"`, `"system":" "`}, {`"web_form"`, `"Double-Opt-In","evidence":{"confirmed_at":"1970-01-02T18:00:00Z"}`},
			{`"web_form"`, `"double_opt_in"`}, {`"notice-1"`, `5`}, {`"ExpressedConsent"`, `"ImpliedConsent"`}, {`"web_form"`, `"web_form","validity_duration":"P1Y"`},
			{`"web_form"`, `"web_form","validity_duration":"P1DT6H"`}, {`"web_form"`, `"web_form","validity_duration":"PT"`},
			{`"web_form"`, `"web_form","storage_locations":["eu","SE"],"geographic_restrictions":"loc:FI"`}, {`"web_form"`, `"web_form","storage_locations":"Finland"`},
			{`"sequence":`, `"sequence":1,"sequence":`}, {`"event_time"`, `"event_tide"`}, {`"purpose"`, `"porpoise"`}, {`"verb":"`, `"event_state":"ConsentGiven","verb":"`},
			{`-27560#record-eu-gdpr`, `-27560#record`}, {`schema_version":"h`, `schema_version":"H`}, {`user_id:7`, `user_id:\u0037`}, {`"purpose":"`, `"purpose":"\ud800`},
			{`"verb":"`, `"verb":"un`}, {`"birth_date":"19`, `"birth_date":"1`}, {`"birth_date":`, `"birth_year":1957,"birth_day":`}, {`"shared":true`, `"shared":"true"`}, {`"until":"`, `"until":"1`},
		}).Draw(rt, "change")
		return key, []byte(strings.Replace(string(value), change[0], change[1], 1))
	}
	return key, value
}

// drawRecord makes up what somebody says.
func drawRecord(rt *rapid.T) schemas.Record {
	who := rapid.SampledFrom(people).Draw(rt, "who")
	r := schemas.Record{
		Verb: rapid.SampledFrom([]schemas.Verb{
			schemas.Grant, schemas.Grant, schemas.Grant, schemas.Grant, schemas.Grant, schemas.Grant, schemas.Withdraw, schemas.Refuse,
			schemas.Object, schemas.Expire, schemas.Erase, schemas.Erase, schemas.Retain, schemas.Retain, schemas.Link, schemas.Link, schemas.Unlink, schemas.Restrict, schemas.Lift,
			schemas.Born, schemas.GuardianGrant, schemas.GuardianGrant, schemas.GuardianWithdraw, schemas.NoVerb}).Draw(rt, "verb"),
		Principal: who, Time: rapid.Int64Range(1, 9).Draw(rt, "time") * unit, Version: rapid.Int64Range(1, 6).Draw(rt, "version"),
	}
	switch r.Verb {
	case schemas.Link, schemas.Unlink:
		r.Other = rapid.SampledFrom(people).Filter(func(o schemas.Subject) bool { return o != who }).Draw(rt, "other")
		r.Shared = r.Verb == schemas.Link && rapid.IntRange(0, 5).Draw(rt, "shared") == 0
	case schemas.Erase:
		r.Every = true
	case schemas.Restrict, schemas.Lift:
	case schemas.Retain:
		r.Terms.Fields = rapid.SampledFrom([]string{"anonymous_id,user_id", "event", "timestamp", "who", "user_id", "nothing"}).Draw(rt, "fields")
		// One basis and end of each version: of others nobody can say which counts.
		r.Terms.Basis, r.Until = "eu-gdpr:A6-1-c", (4+2*r.Version)*unit
	case schemas.Born:
		r.Terms.Country = rapid.SampledFrom([]string{"FI", "FR", ""}).Draw(rt, "country")
		years, _ := schemas.DefaultAges().Age(r.Terms.Country, 0)
		r.Until = time.Date(1970-years, 1, rapid.IntRange(0, 4).Draw(rt, "day"), 0, 0, 0, 0, time.UTC).UnixMicro()
	case schemas.Grant, schemas.GuardianGrant:
		r.Time = rapid.Int64Range(1, 4).Draw(rt, "granted") * unit
		switch rapid.IntRange(0, 9).Draw(rt, "proven") {
		case 0:
		case 1:
			r.Pending = true
		default:
			r.Proven = true
		}
		// Of one version, so that no two of it differ in more than their times.
		if r.Version == 5 {
			r.Until = r.Time + 4*unit
		}
		r.Terms.Regions = [...]string{2: "EU", 3: "SE", 6: "?"}[r.Version]
	default:
		r.Every = rapid.IntRange(0, 3).Draw(rt, "every") == 0
	}
	switch r.Verb {
	case schemas.Grant, schemas.GuardianGrant, schemas.Withdraw, schemas.Refuse, schemas.Object, schemas.Expire, schemas.GuardianWithdraw, schemas.NoVerb:
		if !r.Every {
			r.Purpose = drawPurpose(rt, r.Verb)
		}
	}
	return r
}

// drawPurpose makes up what a record is about, which may be a group in a denial.
func drawPurpose(rt *rapid.T, verb schemas.Verb) schemas.Purpose {
	list := []schemas.Purpose{schemas.Analytics, schemas.Analytics, schemas.Analytics, schemas.DirectMarketingEmail,
		schemas.DirectMarketingEmail, schemas.Profiling, schemas.NoPurpose}
	if verb != schemas.Grant && verb != schemas.GuardianGrant {
		names := schemas.DefaultVocabulary()
		for _, name := range []string{"direct_marketing", "marketing", "direct_marketing_and_profiling"} {
			if p, ok := names.ParseScope(name); ok {
				if verb == schemas.Object {
					p, _ = names.Objected(name)
				}
				list = append(list, p)
			}
		}
	}
	return rapid.SampledFrom(list).Draw(rt, "purpose")
}

// grantOf is a good grant, so that something is permitted before all that goes
// wrong.
func grantOf(who schemas.Subject, at int64) (key, value []byte) {
	r := schemas.Record{Verb: schemas.Grant, Principal: who, Purpose: schemas.Analytics, Time: at, Version: 1, Proven: true}
	return schemas.AppendRecordKey(nil, r), schemas.AppendRecord(nil, r)
}

// TestDecisionsAreTheViews compares the decisions of both programs about rows of
// odd events, under everything that can be in a ledger.
func TestDecisionsAreTheViews(t *testing.T) {
	contracts := append(defaults(t), oddContract())
	j := newJudged(t, contracts)
	seen := map[schemas.Reason]int{}
	rapid.Check(t, func(rt *rapid.T) {
		p := newPair(t, j, contracts, rapid.Int64Range(4, 14).Draw(rt, "now")*unit)
		grants := rapid.IntRange(0, 8).Draw(rt, "grants")
		for i := range grants + rapid.IntRange(0, 20).Draw(rt, "messages") {
			key, value := drawLedger(rt)
			if i < grants {
				key, value = grantOf(people[i%len(people)], rapid.Int64Range(0, 3).Draw(rt, "granted")*unit)
			}
			rt.Logf("%s => %s", key, value)
			if p.say(rt, key, value) {
				return // nothing is decided any more
			}
		}
		for range 6 {
			p.same(t, rt, drawEvent(rt), func(d decision) { seen[d.reason]++ })
		}
	})
	decided := 0
	for _, n := range seen {
		decided += n
	}
	if permitted := seen[schemas.ConsentGiven]; permitted*50 < decided || permitted == decided {
		t.Errorf("%d of %d rows were permitted: too few or too many to test anything: %v", permitted, decided, seen)
	}
	t.Logf("decisions: %v", seen)
}

// drawEvent makes up an event of some of the people, about the time of their
// records.
func drawEvent(rt *rapid.T) *message {
	at := time.UnixMicro(rapid.Int64Range(0, 10).Draw(rt, "at") * unit).UTC().Format(time.RFC3339Nano)
	if rapid.IntRange(0, 3).Draw(rt, "odd") == 0 {
		return &message{value: fmt.Appendf(nil, `{"Kind":"odd","gone":1,"day":%q,"who":%q}`, at[:10],
			rapid.SampledFrom(people).Draw(rt, "who").Reveal()), time: noTime}
	}
	e := map[string]any{"type": rapid.SampledFrom([]string{"track", "identify"}).Draw(rt, "type"), "timestamp": at}
	for _, s := range rapid.SliceOfN(rapid.SampledFrom(people), 0, 3).Draw(rt, "people") {
		switch s.Kind {
		case schemas.UserID:
			e["userId"] = s.Reveal()
		case schemas.AnonymousID:
			e["anonymousId"] = s.Reveal()
		case schemas.Email:
			e["traits"] = map[string]any{"email": s.Reveal()}
		case schemas.Phone:
			e["properties"] = map[string]any{"phone": s.Reveal()}
		case schemas.DeviceID:
			e["context"] = map[string]any{"device": map[string]any{"id": s.Reveal()}}
		}
	}
	value, err := json.Marshal(e)
	if err != nil {
		rt.Fatal(err)
	}
	told := rapid.SampledFrom([]int64{noTime, 0, 3 * unit, 6 * unit}).Draw(rt, "told")
	return &message{value: value, time: told}
}

// TestTokensAreTheKeysets compares the tokens of both programs, in two domains.
func TestTokensAreTheKeysets(t *testing.T) {
	j := newJudged(t, defaults(t))
	for _, name := range []string{"warehouse", ledgerDomain} {
		domain, err := j.keys.DomainWith(name, keys.Options{PhoneRegion: region})
		if err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			kind := rapid.SampledFrom([]schemas.IdentifierKind{schemas.NoIdentifier, schemas.UserID, schemas.AnonymousID, schemas.Email,
				schemas.Phone, schemas.DeviceID}).Draw(rt, "kind")
			raw := rapid.OneOf(rapid.String(),
				rapid.StringMatching(`[ A-Za-zÄÖäöß.+]{0,8}@[a-zäöü\x{130}-]{1,6}\.example ?`),
				rapid.StringMatching(`(\+|00|0)?[0-9]{0,4}[ ()./-]?[0-9]{3,8}(x[0-9]{2})?`),
			).Draw(rt, "identifier")
			want := domain.Token(kind, []byte(raw))
			got, missing := j.check.keys.token(name, kind, raw, 1)
			if schemas.Token(got) != want || missing != want.IsZero() {
				rt.Fatalf("another token of %s %q", kind, raw)
			}
		})
	}
}
