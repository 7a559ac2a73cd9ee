package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
	"lupa/schemas/decode"
	"lupa/transforms/keys"
)

// TC strings of which the first has all consent, the second none for what
// TCF purposes 5 to 11 are about, and the third is of a policy that no longer
// counts; and a GPP string of somebody who opted out of sale.
const (
	tcAll       = "CQjh0IAQjh0IAAAAAAAAAAFgAP_gAAAAAAAAGWCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAA.IGWQAgABgMsA"
	tcSome      = "CQjh0IAQjh0IAAAAAAAAAAFgAPAAAAAAAAAAGWCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAA.IGWQAgABgMsA"
	tcOld       = "CQjh0IAQjh0IAAAAAAAAAACgAP_gAAAAAAAAGWCAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAA.IGWQAgABgMsA"
	gppOptedOut = "DBABL~BAAaAAAAAAA"
)

// googleGranted has all signals of Consent Mode.
const googleGranted = `{"ad_storage":"granted","ad_user_data":"granted","ad_personalization":"granted","analytics_storage":"granted",` +
	`"functionality_storage":"granted","personalization_storage":"granted","security_storage":"granted"}`

// TestBackfillConsentInEvents reads events of one person who gave consent, and
// of a stranger, with every kind of signal in them.
func TestBackfillConsentInEvents(t *testing.T) {
	t.Parallel()
	const secret = "zq-secret-category-4711"
	cases := []struct {
		name, context string
		want          schemas.Reason
	}{
		{"none", `{}`, schemas.ConsentGiven},
		{"null", `{"consent":{"categoryPreferences":null},"consentManagement":null,"gpc":null}`, schemas.ConsentGiven},
		{"categories true", `{"consent":{"categoryPreferences":{"Analytics":true,"` + secret + `":true}}}`, schemas.ConsentGiven},
		{"category false", `{"consent":{"categoryPreferences":{"Analytics":false,"` + secret + `":true}}}`, schemas.RefusedInEvent},
		{"another category false", `{"consent":{"categoryPreferences":{"Analytics":true,"Advertising":false}}}`, schemas.ConsentGiven},
		{"no category", `{"consent":{"categoryPreferences":{}}}`, schemas.RefusedInEvent},
		{"categories twice", `{"consent":{"categoryPreferences":{"Analytics":false}},"consent":{"categoryPreferences":{"Analytics":true}}}`, schemas.RefusedInEvent},
		{"rudder", `{"consentManagement":{"provider":"oneTrust","deniedConsentIds":["C0004"]}}`, schemas.ConsentGiven},
		{"rudder denied", `{"consentManagement":{"provider":"oneTrust","deniedConsentIds":["C0002"]}}`, schemas.RefusedInEvent},
		{"rudder not allowed", `{"consentManagement":{"allowedConsentIds":["C0001"],"deniedConsentIds":[]}}`, schemas.RefusedInEvent},
		{"TCF", `{"consent":{"tcf":"` + tcAll + `"}}`, schemas.ConsentGiven},
		{"TCF of another name", `{"consent":{"tcString":"` + tcSome + `"}}`, schemas.RefusedInEvent},
		{"TCF under an old policy", `{"consent":{"tcf":"` + tcOld + `"}}`, schemas.RefusedInEvent},
		{"TCF under both names", `{"consent":{"tcf":"` + tcAll + `","tcString":"` + tcSome + `"}}`, schemas.RefusedInEvent},
		{"TCF is an object", `{"consent":{"tcf":{"string":"` + tcAll + `"}}}`, schemas.RefusedInEvent},
		{"GPP, advertising only", `{"consent":{"gpp":"` + gppOptedOut + `"}}`, schemas.ConsentGiven},
		{"GPP with TCF", `{"consent":{"gpp":"DBABMA~` + tcSome + `"}}`, schemas.RefusedInEvent},
		{"GPP that is none", `{"consent":{"gppString":"D"}}`, schemas.RefusedInEvent},
		{"GPC, advertising only", `{"gpc":true}`, schemas.ConsentGiven},
		{"Google", `{"consent":{"googleConsentMode":` + googleGranted + `}}`, schemas.ConsentGiven},
		{"Google, empty", `{"consent":{"googleConsentMode":{}}}`, schemas.RefusedInEvent},
		{"gcs", `{"consent":{"gcs":"G101"}}`, schemas.ConsentGiven},
		{"gcs denied", `{"consent":{"gcs":"G110"}}`, schemas.RefusedInEvent},
		{"one of several refuses", `{"gpc":"0","consent":{"tcf":"` + tcAll + `","categoryPreferences":{"Analytics":false}}}`, schemas.RefusedInEvent},
	}
	dir := t.TempDir()
	amy := schemas.NewSubject(schemas.UserID, "amy-7")
	write(t, dir, "ledger/ledger.jsonl", string(schemas.AppendRecord(nil, schemas.Record{
		Verb: schemas.Grant, Principal: amy, Purpose: schemas.Analytics, Proven: true,
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), Version: 1,
	}))+"\n")
	var events strings.Builder
	const track = `{"type":"track","messageId":"message-%03d","userId":%q,"event":"Seen","timestamp":"2026-06-01T12:00:00Z","context":%s}` + "\n"
	for i, c := range cases {
		fmt.Fprintf(&events, track, i, "amy-7", c.context)
	}
	for i, c := range cases { // consent in an event is no consent
		fmt.Fprintf(&events, track, len(cases)+i, "stranger", c.context)
	}
	write(t, dir, "events/a.jsonl", events.String())

	j := newJob(t, nil, dir, time.Second)
	code, out, errs := command(t, "backfill", "-c", j.config, "--log-level", "debug")
	if code != exitOK {
		t.Fatalf("exit code %d; stderr:\n%s", code, errs)
	}
	tracks := readTables(t, j.warehouse())["tracks"]
	reason, subject, id := tracks.column(t, "reason"), tracks.column(t, "subject_token"), tracks.column(t, "id")
	found := tracks.places(t)
	for i := range 2 * len(cases) {
		c, want := cases[i%len(cases)], schemas.NoRecord
		if i < len(cases) {
			want = c.want
		}
		row := found[place{pipeline.Partition{Topic: filepath.Join(dir, "events/a.jsonl")}, int64(i)}]
		kept := want == schemas.ConsentGiven
		switch {
		case row == nil:
			t.Errorf("%s: no row", c.name)
		case row[reason] != want.String():
			t.Errorf("%s: reason %s, want %s", c.name, row[reason], want)
		case (row[subject] != null) != kept, (row[id] != null) != kept:
			t.Errorf("%s: kept is %v, and the row has a token is %v and an id is %v", c.name, kept, row[subject] != null, row[id] != null)
		}
	}

	if code, out, errs := command(t, "verify", "-c", j.config, "--still"); code != exitOK {
		t.Errorf("verify: code %d, %s\n%s", code, errs, out)
	}

	left := readTree(t, j.dir)
	left = append(left, section{place: "stdout", data: []byte(out)}, section{place: "stderr", data: []byte(errs)})
	holds := func(text string) (places []string) {
		for _, s := range left {
			if bytes.Contains(s.data, []byte(text)) {
				places = append(places, s.place)
			}
		}
		return places
	}
	for _, text := range []string{secret, tcAll, tcSome, tcOld, gppOptedOut, "categoryPreferences\":", "deniedConsentIds", "G101", "amy-7"} {
		if places := holds(text); places != nil {
			t.Errorf("%d characters of a signal are in %v", len(text), places)
		}
	}
	if places := holds("message-000"); places == nil {
		t.Error("a value that is kept is not found: the search finds nothing")
	}
}

