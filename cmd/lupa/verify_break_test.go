package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"lupa/cmd/lupa/oracle"
	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// breakage is one way in which tables can be wrong, and which invariants must be
// found violated then, no more and no less.
type breakage struct {
	name  string
	do    func(t *testing.T, j *judgedJob, in *oracle.Input)
	wants []string
}

// TestVerifySeesWhatIsBroken breaks the tables of a job in one way after the
// other. A check that cannot fail would be found here.
func TestVerifySeesWhatIsBroken(t *testing.T) {
	t.Parallel()
	j := newJudgedJob(t)
	if r := j.judge(t, j.input(t, verifyOptions{still: true})); !r.Holds() {
		t.Fatalf("violated before anything was broken: %+v", r)
	}
	for _, b := range slices.Concat(
		breakIntervals(), breakAccounts(), breakConsent(), breakLeaks(), breakFiles(), breakClaims(), breakTokens(), breakLedger(), breakTopics(),
	) {
		t.Run(b.name, func(t *testing.T) {
			defer j.mend(t)
			in := j.input(t, verifyOptions{still: true})
			b.do(t, j, in)
			r := j.judge(t, in)
			if diff := cmp.Diff(b.wants, r.Violated()); diff != "" {
				t.Errorf("violated (-want +got):\n%s", diff)
				for _, i := range r.Invariants {
					for n, v := range i.Violations {
						if n < 3 {
							t.Logf("%s: %s: %s", i.ID, v.Place, v.Problem)
						}
					}
				}
			}
			j.saysNothing(t, r)
		})
	}
}

// saysNothing fails if a report holds a raw value of the sample.
func (j *judgedJob) saysNothing(t *testing.T, r *oracle.Report) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if found := theSample(t).SecretsIn(text); len(found) > 0 {
		t.Errorf("the report holds %d raw values", len(found))
	}
}

func breakIntervals() []breakage {
	const position, move = "lupa.position.events/0", "lupa.move.*"
	return []breakage{
		{"position moved back", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", position, movePlus(t, "next", -20))
		}, []string{"I1", "I3", "I4", "I11"}}, // what it counts, by reason too, it has no longer read
		{"position moved forward", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", position, movePlus(t, "next", 20))
		}, []string{"I1"}},
		{"position gone", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", position, to(""))
		}, []string{"I1", "I3", "I4", "I11"}},
		{"first commit begins too late", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", 0, move, movePlus(t, "from", 2))
		}, []string{"I1"}},
		{"gap between commits", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", last, move, movePlus(t, "from", 2))
		}, []string{"I1"}},
		{"commit of the same messages again", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", last, move, movePlus(t, "from", -2))
		}, []string{"I2"}},
		{"move from where nobody was", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			end := j.broker.ends(t)[pipeline.Partition{Topic: demoEvents}]
			j.property(t, "tracks", "lupa.moved.1", to(fmt.Sprintf(
				`{"partition":"events/0","from":{"next":%d},"to":{"next":%d},"epoch":9,"found":"fits","reason":"x"}`, end-1, end)))
		}, []string{"I1"}},
		{"row twice in place of another", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false // or the other would be missed
			f, i, n := j.twoRows(t, "tracks", func(f *storedFile, a, b parquet.Row) bool {
				return kept(f, a) && kept(f, b) && f.offset(a) != f.offset(b)
			})
			f.rows[n] = f.rows[i].Clone()
			j.store(t, "tracks", f)
		}, []string{"I2"}},
	}
}

