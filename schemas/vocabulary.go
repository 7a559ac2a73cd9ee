package schemas

// FirstGroup is the lowest number of a group of purposes, under which records
// can only take away. A Vocabulary numbers its groups from here.
const FirstGroup = Purpose(128)

// MaxGroups is how many groups a vocabulary may have.
const MaxGroups = 64

// IsGroup reports whether p is a group of purposes.
func (p Purpose) IsGroup() bool { return p >= FirstGroup && p < FirstGroup+MaxGroups }

// Vocabulary is the one table of the names under which purposes and channels
// are known: ours, and those of DPV, the TCF, Google Consent Mode, OneTrust,
// Segment and RudderStack. It is never changed once it is made.
type Vocabulary struct {
	groups []group
}

type group struct {
	name     string
	purposes PurposeSet
}

// DefaultVocabulary gives the embedded table.
func DefaultVocabulary() *Vocabulary { return &Vocabulary{} }

// Granted gives what a grant under a name permits: the purpose that the name
// means exactly, or NoPurpose.
func (v *Vocabulary) Granted(name string) Purpose { return grantedPurpose(name) }

// Denied gives what anything but a grant under a name takes away: no less than
// the name means. It may be a group. every is that it is all purposes; neither is
// a plain name that is not known.
func (v *Vocabulary) Denied(name string) (p Purpose, every bool) { return deniedPurpose(name) }

// Objected is Denied for an objection (Art 21), which may reach further: one to
// direct marketing is also one to the profiling for it.
func (v *Vocabulary) Objected(name string) (p Purpose, every bool) { return deniedPurpose(name) }

// Set gives the purposes that p stands for: itself, or those of a group.
func (v *Vocabulary) Set(p Purpose) PurposeSet {
	if p.IsGroup() {
		if i := int(p - FirstGroup); i < len(v.groups) {
			return v.groups[i].purposes
		}
		return 0
	}
	return Purposes(p) & AllPurposes
}

// Name gives the name of a purpose or group, as records write it.
func (v *Vocabulary) Name(p Purpose) string {
	if p.IsGroup() {
		if i := int(p - FirstGroup); i < len(v.groups) {
			return v.groups[i].name
		}
		return ""
	}
	return p.String()
}
