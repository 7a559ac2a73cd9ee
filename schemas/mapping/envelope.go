package mapping

import (
	"errors"
	"strconv"

	"lupa/schemas"
)

// change is what an envelope says besides the row.
type change struct {
	time, lsn       int64 // microseconds; the log sequence number
	hasTime, hasLSN bool
}

// What is wrong with changes. Each says what must be set at the source.
var (
	errNoChange     = errors.New("is no change event of the envelope that the mapping names")
	errTruncated    = errors.New("the table was truncated or dropped, and nobody can say who was in it; truncate.mode=skip, or retract the rows one by one")
	errDeletedRow   = errors.New("a deleted row does not name its principal; the source must log whole rows (Postgres: REPLICA IDENTITY FULL, MySQL: binlog_row_image=FULL)")
	errOldRow       = errors.New("an update does not have the row as it was, which tells whether it is about somebody else now; the source must log whole rows (Postgres: REPLICA IDENTITY FULL), or the mapping say before: optional")
	errUnavailable  = errors.New("the value was left out as unchanged, and is in no other part of the event (Postgres: REPLICA IDENTITY FULL)")
	errNestedChange = errors.New("the row within the event is not JSON")
)

// debezium reads an event of Debezium, bare or as its JSON converter writes it
// with a schema.
func (r *Reader) debezium(n int32, dst []schemas.Statement) []schemas.Statement {
	t := &r.tree
	if p := t.member(n, "payload"); p != absent && t.member(n, "op") == absent {
		if t.isNull(p) {
			return dst // the tombstone of that converter
		}
		n = p
	}
	op := t.member(n, "op")
	if op == absent || t.nodes[op].kind != '"' {
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	source := t.member(n, "source")
	r.change.lsn, r.change.hasLSN = r.integer(t.member(source, "lsn"))
	r.change.at(r, 1, t.member(source, "ts_us"))
	r.change.at(r, 1e3, t.member(source, "ts_ms"))
	r.change.at(r, 1e3, t.member(n, "ts_ms"))
	before, err := r.rowIn(t.member(n, "before"))
	if err != nil {
		return append(dst, schemas.Statement{Fault: err})
	}
	after, err := r.rowIn(t.member(n, "after"))
	if err != nil {
		return append(dst, schemas.Statement{Fault: err})
	}
	switch string(t.nodes[op].text) {
	case "c", "r":
		if after != absent {
			return r.inserted(rowAt(after), dst)
		}
	case "u":
		return r.changed(rowAt(before), rowAt(after), dst)
	case "d":
		if before == absent {
			return append(dst, schemas.Statement{Fault: errDeletedRow})
		}
		return r.deleted(rowAt(before), errDeletedRow, dst)
	case "t":
		return append(dst, schemas.Statement{Fault: errTruncated})
	}
	return append(dst, schemas.Statement{Fault: errNoChange})
}

// changed is an update that must have both rows.
func (r *Reader) changed(before, after place, dst []schemas.Statement) []schemas.Statement {
	if after.row == absent {
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	if before.row != absent && r.tree.nodes[before.row].kind == '{' {
		r.persons(before, nil)
		if len(r.people) > 0 || r.m.optional {
			return r.updated(before, after, dst)
		}
	}
	if !r.m.optional {
		// It may be that of somebody who is not told any more.
		return append(dst, schemas.Statement{Fault: errOldRow})
	}
	dst = r.inserted(after, dst)
	if r.tree.nodes[after.row].kind != '{' {
		return dst
	}
	return r.unsaid(after, dst)
}

// rowIn gives a row, which in events of MongoDB is JSON within a string.
func (r *Reader) rowIn(n int32) (int32, error) {
	if r.tree.isNull(n) {
		return absent, nil
	}
	if r.tree.nodes[n].kind != '"' {
		return n, nil
	}
	row, err := r.tree.add(r.tree.nodes[n].text)
	if err != nil {
		return absent, errNestedChange
	}
	return row, nil
}

// canal reads an event of Canal: rows in an array, and beside each of an update
// what its changed columns were.
func (r *Reader) canal(n int32, dst []schemas.Statement) []schemas.Statement {
	t := &r.tree
	kind := t.member(n, "type")
	if kind == absent || t.nodes[kind].kind != '"' {
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	r.change.at(r, 1e3, t.member(n, "es"))
	r.change.at(r, 1e3, t.member(n, "ts"))
	op := string(t.nodes[kind].text)
	switch op {
	case "INSERT", "UPDATE", "DELETE":
	case "TRUNCATE", "ERASE":
		return append(dst, schemas.Statement{Fault: errTruncated})
	case "CREATE", "ALTER", "RENAME", "CINDEX", "DINDEX", "QUERY":
		return dst // of the table, not of a row
	default:
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	data := t.member(n, "data")
	if data == absent || t.nodes[data].kind != '[' {
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	old := absent
	if o := t.member(n, "old"); !t.isNull(o) && t.nodes[o].kind == '[' && o+1 < t.nodes[o].next {
		old = o + 1
	}
	for row := data + 1; row < t.nodes[data].next; row = t.nodes[row].next {
		switch op {
		case "INSERT":
			dst = r.inserted(rowAt(row), dst)
		case "DELETE":
			dst = r.deleted(rowAt(row), errDeletedRow, dst)
		case "UPDATE":
			dst = r.changed(r.overlaid(row, old), rowAt(row), dst)
			if old != absent {
				if old = t.nodes[old].next; old >= t.nodes[t.member(n, "old")].next {
					old = absent
				}
			}
		}
	}
	return dst
}

// overlaid is a row as it was: old has the columns that have changed.
func (r *Reader) overlaid(row, old int32) place {
	at := rowAt(row)
	if at.old = old; r.tree.isNull(old) || r.tree.nodes[old].kind != '{' {
		at.row = absent
	}
	return at
}

// maxwell reads an event of Maxwell's daemon.
func (r *Reader) maxwell(n int32, dst []schemas.Statement) []schemas.Statement {
	t := &r.tree
	kind := t.member(n, "type")
	if kind == absent || t.nodes[kind].kind != '"' {
		return append(dst, schemas.Statement{Fault: errNoChange})
	}
	r.change.at(r, 1e6, t.member(n, "ts"))
	row := t.member(n, "data")
	switch op := string(t.nodes[kind].text); op {
	case "insert", "bootstrap-insert", "update", "delete":
		if t.isNull(row) {
			return append(dst, schemas.Statement{Fault: errNoChange})
		}
		switch op {
		case "delete":
			return r.deleted(rowAt(row), errDeletedRow, dst)
		case "update":
			return r.changed(r.overlaid(row, t.member(n, "old")), rowAt(row), dst)
		}
		return r.inserted(rowAt(row), dst)
	case "bootstrap-start", "bootstrap-complete", "table-create", "table-alter", "database-create", "database-alter":
		return dst // of the table, not of a row
	case "table-drop", "database-drop":
		return append(dst, schemas.Statement{Fault: errTruncated})
	}
	return append(dst, schemas.Statement{Fault: errNoChange})
}

// at takes the time of a change, unless it is known already.
func (c *change) at(r *Reader, unit int64, n int32) {
	if v, ok := r.integer(n); ok && !c.hasTime && v >= minMicros/unit && v <= maxMicros/unit {
		c.time, c.hasTime = v*unit, true
	}
}

// integer gives a whole number, or the text of one.
func (r *Reader) integer(n int32) (int64, bool) {
	if r.tree.isNull(n) {
		return 0, false
	}
	v, err := strconv.ParseInt(string(r.tree.nodes[n].text), 10, 64)
	return v, err == nil
}
