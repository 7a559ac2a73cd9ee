package oracle

import (
	"slices"
	"testing"

	"lupa/schemas"
)

// TestRowsOfTheWholeLedger judges rows that a sound job could have written, and
// each of them broken in one way. The commit of all is on day 100; its message
// was sent on day 10, when the event was too.
func TestRowsOfTheWholeLedger(t *testing.T) {
	grant := say(schemas.Grant, her, 0, 1)
	erased := []recordOf{grant, say(schemas.Erase, her, 20, 1)}
	duty := say(schemas.Retain, her, 20, 1).until(at(200))
	retained := append(slices.Clone(erased), duty)
	link := say(schemas.Link, her, 0, 1).with(mail)
	kept := row{reason: "consent_given", purposes: schemas.Purposes(schemas.Analytics), hasPurposes: true, hasBasis: true}
	rest := row{reason: "retained", hasBasis: true, basis: "eu-gdpr:A6-1-c", retention: lastDay(at(200))}
	change := func(r row, change func(*row)) row { change(&r); return r }
	for _, c := range []struct {
		name     string
		records  []recordOf
		row      row
		fields   []string // that it has
		signals  bool
		violated []string
	}{
		{"kept", []recordOf{grant}, kept, []string{"event"}, false, nil},
		{"kept of somebody who is restricted", []recordOf{grant, say(schemas.Restrict, her, 50, 1)}, kept, nil, false, []string{"I4"}},
		{"kept after a restriction was lifted", []recordOf{grant, say(schemas.Restrict, her, 50, 1), say(schemas.Lift, her, 60, 2)}, kept, nil, false, nil},
		{"kept of a child", []recordOf{grant, say(schemas.Born, her, 0, 1)}, kept, nil, false, []string{"I4"}},
		{"kept of a child with a guardian", []recordOf{say(schemas.GuardianGrant, her, 0, 1), say(schemas.Born, her, 0, 1)}, kept, nil, false, nil},
		{"kept under a grant that had run out before the message", []recordOf{grant.until(at(9))}, kept, nil, false, []string{"I4"}},
		{"kept under a grant that ran out before the commit", []recordOf{grant.until(at(50))}, kept, nil, false, nil},
		{"kept under a grant that ran out at the event", []recordOf{grant.until(at(10))}, kept, nil, false, []string{"I4"}},
		{"kept under a grant that waits", []recordOf{grant.pending()}, kept, nil, false, []string{"I4"}},
		{"kept under a grant for another region", []recordOf{grant.in("SE")}, kept, nil, false, []string{"I4"}},
		{"kept under the grant of a linked address", []recordOf{say(schemas.Grant, mail, 0, 1), link}, kept, nil, false, nil},
		{"kept under the grant of an unlinked address", []recordOf{say(schemas.Grant, mail, 0, 1), link, say(schemas.Unlink, her, 50, 2).with(mail)}, kept, nil, false, []string{"I4"}},
		{"kept of somebody who is erased and retained", retained, kept, nil, false, []string{"I6"}},

		{"retained", retained, rest, []string{"event", "user_id"}, false, nil},
		{"retained without all of it", retained, rest, []string{"event"}, false, nil},
		{"retained, a field that no duty names", retained, rest, []string{"event", "anonymous_id"}, false, []string{"I4"}},
		{"retained with a subject", retained, change(rest, func(r *row) { r.subject = token{1} }), nil, false, []string{"I4"}},
		{"retained with purposes", retained, change(rest, func(r *row) { r.hasPurposes = true }), nil, false, []string{"I4"}},
		{"retained for a day too long", retained, change(rest, func(r *row) { r.retention++ }), nil, false, []string{"I4"}},
		{"retained for a day too short", retained, change(rest, func(r *row) { r.retention-- }), nil, false, []string{"I4"}},
		{"retained without an end", retained, change(rest, func(r *row) { r.retention = 0 }), nil, false, []string{"I4"}},
		{"retained under another law", retained, change(rest, func(r *row) { r.basis = "eu-gdpr:A6-1-a" }), nil, false, []string{"I4"}},
		{"retained and never erased", []recordOf{grant, duty}, rest, nil, false, []string{"I4"}},
		{"retained without a duty", erased, rest, nil, false, []string{"I4"}},
		{"retained by a duty that had ended", append(slices.Clone(erased), say(schemas.Retain, her, 0, 1).until(at(9))), change(rest, func(r *row) { r.retention = lastDay(at(9)) }), nil, false, []string{"I4"}},
		{"retained by two duties, a field of the shorter too long", append(slices.Clone(erased), say(schemas.Retain, her, 20, 1).until(at(150)), recordOf{retain("anonymous_id")}.until(at(200))),
			rest, []string{"user_id"}, false, []string{"I4"}},
		{"retained by two duties until the first ends", append(slices.Clone(erased), say(schemas.Retain, her, 20, 1).until(at(150)), recordOf{retain("anonymous_id")}.until(at(200))),
			change(rest, func(r *row) { r.retention = lastDay(at(150)) }), []string{"event", "anonymous_id"}, false, nil},

		{"masked", []recordOf{grant, say(schemas.Restrict, her, 50, 1)}, row{reason: "restricted"}, []string{"event"}, false, nil},
		{"masked with a legal basis", []recordOf{grant, say(schemas.Restrict, her, 50, 1)}, row{reason: "restricted", hasBasis: true}, nil, false, []string{"I4"}},
		{"masked of somebody who is erased", erased, row{reason: "restricted"}, nil, false, []string{"I6"}},
		{"masked for what the event says", []recordOf{grant}, row{reason: "refused_in_event"}, nil, true, nil},
		{"masked for what the event does not say", []recordOf{grant}, row{reason: "refused_in_event"}, nil, false, []string{"I4"}},
		{"masked for what the event says, though the ledger weighs more", []recordOf{grant, say(schemas.Withdraw, her, 20, 2)}, row{reason: "refused_in_event"}, nil, true, []string{"I4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudged(t, defaults(t))
			l := j.emptyLedger(1000)
			for i, r := range c.records {
				m := &message{offset: int64(i), time: r.Time, key: schemas.AppendRecordKey(nil, r.Record), value: schemas.AppendRecord(nil, r.Record)}
				if err := l.add(j.check.keys, place0, m); err != nil {
					t.Fatal(err)
				}
			}
			j.check.ledger, j.check.judge, j.check.in.Now = l, &judge{}, day0.AddDate(0, 0, 300)
			tracks := j.table(t, "tracks")
			tracks.files = []dataFile{{path: "f", cut: l.whole(), known: true, until: nowT}}
			r := c.row
			r.filled, r.tokens = make([]bool, len(tracks.contract.Fields)), make([]token, len(tracks.contract.Fields))
			cells := make([]any, len(tracks.contract.Fields))
			for i := range tracks.contract.Fields {
				r.filled[i] = slices.Contains(c.fields, tracks.contract.Fields[i].Name)
			}
			id, _ := j.check.keys.ident(principal{kind: her.Kind, raw: her.Reveal()})
			k := &rowCase{event: event{tracks.contract, []ident{id}, at(10), at(10)}, table: tracks, row: &r, from: at(10), signals: c.signals}
			k.now = l.outcomes(l.whole(), k.event, k.from, nowT)
			j.check.judgeStored(k, cells)
			if got := j.check.report().Violated(); !slices.Equal(got, c.violated) {
				t.Errorf("violated %v, want %v: %+v", got, c.violated, j.check.found[consented].Violations)
			}
		})
	}
}

func retain(fields string) schemas.Record {
	r := said0(schemas.Retain, her, 20, 1)
	r.Terms.Fields = fields
	return r
}
