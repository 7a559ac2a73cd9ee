package decode

import "lupa/schemas"

// condition is one Where of a contract.
type condition struct {
	slot int32
	want string // lower case
}

func newCondition(slot int32, m schemas.Match) condition {
	want := []byte(m.Value)
	for i, c := range want {
		want[i] = lower(c)
	}
	return condition{slot, string(want)}
}

func lower(c byte) byte {
	if c-'A' < 26 {
		c |= 0x20
	}
	return c
}

// holds reports whether the slot holds a string that is equal to the wanted
// one, ignoring ASCII case.
func (c *condition) holds(v *values) bool {
	if v.kinds[c.slot] == text && v.spans[c.slot].Len != uint32(len(c.want)) {
		return false
	}
	s, ok := v.text(c.slot)
	if !ok || len(s) != len(c.want) {
		return false
	}
	for i := range s {
		if lower(s[i]) != c.want[i] {
			return false
		}
	}
	return true
}
