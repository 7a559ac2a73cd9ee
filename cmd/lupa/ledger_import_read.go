package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"lupa/connectors/files"
	"lupa/schemas"
	"lupa/schemas/mapping"
	"lupa/transforms/keys"
)

// importer makes records of rows.
type importer struct {
	o          *importOptions
	config     *Config
	log        *slog.Logger
	rooms      *rooms
	vocabulary *schemas.Vocabulary
	mapping    *mapping.Mapping
	reader     *mapping.Reader
	domain     *keys.Domain
	aside      *rejectFile

	sum   importSummary
	seen  map[[16]byte]bool // what was said already
	said  []schemas.Statement
	text  []byte
	place string // of the row at hand
}

// record is one that is to be written, with its place.
type importRecord struct {
	record  schemas.Record
	deleted bool
	place   string
}

func newImporter(o *importOptions, config *Config, log *slog.Logger) (*importer, error) {
	im := &importer{o: o, config: config, log: log, rooms: &rooms{config: config, log: log}}
	tables, err := loadLedgerTables(&config.Ledger)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	im.vocabulary = tables.vocabulary
	if im.mapping, err = loadMapping(o.mapping, im.vocabulary); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if im.rooms.keys, err = openKeys(config.Keys.File); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if im.domain, err = im.rooms.domain(ledgerDomain); err != nil {
		return nil, err
	}
	im.begin()
	return im, nil
}

// begin forgets what was read.
func (im *importer) begin() {
	im.reader = mapping.NewReader(im.mapping)
	im.sum = importSummary{Mapping: im.mapping.Name(), Applied: im.o.apply, said: map[saidKey]int64{}, reasons: map[string]*rejected{}}
	im.seen = map[[16]byte]bool{}
}

// read gives the target every record of every row.
func (im *importer) read(ctx context.Context, o files.RowOptions, target importTarget, show io.Writer) (err error) {
	rows, err := files.OpenRows(o)
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	p := im.progress(rows, show)
	defer p.Done()
	file := ""
	for {
		row, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			done, _ := rows.Progress()
			p.Set(done, im.sum.Rows)
			return nil
		}
		if err != nil {
			return err
		}
		if row.File != file {
			file = row.File
			im.sum.Files++
		}
		im.sum.Rows++
		if err := im.row(ctx, row, target); err != nil {
			return err
		}
		if im.sum.Rows%256 == 0 {
			done, _ := rows.Progress()
			p.Set(done, im.sum.Rows)
		}
	}
}

func (im *importer) progress(rows *files.Rows, show io.Writer) *progress {
	_, total := rows.Progress()
	var p *progress
	if f, ok := show.(*os.File); ok {
		p = newProgress(f, total)
	} else if show != io.Discard {
		p = newProgressLines(show, total, time.Now)
	} else {
		return nil
	}
	p.what = "rows"
	return p
}

// row takes what one row says. What of it is good is taken even if a part is
// rejected.
func (im *importer) row(ctx context.Context, row *files.Row, target importTarget) error {
	im.place = row.Place()
	if row.Fault != nil {
		return im.reject([]error{row.Fault})
	}
	im.said = im.reader.Row(row.JSON, im.said[:0])
	var faults []error
	for i := range im.said {
		s := &im.said[i]
		if s.Kind == schemas.Unreadable {
			faults = append(faults, s.Fault)
			continue
		}
		if err := im.resolve(s); err != nil {
			faults = append(faults, err)
			continue
		}
		if !im.count(s) {
			continue
		}
		if err := target.put(ctx, importRecord{s.Record, s.Kind == schemas.Deleted, im.place}); err != nil {
			return err
		}
	}
	if len(faults) > 0 {
		return im.reject(faults)
	}
	return nil
}

// What is wrong with a record that was read.
var (
	errUnknownPurpose = errors.New("the purpose is not known; list it in the mapping or in a vocabulary")
	errNoToken        = errors.New("an identifier is nothing of its kind, such as a telephone number without digits")
	errNotWritten     = errors.New("the record has what no record can have")
)

