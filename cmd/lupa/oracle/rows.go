package oracle

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	_ "modernc.org/sqlite" // the driver of catalog.db has no other way in than its name

	"lupa/schemas"
)

// row is what is needed of a stored row.
type row struct {
	file   int
	at     place
	offset int64
	// about is the table of a rejected message.
	about    string
	reason   string
	subject  token
	tokens   []token // by field; zero where there is none
	filled   []bool  // by field
	time     int64   // of the event, if it is filled
	purposes schemas.PurposeSet
	// hasPurposes and hasBasis say that the columns are filled.
	hasPurposes, hasBasis bool
	basis                 string
	retention             int64 // the day on which it must be gone, or 0
	seen                  bool  // its message was met
}

func (r *row) kept() bool { return r.reason == schemas.ConsentGiven.String() }

func (r *row) place() string { return r.at.at(r.offset) }

// columnUse says what a column of a file is to the row.
type columnUse struct {
	name  string
	field int // of the contract, or -1
}

// open opens a Parquet file. A damaged one may make the library panic; that
// says something of the file and nothing of this program.
func openParquet(path string) (f *os.File, p *parquet.File, err error) {
	defer func() {
		if recover() != nil {
			err = errDamaged
		}
	}()
	if f, err = os.Open(path); err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return f, nil, err
	}
	if p, err = parquet.OpenFile(f, info.Size()); err != nil {
		return f, nil, errDamaged
	}
	return f, p, nil
}

var errDamaged = errors.New("is no Parquet file that can be read")

// eachRow gives the rows of a Parquet file, as values that say their column.
func eachRow(path string, each func(columns []string, r parquet.Row) error) (err error) {
	f, p, err := openParquet(path)
	if f != nil {
		defer f.Close()
	}
	if err != nil {
		return err
	}
	defer func() {
		if recover() != nil {
			err = errDamaged
		}
	}()
	var columns []string
	for _, path := range p.Schema().Columns() {
		columns = append(columns, path[0])
	}
	reader := parquet.NewReader(p)
	defer reader.Close()
	buf := make([]parquet.Row, 256)
	for {
		n, err := reader.ReadRows(buf)
		for _, r := range buf[:n] {
			if err := each(columns, r); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errDamaged
		}
	}
}

// readFile appends the rows of a data file.
func (t *table) readFile(index int) error {
	before := len(t.rows)
	var uses []columnUse
	err := eachRow(t.files[index].path, func(columns []string, values parquet.Row) error {
		if uses == nil {
			uses = t.uses(columns)
		}
		r := row{file: index, filled: make([]bool, len(t.contract.Fields)), tokens: make([]token, len(t.contract.Fields))}
		for _, v := range values {
			if v.IsNull() {
				continue
			}
			if err := r.take(&t.contract.Fields, t.contract.EventTime, uses[v.Column()], v); err != nil {
				return err
			}
		}
		t.rows = append(t.rows, r)
		return nil
	})
	if err != nil {
		t.rows = t.rows[:before]
		return err
	}
	if n := int64(len(t.rows) - before); n != t.files[index].rows {
		return fmt.Errorf("holds %d rows, its manifest says %d", n, t.files[index].rows)
	}
	return nil
}

func (t *table) uses(columns []string) []columnUse {
	uses := make([]columnUse, len(columns))
	for i, name := range columns {
		uses[i] = columnUse{name, -1}
		for j := range t.contract.Fields {
			if f := &t.contract.Fields[j]; f.Name == name && f.Column() != schemas.NoColumn {
				uses[i].field = j
			}
		}
	}
	return uses
}

var errColumn = errors.New("has a column of another type than its contract")

// take puts one value into the row.
func (r *row) take(fields *[]schemas.Field, eventTime int, use columnUse, v parquet.Value) error {
	var ok bool
	if use.field >= 0 {
		r.filled[use.field] = true
		switch f := &(*fields)[use.field]; {
		case f.Column() == schemas.TokenColumn:
			r.tokens[use.field], ok = tokenOf(v)
		case use.field == eventTime:
			ok = v.Kind() == parquet.Int64 || v.Kind() == parquet.Int32
			r.time = v.Int64()
			if v.Kind() == parquet.Int32 {
				r.time = int64(v.Int32())
			}
		case f.Name == "table_name" && eventTime < 0:
			r.about, ok = textOf(v)
		default:
			ok = true
		}
	} else {
		ok = r.takeOurs(use.name, v)
	}
	if !ok {
		return errColumn
	}
	return nil
}

// takeOurs takes a value of a column that no contract lists.
func (r *row) takeOurs(name string, v parquet.Value) (ok bool) {
	switch name {
	case "subject_token":
		r.subject, ok = tokenOf(v)
	case "legal_basis":
		r.hasBasis = true
		r.basis, ok = textOf(v)
	case "purposes":
		text, isText := textOf(v)
		p, known := schemas.ParsePurpose(text)
		r.purposes, r.hasPurposes, ok = r.purposes.With(p), true, isText && known
	case "reason":
		r.reason, ok = textOf(v)
	case "_src_topic":
		r.at.topic, ok = textOf(v)
	case "_src_partition":
		r.at.id, ok = v.Int32(), v.Kind() == parquet.Int32
	case "_src_offset":
		r.offset, ok = v.Int64(), v.Kind() == parquet.Int64
	case "retention_until":
		r.retention, ok = int64(v.Int32()), v.Kind() == parquet.Int32
	case "contract_version":
		ok = true
	}
	return ok
}

func tokenOf(v parquet.Value) (t token, ok bool) {
	if v.Kind() != parquet.FixedLenByteArray || len(v.ByteArray()) != len(t) {
		return t, false
	}
	return token(v.ByteArray()), true
}

func textOf(v parquet.Value) (string, bool) {
	return string(v.ByteArray()), v.Kind() == parquet.ByteArray
}