// operatorMoves produces a few events that a table leaves out, with or without
// the record of an operator's move.
func (j *judgedJob) operatorMoves(t *testing.T, in *oracle.Input, recorded bool) {
	t.Helper()
	in.Behind = true // the other tables have not read them
	const p = demoEvents + "/0"
	var from struct{ Next int64 }
	text := j.readMetadata(t, "tracks")["properties"].(object)["lupa.position."+p].(string)
	if err := json.Unmarshal([]byte(text), &from); err != nil {
		t.Fatal(err)
	}
	end := func() int64 { return j.broker.ends(t)[pipeline.Partition{Topic: demoEvents}] }
	for end() < from.Next+5 {
		events, _ := few(t)
		j.broker.produce(t, demoEvents, events[:20])
	}
	j.property(t, "tracks", "lupa.position."+p, movePlus(t, "next", end()-from.Next))
	if recorded {
		j.property(t, "tracks", "lupa.moved.1", to(fmt.Sprintf(
			`{"partition":%q,"from":{"next":%d},"to":{"next":%d},"epoch":9,"found":"fits","reason":"x"}`, p, from.Next, end())))
	}
}

// kept is a row that is kept.
func kept(f *storedFile, row parquet.Row) bool { return f.text(row, "reason") == "consent_given" }

// maskedRow is a row that is masked whole.
func maskedRow(f *storedFile, row parquet.Row) bool {
	return !kept(f, row) && f.text(row, "reason") != "retained"
}

func breakAccounts() []breakage {
	return []breakage{
		{"count of the table", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", "lupa.counts.kept", plus(1))
		}, []string{"I3"}},
		{"count of one commit", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", 1, "lupa.counts.read", plus(-1))
		}, []string{"I3"}},
		{"message forgotten in all counts", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			for _, key := range []string{"read", "dropped", "reason.erased"} {
				j.property(t, "pages", "lupa.counts."+key, plus(-1))
			}
		}, []string{"I3"}},
		{"reject under another reason", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "rejects", "lupa.counts.reason.malformed", plus(-1))
			j.property(t, "rejects", "lupa.counts.reason.too_deep", plus(1))
		}, []string{"I3"}},
		{"row lost", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.lose(t, "tracks")
		}, []string{"I3"}},
		{"reject lost from the list", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.lose(t, "rejects")
		}, []string{"I3"}},
		{"row of a message that is none", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			rejects := readTables(t, j.warehouse())["rejects"]
			for at := range rejects.places(t) {
				f, i := j.findRow(t, "tracks", func(f *storedFile, r parquet.Row) bool {
					return kept(f, r) && r[f.at(r, "_src_partition")].Int32() == at.Partition.ID && j.sameCommit(t, "tracks", f, at)
				})
				if f == nil {
					continue
				}
				f.set(f.rows[i], "_src_offset", parquet.Int64Value(at.Offset))
				j.store(t, "tracks", f)
				return
			}
			t.Fatal("no commit of tracks covers a reject")
		}, []string{"I3"}},
	}
}

// sameCommit reports whether the commit of a file covers a place.
func (j *judgedJob) sameCommit(t *testing.T, table string, f *storedFile, at place) (same bool) {
	t.Helper()
	for _, s := range j.readMetadata(t, table)["snapshots"].([]any) {
		summary := s.(object)["summary"].(object)
		if !strings.Contains(summary["lupa.files.sha256"].(string), filepath.Base(f.path)) {
			continue
		}
		var move struct {
			From int64
			To   struct{ Next int64 }
		}
		if text, ok := summary["lupa.move."+at.Partition.String()].(string); ok && json.Unmarshal([]byte(text), &move) == nil {
			same = at.Offset >= move.From && at.Offset < move.To.Next
		}
	}
	return same
}

// lose takes a row out of a file as if it had never been written.
func (j *judgedJob) lose(t *testing.T, table string) {
	t.Helper()
	f, i := j.dataFile(t, table, func(*storedFile, parquet.Row) bool { return true })
	f.rows = slices.Delete(f.rows, i, i+1)
	j.store(t, table, f)
}