// resolve puts tokens in the place of raw identifiers, and makes sure that what
// is written is what was read.
func (im *importer) resolve(s *schemas.Statement) error {
	r := &s.Record
	im.share(r)
	var err error
	if r.Principal, r.Token, err = im.token(r.Principal, r.Token); err != nil {
		return err
	}
	if r.Verb == schemas.Link || r.Verb == schemas.Unlink {
		if r.Other, r.OtherToken, err = im.token(r.Other, r.OtherToken); err != nil {
			return err
		}
		if r.Token == r.OtherToken {
			s.Kind = schemas.Marked // two spellings of one identifier say nothing
			return nil
		}
	}
	if r.Purpose.IsGroup() && schemas.DefaultVocabulary().Name(r.Purpose) != im.vocabulary.Name(r.Purpose) {
		// A group that only this configuration knows is written as what all know.
		r.Purpose, r.Every = schemas.NoPurpose, true
	}
	if r.Purpose == schemas.NoPurpose && !r.Every && (r.Verb == schemas.Grant || r.Verb == schemas.Refuse || r.Verb == schemas.GuardianGrant) {
		return errUnknownPurpose
	}
	if s.Kind == schemas.Deleted {
		return nil
	}
	im.text = schemas.AppendRecord(im.text[:0], *r)
	again, err := schemas.ParseRecord(im.text)
	if err != nil || !sameRecord(&again, r) {
		return errNotWritten
	}
	return nil
}

// share says of a link that an end is several people's, if it is by its kind: of
// the token that is written nobody knows the kind.
func (im *importer) share(r *schemas.Record) {
	shared := im.config.Ledger.Shared
	if r.Verb != schemas.Link || r.Shared {
		return
	}
	if r.Shared = slices.Contains(shared, r.Other.Kind); !r.Shared && slices.Contains(shared, r.Principal.Kind) {
		r.Principal, r.Token, r.Other, r.OtherToken = r.Other, r.OtherToken, r.Principal, r.Token
		r.Shared = true
	}
}

// sameRecord compares all that decides.
func sameRecord(a, b *schemas.Record) bool {
	return a.Verb == b.Verb && a.Token == b.Token && a.OtherToken == b.OtherToken && a.Purpose == b.Purpose && a.Every == b.Every &&
		a.Time == b.Time && a.Version == b.Version && a.Proven == b.Proven && a.Pending == b.Pending && a.Until == b.Until &&
		a.Shared == b.Shared && a.Terms.Regions == b.Terms.Regions && a.Terms.Fields == b.Terms.Fields && a.Terms.Country == b.Terms.Country
}

// token gives the token of a principal, and no raw identifier any more.
func (im *importer) token(s schemas.Subject, t schemas.Token) (schemas.Subject, schemas.Token, error) {
	if t.IsZero() {
		// Revealed to make the token that is written instead.
		t = im.domain.Token(s.Kind, []byte(s.Reveal()))
	} else {
		t = im.domain.Current(t)
	}
	if t.IsZero() {
		return schemas.Subject{}, t, errNoToken
	}
	return schemas.Subject{}, t, nil
}

// count counts a record. It reports whether that is the first time.
func (im *importer) count(s *schemas.Statement) (first bool) {
	r := &s.Record
	if s.Kind == schemas.Marked {
		return false
	}
	digest := im.digest(s)
	if im.seen[digest] {
		im.sum.Duplicates++
		return false
	}
	im.seen[digest] = true
	if s.Kind == schemas.Deleted {
		im.sum.Deleted++
		return true
	}
	purpose := im.vocabulary.Name(r.Purpose)
	switch r.Verb {
	case schemas.Withdraw, schemas.Object, schemas.Expire, schemas.GuardianWithdraw:
		if r.Purpose == schemas.NoPurpose {
			purpose = "*" // said under a name that is not known, it is about all of them
		}
	}
	if r.Every {
		purpose = "*"
	}
	im.sum.said[saidKey{r.Verb, purpose}]++
	if r.Verb == schemas.Grant || r.Verb == schemas.GuardianGrant {
		switch {
		case r.Proven:
			im.sum.Grants.Proven++
		case r.Pending:
			im.sum.Grants.Pending++
		default:
			im.sum.Grants.Unproven++
		}
	}
	return true
}

// digest tells statements apart.
func (im *importer) digest(s *schemas.Statement) (d [16]byte) {
	im.text = schemas.AppendRecordKey(im.text[:0], s.Record)
	im.text = append(im.text, byte(s.Kind), '\n')
	if s.Kind == schemas.Said {
		im.text = schemas.AppendRecord(im.text, s.Record)
	} else {
		im.text = fmt.Appendf(im.text, "%d %d", s.Record.Version, s.Record.Time)
	}
	sum := sha256.Sum256(im.text)
	copy(d[:], sum[:])
	return d
}
