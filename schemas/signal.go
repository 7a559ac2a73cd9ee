package schemas

import "slices"

// Signal says where an event may carry consent of its own. It is no permission:
// it only takes away from what the ledger permits.
type Signal struct {
	Kind SignalKind
	// Field is the index in Contract.Fields of the field that has the value; it
	// is of type JSON and dropped.
	Field int
}

// SignalKind says how consent is written that an event carries.
type SignalKind uint8

// The kinds, each with its shape.
const (
	NoSignal         SignalKind = iota
	CategorySignal              // Segment, Jitsu: object of category ids with true or false
	RudderSignal                // RudderStack: object with lists of allowed and denied ids
	TCFSignal                   // TC string of the IAB TCF
	GPPSignal                   // string of the IAB Global Privacy Platform
	GPCSignal                   // Global Privacy Control: true or 1
	GoogleSignal                // Google Consent Mode: object of signals, or a gcs string
	PreferenceSignal            // Snowplow: consent_preferences

	numSignalKinds
)

// NumSignalKinds is the length of an array indexed by SignalKind.
const NumSignalKinds = int(numSignalKinds)

var signalNames = [numSignalKinds]string{
	CategorySignal:   "segment_categories",
	RudderSignal:     "rudderstack",
	TCFSignal:        "tcf",
	GPPSignal:        "gpp",
	GPCSignal:        "gpc",
	GoogleSignal:     "google_consent_mode",
	PreferenceSignal: "snowplow",
}

// String gives the kind's name as contracts write it.
func (k SignalKind) String() string {
	if k < numSignalKinds {
		return signalNames[k]
	}
	return ""
}

// SignalKinds lists the kinds, for messages that say what is allowed.
func SignalKinds() []string { return slices.Clone(signalNames[CategorySignal:]) }
