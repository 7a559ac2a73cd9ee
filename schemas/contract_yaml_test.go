package schemas

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata/bad")

// TestBadContracts reads a file for each rule and compares all problems with
// the .want file beside it.
func TestBadContracts(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := ParseContract(filepath.Base(file), data)
			var wrong *ContractError
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 || c != nil {
				t.Fatalf("got contract %v, error %v; want no contract and a ContractError", c, err)
			}
			got := err.Error() + "\n"
			wantFile := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoodContract(t *testing.T) {
	got := readGood(t, "full")
	want := &Contract{
		ID: "7f0a4f0e-2f2f-4c6e-9c51-0d2b3f7f1a10", Version: "2.1.0", Table: "visits",
		Where: []Match{
			{Path: Path{"type"}, Value: "Visit"},
			{Path: Path{"context", "app.name"}, Value: "Shop"},
		},
		Fields: []Field{
			{
				Name: "visitor", Description: "who came", Type: Text, Required: true, Coerce: true,
				Paths:       []Path{{"visitor", "id.v2"}, {"$user", "visitor-id"}, {`say "hi"`}},
				Category:    "user.unique_id",
				Treatment:   Treatment{Technique: Pseudonymize},
				Identifiers: []IdentifierKind{UserID, AnonymousID},
			},
			{
				Name: "mail", Type: Text, Paths: []Path{{"mail"}}, Category: "user.contact.email",
				Treatment: Treatment{Technique: Keep}, Identifiers: []IdentifierKind{Email},
				Purposes: Purposes(DirectMarketingEmail),
			},
			{Name: "mail_domain", Type: Text, Paths: []Path{{"mail"}}, Category: "user.contact.email", Treatment: Treatment{Technique: EmailDomain}},
			{Name: "address", Type: Text, Paths: []Path{{"ip"}}, Category: "user.device.ip_address", Treatment: Treatment{Technique: TruncateIP}},
			{
				Name: "page", Type: Text, Paths: []Path{{"url"}}, Category: "user.behavior.browsing_history",
				Treatment: Treatment{Technique: StripQuery, Allow: []string{"utm_source", "page-no"}},
			},
			{Name: "day", Type: Date, Paths: []Path{{"day"}}, Category: "user.telemetry", Treatment: Treatment{Technique: Keep}, KeepMasked: true},
			{Name: "belief", Type: Text, Paths: []Path{{"belief"}}, Category: "user.demographic.religious_belief"},
			{Name: "seconds", Type: Number, Paths: []Path{{"seconds"}}, Category: "system.operations", Treatment: Treatment{Technique: Keep}},
			{Name: "bot", Type: Boolean, Paths: []Path{{"bot"}}, Category: "system", Treatment: Treatment{Technique: Keep}},
			{Name: "_consent_tcf", Type: JSON, Paths: []Path{{"tcString"}, {"context", "tc"}}, Category: "user.privacy_preferences"},
			{Name: "_consent_gpc", Type: JSON, Paths: []Path{{"context", "Sec-GPC"}}, Category: "user.privacy_preferences"},
			{Name: "_consent_tcf_2", Type: JSON, Paths: []Path{{"old", "tc"}}, Category: "user.privacy_preferences"},
		},
		Links:      [][2]int{{0, 1}},
		Signals:    []Signal{{TCFSignal, 9}, {GPCSignal, 10}, {TCFSignal, 11}},
		Purposes:   Purposes(Analytics, Functional),
		LegalBasis: "eu-gdpr:A6-1-a-explicit-consent", OnDeny: MaskRow, Prospective: true,
		Domain: "shop_2", EventTime: 5, RetentionDays: 90, File: "full.yaml",
	}
	for i := range got.Fields {
		if got.Fields[i].Line == 0 {
			t.Errorf("field %s has no line", got.Fields[i].Name)
		}
		got.Fields[i].Line = 0
		if got.Fields[i].Type == JSON {
			got.Fields[i].Description = ""
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("contract (-want +got):\n%s", diff)
	}
}

func TestGoodContractDefaults(t *testing.T) {
	c := readGood(t, "minimal")
	if c.OnDeny != DropRow || c.Prospective || c.RetentionDays != 0 || c.EventTime != 1 {
		t.Errorf("got %v, %v, %d, %d; want drop, not prospective, no retention, event time 1", c.OnDeny, c.Prospective, c.RetentionDays, c.EventTime)
	}
}

func readGood(t *testing.T, name string) *Contract {
	t.Helper()
	data, err := os.ReadFile("testdata/good/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseContract(name+".yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzParseContract: whatever the bytes are, there is a contract that keeps
// the rules or a list of problems, never both or neither.
func FuzzParseContract(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseContract("fuzz.yaml", data)
		if err != nil {
			var wrong *ContractError
			if !errors.As(err, &wrong) || len(wrong.Problems) == 0 || c != nil {
				t.Fatalf("contract %v with error %T", c, err)
			}
			return
		}
		if c.Personal() && (c.Purposes == 0 || c.LegalBasis == "" || c.Domain == "" || c.EventTime < 0) {
			t.Fatal("a personal contract lacks what a decision needs")
		}
		for i := range c.Fields {
			field := &c.Fields[i]
			if !field.Category.Known() || len(field.Paths) == 0 || field.Type == NoType {
				t.Fatalf("field %d is incomplete", i)
			}
			if field.Type == JSON && field.Column() != NoColumn {
				t.Fatalf("field %d stores a signal", i)
			}
			if field.Category.Special() && field.Column() != NoColumn {
				t.Fatalf("field %d stores a special category", i)
			}
			if !c.Personal() && field.Category.Personal() && field.Column() != NoColumn {
				t.Fatalf("field %d stores personal data without a consent decision", i)
			}
		}
	})
}
