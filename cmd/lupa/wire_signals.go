package main

import (
	"lupa/pipeline/consent"
	"lupa/pipeline/consent/stamped"
	"lupa/schemas"
	"lupa/schemas/signals"
)

// narrower gives what takes from decisions what the consent in events does not
// cover.
func narrower(v *schemas.Vocabulary, e *EventsConfig) (consent.Narrower, error) {
	n, err := stamped.New(func() (stamped.Signals, error) {
		return signals.NewReader(v, signals.Options{TCFVendor: e.TCFVendor})
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}
