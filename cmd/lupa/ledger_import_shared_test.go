package main

import (
	"bytes"
	"testing"

	"lupa/schemas"
)

// TestImportOfSharedKinds: whose kind the configuration calls shared is written as
// several people's, for the token does not tell.
func TestImportOfSharedKinds(t *testing.T) {
	t.Parallel()
	for kind, other := range map[string]schemas.IdentifierKind{"user_id": schemas.UserID, "email": schemas.Email} {
		b := newImportBed(t, "{file: ledger/*.jsonl, shared: ["+kind+"]}")
		write(t, b.dir, "ledger/2026.jsonl", "")
		to := b.path("ledger/crm.jsonl")
		b.run(t, exitOK, "-m", b.path("crm.yaml"), "--apply", "--to", to, b.path("rows/crm.csv"))
		value := map[string]string{"user_id": "canary-ann", "email": "ann.canary@example.com"}[kind]
		found := false
		for line := range bytes.Lines(readAll(t, to)) {
			r, err := schemas.ParseRecord(bytes.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			if r.Verb == schemas.Link && r.OtherToken == b.token(t, other, value) {
				found = r.Shared
			}
		}
		if !found {
			t.Errorf("no link says that the %s is shared", kind)
		}
	}
}