func breakConsent() []breakage {
	return []breakage{
		{"permitted row lost and counted as dropped", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i := j.dataFile(t, "identifies", kept)
			f.rows = slices.Delete(f.rows, i, i+1)
			j.store(t, "identifies", f)
			j.metadata(t, "identifies", func(m object) {
				counts := []object{m["properties"].(object)}
				for _, s := range m["snapshots"].([]any) {
					if summary := s.(object)["summary"].(object); strings.Contains(summary["lupa.files.sha256"].(string), filepath.Base(f.path)) {
						counts = append(counts, summary)
					}
				}
				for _, c := range counts {
					changeText(t, c, "lupa.counts.kept", plus(-1))
					changeText(t, c, "lupa.counts.dropped", plus(1))
					changeText(t, c, "lupa.counts.reason.consent_given", plus(-1))
					changeText(t, c, "lupa.counts.reason.refused", plus(1))
				}
			})
		}, []string{"I4"}},
		{"masked row with a subject", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			from, i := j.dataFile(t, "tracks", kept)
			subject := from.rows[i][from.at(from.rows[i], "subject_token")].Clone()
			f, i := j.dataFile(t, "tracks", maskedRow)
			f.set(f.rows[i], "subject_token", subject)
			j.store(t, "tracks", f)
		}, []string{"I4"}},
		{"masked row with a value about a person", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i := j.dataFile(t, "tracks", maskedRow)
			f.set(f.rows[i], "context_ip", parquet.ByteArrayValue([]byte("192.0.2.0")))
			j.store(t, "tracks", f)
		}, []string{"I4"}},
		{"masked row with the time of day", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i := j.dataFile(t, "tracks", maskedRow)
			f.set(f.rows[i], "timestamp", parquet.Int64Value(f.rows[i][f.at(f.rows[i], "timestamp")].Int64()+1))
			j.store(t, "tracks", f)
		}, []string{"I4"}},
		{"masked row under another reason", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i, n := j.twoRows(t, "tracks", func(f *storedFile, a, b parquet.Row) bool {
				return f.text(a, "reason") == "withdrawn" && f.text(b, "reason") == "no_record"
			})
			f.set(f.rows[i], "reason", parquet.ByteArrayValue([]byte("no_record")))
			f.set(f.rows[n], "reason", parquet.ByteArrayValue([]byte("withdrawn")))
			j.store(t, "tracks", f)
		}, []string{"I4"}},
		{"field kept without its purpose", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i := j.dataFile(t, "identifies", func(f *storedFile, r parquet.Row) bool {
				return kept(f, r) && f.text(r, "plan") == "" && !strings.Contains(fmt.Sprint(r), "profiling")
			})
			f.set(f.rows[i], "plan", parquet.ByteArrayValue([]byte("gold")))
			j.store(t, "identifies", f)
		}, []string{"I4"}},
		{"kept row of somebody who refused", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.becomes(t, "identifies", schemas.Refused, kept)
		}, []string{"I4", "I12"}}, // its tokens are those of another
		becomesKept("restricted", schemas.Restricted),
		becomesKept("a child", schemas.Minor),
		becomesKept("whose consent ran out", schemas.Expired),
		becomesKept("who has not confirmed", schemas.Pending),
		becomesKept("who allows another country", schemas.Residency),
		breakRetained("with a subject", func(t *testing.T, j *judgedJob, f *storedFile, row parquet.Row) {
			from, i := j.dataFile(t, "tracks", kept)
			f.set(row, "subject_token", from.rows[i][from.at(from.rows[i], "subject_token")].Clone())
		}),
		breakRetained("with a field that no duty names", func(_ *testing.T, _ *judgedJob, f *storedFile, row parquet.Row) {
			f.set(row, "context_ip", parquet.ByteArrayValue([]byte("192.0.2.0")))
		}),
		breakRetained("for a day too long", func(_ *testing.T, _ *judgedJob, f *storedFile, row parquet.Row) {
			f.set(row, "retention_until", parquet.Int32Value(row[f.at(row, "retention_until")].Int32()+1))
		}),
		breakRetained("under another law", func(_ *testing.T, _ *judgedJob, f *storedFile, row parquet.Row) {
			f.set(row, "legal_basis", parquet.ByteArrayValue([]byte("eu-gdpr:A6-1-f")))
		}),
		{"masked row of somebody who was erased", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.becomes(t, "tracks", schemas.Erased, maskedRow)
		}, []string{"I6"}},
	}
}

