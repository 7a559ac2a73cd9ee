package schemas

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func tables(list []*Contract) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.Table)
	}
	return names
}

func TestDefaultContracts(t *testing.T) {
	list := DefaultContracts()
	if got := tables(list); !slices.Equal(got, defaultTables[:]) {
		t.Fatalf("tables %v, want %v", got, defaultTables)
	}
	files, err := defaultFiles.ReadDir("contracts")
	if err != nil || len(files) != len(list) {
		t.Errorf("%d embedded files, error %v; want one a table", len(files), err)
	}
	kinds := map[string]IdentifierKind{
		"user_id": UserID, "anonymous_id": AnonymousID, "email": Email, "phone": Phone, "context_device_id": DeviceID,
	}
	for _, c := range list {
		if !c.Personal() || c.LegalBasis != "eu-gdpr:A6-1-a" || c.Domain != "warehouse" || c.RetentionDays != 750 || len(c.Where) != 1 {
			t.Errorf("%s: personal %v, basis %s, domain %s, retention %d, %d conditions", c.Table, c.Personal(), c.LegalBasis, c.Domain, c.RetentionDays, len(c.Where))
		}
		for i := range c.Fields {
			f := &c.Fields[i]
			if kind, is := kinds[f.Name]; is && (f.Identifiers[0] != kind || f.Column() != TokenColumn || !f.Coerce) {
				t.Errorf("%s.%s: identifiers %v, column %d, coerce %v", c.Table, f.Name, f.Identifiers, f.Column(), f.Coerce)
			}
			if f.Required != (i == c.EventTime) {
				t.Errorf("%s.%s: required is %v; only the event time is", c.Table, f.Name, f.Required)
			}
			if f.Type == Timestamp && !f.Coerce {
				t.Errorf("%s.%s: JSON has no timestamps, so it must be coerced", c.Table, f.Name)
			}
		}
	}
}

func TestDefaultContractsDenial(t *testing.T) {
	want := map[string]Denial{"tracks": MaskRow, "pages": MaskRow, "screens": MaskRow}
	for _, c := range DefaultContracts() {
		if c.OnDeny != want[c.Table] {
			t.Errorf("%s: a row that is not permitted is to %s, want %s", c.Table, c.OnDeny, want[c.Table])
		}
		need := Purposes(Analytics)
		if c.Table == "identifies" {
			need = Purposes(DirectMarketingEmail)
		}
		if c.Purposes != need {
			t.Errorf("%s: purposes %s, want %s", c.Table, c.Purposes, need)
		}
	}
}

const otherContract = `apiVersion: v3.1.0
kind: DataContract
id: shop:TABLE
version: 3.0.0
status: active
schema:
  - name: TABLE
    properties:
      - name: customer
        logicalType: string
        customProperties:
          - {property: path, value: customer.id}
          - {property: fidesDataCategories, value: [user.unique_id]}
          - {property: treatment, value: {technique: pseudonymize}}
          - {property: identifier, value: user_id}
      - name: at
        logicalType: timestamp
        customProperties:
          - {property: path, value: at}
          - {property: fidesDataCategories, value: [user.telemetry]}
          - {property: treatment, value: {technique: keep}}
customProperties:
  - {property: purposes, value: [analytics]}
  - {property: legalBasis, value: eu-gdpr:A6-1-a}
  - {property: domain, value: warehouse}
  - {property: eventTime, value: at}
`

// A way to reach a person is for messages of its own kind alone, and what says
// something of a person is for profiling in whichever table it stands.
func TestPurposesOfDefaultFields(t *testing.T) {
	for _, c := range DefaultContracts() {
		for i := range c.Fields {
			f := &c.Fields[i]
			need, stored := f.Purposes|c.Purposes, f.Column() != NoColumn
			switch {
			case !stored:
			case f.Category == "user.contact.email" && !need.Has(DirectMarketingEmail):
				t.Errorf("%s: %s does not need consent to e-mail", c.Table, f.Name)
			case f.Category == "user.contact.phone_number" && (!need.Has(DirectMarketingSMS) || f.Purposes.Has(DirectMarketingEmail)):
				t.Errorf("%s: %s needs %s", c.Table, f.Name, f.Purposes)
			case slices.Contains([]string{"plan", "industry", "title", "employees"}, f.Name) && !need.Has(Profiling):
				t.Errorf("%s: %s does not need consent to profiling", c.Table, f.Name)
			case f.Category == "user.contact.organization":
				t.Errorf("%s: %s, which is often a person's name, is stored", c.Table, f.Name)
			}
		}
	}
}

func writeContracts(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadContracts(t *testing.T) {
	of := func(table string) string { return strings.ReplaceAll(otherContract, "TABLE", table) }
	dir := writeContracts(t, map[string]string{
		"1.yaml": of("zebras"), "2.yml": of("pages"), "3.YAML": of("ants"), "4.txt": "no contract", ".5.yaml": "hidden",
	})
	if err := os.Mkdir(filepath.Join(dir, "6.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := LoadContracts(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"identifies", "tracks", "pages", "screens", "groups", "aliases", "ants", "zebras"}
	if got := tables(list); !slices.Equal(got, want) {
		t.Errorf("tables %v, want %v", got, want)
	}
	if list[2].Version != "3.0.0" || list[2].File != filepath.Join(dir, "2.yml") {
		t.Errorf("pages is version %s from %s, want the one of the folder", list[2].Version, list[2].File)
	}
	if list, err = LoadContracts(""); err != nil || len(list) != 6 {
		t.Errorf("without a folder: %d contracts, error %v; want the 6 defaults", len(list), err)
	}
}

func TestLoadContractsProblems(t *testing.T) {
	of := func(table string) string { return strings.ReplaceAll(otherContract, "TABLE", table) }
	dir := writeContracts(t, map[string]string{
		"a.yaml": of("ants"), "b.yaml": of("ants"), "c.yaml": of("Bees"), "d.yaml": strings.Replace(of("flies"), "v3.1.0", "v1", 1),
	})
	list, err := LoadContracts(dir)
	var wrong *ContractError
	if !errors.As(err, &wrong) || list != nil {
		t.Fatalf("got %v, error %v; want a ContractError", tables(list), err)
	}
	var got []string
	for _, p := range wrong.Problems {
		got = append(got, strings.TrimPrefix(p.String(), dir+string(filepath.Separator)))
	}
	want := []string{
		"b.yaml:1: table ants: the name is taken by the contract in " + filepath.Join(dir, "a.yaml"),
		`c.yaml:7: table: the name "Bees" is not allowed; it must begin with a-z and have only a-z, 0-9 and _`,
		`d.yaml:1: apiVersion: unknown value "v1"; allowed: v3.1.0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := LoadContracts(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := LoadContracts(writeContracts(t, map[string]string{"a.json": "{}"})); err == nil || !strings.Contains(err.Error(), "*.yaml") {
		t.Errorf("a folder without contracts: %v", err)
	}
}

// A user id is an e-mail address in many shops, and what its owner said by
// e-mail holds for it too.
func TestDefaultUserIDsAreAlsoAskedAsEmail(t *testing.T) {
	for _, c := range DefaultContracts() {
		asked := false
		for _, f := range c.Fields {
			if f.Name == "user_id" || f.Name == "previous_id" {
				asked = slices.Contains(f.Identifiers, UserID) && slices.Contains(f.Identifiers, Email)
				if !asked {
					t.Errorf("%s.%s is asked as %v, want user_id and email among them", c.Table, f.Name, f.Identifiers)
				}
			}
		}
		if !asked {
			t.Errorf("%s: no user id is asked for", c.Table)
		}
	}
}
