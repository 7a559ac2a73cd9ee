package consent

import (
	"fmt"
	"slices"

	"lupa/schemas"
)

// Explanation is a decision and why it is as it is.
type Explanation struct {
	Decision
	// Chain are the uses that were made of records, in the order of the rules.
	Chain []Step
	// Rule is the one that made the reason, in plain words.
	Rule string
}

// Step is one use of a record.
type Step struct {
	// Line is which identifier it is of, as the lines are counted from 0.
	Line int
	// Scope is what the record is about: a purpose, a group, "*" for every one, the
	// same behind "guardian:", or "restriction", "birth", "retention", "erasure" and
	// "link". Word is what it says.
	Scope, Word string
	// Time, Version and Until are microseconds since 1970 and those of the record;
	// a Time of 0 where Known is false.
	Time, Version, Until int64
	// Known says that the record could be read, so that its time is one.
	Known bool
	Terms schemas.Terms
	// Purpose is what the record was looked at for; empty is the row as a whole.
	Purpose string
	// Clock is "now" or "at the event", or empty where the rule knows no two.
	Clock string
	// Rule is what the record led to, in plain words.
	Rule string
}

// Explain decides as Decide does and says why. The lines are those of the
// identifiers with these tokens of the ledger's domain, and of all that are linked
// with them.
func (v *View) Explain(tokens []schemas.Token, q Question) Explanation {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var g gatherer
	g.find(&v.store, tokens)
	lines := g.gather(&v.store, g.refs, 1, func() bool { return slices.Contains(g.refs, 0) })
	q.rules = &v.rules
	return explain(lines, &q)
}

func explain(lines []Line, q *Question) Explanation {
	tr := &trace{question: q}
	d := decide(lines, q, tr)
	return Explanation{d, tr.chain, ruleOf(d.Reason)}
}

// ruleOf says in plain words why a row gets a reason.
func ruleOf(reason schemas.Reason) string {
	if int(reason) < len(finalRules) {
		return finalRules[reason]
	}
	return ""
}

var finalRules = [...]string{
	schemas.ConsentGiven:  "every purpose that is needed is permitted, now and at the event",
	schemas.NoRecord:      "for a purpose that is needed nothing is known, or not all that was said can be read",
	schemas.BeforeConsent: "the event is older than the grant",
	schemas.Unproven:      "a grant without its evidence is none",
	schemas.Pending:       "a grant that is not confirmed is none yet",
	schemas.Expired:       "the grant has run out",
	schemas.Residency:     "the grant does not allow the region of the destination",
	schemas.Refused:       "the subject said no",
	schemas.Withdrawn:     "the subject took its grant back",
	schemas.Objected:      "the subject objected",
	schemas.Minor:         "a child needs its guardian's grant, and who has grown up its own",
	schemas.Restricted:    "the data may only be stored",
	schemas.Retained:      "erased, but for the fields that a legal duty keeps",
	schemas.Erased:        "the subject asked to be forgotten, and the event is not later",
}

// trace is why a decision is as it is. Decisions that nobody asks about have none.
type trace struct {
	question *Question
	chain    []Step
}

func (t *trace) note(line int, e *Entry, rule string) *Step {
	s := Step{Line: line, Rule: rule}
	if e != nil {
		s.Scope, s.Word = t.scope(e), word(e)
		s.Version, s.Until = e.Version, e.Until
		if s.Known = e.Time != beginning; s.Known {
			s.Time = e.Time
		}
		if terms := t.question.rules.terms; int(e.Terms) < len(terms) {
			s.Terms = terms[e.Terms]
		}
	}
	t.chain = append(t.chain, s)
	return &t.chain[len(t.chain)-1]
}

func (t *trace) erasure(line int, e *Entry, at int64) {
	if at <= e.Time {
		t.note(line, e, "the event is not later than this erasure")
	} else {
		t.note(line, e, "the event is later than this erasure, but grants up to it are void")
	}
}

func (t *trace) duty(line int, e *Entry, now int64) {
	if e.Until > now {
		t.note(line, e, "this duty keeps its fields until it ends")
	} else {
		t.note(line, e, "this duty has ended")
	}
}

// noteAt says why an entry matters for a purpose at a clock.
func (j *judge) noteAt(line int, e *Entry, purpose schemas.Purpose, c clock, rule string) {
	if j.trace != nil {
		s := j.trace.note(line, e, rule)
		if s.Purpose, s.Clock = purpose.String(), "at the event"; c.said == now {
			s.Clock = "now"
		}
	}
}

// scope names what an entry is about.
func (t *trace) scope(e *Entry) string {
	switch p := e.Purpose; {
	case e.Says == schemas.Erased || p == brokenErasure:
		return "erasure"
	case p == everyPurpose:
		return "*"
	case p == restriction:
		return "restriction"
	case p == birth:
		return "birth"
	case p == retention:
		return "retention"
	case p == brokenLink:
		return "link"
	case p == guardians:
		return "guardian:*"
	case p > guardians && p < schemas.FirstGroup:
		return "guardian:" + (p - guardians).String()
	case p.IsGroup() && t.question.rules.vocabulary != nil:
		return t.question.rules.vocabulary.Name(p)
	default:
		return p.String()
	}
}

// word gives what an entry says, as a verb has it.
func word(e *Entry) string {
	switch e.Says {
	case schemas.NoReason:
		return "deleted"
	case schemas.NoRecord:
		return "unreadable"
	case schemas.ConsentGiven:
		if e.Purpose == restriction {
			return schemas.Lift.String()
		}
		return schemas.Grant.String()
	case schemas.Unproven:
		return "grant without evidence"
	case schemas.Pending:
		return "grant that is not confirmed"
	case schemas.Expired:
		return schemas.Expire.String()
	case schemas.Refused:
		return schemas.Refuse.String()
	case schemas.Withdrawn:
		return schemas.Withdraw.String()
	case schemas.Objected:
		return schemas.Object.String()
	case schemas.Minor:
		return schemas.Born.String()
	case schemas.Restricted:
		return schemas.Restrict.String()
	case schemas.Retained:
		return schemas.Retain.String()
	case schemas.Erased:
		return schemas.Erase.String()
	}
	return fmt.Sprint(e.Says)
}
