package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// TestVerifyAgreesOnRandomHistories lets a backfill and the oracle decide the
// same events of a few people of whom everything is said that a ledger can say.
func TestVerifyAgreesOnRandomHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { verifyHistories(t, seed) })
	}
}

func verifyHistories(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, seed))
	var ledger, events []sample.Message
	for person := range 150 {
		ledger = append(ledger, history(r, person)...)
		for range 6 {
			events = append(events, anEvent(t, r, person))
		}
	}
	data := t.TempDir()
	for dir, list := range map[string][]sample.Message{"events": events, "ledger": ledger} {
		if err := os.Mkdir(filepath.Join(data, dir), 0o750); err != nil {
			t.Fatal(err)
		}
		writeLines(t, filepath.Join(data, dir, "a.jsonl"), list)
	}
	j := newJob(t, nil, data, time.Second)
	j.backfill(t).end(t, exitOK)
	code, out, errs := command(t, "verify", "-c", j.config)
	if code != exitOK || errs != "" {
		t.Fatalf("code %d, stderr %q; it says:\n%s", code, errs, out)
	}
	met := map[string]int{}
	tracks := readTables(t, j.warehouse())["tracks"]
	for _, row := range tracks.places(t) {
		met[row[tracks.column(t, "reason")]]++
	}
	for _, reason := range []schemas.Reason{schemas.ConsentGiven, schemas.Residency, schemas.Expired, schemas.Minor, schemas.Restricted} {
		if met[reason.String()] == 0 {
			t.Errorf("no row is %s: %v", reason, met)
		}
	}
}

// namesOf gives the identifiers of one made-up person; the device is its family's.
func namesOf(person int) [4]schemas.Subject {
	return [...]schemas.Subject{
		schemas.NewSubject(schemas.UserID, fmt.Sprintf("user-%05d", person)),
		schemas.NewSubject(schemas.AnonymousID, fmt.Sprintf("anonymous-%05d", person)),
		schemas.NewSubject(schemas.Email, fmt.Sprintf("person%05d@posti.example", person)),
		schemas.NewSubject(schemas.DeviceID, fmt.Sprintf("tablet-%05d", person/4)),
	}
}

// history is what is said of one person: mostly consent at first, and then
// anything.
func history(r *rand.Rand, person int) (list []sample.Message) {
	who := namesOf(person)
	verbs := []schemas.Verb{
		schemas.Grant, schemas.Refuse, schemas.Withdraw, schemas.Object, schemas.Expire, schemas.Erase, schemas.Retain, schemas.Restrict,
		schemas.Lift, schemas.Link, schemas.Link, schemas.Unlink, schemas.Born, schemas.GuardianGrant, schemas.GuardianWithdraw,
	}
	for n := range 2 + r.IntN(8) {
		rec := schemas.Record{Verb: verbs[r.IntN(len(verbs))], Principal: who[r.IntN(len(who))], Version: int64(n),
			Time: sample.Base().Add(time.Duration(r.IntN(72)-24) * time.Hour).UnixMicro()}
		if n < 2 {
			rec.Verb, rec.Principal, rec.Time = schemas.Grant, who[n%2], sample.Base().Add(-time.Hour).UnixMicro()
		}
		switch rec.Verb {
		case schemas.Erase:
			rec.Every = true
		case schemas.Link, schemas.Unlink:
			rec.Principal, rec.Other = who[0], who[1+r.IntN(3)]
			rec.Shared = rec.Verb == schemas.Link && rec.Other == who[3]
		case schemas.Retain:
			rec.Terms.Fields, rec.Terms.Basis = "event,user_id", "eu-gdpr:A6-1-c"
			rec.Until = sample.Base().AddDate(60*(1+r.IntN(2))-60+r.IntN(2)*80, 0, 7).UnixMicro()
		case schemas.Born:
			rec.Until = sample.Base().AddDate(-5-r.IntN(30), 0, 0).Truncate(24 * time.Hour).UnixMicro()
			rec.Terms.Country = []string{"FI", "FR", "DE", ""}[r.IntN(4)]
		case schemas.Grant, schemas.GuardianGrant:
			rec.Purpose, rec.Proven = purposeOf(r), r.IntN(8) > 0
			rec.Pending = !rec.Proven && r.IntN(2) == 0
			switch r.IntN(8) {
			case 0:
				rec.Until = sample.Base().Add(time.Duration(r.IntN(72)) * time.Hour).UnixMicro()
			case 1:
				rec.Terms.Regions = "CH"
			}
		case schemas.Refuse, schemas.Withdraw, schemas.Object, schemas.Expire, schemas.GuardianWithdraw:
			if rec.Purpose = purposeOf(r); r.IntN(4) == 0 {
				rec.Purpose, rec.Every = schemas.NoPurpose, true
			}
		}
		list = append(list, sample.Message{Key: schemas.AppendRecordKey(nil, rec), Value: schemas.AppendRecord(nil, rec)})
	}
	return list
}

func purposeOf(r *rand.Rand) schemas.Purpose {
	return []schemas.Purpose{schemas.Analytics, schemas.Analytics, schemas.DirectMarketingEmail, schemas.Profiling}[r.IntN(4)]
}

// anEvent names some of the identifiers of one person.
func anEvent(t *testing.T, r *rand.Rand, person int) sample.Message {
	t.Helper()
	who := namesOf(person)
	e := object{"type": []string{"track", "identify"}[r.IntN(2)], "event": "Seen", "userId": who[0].Reveal(),
		"timestamp": sample.Base().Add(time.Duration(r.IntN(72*60)) * time.Minute).Format(time.RFC3339)}
	if r.IntN(2) == 0 {
		e["anonymousId"] = who[1].Reveal()
	}
	if r.IntN(3) == 0 {
		e["context"] = object{"device": object{"id": who[3].Reveal()}}
		if r.IntN(3) == 0 {
			delete(e, "userId")
			delete(e, "anonymousId")
		}
	}
	if r.IntN(3) == 0 {
		e["traits"] = object{"email": who[2].Reveal()}
	}
	value, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return sample.Message{Value: value}
}
