package oracle

import (
	"encoding/json"
	"errors"
	"strings"

	"lupa/schemas"
)

// record is what stands in a value.
type record struct {
	entry
	members    map[string]any
	names      lexicon
	who, other principal
}

// parseRecord reads a value. With an error the record has at least whom it is
// about, if that can be read.
func parseRecord(value []byte, n lexicon) (*record, error) {
	r := &record{names: n}
	members, err := object(value)
	if err != nil {
		return r, err
	}
	r.members = members
	text, ok := members["pii_principal_id"].(string)
	if ok {
		r.who, ok = parsePrincipal(text)
	}
	if !ok {
		r.who = principal{}
		return r, errors.New("no principal")
	}
	return r, r.read()
}

var errRecord = errors.New("not a record as the format has it")

func (r *record) read() error {
	m := r.members
	if !r.texts("record_id", "event_state", "verb", "purpose", "event_time") {
		return errRecord
	}
	version := m["schema_version"]
	if version != "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr" && version != "https://w3id.org/dpv/schema/dpv-27560#record" {
		return errRecord
	}
	if err := r.readVerb(); err != nil {
		return err
	}
	number, ok := m["sequence"].(json.Number)
	if !ok {
		return errRecord
	}
	sequence, err := number.Int64()
	if err != nil {
		return errRecord
	}
	r.version, r.kind = sequence, says
	if r.time, ok = recordTime(m["event_time"]); !ok && (m["event_time"] != nil || !r.isGrant()) {
		return errRecord
	}
	if r.verb == schemas.Link || r.verb == schemas.Unlink {
		return r.readLink()
	}
	if err := r.readPurpose(); err != nil {
		return err
	}
	if err := r.readProof(); err != nil {
		return err
	}
	return r.readTerms()
}

func (r *record) isGrant() bool { return r.verb == schemas.Grant || r.verb == schemas.GuardianGrant }

func (r *record) readLink() error {
	r.kind = links
	text, ok := r.members["linked_principal_id"].(string)
	if ok {
		r.other, ok = parsePrincipal(text)
	}
	if !ok || r.other == r.who {
		return errRecord
	}
	if v := r.members["shared"]; v != nil && r.verb == schemas.Link {
		if r.shared, ok = v.(bool); !ok {
			return errRecord
		}
	}
	return nil
}

// texts reports whether the members that are there are texts.
func (r *record) texts(names ...string) bool {
	for _, name := range names {
		if _, ok := r.members[name].(string); r.members[name] != nil && !ok {
			return false
		}
	}
	return true
}

func (r *record) readVerb() error {
	state, _ := r.members["event_state"].(string)
	name, _ := r.members["verb"].(string)
	term, _ := dpv(state)
	stated, knownState := stateVerbs[term]
	verb, knownVerb := verbs[name]
	switch {
	case state == "" && name == "", state != "" && !knownState, name != "" && !knownVerb,
		state != "" && name != "" && !agree(stated, verb):
		return errRecord
	case name != "":
		r.verb = verb
	default:
		r.verb = stated
	}
	r.pending = term == "ConsentRequested"
	return nil
}

// agree reports whether a status may stand beside a verb: what a guardian says
// has the status of consent or of its end.
func agree(stated, verb schemas.Verb) bool {
	switch verb {
	case schemas.GuardianGrant:
		return stated == schemas.Grant
	case schemas.GuardianWithdraw:
		return stated == schemas.Withdraw || stated == schemas.Refuse
	}
	return stated == verb
}

// readPurpose finds out what the record is about.
func (r *record) readPurpose() error {
	name, _ := r.members["purpose"].(string)
	switch r.verb {
	case schemas.Erase:
		r.purpose = every
		return nil
	case schemas.Restrict, schemas.Lift:
		r.about = restriction
		return nil
	case schemas.Born:
		r.about = birth
		return nil
	case schemas.Retain:
		r.about = duties
		return nil
	case schemas.GuardianGrant, schemas.GuardianWithdraw:
		r.about = guardian
	case schemas.Object:
		if name == "" {
			name = "*"
		}
	}
	var known bool
	switch {
	case name == "", r.isGrant() && name == "*":
		return errRecord
	case r.isGrant():
		r.purpose, known = r.names.granted(name)
	case r.verb == schemas.Object:
		r.purpose, known = r.names.objection(name)
	default:
		r.purpose, known = r.names.denial(name)
	}
	switch {
	case !known && (r.isGrant() || r.verb == schemas.Refuse || r.verb == schemas.NoVerb):
		r.kind = nothing
	case !known:
		// Something was taken back, and nobody can say what.
		r.purpose = every
	case r.about == guardian && r.purpose.IsGroup():
		r.purpose = every
	}
	return nil
}

// readProof finds out whether a grant has its evidence.
func (r *record) readProof() error {
	m := r.members
	if !r.texts("collection_method", "privacy_notice", "event_type") {
		return errRecord
	}
	for _, name := range [...]string{"source", "evidence"} {
		if _, ok := m[name].(map[string]any); m[name] != nil && !ok {
			return errRecord
		}
	}
	source, _ := m["source"].(map[string]any)
	evidence, _ := m["evidence"].(map[string]any)
	if _, ok := source["system"].(string); source["system"] != nil && !ok {
		return errRecord
	}
	if !r.isGrant() {
		return nil
	}
	r.proven = m["event_time"] != nil
	for _, part := range [...]any{m["collection_method"], m["privacy_notice"], source["system"]} {
		text, _ := part.(string)
		r.proven = r.proven && strings.TrimSpace(text) != ""
	}
	kind, _ := m["event_type"].(string)
	switch term, _ := dpv(kind); term {
	case "", "InformedConsent", "ExpressedConsent", "ExplicitlyExpressedConsent":
	default:
		r.proven = false
	}
	method, _ := m["collection_method"].(string)
	confirmed, ok := recordTime(evidence["confirmed_at"])
	double := plainName(method) == "doubleoptin"
	r.pending = r.pending || double && !ok
	r.proven = r.proven && !r.pending
	if r.proven && double {
		r.time = max(r.time, confirmed)
	}
	return nil
}

// whole reports whether the verb, as far as it can be read, is one of which no
// purpose is read, or a guardian's.
func (r *record) whole() bool {
	text, _ := r.members["verb"].(string)
	switch verbs[text] {
	case schemas.Erase, schemas.Link, schemas.Unlink, schemas.Restrict, schemas.Lift, schemas.Retain, schemas.Born,
		schemas.GuardianGrant, schemas.GuardianWithdraw:
		return true
	}
	return false
}

// denied is what a record that cannot be read whole takes away.
func (r *record) denied(n lexicon) schemas.Purpose {
	name, ok := r.members["purpose"].(string)
	verb, isText := r.members["verb"].(string)
	if !ok || r.members["verb"] != nil && !isText {
		return every
	}
	if r.whole() {
		return every
	}
	find := n.denial
	if verbs[verb] == schemas.Object {
		find = n.objection
	}
	p, known := find(name)
	if !known {
		return every
	}
	return p
}
