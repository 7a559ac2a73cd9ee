package schemas

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// checkOracle: ParseRecord and its oracle read the same record and find the
// same fault. It shows no input.
func checkOracle(t *testing.T, data []byte) {
	t.Helper()
	got, err := ParseRecord(data)
	want, wantErr := oracleRecord(data)
	if got != want {
		t.Fatalf("read %+v, the oracle %+v", got, want)
	}
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		t.Fatalf("error %v, the oracle's %v", err, wantErr)
	}
}

// oracleSeeds are records with everything in them that is read in a way of its
// own, and text that is none.
func oracleSeeds() [][]byte {
	seeds := [][]byte{nil, []byte("7"), []byte(` "x"`), []byte("[{}]"), []byte("{}"), []byte("\t{ } \r\n")}
	for _, changes := range []map[string]string{
		nil,
		{"event_state": `"https://w3id.org/dpv#ConsentWithdrawn"`, "purpose": `"*"`, "event_time": `"2026-02-28T23:59:59Z"`},
		{"event_state": "", "verb": `"link"`, "linked_principal_id": `"ledger:01020304-0506-8708-890A-0b0c0d0e0f10"`},
		{"event_state": "", "verb": `"erase"`, "evidence": "null", "purpose": "null", "source": "null"},
		{"collection_method": `"double_opt_in"`, "evidence": `{"x":{"confirmed_at":1},"confirmed_at":"2026-11-24T09:00:00.5Z"}`},
		{"pii_principal_id": `"user_id:\ud83d\ude00\\\u00e4ä\b\/"`, "+": `"x":[{},[],"",-1.5e+9,0,true,false,{"y":null}],"v\u0065rb":"grant"`},
		{"event_state": "", "verb": `"unlink"`, "linked_principal_id": `"user_id:7"`},
		{"event_state": "", "verb": `"link"`, "linked_principal_id": `"user_id:7"`, "+": `"shared":true`},
		{"validity_duration": `"P1Y2M3W4DT5H6M7S"`, "+": `"validity_end":"2030-01-01T00:00:00Z","storage_locations":["fi","UK"],"geographic_restrictions":"EEA"`},
		{"event_state": "", "verb": `"retain"`, "+": `"retained_fields":["b","a"],"lawful_basis":"eu-gdpr:A6-1-c","until":"2036-01-01T00:00:00Z"`},
		{"event_state": "", "verb": `"born"`, "+": `"birth_date":"2012-02-29","birth_year":2012,"country":"EL"`},
		{"event_state": "", "verb": `"object"`, "purpose": `"dpv:DirectMarketing"`},
		{"event_state": `"ConsentRequested"`, "verb": `"guardian_grant"`, "+": `"language":["fi"],"processing_id":"ropa@3"`},
		{"sequence": "-0", "source": `{"system":null,"x":{"system":"a","system2":"b"}}`, "event_type": `"\u0020"`},
	} {
		seeds = append(seeds, []byte(recordText(changes)))
	}
	return seeds
}

// pieces are put into records in place of what was there.
var pieces = []string{
	"", `"`, `\`, "{", "}", "[", "]", ",", ":", " ", "\n", "\x00", "\x1f", "\x7f", "\x80", "\xc3\xa4", "\xe2\x80\xa8", "\xff",
	"0", "9", "-", "+", ".", "e", "E", "n", "t", "u", "Z", "null", "true", `\u`, `\"`, `\ud83d`, `\ude00`, `\u0000`, `"x":1,`, `"verb":"grant",`,
}

// TestParseRecordMutated changes records in every place, in every way.
func TestParseRecordMutated(t *testing.T) {
	for _, seed := range oracleSeeds() {
		checkOracle(t, seed)
		for i := range len(seed) + 1 {
			checkOracle(t, seed[:i])
			checkOracle(t, seed[i:])
			for _, piece := range pieces {
				checkOracle(t, slices.Concat(seed[:i], []byte(piece), seed[i:]))
				checkOracle(t, slices.Concat(seed[:i], []byte(piece), seed[min(i+1, len(seed)):]))
			}
		}
	}
}

