package main

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"time"

	"lupa/schemas"
)

// identifier is somebody whom a message names.
type identifier struct {
	kind  schemas.IdentifierKind
	value string
}

// identifiers are all that a contract finds in a message.
func identifiers(c *schemas.Contract, object map[string]any) (list []identifier) {
	for i := range c.Fields {
		f := &c.Fields[i]
		for _, path := range f.Paths {
			value := scalarText(at(object, path))
			if value == "" {
				continue
			}
			for _, kind := range f.Identifiers {
				list = append(list, identifier{kind, value})
			}
		}
	}
	return list
}

// A fate is what the ledger says of an identifier.
type fate int

const (
	silent fate = iota
	granted
	refused
	withdrawn
	erased
	objected
	unproven
	late   // granted after every event
	partly // granted for the first purposes only
)

var (
	plainEmail = regexp.MustCompile(`^[a-z0-9]+([._+-][a-z0-9]+)*@([a-z0-9-]+\.)+[a-z]{2,}$`)
	plainPhone = regexp.MustCompile(`^\+[1-9][0-9]{7,14}$`)
)

// fateOf deals fates out by a hash, most of them grants. Two spellings of one
// address have one fate. Of what may not be readable as an address or number,
// so that the ledger cannot know it either, nothing is said.
func fateOf(id identifier) fate {
	value := id.value
	switch id.kind {
	case schemas.Email:
		if value = strings.ToLower(strings.TrimSpace(value)); !plainEmail.MatchString(value) {
			return silent
		}
	case schemas.Phone:
		if !plainPhone.MatchString(value) {
			return silent
		}
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s:%s", id.kind, value)
	deal := [...]fate{refused, withdrawn, erased, objected, unproven, late, silent, silent, partly, partly, partly, partly}
	n := int(h.Sum32()>>7) % 32
	switch {
	case n >= len(deal):
		return granted
	case id.kind == schemas.Phone:
		return silent
	}
	return deal[n]
}

// leakPurposes are what the contracts need. Who grants partly grants the first
// of them.
var leakPurposes = []schemas.Purpose{
	schemas.Analytics, schemas.DirectMarketingEmail,
	schemas.DirectMarketingSMS, schemas.Profiling, schemas.PersonalisedAdvertising,
}

const partlyGranted = 2

// fateFor is what the ledger says of an identifier in the eyes of a contract.
func fateFor(c *schemas.Contract, id identifier) fate {
	f := fateOf(id)
	switch {
	case f != partly:
		return f
	case schemas.Purposes(leakPurposes[:partlyGranted]...).Covers(c.Purposes):
		return granted
	}
	return silent
}

// ledger writes a ledger about everybody in the input.
func (j *leakJob) ledger() (text []byte) {
	seen := map[identifier]bool{}
	add := func(r schemas.Record) { text = append(schemas.AppendRecord(text, r), '\n') }
	day := func(year int) int64 { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	for _, m := range j.messages {
		for _, table := range m.tables {
			for _, id := range identifiers(j.contracts[table], m.object) {
				if seen[id] {
					continue
				}
				seen[id] = true
				for _, r := range story(fateOf(id), day) {
					r.Principal = schemas.NewSubject(id.kind, id.value)
					add(r)
				}
			}
		}
	}
	return text
}

// story makes the records of a fate, about nobody yet.
func story(f fate, day func(year int) int64) (list []schemas.Record) {
	switch f {
	case silent:
		return nil
	case erased:
		return []schemas.Record{{Verb: schemas.Erase, Every: true, Time: day(2300), Version: 1}}
	}
	for i, p := range leakPurposes {
		if f == partly && i == partlyGranted {
			break
		}
		grant := schemas.Record{Verb: schemas.Grant, Purpose: p, Time: day(1971), Version: 1, Proven: f != unproven}
		if f == late {
			grant.Time = day(2300)
		}
		list = append(list, grant)
		if verb, ok := map[fate]schemas.Verb{refused: schemas.Refuse, withdrawn: schemas.Withdraw, objected: schemas.Object}[f]; ok {
			list = append(list, schemas.Record{Verb: verb, Purpose: p, Time: day(2020), Version: 2})
		}
	}
	return list
}
