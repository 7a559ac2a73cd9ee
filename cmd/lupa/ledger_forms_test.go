package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// A saying is a change of a table of consents: a row as it was and as it is. One
// of them may be nothing.
type saying struct {
	pk          int
	before, now *consentRow
	seq         int64
}

// A ledgerForm is a way to write the same consent.
type ledgerForm struct {
	name       string
	config     string // of the ledger
	mapping    string
	partitions int32
	write      func(t *testing.T, s saying) []sample.Message
}

// ledgerForms are all of them. The first is the JSON of the records.
func ledgerForms(t *testing.T, book schemaBook, all []saying) []ledgerForm {
	t.Helper()
	looks := &eventShape{}
	for _, s := range all {
		for _, m := range recordsOf(s) {
			if v := parseEvent(t, m.Value); v != nil {
				if err := looks.learn(v); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	avro, proto, text := newAvroWriter(t, looks, schemaNote), newProtoWriter(t, looks, schemaNote), avroWriterOf(t, nil, "string")
	avroID, protoID, jsonID, textID := book.add("AVRO", avro.text), book.add("PROTOBUF", proto.text), book.add("JSON", jsonSchemaText), book.add("AVRO", text.text)
	const byRegistry, byMapping = "  encoding: registry\n", "  mapping: ./ledger.yaml\n"
	// each writes the records of a saying with their values in another form.
	each := func(value func(t *testing.T, text []byte) []byte, key func(*testing.T, []byte) []byte) func(*testing.T, saying) []sample.Message {
		return func(t *testing.T, s saying) (list []sample.Message) {
			for _, m := range recordsOf(s) {
				if m.Value != nil {
					m.Value = value(t, m.Value)
				}
				list = append(list, sample.Message{Key: key(t, m.Key), Value: m.Value})
			}
			return list
		}
	}
	asIs := func(_ *testing.T, text []byte) []byte { return text }
	schemaKey := func(t *testing.T, key []byte) []byte { return inFront(textID, text.marshal(t, string(key))) }
	changes := func(kind, version string) string { return fmt.Sprintf(changesMapping, kind, version) }
	one := func(change func(*testing.T, saying) any) func(*testing.T, saying) []sample.Message {
		return func(t *testing.T, s saying) []sample.Message {
			value, err := json.Marshal(change(t, s))
			if err != nil {
				t.Fatal(err)
			}
			return []sample.Message{{Key: fmt.Appendf(nil, `{"pk":%d}`, s.pk), Value: value}}
		}
	}
	return []ledgerForm{
		{"json", "", "", 2, each(asIs, asIs)},
		{"avro", byRegistry, "", 2, each(func(t *testing.T, text []byte) []byte { return inFront(avroID, avro.write(t, parseEvent(t, text))) }, schemaKey)},
		{"protobuf", byRegistry, "", 2, each(func(t *testing.T, text []byte) []byte {
			return inFront(protoID, append([]byte(protoIndexes), proto.write(t, parseEvent(t, text))...))
		}, asIs)},
		{"json-schema", byRegistry, "", 2, each(func(_ *testing.T, text []byte) []byte { return inFront(jsonID, text) }, schemaKey)},
		{"debezium", byMapping, changes("debezium", "lsn"), 2, func(t *testing.T, s saying) []sample.Message {
			list := []sample.Message{{Key: fmt.Appendf(nil, `{"pk":%d}`, s.pk), Value: debeziumChange(t, s.pk%2 == 0, s.op("c", "u", "d"), int(s.seq), s.before, s.now)}}
			if s.now == nil {
				list = append(list, sample.Message{Key: list[0].Key})
			}
			return list
		}},
		{"debezium with a registry", byRegistry + byMapping, changes("debezium", "lsn"), 2, func(t *testing.T, s saying) []sample.Message {
			return []sample.Message{{Key: fmt.Append(nil, s.pk), Value: inFront(jsonID, debeziumChange(t, false, s.op("r", "u", "d"), int(s.seq), s.before, s.now))}}
		}},
		{"canal", byMapping, changes("canal", "{path: seq}"), 2, one(func(t *testing.T, s saying) any {
			row := s.now
			if row == nil {
				row = s.before
			}
			change := map[string]any{"type": s.op("INSERT", "UPDATE", "DELETE"), "es": 1767323045000, "data": []any{row}, "old": nil}
			if s.before != nil && s.now != nil {
				change["old"] = []any{s.old(t)}
			}
			return change
		})},
		{"maxwell", byMapping, changes("maxwell", "{path: seq}"), 2, one(func(t *testing.T, s saying) any {
			row := s.now
			if row == nil {
				row = s.before
			}
			change := map[string]any{"type": s.op("insert", "update", "delete"), "ts": 1767323045, "data": row}
			if s.before != nil && s.now != nil {
				change["old"] = s.old(t)
			}
			return change
		})},
		// A row says nothing of what it was: tombstones do, in order with the rows.
		{"rows", byMapping, changes("none", "{path: seq}"), 1, func(t *testing.T, s saying) (list []sample.Message) {
			for _, m := range recordsOf(s) {
				if m.Value == nil {
					list = append(list, m)
				}
			}
			if s.now == nil {
				return list
			}
			value, err := json.Marshal(s.now)
			if err != nil {
				t.Fatal(err)
			}
			return append(list, sample.Message{Key: fmt.Append(nil, s.pk), Value: value})
		}},
	}
}

// op gives what a change is called.
func (s *saying) op(insert, update, remove string) string {
	switch {
	case s.before == nil:
		return insert
	case s.now == nil:
		return remove
	}
	return update
}

// old gives the columns that have changed, as they were.
func (s *saying) old(t *testing.T) map[string]any {
	t.Helper()
	var before, now map[string]any
	for row, into := range map[*consentRow]*map[string]any{s.before: &before, s.now: &now} {
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range now {
		if old, had := before[name]; had && old == value {
			delete(before, name)
		} else if !had {
			before[name] = nil
		}
	}
	return before
}

// recordsOf gives the messages of a ledger that say the same: what a row has no
// more is deleted, and what it has is said of each of its identifiers.
func recordsOf(s saying) (list []sample.Message) {
	now := s.now.records()
	for _, old := range s.before.records() {
		same := func(r schemas.Record) bool {
			return string(schemas.AppendRecordKey(nil, r)) == string(schemas.AppendRecordKey(nil, old))
		}
		if old.Verb != schemas.Link && !slices.ContainsFunc(now, same) {
			list = append(list, sample.Message{Key: schemas.AppendRecordKey(nil, old)})
		}
	}
	for _, r := range now {
		list = append(list, sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)})
	}
	return list
}

// records gives the records that a row stands for.
func (r *consentRow) records() (list []schemas.Record) {
	if r == nil {
		return nil
	}
	at, err := time.Parse(time.RFC3339, r.At)
	if err != nil {
		panic(err) // every row is made here
	}
	purpose := map[string]string{"stats": "analytics", "news": "direct_marketing_email"}[r.List]
	vocabulary := schemas.DefaultVocabulary()
	record := schemas.Record{Time: at.UnixMicro(), Version: r.Seq}
	link := record
	switch r.Status {
	case "yes", "wait":
		record.Verb, record.Purpose = schemas.Grant, vocabulary.Granted(purpose)
		record.Proven, record.Pending = r.Status == "yes" && r.Notice != nil, r.Status == "wait"
		record.Terms = schemas.Terms{Method: r.How, System: "crm"}
		if r.Notice != nil {
			record.Terms.Notice = *r.Notice
		}
	case "no":
		record.Verb, record.Purpose = schemas.Refuse, vocabulary.Granted(purpose)
	case "left":
		record.Verb, record.Purpose = schemas.Withdraw, vocabulary.Granted(purpose)
	case "opposed":
		record.Verb = schemas.Object
		record.Purpose, record.Every = vocabulary.Objected(purpose)
	case "gone":
		record.Verb, record.Every = schemas.Erase, true
	case "frozen":
		record.Verb = schemas.Restrict
	case "thawed":
		record.Verb = schemas.Lift
	}
	for _, who := range []schemas.Subject{schemas.NewSubject(schemas.UserID, r.ID), schemas.NewSubject(schemas.Email, r.Mail)} {
		if who.Reveal() == "" {
			continue
		}
		record.Principal = who
		list = append(list, record)
	}
	if len(list) == 2 {
		link.Verb, link.Principal, link.Other = schemas.Link, list[0].Principal, list[1].Principal
		list = append([]schemas.Record{link}, list...)
	}
	return list
}

// madeUpSayings are histories of people's rows, in the order in which they were
// said, and events of the same people and of strangers.
func madeUpSayings(r *rand.Rand, people int) (all []saying, events []sample.Message) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	any := func(list ...string) string { return list[r.IntN(len(list))] }
	rows := map[int]*consentRow{}
	mails := map[int]string{}
	for i := range people {
		if r.IntN(2) == 0 {
			mails[i] = fmt.Sprintf("canary-%d@example.com", i)
		}
	}
	steps := people * 6
	for step := range steps {
		person, list := r.IntN(people), r.IntN(5)
		pk := person*3 + min(list/2, 2)
		row := &consentRow{ID: fmt.Sprint("canary-", person), Mail: mails[person], How: "web form", List: "stats", Seq: int64(step + 1),
			At: base.Add(time.Duration(step) * 60 * time.Hour / time.Duration(steps)).Format(time.RFC3339)}
		if notice := "n1"; r.IntN(8) > 0 {
			row.Notice = &notice
		}
		switch pk % 3 {
		case 0:
			row.Status = any("yes", "yes", "yes", "yes", "no", "left", "wait", "opposed")
		case 1:
			row.List, row.Status = "news", any("yes", "yes", "yes", "left", "opposed", "wait")
		case 2:
			row.Status = any("frozen", "thawed", "thawed", "gone")
		}
		s := saying{pk: pk, before: rows[pk], now: row, seq: row.Seq}
		switch n := r.IntN(12); {
		case n == 0 && s.before != nil:
			s.now = nil
		case n == 1 && s.before != nil:
			mails[person] = fmt.Sprintf("canary-%d-%d@example.com", person, step)
			row.Mail = mails[person]
		}
		rows[pk] = s.now
		all = append(all, s)
	}
	for i := range people * 8 {
		person := i % (people + people/10)
		who := []string{`"userId":"canary-` + fmt.Sprint(person) + `"`}
		mail := `"context":{"traits":{"email":"` + mails[person] + `"}}`
		if mails[person] != "" {
			switch r.IntN(3) {
			case 0:
				who = []string{mail}
			case 1:
				who = append(who, mail)
			}
		}
		at := base.Add(time.Duration(r.Int64N(int64(90 * time.Hour)))).Format(time.RFC3339Nano)
		events = append(events, sample.Message{Key: fmt.Append(nil, person), Value: fmt.Appendf(nil,
			`{"type":"track","event":"Visit","messageId":"visit-%06d","timestamp":"%s",%s}`, i, at, strings.Join(who, ","))})
	}
	return all, events
}

// TestLedgerFormsAgree writes the same consent in every form that a ledger may
// have. The oracle judges the tables of the first, and those of all others must be
// the same.
func TestLedgerFormsAgree(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	suiteForms(t, fakeBed(t), r, func(j job) { r.configure(t, j) })
}

func suiteForms(t *testing.T, b *bed, book schemaBook, configure func(job)) {
	all, events := madeUpSayings(newRandom(t), 60)
	forms := ledgerForms(t, book, all)
	topics := b.topics(t, 2)
	ends := endsOf(b.mustPut(t, topics.events, events...)...)
	first := topics.job(t, 200*time.Millisecond)
	tables := func(form *ledgerForm) (job, *process) {
		own := *topics
		own.ledger, own.group = b.name("form"), b.name("form")
		if err := b.CreateTopic(own.ledger, form.partitions, nil); err != nil {
			t.Fatal(err)
		}
		var messages []sample.Message
		for _, s := range all {
			messages = append(messages, form.write(t, s)...)
		}
		b.mustPut(t, own.ledger, messages...)
		j := own.job(t, 200*time.Millisecond).sharing(t, first)
		j.change(t, "ledger:\n", "ledger:\n"+form.config)
		write(t, j.dir, "ledger.yaml", form.mapping)
		configure(j)
		p := j.stream(t)
		j.awaits(t, p, ends)
		p.stop(t, exitOK)
		if hasRaw([]byte(p.stderr.text() + p.stdout.String())) {
			t.Errorf("%s: something of a row is said", form.name)
		}
		return j, p
	}
	j, p := tables(&forms[0])
	verified(t, j, verifyOptions{still: true}, p)
	want := readTables(t, j.warehouse())
	for _, reason := range []schemas.Reason{schemas.ConsentGiven, schemas.Withdrawn, schemas.Refused, schemas.Objected, schemas.Erased, schemas.Restricted,
		schemas.Pending, schemas.Unproven, schemas.NoRecord, schemas.BeforeConsent} {
		if want["tracks"].counted(t, "reason."+reason.String()) == 0 {
			t.Errorf("no event is %s: nothing is compared", reason)
		}
	}
	var tests []subtest
	for i := range forms[1:] {
		form := &forms[1+i]
		tests = append(tests, subtest{form.name, func(t *testing.T) {
			j, p := tables(form)
			sameTables(t, want, readTables(t, j.warehouse()))
			(&sources{bedTopics: topics, j: j}).sound(t, p)
		}})
	}
	someAtOnce(t, 2, tests)
}
