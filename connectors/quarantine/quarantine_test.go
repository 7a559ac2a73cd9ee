package quarantine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

const secret = `{"email":"tove.example@example.org","broken":`

func rejected() []pipeline.Rejected {
	p := pipeline.Partition{Topic: "events", ID: 3}
	return []pipeline.Rejected{
		{Partition: p, Offset: 17, Reason: schemas.Malformed, Value: []byte(secret)},
		{Partition: p, Offset: 18, Table: "tracks", Field: "revenue", Reason: schemas.WrongType, Value: []byte(secret)},
		{Partition: p, Offset: 19, Reason: schemas.EmptyMessage},
	}
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// checkEntries holds stored lines against what was rejected.
func checkEntries(t *testing.T, stored []byte, id age.Identity) {
	t.Helper()
	var got []pipeline.Rejected
	for line := range bytes.Lines(stored) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		r := pipeline.Rejected{
			Partition: pipeline.Partition{Topic: e.Topic, ID: e.Partition}, Offset: e.Offset, Table: e.Table, Field: e.Field,
		}
		r.Reason, _ = schemas.ParseReason(e.Reason)
		if id != nil && len(e.Payload) > 0 {
			value, err := Open(e, id)
			if err != nil {
				t.Fatal(err)
			}
			r.Value = value
		}
		got = append(got, r)
	}
	want := rejected()
	if id == nil {
		for i := range want {
			want[i].Value = nil
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// leaks reports whether any form of the secret address is in the text.
func leaks(text []byte) bool {
	const address = "tove.example@example.org"
	for _, form := range []string{address, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(address))} {
		if bytes.Contains(bytes.ToLower(text), []byte(strings.ToLower(form))) {
			return true
		}
	}
	return false
}

func TestDir(t *testing.T) {
	id := identity(t)
	for name, recipient := range map[string]string{"sealed": id.Recipient().String(), "places only": ""} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "aside")
			q, err := NewDir(dir, recipient)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(q.Put(context.Background(), rejected()[:1]), q.Put(context.Background(), rejected()[1:]),
				q.Flush(context.Background()), q.Close()); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "rejects-*.jsonl"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%d files, want 1 (%v)", len(files), err)
			}
			info, err := os.Stat(files[0])
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, want 0600 (%v)", info.Mode(), err)
			}
			stored, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if recipient == "" {
				checkEntries(t, stored, nil)
			} else {
				checkEntries(t, stored, id)
			}
			if leaks(stored) {
				t.Error("the address can be read")
			}
		})
	}
}

// The scan of the other tests can see: it finds what is not sealed.
func TestLeaksAreSeen(t *testing.T) {
	if !leaks([]byte(secret)) || !leaks([]byte(base64.StdEncoding.EncodeToString([]byte(secret)))) {
		t.Error("an open payload was not seen")
	}
}

func TestDirMakesNoFileForNothing(t *testing.T) {
	dir := t.TempDir()
	q, err := NewDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(q.Put(context.Background(), nil), q.Flush(context.Background()), q.Close()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%d files, want none (%v)", len(entries), err)
	}
}

// A file that could not be written is not used again: the run ends.
func TestDirStaysFailed(t *testing.T) {
	q, err := NewDir(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Put(context.Background(), rejected()); err != nil {
		t.Fatal(err)
	}
	if err := q.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Flush(context.Background()); err == nil {
		t.Error("a flush of a closed file passed")
	}
	if err := q.Put(context.Background(), rejected()); err == nil {
		t.Error("a put after the failure passed")
	}
}

type memoryProducer struct {
	keys   []string
	values []byte
	err    error
}

func (p *memoryProducer) Produce(_ context.Context, _ string, keys, values [][]byte) error {
	for i := range keys {
		p.keys = append(p.keys, string(keys[i]))
		p.values = append(append(p.values, values[i]...), '\n')
	}
	return p.err
}

func TestTopic(t *testing.T) {
	id := identity(t)
	p := &memoryProducer{}
	q, err := NewTopic(p, "aside", id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Put(context.Background(), rejected()); err != nil {
		t.Fatal(err)
	}
	checkEntries(t, p.values, id)
	if leaks(p.values) {
		t.Error("the address can be read")
	}
	if diff := cmp.Diff([]string{"events/3/17", "events/3/18", "events/3/19"}, p.keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	p.err = errors.New("broker gone")
	if err := q.Put(context.Background(), rejected()); !errors.Is(err, p.err) {
		t.Errorf("error %v, want the producer's", err)
	}
}

// A message that its sealing makes too long for a topic is put aside by its
// place alone.
func TestTopicLeavesOutWhatIsTooLong(t *testing.T) {
	id := identity(t)
	p := &memoryProducer{}
	q, err := NewTopic(p, "aside", id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	long := rejected()[:2]
	long[0].Value = bytes.Repeat([]byte("l"), 1<<20)
	if err := q.Put(context.Background(), long); err != nil {
		t.Fatal(err)
	}
	var sealed []int64
	for line := range bytes.Lines(p.values) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if len(line) > maxMessage+1 {
			t.Errorf("an entry of %d bytes", len(line))
		}
		if len(e.Payload) > 0 {
			sealed = append(sealed, e.Offset)
		}
	}
	if diff := cmp.Diff([]int64{18}, sealed); diff != "" || len(p.keys) != 2 {
		t.Errorf("entries with a payload (-want +got):\n%s", diff)
	}
}

func TestRecipientIsChecked(t *testing.T) {
	secretKey := identity(t).String()
	for _, bad := range []string{"age1nonsense", secretKey} {
		_, err := NewDir(t.TempDir(), bad)
		if err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("error %v, want one that does not repeat the text", err != nil)
		}
	}
}