// becomesKept makes a kept row that of somebody who is denied.
func becomesKept(who string, reason schemas.Reason) breakage {
	return breakage{"kept row of somebody " + who, func(t *testing.T, j *judgedJob, in *oracle.Input) {
		in.Still = false
		j.becomes(t, "identifies", reason, kept)
	}, []string{"I4", "I12"}} // its tokens are those of another
}

// breakRetained changes a row that a duty keeps.
func breakRetained(how string, change func(t *testing.T, j *judgedJob, f *storedFile, row parquet.Row)) breakage {
	return breakage{"retained row " + how, func(t *testing.T, j *judgedJob, _ *oracle.Input) {
		f, i := j.dataFile(t, "tracks", func(f *storedFile, r parquet.Row) bool { return f.text(r, "reason") == "retained" })
		change(t, j, f, f.rows[i])
		j.store(t, "tracks", f)
	}, []string{"I4"}}
}

// becomes makes a row that of an event that was dropped for the reason, in the
// same commit.
func (j *judgedJob) becomes(t *testing.T, table string, reason schemas.Reason, pick func(f *storedFile, row parquet.Row) bool) {
	t.Helper()
	s := theSample(t)
	dropped := map[string]bool{}
	for i, m := range s.Events() {
		if o := s.Expect()[i]; o.Table == table && o.Reason == reason {
			dropped[string(m.Value)] = true
		}
	}
	for at, value := range j.broker.messages(t, demoEvents) {
		if !dropped[string(value)] {
			continue
		}
		f, i := j.findRow(t, table, func(f *storedFile, r parquet.Row) bool {
			return pick(f, r) && r[f.at(r, "_src_partition")].Int32() == at.Partition.ID && j.sameCommit(t, table, f, at)
		})
		if f != nil {
			f.set(f.rows[i], "_src_offset", parquet.Int64Value(at.Offset))
			j.store(t, table, f)
			return
		}
	}
	t.Fatalf("no commit of %s covers an event that is %s", table, reason)
}

func breakLeaks() []breakage {
	plant := func(name, form string, put func(t *testing.T, j *judgedJob, in *oracle.Input, text string), spell func(string) string) breakage {
		return breakage{name + ", " + form, func(t *testing.T, j *judgedJob, in *oracle.Input) {
			put(t, j, in, spell(j.rawEmail(t)))
		}, []string{"I5"}}
	}
	same := func(s string) string { return s }
	column := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		f, i := j.dataFile(t, "tracks", kept)
		f.set(f.rows[i], "context_locale", parquet.ByteArrayValue([]byte("fi "+text+" x")))
		j.store(t, "tracks", f)
	}
	property := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		j.property(t, "pages", "comment", to(text))
	}
	manifest := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		j.manifests(t, "pages", func(e object) bool {
			e["data_file"].(object)["lower_bounds"].([]any)[0].(object)["value"] = []byte(text)
			return true
		})
	}
	aside := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		write(t, filepath.Join(j.dir, "quarantine"), "more.jsonl", `{"topic":"`+text+`"}`)
	}
	log := func(t *testing.T, j *judgedJob, in *oracle.Input, text string) {
		write(t, j.dir, "lupa.log", "level=INFO msg="+text)
		in.Logs = []string{filepath.Join(j.dir, "lupa.log")}
	}
	name := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		write(t, filepath.Join(j.warehouse(), "tracks"), text+".txt", "")
	}
	leftover := func(t *testing.T, j *judgedJob, _ *oracle.Input, text string) {
		f, i := j.dataFile(t, "tracks", kept)
		f.set(f.rows[i], "event_text", parquet.ByteArrayValue([]byte(text)))
		old := readAll(t, f.path)
		j.store(t, "tracks", f)
		if err := os.Rename(f.path, f.path[:len(f.path)-len(".parquet")]+"x.parquet"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.path, old, 0o640); err != nil {
			t.Fatal(err)
		}
		j.rehash(t, "tracks", f.path)
		j.manifests(t, "tracks", func(e object) bool {
			data := e["data_file"].(object)
			if strings.HasSuffix(data["file_path"].(string), f.path) {
				data["file_size_in_bytes"] = int64(len(old))
			}
			return true
		})
	}
	return []breakage{
		plant("column", "as it is", column, same),
		plant("column", "in upper case", column, strings.ToUpper),
		plant("column", "in hexadecimal", column, func(s string) string { return hex.EncodeToString([]byte("x" + s)) }),
		plant("column", "in base64", column, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ab" + s + "c")) }),
		plant("metadata", "URL-escaped", property, url.QueryEscape),
		plant("metadata", "in base64 for URLs", property, func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("a" + s + "c")) }),
		plant("manifest", "as it is", manifest, same),
		plant("quarantine", "as it is", aside, same),
		plant("log", "as it is", log, same),
		plant("name of a file", "as it is", name, same),
		plant("file that no commit names", "as it is", leftover, same),
	}
}

