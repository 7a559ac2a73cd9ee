package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"lupa/schemas"
)

// importSummary is what an import has read and written, as `--json` prints it.
type importSummary struct {
	Mapping string      `json:"mapping"`
	Applied bool        `json:"applied"`
	Files   int64       `json:"files"`
	Rows    int64       `json:"rows"`
	Records []saidCount `json:"records"`
	Deleted int64       `json:"deleted"`
	Grants  grantCounts `json:"grants"`
	Rejects []*rejected `json:"rejects"`
	Written *writtenTo  `json:"written,omitempty"`
	// Rejected counts the rows of Rejects once, Duplicates what was said before.
	Rejected   int64 `json:"rejected_rows"`
	Duplicates int64 `json:"duplicates"`

	said    map[saidKey]int64
	reasons map[string]*rejected
}

// saidCount is how many records say one thing.
type saidCount struct {
	Verb    string `json:"verb"`
	Purpose string `json:"purpose,omitempty"`
	Count   int64  `json:"count"`
}

type saidKey struct {
	verb    schemas.Verb
	purpose string
}

// grantCounts tells grants apart by their evidence.
type grantCounts struct {
	Proven   int64 `json:"proven"`
	Pending  int64 `json:"pending"`
	Unproven int64 `json:"unproven"`
}

// rejected is one reason why rows were rejected.
type rejected struct {
	Reason string   `json:"reason"`
	Count  int64    `json:"count"`
	First  []string `json:"first"` // places
}

// writtenTo is what --apply has done.
type writtenTo struct {
	Target     string `json:"target"`
	Records    int64  `json:"records"`
	Tombstones int64  `json:"tombstones"`
	Superseded int64  `json:"superseded"` // the ledger has as much or more in this or a higher version
	Kept       int64  `json:"kept"`       // deletions of what must not be forgotten
}

// firstPlaces is how many places of a reason are told.
const firstPlaces = 3

// reject counts a row, once for each reason.
func (im *importer) reject(faults []error) error {
	im.sum.Rejected++
	var told []string
	for _, fault := range faults {
		reason := fault.Error()
		if slices.Contains(told, reason) {
			continue
		}
		told = append(told, reason)
		r := im.sum.reasons[reason]
		if r == nil {
			r = &rejected{Reason: reason}
			im.sum.reasons[reason] = r
		}
		if r.Count++; len(r.First) < firstPlaces {
			r.First = append(r.First, im.place)
		}
		if err := im.aside.put(im.place, reason); err != nil {
			return err
		}
	}
	return nil
}

// print writes the summary.
func (im *importer) print(w io.Writer) error {
	s := &im.sum
	s.Records, s.Rejects = []saidCount{}, []*rejected{}
	for k, n := range s.said {
		s.Records = append(s.Records, saidCount{k.verb.String(), k.purpose, n})
	}
	slices.SortFunc(s.Records, func(a, b saidCount) int {
		return cmp.Or(cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Purpose, b.Purpose))
	})
	s.Rejects = slices.AppendSeq(s.Rejects, maps.Values(s.reasons))
	slices.SortFunc(s.Rejects, func(a, b *rejected) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	if im.o.asJSON {
		return printJSON(w, s)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d rows of %d files\n\n", s.Mapping, s.Rows, s.Files)
	rows := make([][]string, 0, len(s.Records))
	for _, r := range s.Records {
		rows = append(rows, []string{r.Verb, r.Purpose, strconv.FormatInt(r.Count, 10)})
	}
	if s.Deleted > 0 {
		rows = append(rows, []string{"deleted", "", strconv.FormatInt(s.Deleted, 10)})
	}
	if err := printTable(&b, []string{"verb", "purpose", ">records"}, rows); err != nil {
		return err
	}
	s.tell(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// tell writes what the table does not say.
func (s *importSummary) tell(b *strings.Builder) {
	b.WriteByte('\n')
	if g := s.Grants; g != (grantCounts{}) {
		fmt.Fprintf(b, "grants: %d proven, %d pending, %d UNPROVEN\n", g.Proven, g.Pending, g.Unproven)
		if g.Unproven > 0 {
			b.WriteString("  An unproven grant permits nothing: how it was collected, the notice, the time or\n" +
				"  the system is not stated. It must be given again, with its evidence.\n")
		}
		if g.Pending > 0 {
			b.WriteString("  A pending grant permits nothing until it is confirmed.\n")
		}
	}
	fmt.Fprintf(b, "duplicates: %d\nrejected rows: %d\n", s.Duplicates, s.Rejected)
	for _, r := range s.Rejects {
		fmt.Fprintf(b, "  %d: %s\n     first at %s\n", r.Count, r.Reason, strings.Join(r.First, ", "))
	}
	switch w := s.Written; {
	case w == nil && s.Applied:
		b.WriteString("nothing was written\n")
	case w == nil:
		b.WriteString("nothing was written; --apply writes the records\n")
	default:
		fmt.Fprintf(b, "written to %s: %d records, %d tombstones\n", w.Target, w.Records, w.Tombstones)
		if w.Superseded > 0 {
			fmt.Fprintf(b, "  %d were not written: the ledger has this or a higher version of them\n", w.Superseded)
		}
		if w.Kept > 0 {
			fmt.Fprintf(b, "  %d deletions were not written, which would make the ledger forget a denial\n", w.Kept)
		}
	}
}

// rejectFile is where rejects are told one by one. A nil one tells nobody.
type rejectFile struct {
	f *os.File
	e *json.Encoder
}

// openRejects makes a file that is not there yet; no name is no file.
func openRejects(name string) (*rejectFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, usageError("--rejects: %v", err)
	}
	e := json.NewEncoder(f)
	e.SetEscapeHTML(false)
	return &rejectFile{f, e}, nil
}

// put writes a line: where, and why, and nothing of the row.
func (r *rejectFile) put(place, reason string) error {
	if r == nil {
		return nil
	}
	return r.e.Encode(struct {
		Place  string `json:"place"`
		Reason string `json:"reason"`
	}{place, reason})
}

func (r *rejectFile) close() error {
	if r == nil {
		return nil
	}
	return r.f.Close()
}
