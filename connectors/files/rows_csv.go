package files

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"lupa/schemas"
)

// csvRows reads CSV with a row of names at its beginning.
type csvRows struct {
	in    *input
	limit *rowLimit
	r     *csv.Reader
	names []string // as JSON, with the colon; empty of a column without a name
}

// rowLimit fails when more is read than a row may have. A quote that is not
// closed would else take in the rest of the file.
type rowLimit struct {
	r    io.Reader
	left int
}

func (l *rowLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLongRow
	}
	n, err := l.r.Read(p)
	l.left -= n
	return n, err
}

func newCSVRows(in *input, delimiter rune, latin1 bool) (*csvRows, error) {
	if delimiter == '"' || delimiter == '\r' || delimiter == '\n' || !utf8.ValidRune(delimiter) || delimiter == utf8.RuneError {
		return nil, errors.New("the delimiter of CSV must not be a quote, a line end or no character")
	}
	c := &csvRows{in: in}
	body := in.body
	if latin1 {
		body = charmap.ISO8859_1.NewDecoder().Reader(body)
	}
	c.limit = &rowLimit{body, maxRow}
	b := bufio.NewReader(c.limit)
	if mark, err := b.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" && !latin1 {
		if _, err := b.Discard(len(mark)); err != nil {
			return nil, err
		}
	}
	c.r = csv.NewReader(b)
	c.r.Comma, c.r.ReuseRecord = delimiter, true
	header, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("has no row of names")
	}
	if err != nil {
		return nil, fmt.Errorf("the row of names: %w", c.fault(err))
	}
	seen := make([]string, 0, len(header))
	for i, name := range header {
		switch {
		case !utf8.ValidString(name):
			return nil, fmt.Errorf("the name of column %d is not UTF-8; if it is ISO 8859-1, that must be said", i+1)
		case name != "" && slices.Contains(seen, name):
			return nil, fmt.Errorf("column %d has the name of another", i+1)
		}
		seen = append(seen, name)
		text := ""
		if name != "" {
			text = string(append(schemas.AppendQuoted(nil, name), ':'))
		}
		c.names = append(c.names, text)
	}
	return c, nil
}

func (c *csvRows) next(_ context.Context, row *Row) error {
	c.limit.left = maxRow
	fields, err := c.r.Read()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		row.Line = int64(syntax.StartLine)
		row.Fault = c.fault(err)
		return nil
	}
	if err != nil {
		return c.fault(err)
	}
	line, _ := c.r.FieldPos(0)
	row.Line = int64(line)
	row.JSON = append(row.JSON, '{')
	for i, field := range fields {
		if field == "" || c.names[i] == "" {
			continue
		}
		if len(row.JSON) > 1 {
			row.JSON = append(row.JSON, ',')
		}
		row.JSON = schemas.AppendQuoted(append(row.JSON, c.names[i]...), field)
	}
	row.JSON = append(row.JSON, '}')
	return nil
}

// fault says what is wrong without what was read.
func (c *csvRows) fault(err error) error {
	var syntax *csv.ParseError
	switch {
	case errors.Is(err, errLongRow):
		return fmt.Errorf("%w, or a quote is not closed", errLongRow)
	case errors.Is(err, csv.ErrFieldCount):
		return errors.New("the row has more or fewer columns than the row of names")
	case errors.As(err, &syntax):
		return errors.New("the row is not CSV: a quote stands where none may, or is not closed")
	}
	return c.in.fault(err)
}

func (c *csvRows) close() error { return errors.Join(c.in.unchanged(), c.in.f.Close()) }
