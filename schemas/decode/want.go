package decode

// want says which members of an object lead to what a contract names. What is
// not wanted need not be written into the JSON view of a message.
type want struct {
	below map[string]*want
	rest  *want // of the members that are not in below
	// identity says that an identity field is taken from it.
	identity bool
	// whole says that it is taken with all that is in it, arrays too.
	whole bool
}

// wanted are the paths of the contracts; identity and signal mark the slots of
// identity fields and of signals.
func wanted(b *branch, identity, signal []bool) *want {
	whole := everything()
	whole.whole = true
	return wantedOf(b, identity, signal, nil, whole)
}

// wantedOf is wanted for what is below a branch; rest is what is wanted of the
// members of signals, and nil where the branch is in none.
func wantedOf(b *branch, identity, signal []bool, rest, whole *want) *want {
	if b.slot != none && signal[b.slot] {
		rest = whole
	}
	w := &want{
		below: make(map[string]*want, len(b.below)), rest: rest, whole: rest != nil,
		identity: b.slot != none && identity[b.slot],
	}
	for name, next := range b.below {
		w.below[name] = wantedOf(next, identity, signal, rest, whole)
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
