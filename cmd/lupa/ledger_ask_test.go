package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// askBed is a file ledger and its configuration.
func askBed(t *testing.T, records ...schemas.Record) (config string) {
	t.Helper()
	dir := t.TempDir()
	if err := initKeys(&strings.Builder{}, filepath.Join(dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	var lines []byte
	for _, r := range records {
		lines = append(schemas.AppendRecord(lines, r), '\n')
	}
	for name, text := range map[string]string{
		"ledger.jsonl": string(lines),
		"lupa.yaml": "keys: {file: lupa.keys}\nledger: {file: ledger.jsonl}\nevents: {files: {paths: [none.jsonl]}}\n" +
			"warehouse: {dir: warehouse, region: FI}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "lupa.yaml")
}

func day(d int) int64 { return time.Date(2026, 3, d, 0, 0, 0, 0, time.UTC).UnixMicro() }

func spoke(verb schemas.Verb, who string, d int, version int64) schemas.Record {
	r := schemas.Record{Verb: verb, Principal: schemas.NewSubject(schemas.UserID, who), Time: day(d), Version: version}
	switch verb {
	case schemas.Grant:
		r.Purpose, r.Proven = schemas.Analytics, true
		r.Terms = schemas.Terms{Method: "web_form", Notice: "notice-7", System: "crm"}
	case schemas.Withdraw, schemas.Refuse, schemas.Object:
		r.Purpose = schemas.Analytics
	case schemas.Erase:
		r.Every = true
	}
	return r
}

// TestLedgerExplain asks about one subject after the other what becomes of an
// event, and looks at the record that is to blame.
func TestLedgerExplain(t *testing.T) {
	over := spoke(schemas.Grant, "over", 1, 1)
	over.Until = day(9)
	abroad := spoke(schemas.Grant, "abroad", 1, 1)
	abroad.Terms.Regions = "SE"
	unproven := spoke(schemas.Grant, "list", 1, 1)
	unproven.Proven, unproven.Terms = false, schemas.Terms{}
	child := spoke(schemas.Born, "child", 1, 1)
	child.Until, child.Terms.Country = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), "FI"
	config := askBed(t,
		spoke(schemas.Grant, "plain", 1, 1),
		spoke(schemas.Grant, "gone", 1, 1), spoke(schemas.Withdraw, "gone", 8, 2),
		spoke(schemas.Grant, "forgotten", 1, 1), spoke(schemas.Erase, "forgotten", 20, 1),
		spoke(schemas.Grant, "held", 1, 1), spoke(schemas.Restrict, "held", 8, 1),
		over, abroad, unproven, child, spoke(schemas.Grant, "child", 1, 1),
	)
	for _, c := range []struct {
		who, at, verdict, reason string
		scope, says              string
	}{
		{"plain", "2026-03-05T00:00:00Z", "keep", "consent_given", "analytics", "grant"},
		{"plain", "2026-02-05T00:00:00Z", "mask", "before_consent", "", ""},
		{"gone", "2026-03-05T00:00:00Z", "mask", "withdrawn", "analytics", "withdraw"},
		{"forgotten", "2026-03-05T00:00:00Z", "drop", "erased", "erasure", "erase"},
		{"held", "2026-03-05T00:00:00Z", "mask", "restricted", "restriction", "restrict"},
		{"over", "2026-03-05T00:00:00Z", "mask", "expired", "analytics", "grant"},
		{"abroad", "2026-03-05T00:00:00Z", "mask", "residency", "analytics", "grant"},
		{"list", "2026-03-05T00:00:00Z", "mask", "unproven", "analytics", "grant without evidence"},
		{"child", "2026-03-05T00:00:00Z", "mask", "minor", "birth", "born"},
		{"nobody", "2026-03-05T00:00:00Z", "mask", "no_record", "", ""},
	} {
		t.Run(c.who+" "+c.reason, func(t *testing.T) {
			args := []string{"ledger", "explain", "--config", config, "--id", "user_id=" + c.who, "--contract", "tracks", "--at", c.at, "--now", "2026-03-10T00:00:00Z"}
			code, out, errs := command(t, append(args, "--json")...)
			if code != exitOK {
				t.Fatal(code, errs)
			}
			var got explained
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if got.Verdict != c.verdict || got.Reason != c.reason || got.Rule == "" {
				t.Errorf("%s, %s: %s", got.Verdict, got.Reason, got.Rule)
			}
			found := c.scope == ""
			for _, l := range got.Chain {
				found = found || l.Scope == c.scope && l.Says == c.says && l.Rule != ""
			}
			if !found {
				t.Errorf("no %s of %s in %s", c.says, c.scope, out)
			}
			// People read the same.
			code, table, _ := command(t, args...)
			if code != exitOK || !strings.Contains(table, c.reason) || c.says != "" && !strings.Contains(table, c.says) {
				t.Error(code, table)
			}
			for _, text := range []string{out, table, errs} {
				if strings.Contains(text, c.who+"\"") || strings.Contains(text, "="+c.who) {
					t.Error("an identifier is shown")
				}
			}
		})
	}
}

// A chain names the evidence of the grant that permits.
func TestLedgerExplainShowsEvidence(t *testing.T) {
	config := askBed(t, spoke(schemas.Grant, "plain", 1, 7))
	_, out, errs := command(t, "ledger", "explain", "-c", config, "--id", "user_id=plain", "--contract", "tracks", "--at", "2026-03-05T00:00:00Z", "--json")
	var got explained
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err, errs)
	}
	if len(got.Chain) == 0 {
		t.Fatal("no chain")
	}
	at := time.UnixMicro(day(1)).UTC()
	want := chainLink{Identifier: 1, Scope: "analytics", Says: "grant", Time: &at, Version: 7, Purpose: "analytics", Clock: "now",
		Evidence: map[string]string{"method": "web_form", "notice": "notice-7", "system": "crm"}, Rule: got.Chain[0].Rule}
	if diff := cmp.Diff(want, got.Chain[0]); diff != "" {
		t.Error(diff)
	}
}

