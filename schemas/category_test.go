package schemas

import (
	"slices"
	"testing"
)

func TestCategory(t *testing.T) {
	for _, c := range []struct {
		category                              Category
		known, personal, special, identifying bool
	}{
		{"user", true, true, false, true},
		{"user.contact.email", true, true, false, true},
		{"user.contact.address.country", true, true, false, false},
		{"user.contact.address.street", true, true, false, true},
		{"user.name.first", true, true, false, true},
		{"user.device", true, true, false, false},
		{"user.device.ip_address", true, true, false, true},
		{"user.unique_id.pseudonymous", true, true, false, true},
		{"user.behavior.browsing_history", true, true, false, false},
		{"user.health_and_medical", true, true, true, true},
		{"user.health_and_medical.record_id", true, true, true, true},
		{"user.biometric.voice", true, true, true, true},
		{"user.demographic.political_opinion", true, true, true, true},
		{"user.demographic.gender", true, true, false, false},
		{"user.authorization.password", true, true, false, true},
		{"user.criminal_history", true, true, false, true},
		{"system", true, false, false, false},
		{"system.operations", true, false, false, false},
		{"user.health_and_medicals", false, true, false, false},
		{"username", false, true, false, false},
		{"system.", false, true, false, false},
		{"", false, true, false, false},
	} {
		if got := c.category.Known(); got != c.known {
			t.Errorf("%q: known %v, want %v", c.category, got, c.known)
		}
		if got := c.category.Personal(); got != c.personal {
			t.Errorf("%q: personal %v, want %v", c.category, got, c.personal)
		}
		if got := c.category.Special(); got != c.special {
			t.Errorf("%q: special %v, want %v", c.category, got, c.special)
		}
		if got := c.category.Identifying(); got != c.identifying {
			t.Errorf("%q: identifying %v, want %v", c.category, got, c.identifying)
		}
	}
}

func TestCategoryNames(t *testing.T) {
	names := CategoryNames()
	if len(names) != 85 || !slices.IsSorted(names) {
		t.Errorf("got %d names, sorted %v; want the 85 of Fideslang 3.1, sorted", len(names), slices.IsSorted(names))
	}
	for _, list := range [][]Category{specialCategories[:], forbiddenCategories[:], identifyingCategories[:], broadCategories[:]} {
		for _, c := range list {
			if !c.Known() {
				t.Errorf("%s is not a category", c)
			}
		}
	}
	names[0] = "changed"
	if Category("changed").Known() {
		t.Error("the caller's list is the table itself")
	}
}
