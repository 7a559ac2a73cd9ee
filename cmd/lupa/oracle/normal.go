package oracle

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"lupa/schemas"
)

// normal gives the form of an identifier of which its token is made; empty when
// it identifies nobody. Each rule is applied until nothing changes any more.
func normal(kind schemas.IdentifierKind, raw, region string) string {
	switch kind {
	case schemas.Email:
		return stable(raw, normalEmail)
	case schemas.Phone:
		return normalPhone(raw, region)
	}
	return raw
}

func stable(value string, rule func(string) string) string {
	for range 4 {
		next := rule(value)
		if next == value {
			break
		}
		value = next
	}
	return value
}

func normalEmail(value string) string {
	value = strings.TrimSpace(value)
	if !utf8.ValidString(value) {
		return lowerASCII(value)
	}
	value = norm.NFC.String(strings.ToLower(norm.NFC.String(value)))
	at := strings.LastIndexByte(value, '@')
	if at < 0 || isASCII(value[at+1:]) {
		return value
	}
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false), idna.StrictDomainName(true))
	host, err := profile.ToASCII(value[at+1:])
	if err != nil || host == "" || !isASCII(host) {
		return value
	}
	return value[:at+1] + host
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func normalPhone(value, region string) string {
	if e164, ok := parsedPhone(value, region); ok {
		return e164
	}
	// No number: its letters and digits behind a mark.
	var b strings.Builder
	digits := false
	for _, r := range value {
		switch {
		case unicode.IsDigit(r):
			digits = true
			if western := phonenumbers.NormalizeDigitsOnly(string(r)); western != "" {
				b.WriteString(western)
			} else {
				b.WriteRune(r)
			}
		case unicode.IsLetter(r):
			b.WriteRune(unicode.ToLower(r))
		}
	}
	if !digits {
		return ""
	}
	return "?" + b.String()
}

// parsedPhone gives the E.164 form of what is a phone number. A form that
// becomes another one when it is read again, and again, is none.
func parsedPhone(value, region string) (string, bool) {
	if strings.HasPrefix(value, "?") {
		return "", false
	}
	const rounds = 4
	for round := range rounds + 1 {
		number, err := phonenumbers.Parse(value, region)
		if err != nil {
			return "", false
		}
		e164 := phonenumbers.Format(number, phonenumbers.E164)
		if !isE164(e164) {
			return "", false
		}
		if e164 == value && (round < rounds || !number.GetItalianLeadingZero()) {
			return e164, true
		}
		value = e164
	}
	return "", false
}

func isE164(s string) bool {
	return len(s) >= 4 && s[0] == '+' && strings.Trim(s[1:], "0123456789") == ""
}
