package consent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// TestSharedByTokens: an identifier of a shared kind is several people's when the
// ledger has its token alone, whoever meets it first.
func TestSharedByTokens(t *testing.T) {
	device, ann := anon("device"), user("ann")
	byToken := func(r say) say {
		r.Token, r.Principal = tokenOf(r.Principal), schemas.Subject{}
		if !r.Other.IsZero() {
			r.OtherToken, r.Other = tokenOf(r.Other), schemas.Subject{}
		}
		return r
	}
	kept, none := schemas.ConsentGiven, schemas.NoRecord
	for _, c := range []struct {
		name string
		said []say
		row  row
		want schemas.Reason
	}{
		{"its grant is not a stranger's", []say{of(device, grant(email, 1))}, row{user: "stranger", anon: "device"}, none},
		{"nor a known person's", []say{of(device, grant(email, 1)), of(ann, grant(stats, 1))}, row{user: "ann", anon: "device"}, none},
		{"it is its own", []say{of(device, grant(email, 1))}, row{anon: "device"}, kept},
		{"nothing passes through it", []say{linked(ann, device).v(1), linked(user("ben"), device).v(1), of(user("ben"), grant(email, 1))}, row{user: "ann", anon: "device"}, none},
		{"its erasure is nobody's", []say{of(device, erase(9)), of(ann, grant(email, 1))}, row{user: "ann", anon: "device"}, kept},
		{"it takes away", []say{of(device, withdraw(email, 2)), of(ann, grant(email, 1))}, row{user: "ann", anon: "device"}, schemas.Withdrawn},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{SharedKinds: []schemas.IdentifierKind{schemas.AnonymousID}})
			for _, s := range c.said {
				apply(t, v, byToken(s))
			}
			c.row.time = 5
			asked := newView(t, Options{SharedKinds: []schemas.IdentifierKind{schemas.AnonymousID}})
			for _, s := range c.said {
				apply(t, asked, byToken(s))
			}
			got := []schemas.Reason{decideRows(t, v, contract(), c.row)[0].Reason, decideRows(t, v, contract(), c.row)[0].Reason}
			tokens := []schemas.Token{tokenOf(device)}
			if c.row.user != "" {
				tokens = append(tokens, tokenOf(user(c.row.user)))
			}
			asked.Declare(schemas.AnonymousID, tokens[0])
			asked.Declare(schemas.UserID, tokens[len(tokens)-1])
			got = append(got, asked.Explain(tokens, Question{At: 5, Now: 9, Need: schemas.Purposes(email)}).Reason)
			if diff := cmp.Diff([]schemas.Reason{c.want, c.want, c.want}, got); diff != "" {
				t.Errorf("first, again, explained (-want +got):\n%s", diff)
			}
		})
	}
}