// rawEmail is the address of somebody in the events.
func (j *judgedJob) rawEmail(t *testing.T) string {
	t.Helper()
	for _, value := range j.broker.messages(t, demoEvents) {
		var e struct{ Traits struct{ Email string } }
		if json.Unmarshal(value, &e) == nil && strings.Contains(e.Traits.Email, "@mail.example") {
			return strings.ToLower(strings.TrimSpace(e.Traits.Email))
		}
	}
	t.Fatal("no event has an e-mail address")
	return ""
}

func breakFiles() []breakage {
	first := func(t *testing.T, j *judgedJob) string {
		return filesIn(t, filepath.Join(j.warehouse(), "tracks", "data"))[0]
	}
	return []breakage{
		{"file gone", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			if err := os.Remove(first(t, j)); err != nil {
				t.Fatal(err)
			}
		}, []string{"I8"}},
		{"byte of a file changed", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			body := readAll(t, first(t, j))
			body[len(body)/2] ^= 1
			if err := os.WriteFile(first(t, j), body, 0o640); err != nil {
				t.Fatal(err)
			}
		}, []string{"I8"}},
		{"hash of another file", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", 0, "lupa.files.sha256", func(old string) string {
				return strings.Replace(old, `":"`, `":"00`, 1)
			})
		}, []string{"I8"}},
		{"file that its commit does not name", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", 0, "lupa.files.sha256", func(old string) string {
				return strings.Replace(old, `.parquet`, `.other`, 1)
			})
		}, []string{"I8"}},
		{"damaged file with a new hash", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			body := readAll(t, first(t, j))
			if err := os.WriteFile(first(t, j), append(make([]byte, 4), body[4:]...)[:len(body)-1], 0o640); err != nil {
				t.Fatal(err)
			}
			j.rehash(t, "tracks", first(t, j))
		}, []string{"I8"}},
		{"list of files with one more", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			write(t, filepath.Join(j.warehouse(), "tracks"), "current_files.json", strings.Replace(
				string(readAll(t, filepath.Join(j.warehouse(), "tracks", "current_files.json"))), "[", `["/other.parquet",`, 1))
		}, []string{"I8"}},
		{"views of another table", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			write(t, filepath.Join(j.warehouse(), "tracks"), "views.sql", string(readAll(t, filepath.Join(j.warehouse(), "pages", "views.sql"))))
		}, []string{"I8"}},
		{"manifest that cannot be read", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			list, err := filepath.Glob(filepath.Join(j.warehouse(), "tracks", "metadata", "*-m*.avro"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range list {
				body := readAll(t, path)
				if err := os.WriteFile(path, body[:len(body)-20], 0o640); err != nil {
					t.Fatal(err)
				}
			}
		}, []string{"I3", "I8"}}, // and so nothing is where so much is counted
		{"files that nobody names", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Caps.Leftovers = 1
			for i := range 2 {
				write(t, filepath.Join(j.warehouse(), "tracks", "data"), fmt.Sprint(i, ".parquet"), "")
			}
		}, []string{"I10"}},
		{"old file that nobody names", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Caps.LeftoverAge = time.Hour
			write(t, filepath.Join(j.warehouse(), "tracks", "data"), "old.parquet", "")
			past := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(filepath.Join(j.warehouse(), "tracks", "data", "old.parquet"), past, past); err != nil {
				t.Fatal(err)
			}
		}, []string{"I10"}},
		{"unfinished files", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Caps.Temps = 1
			for i := range 2 {
				write(t, filepath.Join(j.warehouse(), "tracks"), fmt.Sprint(".tmp-", i), "")
			}
		}, []string{"I10"}},
		{"snapshots", func(t *testing.T, j *judgedJob, in *oracle.Input) { in.Caps.Snapshots = 1 }, []string{"I10"}},
		{"metadata", func(t *testing.T, j *judgedJob, in *oracle.Input) { in.Caps.MetadataBytes = 1000 }, []string{"I10"}},
	}
}