// TestParseRecordMade reads records made at random of parts that are often at
// their limits. LUPA_RECORD_ROUNDS says how many.
func TestParseRecordMade(t *testing.T) {
	rounds := 30_000
	if more, err := strconv.Atoi(os.Getenv("LUPA_RECORD_ROUNDS")); err == nil {
		rounds = more
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := recordMaker{rand.New(rand.NewPCG(seed, 0))}
	var b []byte
	good := 0
	reader := NewRecordReader(DefaultVocabulary())
	for range rounds {
		b = m.record(b[:0])
		checkOracle(t, b)
		r, err := ParseRecord(b)
		if err == nil {
			good++
		}
		if again, err2 := reader.Parse(b); again != r || fmt.Sprint(err) != fmt.Sprint(err2) {
			t.Fatalf("a reader that is kept reads %+v, error %v; another %+v, error %v", again, err2, r, err)
		}
		// And the same with a few bytes that are moved.
		for range m.IntN(3) {
			i, j := m.IntN(len(b)), m.IntN(len(b))
			b[i], b[j] = b[j], b[i]
		}
		checkOracle(t, b)
	}
	if good < rounds/10 {
		t.Errorf("only %d of %d records are good", good, rounds)
	}
}

// recordMaker makes JSON objects with the members of records.
type recordMaker struct{ *rand.Rand }

func (m recordMaker) record(b []byte) []byte {
	b = append(b, m.pick("", "", " ", "\n")+"{"...)
	for _, i := range m.Perm(len(memberNames) - int(theSchemaVersion)) {
		if name := memberNames[int(theSchemaVersion)+i]; m.IntN(30) > 0 && !strings.Contains(name, ".") {
			b = m.pair(b, b[len(b)-1] != '{', name)
		}
	}
	for i := range m.IntN(4) {
		b = m.pair(b, b[len(b)-1] != '{', m.mostly(strconv.Itoa(i), "x", "", "Purpose", "system", "verb"))
	}
	if m.IntN(100) == 0 {
		for i := range maxRecordMembers - 20 + m.IntN(30) {
			b = fmt.Appendf(b, `,"m%d":%d`, i, i)
		}
	}
	return append(b, "}"+m.mostly("", "\r\n", "}")...)
}

func (m recordMaker) pair(b []byte, comma bool, name string) []byte {
	if comma {
		b = append(b, ',')
	}
	if m.IntN(30) == 0 && name != "" {
		name = fmt.Sprintf(`\u%04x`, name[0]) + name[1:]
	}
	b = append(b, `"`+name+`"`+m.pick("", "", " ")+":"+m.pick("", "", "\t")...)
	if m.IntN(60) == 0 {
		return m.value(b, 0)
	}
	return append(b, m.likely(name)...)
}

// likely gives a value that a member can have.
func (m recordMaker) likely(name string) string {
	switch name {
	case "schema_version":
		return m.mostly(`"`+schemaVersion+`"`, `"`+schemaVersionGDPR+`"`, `"1"`)
	case "pii_principal_id", "linked_principal_id":
		return m.mostly(`"email:`+strconv.Itoa(m.IntN(5))+`"`, `"ledger:01020304-0506-8708-890a-0b0c0d0e0f10"`, `"ledger:01020304-0506-8708-890a0b0c-0d0e0f10"`,
			`"ledger:00020304-0506-8708-890A-0b0c0d0e0f10"`, `"phone:"`, `"device_id:\u00e4"`, `"x:y"`, `"ledger:é1020304-0506-8708-890a-0b0c0d0e0f1"`)
	case "purpose":
		return m.mostly(`"analytics"`, `"*"`, `"dpv:Marketing"`, `"https://w3id.org/dpv#TargetedAdvertising"`, `"newsletter"`, `"Direct-Marketing"`, `"anal\u0079tics"`)
	case "event_state":
		return m.pick(`"ConsentGiven"`, `"dpv:RenewedConsentGiven"`, m.mostly("null", `"ConsentWithdrawn"`, `"dpv:ConsentUnknown"`, `""`))
	case "verb":
		return m.pick(`"grant"`, `null`, m.mostly(`"grant"`, `"link"`, `"erase"`, `"withdraw"`, `"object"`, `"restrict"`, `"lift"`, `"retain"`, `"born"`, `"unlink"`,
			`"guardian_grant"`, `"guardian_withdraw"`, `"expire"`))
	case "event_time":
		return `"` + m.time() + `"`
	case "sequence":
		return m.mostly(strconv.FormatInt(m.Int64(), 10), "-0", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e3", "1.0", "0")
	case "validity_duration":
		return m.mostly("null", `"P13M"`, `"P1Y2M3W4DT5H6M7S"`, `"PT36H"`, `"P0D"`, `"P"`, `"PT"`, `"P1M1Y"`, `"P-1D"`, `"P9999Y"`, `"P1234567890D"`, `"P999999999D"`, `"p1d"`, "13")
	case "validity_end", "until":
		return m.mostly(`"2030-01-01T00:00:00Z"`, `"1969-12-31T00:00:00Z"`, `"1970-01-01T00:00:00Z"`, `"`+m.time()+`"`, "null", "1")
	case "storage_locations", "geographic_restrictions":
		return m.pick("null", m.mostly(`["FI","SE"]`, `"EU"`, `"eea"`, `["EL","uk",7]`, `[]`, `{}`, `"x"`, `["US","US-DPF"]`, `"ADEQUATE"`, `["loc:FI" , "https://w3id.org/dpv/loc#NO",[1,"x"]]`, `""`))
	case "retained_fields":
		return m.mostly(`["b","a","b"]`, `"order_id"`, `[]`, `["B"]`, `[1]`, `"a,b"`, "null")
	case "lawful_basis", "language", "processing_id":
		return m.mostly(`"eu-gdpr:A6-1-c"`, `"a@b"`, `" "`, `"\u2003"`, `["x"]`, `"`+strings.Repeat("x", 64+m.IntN(2))+`"`, "null")
	case "birth_date":
		return m.mostly(`"2012-02-28"`, `"2011-02-29"`, `"0000-01-01"`, `"2012-2-1"`, `"`+m.time()[:10]+`"`, "null", "1")
	case "birth_year":
		return m.mostly("null", "2012", "-1", "10000", "0", `"2012"`)
	case "country":
		return m.mostly(`"FI"`, `"el"`, `"UK"`, `"FIN"`, `"f1"`, "7", "null")
	case "shared":
		return m.mostly("true", "false", "null", "1", `"true"`)
	case "collection_method":
		return m.pick(`"web_form"`, `"double_opt_in"`, `" "`)
	case "source":
		return m.mostly(`{"system":"a"}`, `{"system":"\u2003"}`, `{"system":"a","system":"b"}`, `{}`, `[]`, `{"a":{"system":1},"system":"c"}`)
	case "evidence":
		return m.mostly(`{"confirmed_at":"`+m.time()+`"}`, `{"confirmed_at":1}`, `{"a":1,"a":1}`, `null`)
	}
	return m.pick(`"ExpressedConsent"`, `"a"`, `""`, `null`)
}

// value makes any JSON, now and then deeper than is allowed.
func (m recordMaker) value(b []byte, depth int) []byte {
	if m.IntN(40) == 0 {
		n := maxRecordDepth - 2 + m.IntN(4)
		return append(bytes.Repeat([]byte(m.pick("[", `{"a":`)), n), m.pick("1", "[]", "")...)
	}
	switch kind := m.IntN(8); {
	case kind == 0 && depth < 4:
		b = append(b, '[')
		for i := range m.IntN(4) {
			if i > 0 {
				b = append(b, ',')
			}
			b = m.value(b, depth+1)
		}
		return append(b, ']')
	case kind == 1 && depth < 4:
		b = append(b, '{')
		for i := range m.IntN(4) {
			b = m.pair(b, i > 0, m.pick("a", "b", "", "system", "confirmed_at", `a\u0062`, `\ud83d`, "\u00e4"))
		}
		return append(b, '}')
	case kind < 5:
		return append(append(append(b, '"'), strings.Repeat(m.pick("a", "ä", `\n`, `\"`, "\U0001F600"), m.IntN(20))+m.pick("", `\ud83d`, `\ude00x`, `\ud83d\ude00`, "\x01", "\xff")...), '"')
	}
	return append(b, m.pick("0", "-0.0", "01", "1.", "1e", "1E+5", "-", "1e-07", ".5", "true", "false", "null", "nul", "True")...)
}

// time makes a time, or what looks like one.
func (m recordMaker) time() string {
	part := func(from, to int) string {
		if m.IntN(50) == 0 {
			from, to = 0, 99
		}
		return fmt.Sprintf("%02d", from+m.IntN(to-from+1))
	}
	return part(0, 99) + part(0, 99) + "-" + part(1, 12) + "-" + part(1, 29) + m.mostly("T", "t", " ") + part(0, 23) + ":" + part(0, 59) + ":" + part(0, 59) +
		m.mostly("", ".", ",5", ".1", ".999999", ".1234567", ".123456789", ".1234567891") + m.mostly("Z", "z", "+02:00", "-24:00", "+0200", "")
}

func (m recordMaker) pick(from ...string) string { return from[m.IntN(len(from))] }

// mostly gives the first, or now and then one of the others.
func (m recordMaker) mostly(first string, others ...string) string {
	if m.IntN(12) == 0 {
		return m.pick(others...)
	}
	return first
}

// TestParseRecordDeep: what is far too deep is told from what is no JSON, and
// the stack does not grow with it.
func TestParseRecordDeep(t *testing.T) {
	for _, n := range []int{15, 16, 30, 31, 32, 4_999, 5_000, 9_998, 9_999, 10_000, 100_000} {
		for open, shut := range map[string]string{"[": "]", `{"a":`: "}", `[{"a":`: "}]"} {
			text := `{"x":` + strings.Repeat(open, n) + "1" + strings.Repeat(shut, n)
			checkOracle(t, []byte(text+"}"))
			checkOracle(t, []byte(text))
		}
	}
}

// FuzzParseRecordOracle: ParseRecord is its oracle.
func FuzzParseRecordOracle(f *testing.F) {
	for _, seed := range oracleSeeds() {
		f.Add(seed)
	}
	f.Fuzz(checkOracle)
}
