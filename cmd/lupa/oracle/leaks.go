package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/parquet-go/parquet-go"
)

// I5: no raw personal value stands in anything that was written.

// searchLeaks searches everything.
func (c *check) searchLeaks(ctx context.Context) error {
	s := c.judge.secrets
	s.build()
	if len(s.patterns) == 0 {
		c.limit(noRawValue, "there are no raw values to search for")
		return nil
	}
	c.looked(noRawValue, int64(len(s.origin)))
	if s.ordinary > 0 {
		c.limit(noRawValue, "%d of %d spellings also stand in text that is kept readable, and were not searched for", s.ordinary, len(s.patterns))
	}
	h := &hunt{secrets: s, told: map[string]bool{}}
	for _, root := range [...]string{c.in.Warehouse, c.in.Quarantine} {
		if root == "" {
			continue
		}
		if err := h.tree(ctx, root); err != nil {
			return err
		}
	}
	for _, log := range c.in.Logs {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		h.text(log, text)
	}
	return c.searchTopic(ctx, h)
}

// searchTopic searches the quarantine topic.
func (c *check) searchTopic(ctx context.Context, h *hunt) error {
	if c.in.QuarantineTopic == "" {
		return nil
	}
	aside := Source{Brokers: c.in.Events.Brokers, Dial: c.in.Events.Dial, Topics: []string{c.in.QuarantineTopic}}
	all, err := aside.extents(ctx, 0)
	if err != nil {
		return err
	}
	return aside.read(ctx, all, 0, func(p place, m *message) error {
		h.text(p.at(m.offset), m.key)
		h.text(p.at(m.offset), m.value)
		return nil
	})
}

// hunt is one search.
type hunt struct {
	*secrets
	told map[string]bool
}

// text searches one text. A place is told once for each value and form.
func (h *hunt) text(place string, text []byte) {
	h.matcher.find(text, func(n int32, at int) {
		p := &h.patterns[n]
		if p.ordinary || p.digits && amidDigits(text, at, len(h.matcher.pattern[n])) {
			return
		}
		problem := fmt.Sprintf("it holds the value of %s, %s", h.origin[p.value], p.form)
		if key := place + "\n" + problem; !h.told[key] {
			h.told[key] = true
			h.c.violate(noRawValue, place, "%s", problem)
		}
	})
}

// amidDigits reports whether what was found is only a piece of a longer number.
func amidDigits(text []byte, at, length int) bool {
	digit := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9' }
	return digit(at-1) || digit(at+length)
}

// tree searches all files under a directory: their names, their bytes, and what
// is packed in those of Parquet, Avro and JSON.
func (h *hunt) tree(ctx context.Context, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		place := h.c.relative(path)
		h.text("a name in "+h.c.relative(filepath.Dir(path)), []byte(d.Name()))
		if d.IsDir() || !d.Type().IsRegular() {
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return ignoreGone(err)
		}
		h.text(place, body)
		switch filepath.Ext(path) {
		case ".parquet":
			h.parquet(place, path)
		case ".avro":
			list, err := decodeAvro(bytes.NewReader(body))
			if err != nil {
				h.c.limit(noRawValue, "%s could only be searched as it is on disk", place)
			}
			for i := range list {
				h.value(place, list[i])
			}
		case ".json", ".jsonl":
			if bytes.Contains(body, []byte(`\u`)) {
				h.json(place, body)
			}
		}
		return nil
	})
}

// parquet searches every value of every column.
func (h *hunt) parquet(place, path string) {
	seen := map[string]bool{}
	err := eachRow(path, func(columns []string, r parquet.Row) error {
		for _, v := range r {
			if k := v.Kind(); v.IsNull() || k != parquet.ByteArray && k != parquet.FixedLenByteArray {
				continue
			}
			column, text := columns[v.Column()], v.ByteArray()
			if key := column + "\n" + string(text); !seen[key] {
				seen[key] = true
				h.text(place+" column "+column, text)
			}
		}
		return nil
	})
	if err != nil {
		h.c.limit(noRawValue, "%s could only be searched as it is on disk", place)
	}
}

// json searches texts whose characters are written as escapes.
func (h *hunt) json(place string, body []byte) {
	for line := range bytes.Lines(body) {
		var v any
		if json.Unmarshal(line, &v) == nil {
			h.value(place, v)
		}
	}
	var v any
	if json.Unmarshal(body, &v) == nil {
		h.value(place, v)
	}
}

// value searches all texts in a decoded value.
func (h *hunt) value(place string, v any) {
	switch v := v.(type) {
	case string:
		h.text(place, []byte(v))
	case []byte:
		h.text(place, v)
	case []any:
		for i := range v {
			h.value(place, v[i])
		}
	case map[string]any:
		for name := range v {
			h.text(place, []byte(name))
			h.value(place, v[name])
		}
	}
}
