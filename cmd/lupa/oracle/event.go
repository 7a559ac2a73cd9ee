package oracle

import (
	"strings"

	"lupa/schemas"
)

// contract is a contract with its paths as keys of leaves.
type contract struct {
	*schemas.Contract
	where []string
	paths [][]string // by field
}

func newContract(c *schemas.Contract) *contract {
	n := &contract{Contract: c, paths: make([][]string, len(c.Fields))}
	for _, m := range c.Where {
		n.where = append(n.where, pathKey(m.Path))
	}
	for i := range c.Fields {
		for _, p := range c.Fields[i].Paths {
			n.paths[i] = append(n.paths[i], pathKey(p))
		}
	}
	return n
}

// outcome is what a contract makes of a message: a row, or a reject with its
// reason.
type outcome struct {
	table  int
	reason schemas.Reason
	// either says that the message is wrong in two ways, of which any may be
	// told: WrongType or IdentityConflict.
	either bool
	// cells are the values of the contract's fields: string, int64 (also of
	// times and dates), float64, bool or nil.
	cells []any
	// signals says that the event carries consent of its own.
	signals bool
}

// found is the values of each path, in the order in which they stand.
type found map[string][]any

func byPath(list []leaf) found {
	f := found{}
	for _, l := range list {
		if l.listed {
			f[l.path] = append(f[l.path], l.value)
		}
	}
	return f
}

// last is the value that counts: the last one.
func (f found) last(path string) any {
	if all := f[path]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// takes reports whether all conditions of the contract hold.
func (c *contract) takes(f found) bool {
	for i, m := range c.Where {
		text, ok := f.last(c.where[i]).(string)
		if !ok || lowerASCII(text) != lowerASCII(m.Value) {
			return false
		}
	}
	return true
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// row makes the row of a message that was sent at the time told.
func (c *contract) row(f found, told int64) outcome {
	var o outcome
	for i := range c.Fields {
		field := &c.Fields[i]
		isTime := i == c.EventTime
		if field.Type == schemas.JSON {
			o.signals = o.signals || c.present(f, i)
		}
		if dropped(field) && !isTime {
			if field.Required && !c.present(f, i) {
				return outcome{reason: schemas.MissingField}
			}
			o.cells = append(o.cells, nil)
			continue
		}
		cell, reason, either := c.cell(f, i)
		if reason != schemas.NoReason {
			return outcome{reason: reason, either: either}
		}
		if cell == nil && isTime && told != noTime {
			cell = told
			if field.Type == schemas.Date {
				cell = floorDiv(told, 24*60*60*1_000_000)
			}
		}
		if cell == nil && (isTime || field.Required) {
			return outcome{reason: schemas.MissingField}
		}
		o.cells = append(o.cells, cell)
	}
	return o
}

// dropped is a field of which at most it is asked whether it is there.
func dropped(f *schemas.Field) bool {
	return f.Treatment.Technique == schemas.Drop && len(f.Identifiers) == 0
}

func (c *contract) present(f found, i int) bool {
	for _, path := range c.paths[i] {
		if f.last(path) != nil {
			return true
		}
	}
	return false
}

// cell takes a field's value: the first path that has one counts, but for what
// identifies, where all that is said must agree.
func (c *contract) cell(f found, i int) (cell any, reason schemas.Reason, either bool) {
	field := &c.Fields[i]
	var all []any
	for _, path := range c.paths[i] {
		if len(field.Identifiers) > 0 {
			for _, v := range f[path] {
				if v != nil && v != "" {
					all = append(all, v)
				}
			}
			continue
		}
		v := f.last(path)
		if v == nil || v == "" && field.Coerce && field.Type != schemas.Text {
			continue
		}
		all = append(all, v)
		break
	}
	wrong, conflict := false, false
	for _, v := range all {
		next, ok := convert(field, v)
		switch {
		case !ok:
			wrong = true
		case cell == nil:
			cell = next
		case next != cell:
			conflict = true
		}
	}
	switch {
	case wrong:
		return nil, schemas.WrongType, conflict
	case conflict:
		return nil, schemas.IdentityConflict, false
	}
	return cell, schemas.NoReason, false
}

// outcomes is what becomes of a message before anybody is asked for consent.
// One that no contract takes, or that is no message, has one outcome, a reject
// of no table.
func (c *check) outcomes(m *message) (list []outcome, values []leaf, f found) {
	rejects := len(c.tables) - 1
	reject := func(r schemas.Reason) []outcome { return []outcome{{table: rejects, reason: r}} }
	switch {
	case m.large || len(m.value) > c.in.MaxMessageBytes:
		return reject(schemas.TooLarge), nil, nil
	case len(m.value) == 0:
		return reject(schemas.EmptyMessage), nil, nil
	}
	values, object, reason := leaves(m.value, c.in.MaxDepth)
	if reason != schemas.NoReason {
		return reject(reason), nil, nil
	}
	f = byPath(values)
	for i, t := range c.tables[:rejects] {
		if !object || !t.contract.takes(f) {
			continue
		}
		o := t.contract.row(f, m.time)
		o.table = i
		list = append(list, o)
	}
	if len(list) == 0 {
		return reject(schemas.Unrouted), values, f
	}
	return list, values, f
}