// decidedRows is what became of messages, by their index.
type decidedRow struct {
	reason  schemas.Reason
	verdict pipeline.Verdict
	granted schemas.PurposeSet
}

// decider decodes messages by the embedded contracts and decides them.
type decider struct {
	contracts []*schemas.Contract
	decoder   *decode.JSON
	stage     *consent.Stage
}

func newDecider(t *testing.T, ledger []sample.Message) *decider {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lupa.keys")
	if err := keys.Init(file, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	keyset, err := keys.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := keyset.DomainWith(schemas.LedgerDomain, keys.Options{PhoneRegion: sample.DefaultRegion})
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := narrower(schemas.DefaultVocabulary(), &EventsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	view, err := consent.NewView(tokens, consent.Options{Narrow: narrow, Now: func() int64 { return time.Now().UnixMicro() }})
	if err != nil {
		t.Fatal(err)
	}
	var names, values [][]byte
	for _, m := range ledger {
		names, values = append(names, m.Key), append(values, m.Value)
	}
	if _, err := view.Apply(names, values); err != nil {
		t.Fatal(err)
	}
	d := &decider{contracts: schemas.DefaultContracts(), stage: consent.NewStage(view, tokens)}
	if d.decoder, err = decode.NewJSON(d.contracts, decode.Options{MaxDepth: sample.MaxDepth}); err != nil {
		t.Fatal(err)
	}
	return d
}

// decide gives what becomes of those messages that are rows.
func (d *decider) decide(t *testing.T, messages [][]byte) map[int]decidedRow {
	t.Helper()
	m := schemas.Messages{}
	for _, text := range messages {
		m.Values = append(m.Values, schemas.Span{Off: uint32(len(m.Arena)), Len: uint32(len(text))})
		m.Arena, m.Times = append(m.Arena, text...), append(m.Times, pipeline.NoTime)
	}
	m.Arena = append(m.Arena, make([]byte, pipeline.ArenaSlack)...)
	tables, _, err := d.decoder.Decode(t.Context(), "", &m)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int]decidedRow{}
	for c, table := range tables {
		if table.Record == nil {
			continue
		}
		b := &pipeline.Batch{Contract: d.contracts[c], Table: c, Raw: table.Record}
		for _, i := range table.Message {
			b.Offsets = append(b.Offsets, int64(i))
		}
		if err := d.stage.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for row, i := range table.Message {
			rows[int(i)] = decidedRow{b.Reasons[row], b.Verdicts[row], b.Granted[row]}
		}
	}
	return rows
}

// TestSignalsNeverWiden puts random signals into events, before what they have:
// none of them gets more than it had without.
func TestSignalsNeverWiden(t *testing.T) {
	t.Parallel()
	s := theSample(t)
	var events [][]byte
	for _, m := range s.Events() {
		if json.Valid(m.Value) && bytes.HasPrefix(m.Value, []byte("{")) && len(m.Value) > 2 {
			events = append(events, m.Value)
		}
	}
	d := newDecider(t, s.Ledger())
	before := d.decide(t, events)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	values := []string{
		`null`, `true`, `false`, `"1"`, `"0"`, `{}`, `[]`, `""`, `{"Analytics":true}`, `{"Analytics":false}`, `{"C0004":false,"C0002":true}`,
		`{"deniedConsentIds":[]}`, `{"deniedConsentIds":["C0004"]}`, `{"allowedConsentIds":["C0001","C0002","C0003","C0004","C0005"]}`,
		`"` + tcAll + `"`, `"` + tcSome + `"`, `"` + tcOld + `"`, `"` + gppOptedOut + `"`, `"DBAA"`, `"G111"`, `"G100"`, googleGranted,
	}
	refused, fewer := 0, 0
	for range 5 {
		with := make([][]byte, len(events))
		for i, event := range events {
			signals := fmt.Sprintf(`{"context":{"%s":%s,"consent":{"%s":%s,"%s":%s}},`, pick("consentManagement", "gpc"), pick(values...),
				pick("categoryPreferences", "tcf", "gpp"), pick(values...), pick("tcString", "googleConsentMode", "gcs", "gpc"), pick(values...))
			with[i] = append([]byte(signals), event[1:]...)
		}
		after := d.decide(t, with)
		if len(after) != len(before) {
			t.Fatalf("%d rows with signals, %d without", len(after), len(before))
		}
		for i, old := range before {
			now := after[i]
			switch {
			case now.granted&^old.granted != 0:
				t.Errorf("event %d: granted %s, and %s without signals", i, now.granted, old.granted)
			case old.verdict != pipeline.KeepRow && now != decidedRow{old.reason, old.verdict, now.granted}:
				t.Errorf("event %d: %s with signals, and %s without", i, now.reason, old.reason)
			case now.reason != old.reason && now.reason != schemas.RefusedInEvent, now.reason == schemas.RefusedInEvent && now.verdict == pipeline.KeepRow:
				t.Errorf("event %d: %s, and the verdict is %d", i, now.reason, now.verdict)
			}
			if now.reason == schemas.RefusedInEvent {
				refused++
			} else if old.verdict == pipeline.KeepRow && now.granted != old.granted {
				fewer++
			}
		}
	}
	if refused == 0 || fewer == 0 {
		t.Errorf("%d rows refused, %d with fewer purposes: nothing was tested", refused, fewer)
	}
}

// TestSignalsOfOthers reads the events of vendors' documents and tests. Few
// carry consent; what they do must be as their words are.
func TestSignalsOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dir, file             string
		rows, carry, refusing int // at least so many rows; of them exactly so many
	}{
		{"segment-docs", "examples.jsonl", 90, 1, 1},
		{"rudder-transformer", "events.jsonl", 1000, 0, 0},
		{"rudderstack-docs", "examples.jsonl", 40, 0, 0},
	} {
		t.Run(c.dir, func(t *testing.T) {
			data := readAll(t, sharedData(t, c.dir, c.file))
			contracts := schemas.DefaultContracts()
			d, err := decode.NewJSON(contracts, decode.Options{})
			if err != nil {
				t.Fatal(err)
			}
			narrow, err := narrower(schemas.DefaultVocabulary(), &EventsConfig{})
			if err != nil {
				t.Fatal(err)
			}
			m := schemas.Messages{Arena: append(data, make([]byte, pipeline.ArenaSlack)...)}
			at := 0
			for line := range bytes.Lines(data) {
				m.Values = append(m.Values, schemas.Span{Off: uint32(at), Len: uint32(len(bytes.TrimRight(line, "\n")))})
				m.Times = append(m.Times, 0)
				at += len(line)
			}
			tables, _, err := d.Decode(t.Context(), "", &m)
			if err != nil {
				t.Fatal(err)
			}
			rows, carry, refusing := 0, 0, 0
			for i, table := range tables {
				if table.Record == nil {
					continue
				}
				n := int(table.Record.NumRows())
				permitted := make([]schemas.PurposeSet, n)
				for row := range permitted {
					permitted[row] = schemas.AllPurposes
				}
				if err := narrow.Narrow(&pipeline.Batch{Contract: contracts[i], Raw: table.Record}, permitted); err != nil {
					t.Fatal(err)
				}
				for row := range permitted {
					for _, s := range contracts[i].Signals {
						if table.Record.Column(s.Field).IsValid(row) {
							carry++
						}
					}
					if !permitted[row].Covers(contracts[i].Purposes) {
						refusing++
					}
				}
				rows += n
			}
			if rows < c.rows || carry != c.carry || refusing != c.refusing {
				t.Errorf("%d rows, %d signals, %d refuse; want %d at least, %d and %d", rows, carry, refusing, c.rows, c.carry, c.refusing)
			}
		})
	}
}