func breakClaims() []breakage {
	const claim = "lupa.claim-epoch.*"
	return []breakage{
		{"commit under an older claim", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", last, claim, plus(-2)) // each of the two runs has claimed
		}, []string{"I7"}},
		{"claim of the table lower than that of a commit", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", "lupa.claim.*", to(`{"epoch":0,"owner":"a"}`))
		}, []string{"I7"}},
		{"claims in their order", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", last, claim, plus(1))
			for p := range j.broker.ends(t) {
				j.property(t, "tracks", "lupa.claim."+p.String(), to(`{"epoch":6,"owner":"a"}`))
			}
		}, nil},
		{"claim that is none", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.property(t, "tracks", "lupa.claim.*", to("?"))
		}, []string{"I7"}},
		{"commit without a ledger position", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			for range 2 { // its partitions
				j.summary(t, "tracks", 0, "lupa.ledger.*", to(""))
			}
		}, []string{"I9"}},
		{"commit under a ledger that is not there", func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			j.summary(t, "tracks", 0, "lupa.ledger.consent/1", plus(1000))
		}, []string{"I9"}},
		{"rows kept while the ledger was away", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Before = j.judge(t, in)
			for i := range in.Before.Tables {
				in.Before.Tables[i].Kept--
				in.Before.Tables[i].Rows--
			}
		}, []string{"I9"}},
		{"nothing kept while the ledger was away", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Before = j.judge(t, in)
		}, nil},
	}
}

func breakTokens() []breakage {
	swap := func(column string) func(t *testing.T, j *judgedJob, _ *oracle.Input) {
		return func(t *testing.T, j *judgedJob, _ *oracle.Input) {
			f, i, n := j.twoRows(t, "identifies", func(f *storedFile, a, b parquet.Row) bool {
				return kept(f, a) && kept(f, b) && f.text(a, column) != f.text(b, column)
			})
			a, b := f.rows[i][f.at(f.rows[i], column)].Clone(), f.rows[n][f.at(f.rows[n], column)].Clone()
			f.set(f.rows[i], column, b)
			f.set(f.rows[n], column, a)
			j.store(t, "identifies", f)
		}
	}
	return []breakage{
		{"subjects swapped", swap("subject_token"), []string{"I12"}},
		{"subjects swapped, without the keys", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Keys = ""
			swap("subject_token")(t, j, in)
		}, []string{"I12"}},
		{"token of an epoch that there is not", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			f, i := j.dataFile(t, "tracks", kept)
			token := slices.Clone(f.rows[i][f.at(f.rows[i], "subject_token")].ByteArray())
			token[0] = 9
			f.set(f.rows[i], "subject_token", parquet.FixedLenByteArrayValue(token))
			j.store(t, "tracks", f)
		}, []string{"I12"}},
		{"no token", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			f, i := j.dataFile(t, "tracks", kept)
			at := f.at(f.rows[i], "subject_token")
			f.rows[i][at] = parquet.NullValue().Level(0, 0, f.rows[i][at].Column())
			j.store(t, "tracks", f)
		}, []string{"I12"}},
		{"another domain with the same tokens", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Keys = "" // which would tell that none is of that domain
			other := *in.Contracts[0]
			other.Domain = "other"
			in.Contracts = append([]*schemas.Contract{&other}, in.Contracts[1:]...)
		}, []string{"I12"}},
		{"keys of another job", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			in.Keys = filepath.Join(newJob(t, nil, t.TempDir(), time.Second).dir, "lupa.keys")
		}, []string{"I12"}},
	}
}

