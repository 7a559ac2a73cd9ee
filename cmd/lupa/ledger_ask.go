package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lupa/schemas"
)

// askOptions are the flags of the commands that ask the ledger about a subject.
type askOptions struct {
	config   string
	ids      []string
	idsFrom  string
	contract string
	at, now  string
	asJSON   bool
}

const idsHelp = `Identifiers are kind=value, the kind one of user_id, anonymous_id, email, phone
and device_id. Values on a command line stay in the shell's history and are seen
by everybody on the machine: --ids-from reads them, one a line, from a file or
with - from standard input. No value is ever printed.`

func (o *askOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	configFlag(cmd, &o.config)
	f.StringArrayVar(&o.ids, "id", nil, "identifier, kind=value; may be given several times")
	f.StringVar(&o.idsFrom, "ids-from", "", "file with identifiers, one a line; - is standard input")
	f.StringVar(&o.now, "now", "", "moment of the decision, RFC 3339 (default: now)")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
}

// whom is whom and when a command asks about.
type whom struct {
	subjects []schemas.Subject
	at, now  int64
}

// run reads the flags, opens the ledger and asks.
func (o *askOptions) run(cmd *cobra.Command, ask func(*rooms, *whom) error) (err error) {
	who, err := o.read(cmd.InOrStdin(), time.Now())
	if err != nil {
		return err
	}
	config, log, err := start(cmd, o.config)
	if err != nil {
		return err
	}
	r, err := openView(cmd.Context(), config, log, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return ask(r, who)
}

// read takes whom the flags name. Its errors never show a value.
func (o *askOptions) read(stdin io.Reader, now time.Time) (*whom, error) {
	who := &whom{now: now.UnixMicro()}
	for i, text := range o.ids {
		s, err := parseIdentifier(text)
		if err != nil {
			return nil, usageError("--id %d: %v", i+1, err)
		}
		who.subjects = append(who.subjects, s)
	}
	if o.idsFrom != "" {
		if err := who.readFrom(o.idsFrom, stdin); err != nil {
			return nil, err
		}
	}
	if len(who.subjects) == 0 {
		return nil, usageError("nobody is named; use --id or --ids-from")
	}
	var err error
	if who.now, err = parseMoment("--now", o.now, who.now); err != nil {
		return nil, err
	}
	who.at, err = parseMoment("--at", o.at, who.now)
	return who, err
}

// readFrom reads identifiers from a file or from standard input.
func (who *whom) readFrom(name string, stdin io.Reader) error {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return usageError("--ids-from: %v", err)
		}
		defer f.Close() // nothing was written
		in = f
	}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		s, err := parseIdentifier(lines.Text())
		if err != nil {
			return usageError("--ids-from: line %d: %v", n, err)
		}
		who.subjects = append(who.subjects, s)
	}
	if lines.Err() != nil {
		return usageError("--ids-from cannot be read")
	}
	return nil
}

// parseIdentifier reads kind=value.
func parseIdentifier(text string) (schemas.Subject, error) {
	name, value, _ := strings.Cut(text, "=")
	kind, ok := schemas.ParseIdentifierKind(strings.TrimSpace(name))
	if !ok || value == "" {
		return schemas.Subject{}, fmt.Errorf("is not kind=value with one of the kinds %s", strings.Join(schemas.IdentifierKinds(), ", "))
	}
	return schemas.NewSubject(kind, value), nil
}

func parseMoment(flag, text string, other int64) (int64, error) {
	if text == "" {
		return other, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, usageError("%s is no RFC 3339 time such as 2026-03-01T12:00:00Z", flag)
	}
	return t.UnixMicro(), nil
}

// tokens makes the ledger's tokens of the subjects. One that is nothing of its
// kind, such as an e-mail address without an @, can be in no ledger.
func (r *rooms) tokens(who *whom) ([]schemas.Token, error) {
	domain, err := r.domain(ledgerDomain)
	if err != nil {
		return nil, err
	}
	tokens := make([]schemas.Token, len(who.subjects))
	for i, s := range who.subjects {
		// Revealed to make the key under which the view knows the subject.
		if tokens[i] = domain.Token(s.Kind, []byte(s.Reveal())); tokens[i].IsZero() {
			return nil, usageError("identifier %d is no %s, so the ledger can have nothing of it", i+1, s.Kind)
		}
	}
	return tokens, nil
}

// moment is a time of the ledger, nil for none. One after the year 9999, of which
// JSON has no form, is none.
func moment(micros int64) *time.Time {
	t := time.UnixMicro(micros).UTC()
	if micros == 0 || t.Year() > 9999 {
		return nil
	}
	return &t
}

func momentText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

func printJSON(stdout io.Writer, v any) error {
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
