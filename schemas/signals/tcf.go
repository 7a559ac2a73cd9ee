package signals

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/LiveRamp/iabconsent"

	"lupa/schemas"
)

// disclosedSince is the time from which on a TC string is only valid with the
// segment of disclosed vendors: TCF 2.3 is obligatory.
var disclosedSince = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// firstPolicy is the lowest version of the TCF's policies that still counts.
const firstPolicy = 4

// tcString says what a TC string denies: each purpose that needs one of the
// TCF's that has no consent. Legitimate interest is no consent.
func (r *Reader) tcString(text string) (denied schemas.PurposeSet, ok bool) {
	c, ok := parseTC(text)
	if !ok || !c.valid() {
		return 0, false
	}
	if r.vendor > 0 && !c.names(r.vendor) {
		return 0, false
	}
	for n := 1; n <= tcfPurposes; n++ {
		if !c.PurposesConsent[n] || r.vendor > 0 && c.restricted(n, r.vendor) {
			denied |= r.tcf[n]
		}
	}
	return denied, true
}

// tc is a TC string with its segments.
type tc struct {
	*iabconsent.V2ParsedConsent
	disclosed *iabconsent.OOBVendorList
}

// parseTC reads a TC string of version 2. The parser forgets an error when
// another segment follows, so that each segment is read by itself. Its memory is
// bounded by the length of the text. Should it panic, the text is not readable.
func parseTC(text string) (c tc, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	if len(text) > longestValue || strings.IndexFunc(text, notInString) >= 0 {
		return tc{}, false
	}
	core, rest, more := strings.Cut(text, ".")
	parsed, err := iabconsent.ParseV2(core)
	if err != nil {
		return tc{}, false
	}
	c = tc{V2ParsedConsent: parsed}
	var seen [8]bool
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, ".")
		b, err := base64.RawURLEncoding.DecodeString(segment)
		if err != nil {
			return tc{}, false
		}
		in := iabconsent.NewConsentReader(b)
		kind, err := in.ReadSegmentType()
		if err != nil || seen[kind&7] {
			return tc{}, false
		}
		seen[kind&7] = true
		switch kind {
		case iabconsent.DisclosedVendors:
			c.disclosed, err = in.ReadVendors(kind)
		case iabconsent.AllowedVendors:
			_, err = in.ReadVendors(kind)
		case iabconsent.PublisherTC:
			_, err = in.ReadPublisherTCEntry()
		default:
			return tc{}, false
		}
		if err != nil || in.Err != nil {
			return tc{}, false
		}
	}
	return c, true
}

// notInString reports whether a character is in no TC or GPP string. Base64
// would pass over the ends of lines.
func notInString(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.~", c))
}

// valid reports whether the TCF lets anyone rely on the string.
func (c tc) valid() bool {
	at := c.Created
	if c.LastUpdated.After(at) {
		at = c.LastUpdated
	}
	return c.TCFPolicyVersion >= firstPolicy && c.IsServiceSpecific && (c.disclosed != nil || at.Before(disclosedSince))
}

// names reports whether a vendor has consent and was disclosed, where it is said
// who was.
func (c tc) names(vendor int) bool {
	consented := c.ConsentedVendors[vendor]
	if c.IsConsentRangeEncoding {
		consented = within(c.ConsentedVendorsRange, vendor)
	}
	if !consented || c.disclosed == nil {
		return consented
	}
	if c.disclosed.IsRangeEncoding {
		return within(c.disclosed.VendorEntries, vendor)
	}
	return c.disclosed.Vendors[vendor]
}

// restricted reports whether the publisher leaves a vendor no consent for a
// purpose to rely on.
func (c tc) restricted(purpose, vendor int) bool {
	for _, e := range c.PubRestrictionEntries {
		if e.PurposeID == purpose && e.RestrictionType != iabconsent.RequireConsent && within(e.RestrictionsRange, vendor) {
			return true
		}
	}
	return false
}

func within(ranges []*iabconsent.RangeEntry, vendor int) bool {
	for _, e := range ranges {
		if e.StartVendorID <= vendor && vendor <= e.EndVendorID {
			return true
		}
	}
	return false
}
