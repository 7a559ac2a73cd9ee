package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// readTree gives everything under a directory: the names of all files, their
// bytes, and what is packed in them. A file of a kind that it does not know is
// text; one that does not open is an error.
func readTree(t *testing.T, root string) haystack {
	t.Helper()
	var h haystack
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		names = append(names, name)
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no file", name)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sections, err := unpack(t, name, data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		h = append(h, sections...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(h, section{place: "names of files", data: []byte(strings.Join(names, "\n"))})
}

// unpack gives a file's bytes, and what they pack.
func unpack(t *testing.T, name string, data []byte) (haystack, error) {
	raw := section{place: name, data: data}
	switch {
	case strings.HasSuffix(name, ".parquet"):
		raw.opaque = true
		inner, err := unpackParquet(name, data)
		return append(inner, raw), err
	case strings.HasSuffix(name, ".avro"):
		raw.opaque = true
		inner, err := unpackAvro(name, data)
		return append(inner, raw), err
	case filepath.Base(name) == "catalog.db":
		inner, err := unpackSQLite(t, name, data)
		return append(inner, raw), err
	case strings.HasPrefix(filepath.Base(name), "rejects-"):
		raw.opaque = true // sealed payloads
		inner, err := unpackQuarantine(name, data)
		return append(inner, raw), err
	}
	return haystack{raw}, nil
}

// unpackQuarantine gives the entries without their payloads, and the payloads
// as bytes.
func unpackQuarantine(name string, data []byte) (h haystack, err error) {
	for line := range bytes.Lines(data) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, errors.New("a line is not JSON")
		}
		if payload, ok := entry["payload"].(string); ok {
			sealed, err := base64.StdEncoding.DecodeString(payload)
			if err != nil {
				return nil, errors.New("a payload is not base64")
			}
			h = append(h, section{place: name + " payload", data: sealed, opaque: bytes.HasPrefix(sealed, []byte("age-encryption.org/v1\n"))})
			delete(entry, "payload")
		}
		rest, err := json.Marshal(entry)
		if err != nil {
			return nil, err
		}
		h = append(h, section{place: name + " entry", data: rest})
	}
	return h, nil
}

// unpackAvro gives the header and the inflated blocks of an object container
// file.
func unpackAvro(name string, data []byte) (haystack, error) {
	r := bufio.NewReader(bytes.NewReader(data))
	magic := make([]byte, 4)
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != "Obj\x01" {
		return nil, errors.New("is no object container file")
	}
	header, codec, err := avroHeader(r)
	if err != nil {
		return nil, err
	}
	h := haystack{{place: name + " header", data: header}}
	sync := make([]byte, 16)
	if _, err := io.ReadFull(r, sync); err != nil {
		return nil, err
	}
	for {
		if _, err := binary.ReadVarint(r); err == io.EOF {
			return h, nil
		} else if err != nil {
			return nil, err
		}
		block, err := avroBytes(r)
		if err != nil {
			return nil, err
		}
		switch codec {
		case "deflate":
			if block, err = io.ReadAll(flate.NewReader(bytes.NewReader(block))); err != nil {
				return nil, err
			}
		case "null", "":
		default:
			return nil, errors.New("a codec that is not known here")
		}
		h = append(h, section{place: name + " block", data: block})
		end := make([]byte, 16)
		if _, err := io.ReadFull(r, end); err != nil || !bytes.Equal(end, sync) {
			return nil, errors.New("a block does not end with the file's mark")
		}
	}
}

// avroHeader reads the map of the header.
func avroHeader(r *bufio.Reader) (all []byte, codec string, err error) {
	for {
		n, err := binary.ReadVarint(r)
		if err != nil || n == 0 {
			return all, codec, err
		}
		if n < 0 { // the size of the block in bytes follows
			if n = -n; n == 0 {
				return nil, "", errors.New("a block has no size")
			}
			if _, err := binary.ReadVarint(r); err != nil {
				return nil, "", err
			}
		}
		for range n {
			key, err := avroBytes(r)
			if err != nil {
				return nil, "", err
			}
			value, err := avroBytes(r)
			if err != nil {
				return nil, "", err
			}
			if string(key) == "avro.codec" {
				codec = string(value)
			}
			all = append(append(append(append(all, key...), '\n'), value...), '\n')
		}
	}
}

