// Package signals reads the consent that events carry. It is no permission: it
// only takes away from what the ledger permits, so a Reader says of a value
// which purposes it leaves.
//
//	r, err := signals.NewReader(vocabulary, signals.Options{})
//	left := r.Permitted(schemas.TCFSignal, []byte(`"CO..."`))
//
// FORMAT.md of package schemas says what each kind of signal looks like and
// denies. The guarantee is that a value never leaves more than it says: what
// cannot be read denies every purpose that its kind can speak of. No value is
// in an error, for there are none: a value that is wrong is one that denies.
package signals
