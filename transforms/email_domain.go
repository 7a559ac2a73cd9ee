package transforms

import (
	"bytes"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/transforms/keys/normalize"
)

// emailDomain leaves the part behind the last @ of an e-mail address, lower
// case and in the ASCII form of IDNA. It is null unless there is something
// before the @ and a host name behind it: dotted labels of letters, digits and
// hyphens, of which the last is no number. A domain that belongs to one person
// passes; nothing in it says so.
type emailDomain struct {
	normalizer *normalize.Normalizer
	out        text
}

func newEmailDomain() (*emailDomain, error) {
	n, err := normalize.New("")
	return &emailDomain{normalizer: n}, err
}

func (k *emailDomain) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	values, present := in.(*array.BinaryView), presenceOf(in)
	k.out.reset(len(rows))
	for _, row := range rows {
		there := present.at(row)
		if there {
			k.out.data, there = k.append(k.out.data, values.Value(int(row)))
		}
		k.out.end(there)
	}
	return k.out.column()
}

// append appends the domain of the address, or gives false.
func (k *emailDomain) append(dst, address []byte) ([]byte, bool) {
	address = k.normalizer.Email(address)
	at := bytes.LastIndexByte(address, '@')
	if at < 1 || !hostName(address[at+1:]) {
		return dst, false
	}
	return append(dst, address[at+1:]...), true
}

// hostName reports whether name is a lower-case host name of two labels or
// more.
func hostName(name []byte) bool {
	const longestName, longestLabel = 253, 63
	if len(name) > longestName {
		return false
	}
	labels, label, letters := 1, 0, 0 // so far, and the length and letters of the last
	for i, c := range name {
		switch {
		case c-'a' < 26:
			label, letters = label+1, letters+1
		case c-'0' < 10:
			label++
		case c == '-' && label > 0 && i+1 < len(name) && name[i+1] != '.':
			label++
		case c == '.' && label > 0:
			labels, label, letters = labels+1, 0, 0
		default:
			return false
		}
		if label > longestLabel {
			return false
		}
	}
	return labels > 1 && letters > 0
}
