package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
)

// suiteOutage kills, while the sample is fed and two processes read it, the
// broker that leads a partition of the events, the one that coordinates the
// group and the one that leads a partition of the ledger. With one broker all
// three are that one, and the job waits until it is back.
func suiteOutage(t *testing.T, b *bed) {
	brokers := b.brokers(t)
	topics := b.topics(t, 4)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	j := topics.job(t, 100*time.Millisecond)
	r := newRandom(t)
	events := theSample(t).Events()
	crew := []*process{j.stream(t), j.stream(t)}
	defer tell(t, &crew)
	for _, p := range crew {
		p.assigned(t, 0, 2)
	}
	var places []place
	targets := []func() int{
		func() int { return b.leader(t, pipeline.Partition{Topic: topics.events}) },
		func() int { return b.coordinator(t, topics.group) },
		func() int { return b.leader(t, pipeline.Partition{Topic: topics.ledger}) },
	}
	// An in-process broker forgets its writers when it is killed, and takes what
	// one of before sends twice. So nothing is on its way at that moment, and
	// another one writes after it.
	shares := slices.Collect(slices.Chunk(events, (len(events)+3*len(targets)-1)/(3*len(targets))))
	put := func(share []sample.Message) {
		b.rewrite(t)
		places = append(places, b.mustPut(t, topics.events, share...)...)
	}
	for i, target := range targets {
		broker := target()
		put(shares[3*i])
		time.Sleep(time.Duration(r.ExpFloat64() * float64(100*time.Millisecond)))
		if err := brokers.Kill(broker); err != nil {
			t.Fatal(err)
		}
		if len(b.ListenAddrs()) > 1 {
			// The others take over, and the job goes on without it.
			put(shares[3*i+1])
			j.arrives(t, endsOf(places...), crew...)
		}
		if err := brokers.Restart(t.Context(), broker); err != nil {
			t.Fatal(err)
		}
		if len(b.ListenAddrs()) == 1 {
			put(shares[3*i+1])
		}
		put(shares[3*i+2])
		j.arrives(t, endsOf(places...), crew...)
	}
	noticed := 0
	for _, p := range crew {
		noticed += p.counts("class=broker_unreachable") + p.counts("class=leader_moved")
		p.stop(t, exitOK)
	}
	if noticed == 0 {
		t.Error("nobody has noticed that a broker was gone: nothing is tested")
	}
	for i, p := range crew {
		if strings.Contains(p.stderr.text(), "level=ERROR") {
			t.Errorf("process %d says that somebody must act", i)
		}
	}
	checkSample(t, j, places)
	verified(t, j, verifyOptions{still: true}, crew...)
}
