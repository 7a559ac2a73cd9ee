package files

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"lupa/schemas"
)

// parquetRows reads the rows of a Parquet file as JSON objects. The library
// panics on some damaged files, which is an error here.
type parquetRows struct {
	f       *os.File
	size    int64
	total   *atomic.Int64
	file    *parquet.File
	groups  []parquet.RowGroup
	rows    parquet.Rows // of the first of groups
	buf     [64]parquet.Row
	at, n   int
	done    int64             // rows
	columns [][]parquet.Value // of the row at hand
}

func openParquetRows(name string, total *atomic.Int64) (p *parquetRows, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = errDamaged
		}
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipBloomFilters(true))
	if err != nil {
		// The cause may show what is in the file.
		return nil, errors.New("is no Parquet file that can be read")
	}
	p = &parquetRows{f: f, size: info.Size(), total: total, file: file, groups: file.RowGroups()}
	p.columns = make([][]parquet.Value, leaves(file.Root()))
	return p, nil
}

var errDamaged = errors.New("the Parquet file is damaged")

func leaves(c *parquet.Column) int {
	if c.Leaf() {
		return 1
	}
	n := 0
	for _, child := range c.Columns() {
		n += leaves(child)
	}
	return n
}

func (p *parquetRows) next(ctx context.Context, row *Row) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("row %d: %w", p.done+1, errDamaged)
		}
	}()
	for p.at == p.n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.more(); err != nil {
			return err
		}
	}
	for i := range p.columns {
		p.columns[i] = p.columns[i][:0]
	}
	size := 0
	for _, v := range p.buf[p.at] {
		p.columns[v.Column()] = append(p.columns[v.Column()], v)
		if k := v.Kind(); k == parquet.ByteArray || k == parquet.FixedLenByteArray {
			size += len(v.ByteArray())
		}
	}
	p.at++
	p.done++
	row.Line = p.done
	if size > maxRow {
		row.Fault = errLongRow
		return nil
	}
	row.JSON = appendGroup(row.JSON, p.file.Root(), p.columns)
	return nil
}

// more reads some rows.
func (p *parquetRows) more() error {
	if p.rows == nil {
		if len(p.groups) == 0 {
			return io.EOF
		}
		p.rows = p.groups[0].Rows()
	}
	n, err := p.rows.ReadRows(p.buf[:])
	p.at, p.n = 0, n
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("row %d: %w", p.done+1, errDamaged)
	}
	if n == 0 {
		err := p.rows.Close()
		p.rows, p.groups = nil, p.groups[1:]
		p.total.Add(p.size / int64(max(1, len(p.file.RowGroups()))))
		return err
	}
	return nil
}

func (p *parquetRows) close() error {
	var err error
	if p.rows != nil {
		err = p.rows.Close()
	}
	return errors.Join(err, p.f.Close())
}

