package main

import (
	"testing"

	"lupa/schemas"
)

// Of two records of one key and version, compaction must leave the one that
// permits less, whichever comes first.
func TestImportStanding(t *testing.T) {
	proven := schemas.Record{Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Time: 9, Version: 1}
	with := func(r schemas.Record, change func(*schemas.Record)) schemas.Record {
		change(&r)
		return r
	}
	is := func(verb schemas.Verb) schemas.Record {
		return schemas.Record{Verb: verb, Purpose: schemas.Analytics, Time: 9, Version: 1}
	}
	every := func(at int64) schemas.Record {
		return schemas.Record{Verb: schemas.Withdraw, Every: true, Time: at, Version: 1}
	}
	group := func(at int64) schemas.Record {
		return schemas.Record{Verb: schemas.Withdraw, Purpose: schemas.FirstGroup, Time: at, Version: 1}
	}
	for _, c := range []struct {
		name         string
		stands, goes schemas.Record
	}{
		{"a restriction and its lift", is(schemas.Restrict), is(schemas.Lift)},
		{"an objection and an expiry", is(schemas.Object), is(schemas.Expire)},
		{"a withdrawal and an expiry", is(schemas.Withdraw), is(schemas.Expire)},
		{"a refusal and an expiry", is(schemas.Refuse), is(schemas.Expire)},
		{"an objection and a withdrawal", is(schemas.Object), is(schemas.Withdraw)},
		{"an expiry and a grant", is(schemas.Expire), proven},
		{"a guardian's two words", is(schemas.GuardianWithdraw), with(is(schemas.GuardianGrant), func(r *schemas.Record) { r.Proven = true })},
		{"an unlink and a link", is(schemas.Unlink), is(schemas.Link)},
		{"a grant that ends and one that does not", with(proven, func(r *schemas.Record) { r.Until = 99 }), proven},
		{"a grant that ends sooner", with(proven, func(r *schemas.Record) { r.Until = 50 }), with(proven, func(r *schemas.Record) { r.Until = 99 })},
		{"a grant for a region and one for all", with(proven, func(r *schemas.Record) { r.Terms.Regions = "EU" }), proven},
		{"a link to what is shared", with(is(schemas.Link), func(r *schemas.Record) { r.Shared = true }), is(schemas.Link)},
		{"a later birthday", schemas.Record{Verb: schemas.Born, Version: 1, Until: 9}, schemas.Record{Verb: schemas.Born, Version: 1, Until: 5}},
		{"a duty that ends sooner", schemas.Record{Verb: schemas.Retain, Version: 1, Until: 5}, schemas.Record{Verb: schemas.Retain, Version: 1, Until: 9}},
		{"a later denial of every purpose", every(9), every(5)},
		{"a later denial of a group", group(9), group(5)},
		{"a later grant", with(proven, func(r *schemas.Record) { r.Time = 12 }), proven},
		{"an earlier withdrawal", with(is(schemas.Withdraw), func(r *schemas.Record) { r.Time = 3 }), is(schemas.Withdraw)},
	} {
		a, b := standingOf(&c.stands, false), standingOf(&c.goes, false)
		if !a.stands(b) || b.stands(a) || a.stands(a) || b.stands(b) {
			t.Errorf("%s: the wrong one stands", c.name)
		}
	}
}