func avroBytes(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadVarint(r)
	if err != nil || n < 0 || n > 1<<28 {
		return nil, errors.New("a length is wrong")
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// unpackSQLite gives every value of every table.
func unpackSQLite(t *testing.T, name string, data []byte) (haystack, error) {
	// A copy, so that looking changes nothing.
	file := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := queryText(db, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return nil, err
	}
	var h haystack
	for table := range strings.SplitSeq(strings.TrimSpace(string(rows)), "\n") {
		values, err := queryText(db, `SELECT * FROM "`+table+`"`)
		if err != nil {
			return nil, err
		}
		h = append(h, section{place: name + " table " + table, data: values})
	}
	return h, nil
}

func queryText(db *sql.DB, query string) (text []byte, err error) {
	rows, err := db.Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values := make([]sql.RawBytes, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for _, v := range values {
			text = append(append(text, v...), '\n')
		}
	}
	return text, rows.Err()
}

// unpackParquet gives the footer's texts and bounds, the page index, and of
// each column the pages without compression and every value.
func unpackParquet(name string, data []byte) (haystack, error) {
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	meta := f.Metadata()
	var footer []string
	footer = append(footer, meta.CreatedBy)
	for _, kv := range meta.KeyValueMetadata {
		footer = append(footer, kv.Key, kv.Value)
	}
	for _, e := range meta.Schema {
		footer = append(footer, e.Name)
	}
	bounds := map[string][]string{}
	note := func(column string, values ...[]byte) {
		for _, v := range values {
			bounds[column] = append(bounds[column], string(v))
		}
	}
	h := haystack{{place: name + " footer", data: []byte(strings.Join(footer, "\n"))}}
	columns := f.Schema().Columns()
	for g := range meta.RowGroups {
		for i := range meta.RowGroups[g].Columns {
			c := &meta.RowGroups[g].Columns[i].MetaData
			column := strings.Join(columns[i], ".")
			note(column, c.Statistics.Min, c.Statistics.Max, c.Statistics.MinValue, c.Statistics.MaxValue)
			pages, err := unpackPages(data, c)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", column, err)
			}
			for _, p := range pages {
				note(column, p.bounds...)
				h = append(h, section{place: name + " column " + column + " page", data: p.data})
			}
			values, err := columnText(f.RowGroups()[g].ColumnChunks()[i])
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", column, err)
			}
			h = append(h, section{place: name + " column " + column, data: values})
		}
	}
	for i := range f.ColumnIndexes() {
		index := &f.ColumnIndexes()[i]
		column := strings.Join(columns[i%len(columns)], ".")
		note(column, index.MinValues...)
		note(column, index.MaxValues...)
	}
	for column, values := range bounds {
		h = append(h, section{place: name + " bounds of " + column, data: []byte(strings.Join(values, "\n"))})
	}
	return h, nil
}

// page is a page without compression, and the bounds in its header.
type page struct {
	data   []byte
	bounds [][]byte
}

// unpackPages reads the pages of a column chunk one after the other.
func unpackPages(data []byte, c *format.ColumnMetaData) (pages []page, err error) {
	at := c.DataPageOffset
	if c.DictionaryPageOffset > 0 {
		at = min(at, c.DictionaryPageOffset)
	}
	end := at + c.TotalCompressedSize
	if at < 0 || end > int64(len(data)) {
		return nil, errors.New("the pages lie outside of the file")
	}
	zr, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer zr.Close()
	for at < end {
		r := bytes.NewReader(data[at:end])
		var header format.PageHeader
		if err := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(r)).Decode(&header); err != nil {
			return nil, err
		}
		begin := end - int64(r.Len())
		at = begin + int64(header.CompressedPageSize)
		if at > end {
			return nil, errors.New("a page ends behind its column")
		}
		p := page{data: data[begin:at]}
		switch c.Codec {
		case format.Uncompressed:
		case format.Zstd:
			if p.data, err = zr.DecodeAll(p.data, nil); err != nil {
				return nil, err
			}
		default:
			return nil, errors.New("a codec that is not known here")
		}
		if len(p.data) != int(header.UncompressedPageSize) {
			return nil, errors.New("a page is not as long as its header says")
		}
		if v1 := header.DataPageHeader; v1.Valid {
			p.bounds = [][]byte{v1.V.Statistics.Min, v1.V.Statistics.Max, v1.V.Statistics.MinValue, v1.V.Statistics.MaxValue}
		}
		pages = append(pages, p)
	}
	return pages, nil
}

// columnText gives the values of a column and of its dictionary as a reader
// gets them, one a line.
func columnText(c parquet.ColumnChunk) (text []byte, err error) {
	pages := c.Pages()
	defer pages.Close()
	buf := make([]parquet.Value, 256)
	for {
		p, err := pages.ReadPage()
		if err == io.EOF {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
		if d := p.Dictionary(); d != nil {
			for i := range d.Len() {
				text = fmt.Appendf(text, "%s\n", d.Index(int32(i)))
			}
		}
		values := p.Values()
		for {
			n, err := values.ReadValues(buf)
			for _, v := range buf[:n] {
				if !v.IsNull() {
					text = fmt.Appendf(text, "%s\n", v)
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		parquet.Release(p)
	}
}

// hasPlace reports whether a canary was found in a section whose place ends so.
func hasPlace(hits []hit, end string) bool {
	return slices.ContainsFunc(hits, func(h hit) bool { return strings.HasSuffix(h.place, end) })
}
