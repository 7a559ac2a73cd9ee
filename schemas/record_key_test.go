package schemas

import (
	"strings"
	"testing"
)

func TestRecordKey(t *testing.T) {
	subject := NewSubject(UserID, "a|b%c")
	other := NewSubject(AnonymousID, "x|y")
	for _, c := range []struct {
		key  string
		want Record
	}{
		{"user_id:a%7Cb%25c|analytics", Record{Principal: subject, Purpose: Analytics}},
		{"user_id:a%7Cb%25c|*", Record{Principal: subject, Every: true}},
		{"user_id:a%7Cb%25c|unknown", Record{Principal: subject}},
		{"user_id:a%7Cb%25c|erase", Record{Verb: Erase, Principal: subject, Every: true}},
		{"user_id:a%7Cb%25c|link:anonymous_id:x%7Cy", Record{Verb: Link, Principal: subject, Other: other}},
		{"user_id:a%7Cb%25c|restriction", Record{Verb: Restrict, Principal: subject}},
		{"user_id:a%7Cb%25c|born", Record{Verb: Born, Principal: subject}},
		{"user_id:a%7Cb%25c|retain:order_id,vat_id", Record{Verb: Retain, Principal: subject, Terms: Terms{Fields: "order_id,vat_id"}}},
		{"user_id:a%7Cb%25c|guardian:analytics", Record{Verb: GuardianWithdraw, Principal: subject, Purpose: Analytics}},
		{"user_id:a%7Cb%25c|guardian:*", Record{Verb: GuardianWithdraw, Principal: subject, Every: true}},
		{"user_id:a%7Cb%25c|guardian:unknown", Record{Verb: GuardianWithdraw, Principal: subject}},
		{"ledger:01020304-0506-8708-890a-0b0c0d0e0f10|profiling", Record{Token: testToken, Purpose: Profiling}},
	} {
		got, err := ParseRecordKey([]byte(c.key))
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, error %v; want %+v", c.key, got, err, c.want)
		}
		if written := string(AppendRecordKey(nil, c.want)); written != c.key {
			t.Errorf("wrote %s, want %s", written, c.key)
		}
	}
}

func TestRecordKeyOfOthers(t *testing.T) {
	for key, want := range map[string]Record{
		"user_id:%61%7c|analytics":                                   {Principal: NewSubject(UserID, "a|"), Purpose: Analytics},
		"user_id:1|fun":                                              {Principal: NewSubject(UserID, "1")},
		"user_id:1|dpv:Profiling":                                    {Principal: NewSubject(UserID, "1"), Purpose: Profiling},
		"user_id:1|dpv:Marketing":                                    {Principal: NewSubject(UserID, "1"), Purpose: groupNamed("marketing")},
		"user_id:1|guardian:marketing":                               {Verb: GuardianWithdraw, Principal: NewSubject(UserID, "1"), Purpose: groupNamed("marketing")},
		"user_id:1|dpv:CommercialPurpose":                            {Principal: NewSubject(UserID, "1"), Every: true},
		"email:a@b.example:c|erase":                                  {Verb: Erase, Principal: NewSubject(Email, "a@b.example:c"), Every: true},
		"phone:+358 40 123|":                                         {Principal: NewSubject(Phone, "+358 40 123")},
		"user_id:1|retain:vat%5Fid,order_id":                         {Verb: Retain, Principal: NewSubject(UserID, "1"), Terms: Terms{Fields: "order_id,vat_id"}},
		"user_id:1|retain:":                                          {Verb: Retain, Principal: NewSubject(UserID, "1")},
		"user_id:1|retain:Vat":                                       {Verb: Retain, Principal: NewSubject(UserID, "1")},
		"user_id:1|guardian:dpv:Profiling":                           {Verb: GuardianWithdraw, Principal: NewSubject(UserID, "1"), Purpose: Profiling},
		"user_id:1|analy%74ics":                                      {Principal: NewSubject(UserID, "1"), Purpose: Analytics},
		"user_id:1|%zz":                                              {Principal: NewSubject(UserID, "1")},
		"user_id:1|link:ledger:09000000-0000-8000-8000-000000000000": {Verb: Link, Principal: NewSubject(UserID, "1"), OtherToken: Token{9, 6: 0x80, 8: 0x80}},
	} {
		if got, err := ParseRecordKey([]byte(key)); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v; want %+v", key, got, err, want)
		}
	}
}

