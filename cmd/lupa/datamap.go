package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"lupa/schemas"
)

// mappedTable is one table of the data map.
type mappedTable struct {
	Table         string        `json:"table"`
	Contract      string        `json:"contract"`
	Version       string        `json:"version"`
	File          string        `json:"file"`
	Where         []string      `json:"where"`
	Consent       []string      `json:"consent_in_events,omitempty"` // what narrows the ledger's
	Purposes      []string      `json:"purposes"`
	LegalBasis    string        `json:"legal_basis"`
	OnDeny        string        `json:"on_deny"`
	RetentionDays int           `json:"retention_days,omitempty"`
	Domain        string        `json:"domain,omitempty"`
	Fields        []mappedField `json:"fields"`
}

// mappedField is one field of the data map. Dropped fields are in it: they
// say what is known to arrive and is not kept.
type mappedField struct {
	Field     string   `json:"field"`
	Type      string   `json:"type"`
	Category  string   `json:"category"`
	Treatment string   `json:"treatment"`
	Purposes  []string `json:"purposes,omitempty"` // besides the table's
	Masked    bool     `json:"masked,omitempty"`   // stays in masked rows
}

func dataMap(contracts []*schemas.Contract) []mappedTable {
	var list []mappedTable
	for _, c := range contracts {
		t := mappedTable{
			Table: c.Table, Contract: c.ID, Version: c.Version, File: c.File,
			Purposes: names(c.Purposes), LegalBasis: c.LegalBasis, OnDeny: c.OnDeny.String(),
			RetentionDays: c.RetentionDays, Domain: c.Domain,
		}
		for _, w := range c.Where {
			t.Where = append(t.Where, w.Path.String()+"="+w.Value)
		}
		for _, s := range c.Signals {
			var paths []string
			for _, path := range c.Fields[s.Field].Paths {
				paths = append(paths, path.String())
			}
			t.Consent = append(t.Consent, s.Kind.String()+"="+strings.Join(paths, " | "))
		}
		for i := range c.Fields {
			f := &c.Fields[i]
			t.Fields = append(t.Fields, mappedField{
				Field: f.Name, Type: f.Type.String(), Category: string(f.Category),
				Treatment: treatment(f.Treatment), Purposes: names(f.Purposes), Masked: c.OnDeny == schemas.MaskRow && c.StaysMasked(i),
			})
		}
		list = append(list, t)
	}
	return list
}

func treatment(t schemas.Treatment) string {
	if len(t.Allow) == 0 {
		return t.Technique.String()
	}
	return t.Technique.String() + " but " + strings.Join(t.Allow, ", ")
}

func names(s schemas.PurposeSet) []string {
	list := []string{}
	s.Each(func(p schemas.Purpose) { list = append(list, p.String()) })
	return list
}

// printDataMap prints one table for each contract.
func printDataMap(w io.Writer, contracts []*schemas.Contract) error {
	for _, t := range dataMap(contracts) {
		retention := "no limit"
		if t.RetentionDays > 0 {
			retention = strconv.Itoa(t.RetentionDays) + " days"
		}
		_, err := fmt.Fprintf(w, "\n%s %s from events with %s\n  kept for %s on %s, else %s; retention %s\n",
			t.Table, t.Version, strings.Join(t.Where, " and "),
			strings.Join(t.Purposes, ", "), t.LegalBasis, t.OnDeny, retention)
		for _, signal := range t.Consent {
			if err == nil {
				_, err = fmt.Fprintf(w, "  narrowed by consent in events at %s\n", signal)
			}
		}
		if err != nil {
			return err
		}
		rows := make([][]string, len(t.Fields))
		for i, f := range t.Fields {
			also := strings.Join(f.Purposes, ", ")
			masked := ""
			if f.Masked {
				masked = "stays"
			}
			rows[i] = []string{"  " + f.Field, f.Type, f.Category, f.Treatment, also, masked}
		}
		if err := printTable(w, []string{"  field", "type", "category", "treatment", "also needs", "in masked rows"}, rows); err != nil {
			return err
		}
	}
	return nil
}
