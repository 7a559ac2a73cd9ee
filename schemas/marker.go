package schemas

import "bytes"

// A marker is a ledger message about nobody. Whoever writes the ledger may send
// one to each partition at intervals, as a heartbeat that tells readers that
// what they see is not old; a reader that asks for a strict barrier sends its
// own. Its key is {"marker":"name"}, so that compaction keeps the last one of
// each name, and its value the same.
const markerPrefix = `{"marker":"`

// AppendMarker appends a marker's key, which is its value too. The name is of
// letters, digits and the signs . _ - only.
func AppendMarker(dst []byte, name string) []byte {
	dst = append(dst, markerPrefix...)
	dst = append(dst, name...)
	return append(dst, `"}`...)
}

// IsMarker reports whether a ledger message's key, or the value of one without
// a key, is that of a marker.
func IsMarker(text []byte) bool {
	name, ok := bytes.CutPrefix(text, []byte(markerPrefix))
	if ok {
		name, ok = bytes.CutSuffix(name, []byte(`"}`))
	}
	return ok && !bytes.ContainsAny(name, `"\`)
}
