package oracle

import (
	"math"
	"testing"

	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
	"lupa/transforms/keys"
)

// pair is both programs over one ledger.
type pair struct {
	*judged
	view      *consent.View
	stage     *consent.Stage
	ledger    *ledger
	contracts []*schemas.Contract
	now, next int64
	// unreadable says that something in the ledger cannot be read.
	unreadable bool
}

func newPair(t testing.TB, j *judged, contracts []*schemas.Contract, now int64) *pair {
	t.Helper()
	domain, err := j.keys.DomainWith(ledgerDomain, keys.Options{PhoneRegion: region})
	if err != nil {
		t.Fatal(err)
	}
	view, err := consent.NewView(domain, consent.Options{
		Vocabulary: schemas.DefaultVocabulary(), Ages: schemas.DefaultAges(), Now: func() int64 { return now },
		Allows: func(regions string) bool { return schemas.DefaultRegions().Allows(regions, destination) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{judged: j, view: view, stage: consent.NewStage(view, domain), ledger: j.emptyLedger(math.MaxInt64), contracts: contracts, now: now}
	j.check.ledger = p.ledger
	return p
}

// say tells both of a ledger message; stuck is that neither can go on.
func (p *pair) say(t rapidT, key, value []byte) (stuck bool) {
	t.Helper()
	_, err := p.view.Apply([][]byte{key}, [][]byte{value})
	if err := p.ledger.add(p.check.keys, place0, &message{offset: p.next, time: p.next, key: key, value: value}); err != nil {
		t.Fatal(err)
	}
	e, _ := p.check.keys.readEntry(key, value)
	p.unreadable = p.unreadable || e.kind == unreadable || e.kind == brokenLink || e.kind == brokenErase
	p.next++
	if _, stuck := p.ledger.stuck[place0]; stuck != (err != nil) {
		t.Fatalf("the view says %v, the oracle is stuck: %t", err, stuck)
	}
	return err != nil
}

// rapidT is a test or a check of rapid.
type rapidT interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// same compares what becomes of a message; each is told of every decision.
func (p *pair) same(t *testing.T, r rapidT, m *message, each func(decision)) {
	r.Helper()
	_, rows := p.decoded(t, m)
	list, _, _ := p.check.outcomes(m)
	for _, o := range list {
		if o.reason != schemas.NoReason {
			continue
		}
		b := &pipeline.Batch{Contract: p.contracts[o.table], Table: o.table, Raw: rows[o.table].Record, Offsets: []int64{0}, Times: []int64{m.time}}
		if err := p.stage.Apply(t.Context(), b); err != nil {
			r.Fatal(err)
		}
		k := p.check.tables[o.table].contract
		got := p.ledger.decideRow(p.ledger.whole(), event{k, p.check.identifiers(k, o.cells), o.cells[k.EventTime], m.time}, p.now)
		want := decision{reason: b.Reasons[0], granted: b.Granted[0]}
		if p.unreadable && got.granted == want.granted && got.reason.Denies() && max(got.reason, want.reason) < schemas.Retained {
			// What cannot be read denies. Which of the reasons a row gets
			// that is denied for others too is no matter of permission.
			want.reason = got.reason
		}
		if !got.is(want) {
			r.Fatalf("table %s: %s %s, the stage says %s %s, of %s", k.Table, got.reason, got.granted, want.reason, want.granted, m.value)
		}
		each(got)
	}
}
