package decode

// want says which members of an object lead to what a contract names. What is
// not wanted need not be written into the JSON view of a message.
type want struct {
	below map[string]*want
	rest  *want // of the members that are not in below
	// identity says that an identity field is taken from it.
	identity bool
}

// wanted are the paths of the contracts; identity marks the slots of identity
// fields.
func wanted(b *branch, identity []bool) *want {
	w := &want{below: make(map[string]*want, len(b.below)), identity: b.slot != none && identity[b.slot]}
	for name, next := range b.below {
		w.below[name] = wanted(next, identity)
	}
	return w
}

// everything wants all members at every depth.
func everything() *want {
	w := &want{}
	w.rest = w
	return w
}

// member gives what is wanted of a member's value, nil for nothing at all.
func (w *want) member(name []byte) *want {
	if w == nil {
		return nil
	}
	if next, ok := w.below[string(name)]; ok {
		return next
	}
	return w.rest
}