// appendGroup appends the members of a group that are not null. columns are the
// values of the leaves within it.
func appendGroup(dst []byte, group *parquet.Column, columns [][]parquet.Value) []byte {
	dst = append(dst, '{')
	for _, c := range group.Columns() {
		n := leaves(c)
		inner := columns[:n]
		columns = columns[n:]
		if n == 0 || isNull(c, inner) {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(schemas.AppendQuoted(dst, c.Name()), ':')
		dst = appendColumn(dst, c, inner)
	}
	return append(dst, '}')
}

func isNull(c *parquet.Column, columns [][]parquet.Value) bool {
	return c.Optional() && (len(columns[0]) == 0 || columns[0][0].DefinitionLevel() < c.MaxDefinitionLevel())
}

// appendColumn appends what is not null.
func appendColumn(dst []byte, c *parquet.Column, columns [][]parquet.Value) []byte {
	if c.Repeated() {
		return appendList(dst, c, columns, func(dst []byte, element [][]parquet.Value) []byte { return appendOne(dst, c, element) })
	}
	return appendOne(dst, c, columns)
}

func appendOne(dst []byte, c *parquet.Column, columns [][]parquet.Value) []byte {
	if c.Leaf() {
		if len(columns[0]) == 0 {
			return append(dst, "null"...)
		}
		return appendLeaf(dst, c, columns[0][0])
	}
	list, inner := listOf(c)
	if list == nil {
		return appendGroup(dst, c, columns)
	}
	return appendList(dst, list, columns, func(dst []byte, element [][]parquet.Value) []byte {
		if inner == nil {
			return appendOne(dst, list, element)
		}
		if isNull(inner, element) {
			return append(dst, "null"...)
		}
		return appendColumn(dst, inner, element)
	})
}

// listOf gives what is repeated in a group that is a LIST, and its element if
// that stands in a group of its own.
func listOf(c *parquet.Column) (list, element *parquet.Column) {
	children := c.Columns()
	if lt := c.Type().LogicalType(); lt == nil || len(children) != 1 || !children[0].Repeated() {
		return nil, nil
	} else if _, ok := lt.Value.(*format.ListType); !ok {
		return nil, nil
	}
	list = children[0]
	if !list.Leaf() && len(list.Columns()) == 1 && list.Name() != "array" && list.Name() != c.Name()+"_tuple" {
		return list, list.Columns()[0]
	}
	return list, nil
}

// appendList appends the elements of a repeated column.
func appendList(dst []byte, c *parquet.Column, columns [][]parquet.Value, one func([]byte, [][]parquet.Value) []byte) []byte {
	dst = append(dst, '[')
	if len(columns[0]) == 0 || columns[0][0].DefinitionLevel() < c.MaxDefinitionLevel() {
		return append(dst, ']')
	}
	rest := append([][]parquet.Value(nil), columns...)
	element := make([][]parquet.Value, len(columns))
	for first := true; len(rest[0]) > 0; first = false {
		for i, values := range rest {
			end := min(1, len(values))
			for end < len(values) && values[end].RepetitionLevel() > c.MaxRepetitionLevel() {
				end++
			}
			element[i], rest[i] = values[:end], values[end:]
		}
		if !first {
			dst = append(dst, ',')
		}
		dst = one(dst, element)
	}
	return append(dst, ']')
}

// appendLeaf appends a value as its type says.
func appendLeaf(dst []byte, c *parquet.Column, v parquet.Value) []byte {
	if v.IsNull() {
		return append(dst, "null"...)
	}
	if lt := c.Type().LogicalType(); lt != nil {
		if text, ok := appendLogical(dst, lt.Value, v); ok {
			return text
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.AppendBool(dst, v.Boolean())
	case parquet.Int32:
		return strconv.AppendInt(dst, int64(v.Int32()), 10)
	case parquet.Int64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case parquet.Int96:
		return appendInt96(dst, v)
	case parquet.Float:
		return appendFloat(dst, float64(v.Float()), 32)
	case parquet.Double:
		return appendFloat(dst, v.Double(), 64)
	case parquet.FixedLenByteArray:
		return schemas.AppendQuoted(dst, hex.EncodeToString(v.ByteArray()))
	}
	return schemas.AppendQuoted(dst, string(v.ByteArray()))
}

// appendLogical appends what a logical type says; not ok leaves it to the
// physical one.
func appendLogical(dst []byte, lt format.LogicalTypeValue, v parquet.Value) (text []byte, ok bool) {
	switch lt := lt.(type) {
	case *format.TimestampType:
		if v.Kind() != parquet.Int64 {
			return dst, false
		}
		return appendTimestamp(dst, lt, v.Int64()), true
	case *format.DateType:
		if v.Kind() != parquet.Int32 {
			return dst, false
		}
		day := time.Unix(int64(v.Int32())*24*3600, 0).UTC()
		return append(day.AppendFormat(append(dst, '"'), time.DateOnly), '"'), true
	case *format.DecimalType:
		return appendDecimal(dst, int(lt.Scale), v)
	case *format.IntType:
		switch {
		case lt.IsSigned:
		case v.Kind() == parquet.Int32:
			return strconv.AppendUint(dst, uint64(v.Uint32()), 10), true
		case v.Kind() == parquet.Int64:
			return strconv.AppendUint(dst, v.Uint64(), 10), true
		}
	case *format.UUIDType:
		if b := v.ByteArray(); len(b) == 16 {
			h := hex.EncodeToString(b)
			return schemas.AppendQuoted(dst, strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")), true
		}
	case *format.JsonType:
		if json.Valid(v.ByteArray()) {
			return append(dst, v.ByteArray()...), true
		}
	}
	return dst, false
}

// appendTimestamp appends a time: RFC 3339, or without a zone if it has none.
func appendTimestamp(dst []byte, lt *format.TimestampType, n int64) []byte {
	var t time.Time
	switch lt.Unit.Value.(type) {
	case *format.MilliSeconds:
		t = time.UnixMilli(n)
	case *format.MicroSeconds:
		t = time.UnixMicro(n)
	default:
		t = time.Unix(n/1e9, n%1e9)
	}
	layout := time.RFC3339Nano
	if !lt.IsAdjustedToUTC {
		layout = "2006-01-02T15:04:05.999999999"
	}
	return append(t.UTC().AppendFormat(append(dst, '"'), layout), '"')
}

// appendInt96 appends a time as old writers have it: nanoseconds of a Julian day.
func appendInt96(dst []byte, v parquet.Value) []byte {
	b := v.AppendBytes(nil)
	if len(b) != 12 {
		return append(dst, "null"...)
	}
	const epoch = 2440588 // the Julian day of 1970-01-01
	nanos, day := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint32(b[8:]))
	t := time.Unix((day-epoch)*24*3600, nanos).UTC()
	return append(t.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"')
}

func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// appendDecimal appends all digits of a decimal.
func appendDecimal(dst []byte, scale int, v parquet.Value) ([]byte, bool) {
	var n big.Int
	switch v.Kind() {
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default:
		b := v.ByteArray()
		n.SetBytes(b)
		if len(b) > 0 && b[0]&0x80 != 0 { // two's complement
			n.Sub(&n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
	}
	digits := n.Text(10)
	sign := ""
	if n.Sign() < 0 {
		sign, digits = "-", digits[1:]
	}
	if scale < 0 || scale > 1000 {
		return dst, false
	}
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	dst = append(dst, sign...)
	dst = append(dst, digits[:len(digits)-scale]...)
	if scale > 0 {
		dst = append(append(dst, '.'), digits[len(digits)-scale:]...)
	}
	return dst, true
}
