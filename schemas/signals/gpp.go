package signals

import (
	"strings"

	"github.com/LiveRamp/iabconsent"

	"lupa/schemas"
)

// The sections of GPP strings that can be read.
const (
	tcfEUSection     = 2
	usPrivacySection = 6
	firstUSSection   = iabconsent.UsNationalSID
	lastUSSection    = iabconsent.UsTennesseeSID
)

// gpp says what a GPP string denies: all that one of its sections does.
func (r *Reader) gpp(text string) (denied schemas.PurposeSet, ok bool) {
	if strings.IndexFunc(text, notInString) >= 0 {
		return 0, false
	}
	parts := strings.Split(text, "~")
	ids, ok := gppSections(parts[0])
	if !ok || len(ids) != len(parts)-1 {
		return 0, false
	}
	for i, id := range ids {
		section := parts[i+1]
		optedOut := false
		switch {
		case id == tcfEUSection:
			some, ok := r.tcString(section)
			if !ok {
				some = r.speaks[schemas.TCFSignal]
			}
			denied |= some
		case id == usPrivacySection:
			optedOut, ok = usPrivacy(section)
		case id >= firstUSSection && id <= lastUSSection:
			optedOut, ok = usSection(id, section)
		default:
			return 0, false
		}
		if !ok {
			return 0, false
		}
		if optedOut {
			denied |= r.vocabulary.GPC()
		}
	}
	return denied, true
}

// usPrivacy reads the four characters of a US Privacy string: version, notice,
// opt-out of sale, agreement.
func usPrivacy(text string) (optedOut, ok bool) {
	if len(text) != 4 || text[0] != '1' || strings.Trim(text[1:], "YN-") != "" {
		return false, false
	}
	return text[2] == 'Y', true
}

// usSection reads a section of the US Privacy specifications.
func usSection(id int, text string) (optedOut, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	parsed, err := iabconsent.NewMspa(id, text).ParseConsent()
	if err != nil {
		return false, false
	}
	c, ok := parsed.(*iabconsent.MspaParsedConsent)
	if !ok {
		return false, false
	}
	for _, choice := range []iabconsent.MspaOptout{c.SaleOptOut, c.SharingOptOut, c.TargetedAdvertisingOptOut} {
		switch choice {
		case iabconsent.OptOutNotApplicable, iabconsent.NotOptedOut:
		default:
			optedOut = true
		}
	}
	return optedOut || c.Gpc, true
}

// What a header may list; the IDs in use are below 32.
const (
	mostSections   = 64
	highestSection = 255
)

// gppSections reads the header of a GPP string: which sections follow. The
// parsers of both libraries expand its ranges without a limit, and a header of a
// few bytes can name more than memory holds.
func gppSections(header string) (ids []int, ok bool) {
	in := sixBits{text: header}
	if in.number(6) != 3 || in.number(6) != 1 {
		return nil, false
	}
	last := 0
	for range in.number(12) {
		isRange := in.bit() == 1
		first := last + in.fibonacci()
		last = first
		if isRange {
			last += in.fibonacci()
		}
		if in.bad || last > highestSection || len(ids)+last-first >= mostSections {
			return nil, false
		}
		for id := first; id <= last; id++ {
			ids = append(ids, id)
		}
	}
	return ids, !in.bad
}

// sixBits reads bits of a text in base64, of which each character has six.
type sixBits struct {
	text string
	at   int
	bad  bool // it read behind the end, or what is no number
}

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (s *sixBits) bit() int {
	if s.at >= 6*len(s.text) {
		s.bad = true
		return 0
	}
	six := strings.IndexByte(base64URL, s.text[s.at/6])
	if six < 0 {
		s.bad = true
		return 0
	}
	bit := six >> (5 - s.at%6) & 1
	s.at++
	return bit
}

func (s *sixBits) number(bits int) int {
	n := 0
	for range bits {
		n = n<<1 | s.bit()
	}
	return n
}

// fibonacci reads a number from 1 in Fibonacci coding, which ends with two ones.
func (s *sixBits) fibonacci() int {
	n, before := 0, 0
	for a, b := 1, 2; !s.bad; a, b = b, a+b {
		bit := s.bit()
		if bit == 1 && before == 1 {
			return n
		}
		if bit == 1 {
			n += a
		}
		before = bit
		if a > highestSection {
			s.bad = true
		}
	}
	return 0
}
