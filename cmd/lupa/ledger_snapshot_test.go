package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/connectors/kafka"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
)

// snapshotBed is a ledger topic and a job that keeps its snapshot.
type snapshotBed struct {
	*bed
	dir, config string
}

func newSnapshotBed(t *testing.T, policy string) snapshotBed {
	t.Helper()
	b := snapshotBed{bed: fakeBed(t), dir: t.TempDir()}
	b.config = filepath.Join(b.dir, "lupa.yaml")
	b.make(t, policy)
	if err := initKeys(&strings.Builder{}, filepath.Join(b.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	b.configure(t, "")
	return b
}

func (b snapshotBed) make(t *testing.T, policy string) {
	t.Helper()
	if err := b.CreateTopic("consent", 2, map[string]string{"cleanup.policy": policy}); err != nil {
		t.Fatal(err)
	}
}

func (b snapshotBed) configure(t *testing.T, more string) {
	t.Helper()
	text := fmt.Sprintf("keys: {file: lupa.keys}\nledger:\n  kafka: {brokers: [%q], topic: consent}\n  snapshot: {dir: state}\n%sevents: {files: {paths: [none.jsonl]}}\nwarehouse: {dir: warehouse}\n",
		b.ListenAddrs()[0], more)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b snapshotBed) say(t *testing.T, records ...schemas.Record) {
	t.Helper()
	for _, r := range records {
		m := &kgo.Record{Topic: "consent", Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)}
		if err := b.writer.ProduceSync(bounded(t), m).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func (b snapshotBed) file() string { return filepath.Join(b.dir, "state", "ledger-consent.snapshot") }

// snapshot runs the command and reports what it said on stderr.
func (b snapshotBed) snapshot(t *testing.T) string {
	t.Helper()
	code, out, errs := command(t, "ledger", "snapshot", "-c", b.config)
	if code != exitOK || !strings.Contains(out, b.file()+": ") {
		t.Fatalf("code %d: %s%s", code, out, errs)
	}
	return errs
}

// reason asks what becomes of somebody's event.
func (b snapshotBed) reason(t *testing.T, who string) (reason, errs string) {
	t.Helper()
	code, out, errs := command(t, "ledger", "explain", "-c", b.config, "--id", "user_id="+who, "--contract", "tracks", "--at", "2026-03-05T00:00:00Z")
	if code != exitOK {
		t.Fatal(errs)
	}
	_, after, _ := strings.Cut(out, "\nreason")
	reason, _, _ = strings.Cut(strings.TrimSpace(after), ":")
	return reason, errs
}

const (
	fromSnapshot = `msg="ledger read" from="its snapshot"`
	fromStart    = `msg="ledger read" from="its beginning"`
	notUsed      = `msg="the snapshot of the ledger is not used`
)

// A start goes on from the snapshot, and has what was said since.
func TestLedgerSnapshot(t *testing.T) {
	for _, policy := range []string{"delete", "compact"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			b := newSnapshotBed(t, policy)
			link := schemas.Record{Verb: schemas.Link, Principal: schemas.NewSubject(schemas.UserID, "a"), Other: schemas.NewSubject(schemas.UserID, "alias"), Time: day(1), Version: 1}
			b.say(t, spoke(schemas.Grant, "a", 1, 1), spoke(schemas.Grant, "b", 1, 1), link)
			if said := b.snapshot(t); !strings.Contains(said, fromStart) || strings.Contains(said, notUsed) {
				t.Error(said)
			}
			if info, err := os.Stat(b.file()); err != nil || info.Mode().Perm() != 0o600 {
				t.Fatal(info, err)
			}
			b.say(t, spoke(schemas.Withdraw, "b", 9, 2), spoke(schemas.Grant, "c", 1, 1))
			for who, want := range map[string]string{"a": "consent_given", "alias": "consent_given", "b": "withdrawn", "c": "consent_given", "d": "no_record"} {
				if got, said := b.reason(t, who); got != want || !strings.Contains(said, fromSnapshot) {
					t.Errorf("%s: %s, %s", who, got, said)
				}
			}
			// A snapshot of a snapshot.
			if said := b.snapshot(t); !strings.Contains(said, fromSnapshot) {
				t.Error(said)
			}
			if got, said := b.reason(t, "b"); got != "withdrawn" || !strings.Contains(said, fromSnapshot) {
				t.Error(got, said)
			}
		})
	}
}

// A snapshot that is damaged or not of this ledger and job is left out, with the
// reason, and the ledger is read whole.
func TestLedgerSnapshotThatDoesNotFit(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, b *snapshotBed){
		"damaged": func(t *testing.T, b *snapshotBed) {
			text, err := os.ReadFile(b.file())
			if err == nil {
				text[len(text)/2]++
				err = os.WriteFile(b.file(), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"cut": func(t *testing.T, b *snapshotBed) {
			if err := os.Truncate(b.file(), 100); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, b *snapshotBed) {
			if err := os.Truncate(b.file(), 0); err != nil {
				t.Fatal(err)
			}
		},
		"other keys": func(t *testing.T, b *snapshotBed) {
			file := filepath.Join(b.dir, "lupa.keys")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := initKeys(&strings.Builder{}, file, time.Unix(0, 0)); err != nil {
				t.Fatal(err)
			}
		},
		"other rules": func(t *testing.T, b *snapshotBed) { b.configure(t, "  max_linked: 9\n") },
		"a topic made anew": func(t *testing.T, b *snapshotBed) {
			if err := b.DeleteTopic("consent"); err != nil {
				t.Fatal(err)
			}
			b.make(t, "delete")
			b.rewrite(t) // the old one knows the old topic
			b.say(t, spoke(schemas.Grant, "a", 1, 1), spoke(schemas.Grant, "b", 1, 1), spoke(schemas.Grant, "c", 1, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newSnapshotBed(t, "delete")
			b.say(t, spoke(schemas.Grant, "a", 1, 1), spoke(schemas.Grant, "b", 1, 1))
			b.snapshot(t)
			if _, said := b.reason(t, "a"); !strings.Contains(said, fromSnapshot) {
				t.Fatal("the sound one is not used:", said)
			}
			spoil(t, &b)
			got, said := b.reason(t, "a")
			if got != "consent_given" || strings.Count(said, notUsed) != 1 || !strings.Contains(said, fromStart) {
				t.Error(got, said)
			}
			// The next one takes its place.
			b.snapshot(t)
			if got, said := b.reason(t, "a"); got != "consent_given" || !strings.Contains(said, fromSnapshot) {
				t.Error(got, said)
			}
		})
	}
}

func TestLedgerSnapshotNeedsAPlace(t *testing.T) {
	config := askBed(t, spoke(schemas.Grant, "a", 1, 1))
	if code, _, errs := command(t, "ledger", "snapshot", "-c", config); code != exitUsage || !strings.Contains(errs, "ledger.snapshot is not there") {
		t.Error(code, errs)
	}
}

// What a process that was killed has left of a snapshot goes, but not what another
// one is writing.
func TestSnapshotSweeps(t *testing.T) {
	b := newSnapshotBed(t, "delete")
	b.say(t, spoke(schemas.Grant, "a", 1, 1))
	b.snapshot(t)
	left, writing := b.file()+".1.part", b.file()+".2.part"
	for _, part := range []string{left, writing} {
		if err := os.WriteFile(part, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(left, time.Time{}, time.Now().Add(-2*abandoned)); err != nil {
		t.Fatal(err)
	}
	b.snapshot(t)
	if _, err := os.Stat(left); err == nil {
		t.Error("what was left is still there")
	}
	if _, err := os.Stat(writing); err != nil {
		t.Error("what is being written is gone:", err)
	}
}

func TestSnapshotIsDue(t *testing.T) {
	for _, c := range []struct {
		now, written int64
		age          time.Duration
		want         bool
	}{{5, -1, 0, true}, {5, 4, time.Minute, true}, {5, 5, time.Minute, false}, {5, 5, refreshed, true}} {
		if got := due(c.now, c.written, c.age); got != c.want {
			t.Errorf("%+v: due %t", c, got)
		}
	}
}

// A snapshot serves tables that were reviewed at least as far as its view looked
// for what is late, however that came to be.
func TestSnapshotReaches(t *testing.T) {
	const reviewed = 3
	view, err := consent.NewView(anyTokens{}, consent.Options{Now: func() int64 { return 0 }, Reviewed: func(string, int32) int64 { return reviewed }})
	if err != nil {
		t.Fatal(err)
	}
	m := &schemas.LedgerMessages{Topic: "consent"}
	for offset := range int64(5) {
		r := spoke(schemas.Withdraw, "a", 1, offset)
		m.Offsets, m.Keys, m.Values = append(m.Offsets, offset), append(m.Keys, schemas.AppendRecordKey(nil, r)), append(m.Values, schemas.AppendRecord(nil, r))
	}
	if _, err := view.ApplyMessages(m); err != nil {
		t.Fatal(err)
	}
	state := &kafka.LedgerState{Marks: pipeline.Positions{{Topic: "consent"}: {Next: 5}, {Topic: "consent", ID: 1}: {}}}
	for to, want := range map[int64]bool{0: false, 2: false, 3: true, math.MaxInt64: true} {
		if got := reaches(view, state, func(string, int32) int64 { return to }); got != want {
			t.Errorf("tables reviewed to %d: %t", to, got)
		}
	}
}

// anyTokens makes tokens of values as they are.
type anyTokens struct{}

func (anyTokens) Token(_ schemas.IdentifierKind, value []byte) (t schemas.Token) {
	t[0] = 1
	copy(t[1:], value)
	return t
}

func (anyTokens) Current(t schemas.Token) schemas.Token { return t }

func (anyTokens) Tokens(schemas.IdentifierKind, *array.BinaryView, []schemas.Token) {}