// breakLedger says something in the ledger after all was committed. The ledger
// is not still from here on.
func breakLedger() []breakage {
	about := func(t *testing.T, j *judgedJob, verb schemas.Verb, at time.Time) {
		f, i := j.dataFile(t, "tracks", kept)
		at0 := place{}
		at0.Partition.Topic, at0.Partition.ID = demoEvents, f.rows[i][f.at(f.rows[i], "_src_partition")].Int32()
		at0.Offset = f.offset(f.rows[i])
		var e struct {
			AnonymousID string
			UserID      any
		}
		if err := json.Unmarshal(j.broker.messages(t, demoEvents)[at0], &e); err != nil {
			t.Fatal(err)
		}
		who := schemas.NewSubject(schemas.AnonymousID, e.AnonymousID)
		if e.AnonymousID == "" {
			who = schemas.NewSubject(schemas.UserID, fmt.Sprint(e.UserID))
		}
		r := schemas.Record{Verb: verb, Principal: who, Every: true, Time: at.UnixMicro(), Version: 1000}
		j.broker.produce(t, demoLedger, []sample.Message{{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)}})
	}
	lie := func(t *testing.T, j *judgedJob) {
		ends, err := j.broker.kafka.EndOffsets(t.Context(), demoLedger)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			for p, end := range ends {
				j.summary(t, "tracks", n, "lupa.ledger."+p.String(), to(fmt.Sprint(end)))
			}
		}
	}
	return []breakage{
		{"withdrawal after the commit", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			about(t, j, schemas.Withdraw, sample.Base())
		}, nil},
		{"withdrawal that the commit had seen", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			lie(t, j)
		}, []string{"I4"}},
		{"erasure after the commit", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			about(t, j, schemas.Erase, sample.Base().Add(2*sample.Window))
		}, nil},
		{"erasure that is said to be done", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still, in.Erased = false, true
		}, []string{"I6"}},
		{"erasure that the commit had seen", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			lie(t, j)
		}, []string{"I6"}},
		{"ledger that cannot be read, passed by a commit", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.broker.produce(t, demoLedger, []sample.Message{{Key: []byte("nobody"), Value: []byte("nothing")}})
			if r := j.judge(t, in); !r.Holds() {
				t.Errorf("violated before a commit passed it: %v", r.Violated())
			}
			ends, err := j.broker.kafka.EndOffsets(t.Context(), demoLedger)
			if err != nil {
				t.Fatal(err)
			}
			for p, end := range ends {
				j.property(t, "groups", "lupa.ledger."+p.String(), to(fmt.Sprint(end)))
			}
		}, []string{"I9"}},
	}
}

// breakTopics leaves events unread.
func breakTopics() []breakage {
	return []breakage{
		{"events that nobody reads", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.broker.produce(t, demoEvents, theSample(t).Events()[:5])
			in.Within = 50 * time.Millisecond
		}, []string{"I11"}},
		{"messages left out by an operator", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.operatorMoves(t, in, true)
		}, nil},
		{"messages left out by nobody", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still = false
			j.operatorMoves(t, in, false)
		}, []string{"I1", "I3"}},
		{"events that nobody needs to have read", func(t *testing.T, j *judgedJob, in *oracle.Input) {
			in.Still, in.Behind = false, true
		}, nil},
	}
}