func TestLedgerLookup(t *testing.T) {
	mail := schemas.NewSubject(schemas.Email, "a@example.com")
	link := schemas.Record{Verb: schemas.Link, Principal: schemas.NewSubject(schemas.UserID, "plain"), Other: mail, Time: day(1), Version: 1}
	config := askBed(t, spoke(schemas.Grant, "plain", 1, 1), link, spoke(schemas.Withdraw, "other", 1, 1))
	ids := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(ids, []byte("\nemail=A@Example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "ledger", "lookup", "-c", config, "--ids-from", ids, "--json")
	if code != exitOK {
		t.Fatal(errs)
	}
	var got lookedUp
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]identified{{"email", true}}, got.Identifiers); diff != "" || got.Linked != 2 {
		t.Error(diff, got.Linked)
	}
	reasons := map[string]string{}
	for _, p := range got.Purposes {
		reasons[p.Purpose] = p.Reason
	}
	if len(reasons) != schemas.NumPurposes-1 || reasons["analytics"] != "consent_given" || reasons["profiling"] != "no_record" {
		t.Error(reasons)
	}
	if code, table, _ := command(t, "ledger", "lookup", "-c", config, "--ids-from", ids); code != exitOK || !strings.Contains(table, "consent_given") {
		t.Error(table)
	}
}

// What cannot be asked is an error that never shows the value.
func TestLedgerAskRefuses(t *testing.T) {
	config := askBed(t, spoke(schemas.Grant, "plain", 1, 1))
	secret := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(secret, []byte("user_id=u\nhunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody":        {[]string{"lookup"}, "nobody is named"},
		"no kind":       {[]string{"lookup", "--id", "face=hunter2"}, "--id 1: is not kind=value"},
		"no value":      {[]string{"lookup", "--id", "email="}, "--id 1: is not kind=value"},
		"a line":        {[]string{"lookup", "--ids-from", secret}, "line 2: is not kind=value"},
		"no file":       {[]string{"lookup", "--ids-from", secret + "x"}, "--ids-from"},
		"no address":    {[]string{"lookup", "--id", "user_id=hunter2", "--id", "email= "}, "identifier 2 is no email"},
		"no time":       {[]string{"lookup", "--id", "user_id=hunter2", "--now", "yesterday"}, "--now is no RFC 3339 time"},
		"no contract":   {[]string{"explain", "--id", "user_id=hunter2"}, "--contract \"\" is no table"},
		"which table":   {[]string{"explain", "--id", "user_id=hunter2", "--contract", "x"}, "--contract \"x\" is no table; allowed are"},
		"no subcommand": {nil, "lookup"},
	} {
		code, out, errs := command(t, append([]string{"ledger"}, append(c.args, func() []string {
			if c.args == nil {
				return nil
			}
			return []string{"-c", config}
		}()...)...)...)
		if c.args != nil && code != exitUsage || !strings.Contains(out+errs, c.want) || strings.Contains(out+errs, "hunter2") {
			t.Errorf("%s: code %d, %s%s", name, code, out, errs)
		}
	}
}

func TestLedgerStats(t *testing.T) {
	unproven := spoke(schemas.Grant, "list", 1, 1)
	unproven.Proven, unproven.Terms = false, schemas.Terms{}
	config := askBed(t, spoke(schemas.Grant, "plain", 1, 1), unproven, spoke(schemas.Erase, "plain", 2, 1), spoke(schemas.Restrict, "other", 2, 1))
	code, out, errs := command(t, "ledger", "stats", "-c", config, "--json")
	if code != exitOK {
		t.Fatal(errs)
	}
	var got struct{ Counts []ledgerCount }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, c := range got.Counts {
		if c.Count != 0 {
			counts[c.Name] = c.Count
		}
	}
	want := map[string]int64{"identifiers": 3, "subjects": 3, "records": 4, "erasures": 1, "restrictions": 1, "unproven": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Error(diff)
	}
	if code, table, _ := command(t, "ledger", "stats", "-c", config); code != exitOK || !strings.Contains(table, "grants without evidence") {
		t.Error(table)
	}
}