// TestRecordKeySlots: no record about a purpose shares its key with an erasure
// or a link, or compaction would forget them.
func TestRecordKeySlots(t *testing.T) {
	slots := map[string]Verb{}
	for _, r := range []Record{
		{Verb: Withdraw, Every: true},
		{Verb: Erase, Every: true},
		{Verb: Link, Other: NewSubject(UserID, "1")},
		{Verb: Link, Other: NewSubject(UserID, "2")},
		{Verb: Grant, Purpose: Analytics},
		{Verb: Refuse},
		{Verb: Restrict},
		{Verb: Born},
		{Verb: Retain, Terms: Terms{Fields: "a"}},
		{Verb: Retain, Terms: Terms{Fields: "a,b"}},
		{Verb: GuardianGrant, Purpose: Analytics},
		{Verb: GuardianWithdraw, Every: true},
	} {
		r.Principal = NewSubject(Email, "a@b.example")
		key := string(AppendRecordKey(nil, r))
		if verb, taken := slots[key]; taken {
			t.Errorf("%s and %s have the key %s", verb, r.Verb, key)
		}
		slots[key] = r.Verb
	}
	a := AppendRecordKey(nil, Record{Verb: Grant, Principal: NewSubject(UserID, "1"), Purpose: Analytics})
	b := AppendRecordKey(nil, Record{Verb: Withdraw, Principal: NewSubject(UserID, "1"), Purpose: Analytics})
	if string(a) != string(b) {
		t.Error("a grant and its withdrawal have different keys")
	}
	for _, pair := range [...][2]Verb{{Restrict, Lift}, {Link, Unlink}, {GuardianGrant, GuardianWithdraw}} {
		a = AppendRecordKey(nil, Record{Verb: pair[0], Principal: NewSubject(UserID, "1"), Other: NewSubject(UserID, "2"), Purpose: Analytics})
		b = AppendRecordKey(nil, Record{Verb: pair[1], Principal: NewSubject(UserID, "1"), Other: NewSubject(UserID, "2"), Purpose: Analytics})
		if string(a) != string(b) {
			t.Errorf("%s and %s have different keys", pair[0], pair[1])
		}
	}
}

func TestRecordKeyErrors(t *testing.T) {
	for key, want := range map[string]string{
		"":                           "the record key must have one |",
		"email:" + secret:            "the record key must have one |",
		"email:" + secret + "|a|b":   "the record key must have one |",
		"email:\xff|analytics":       "the record key is not UTF-8",
		"email:" + secret + "%ff|x":  "the record key's principal: not Unicode text",
		"email:" + secret + "%7|x":   "the record key's principal: has a % without two hexadecimal digits",
		"email:" + secret + "%zz|x":  "the record key's principal: has a % without two hexadecimal digits",
		"email:|x":                   "the record key's principal: has no identifier behind the colon",
		secret + "|x":                "the record key's principal: must begin with one of user_id, anonymous_id, email, phone, device_id, ledger, and a colon",
		"ledger:" + secret + "|x":    "the record key's principal: the token is not a UUID",
		"user_id:1|link:" + secret:   "the record key's other principal: must begin with one of user_id, anonymous_id, email, phone, device_id, ledger, and a colon",
		"user_id:1|link:user_id:%31": "the record key links a principal to itself",
		"tenant|user_id:1|analytics": "the record key must have one |",
	} {
		_, err := ParseRecordKey([]byte(key))
		if err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Error("the error shows the identifier")
		}
	}
}

// FuzzParseRecordKey: what parses is read back the same from what
// AppendRecordKey writes.
func FuzzParseRecordKey(f *testing.F) {
	for _, seed := range []string{"user_id:1|analytics", "email:a%7C|*", "phone:1|erase", "device_id:1|link:user_id:2", "user_id:1|retain:a,b", "user_id:1|guardian:*", "user_id:1|born", "user_id:1|restriction", "ledger:01020304-0506-8708-890a-0b0c0d0e0f10|x", "|", "%"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		r, err := ParseRecordKey(key)
		if err != nil {
			return
		}
		again, err := ParseRecordKey(AppendRecordKey(nil, r))
		if err != nil || again != r {
			t.Fatalf("read %+v, then %+v, error %v", r, again, err)
		}
	})
}

func BenchmarkParseToken(b *testing.B) {
	text := testToken.uuid()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseToken(text); err != nil {
			b.Fatal("the token is not read")
		}
	}
}
