package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeysInitMakesAPrivateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lupa.keys")
	code, out, errs := command(t, "keys", "init", "--file", file)
	if code != exitOK || errs != "" || !strings.HasPrefix(out, file+": epoch 1 made") {
		t.Fatalf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %#o", info.Mode().Perm())
	}
}

func TestKeysInitNeverOverwrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lupa.keys")
	if err := initKeys(&strings.Builder{}, file, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "keys", "init", "--file", file)
	if code != exitUsage || out != "" || !strings.Contains(errs, "is not overwritten") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	after, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the file was changed")
	}
}

func TestKeysListShowsNoKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lupa.keys")
	made := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	if err := initKeys(&strings.Builder{}, file, made); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "keys", "list", "--file", file, "--json")
	if code != exitOK || errs != "" {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	check, _ := list[0]["check"].(string)
	want := []map[string]any{{"epoch": 1.0, "status": "primary", "created": "2026-03-02T09:00:00Z", "check": check}}
	if diff := cmp.Diff(want, list); diff != "" || len(check) != 16 {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	code, out, _ = command(t, "keys", "list", "--file", file)
	wantText := "epoch  status   created               check\n    1  primary  2026-03-02T09:00:00Z  " + check + "\n"
	if diff := cmp.Diff(wantText, out); code != exitOK || diff != "" {
		t.Errorf("code %d, table (-want +got):\n%s", code, diff)
	}
}

func TestKeysListRefuses(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open.keys")
	if err := initKeys(&strings.Builder{}, open, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent.keys")
	for _, c := range []struct{ name, file, want string }{
		{"a file that others can read", open, "lupa: open keys: "},
		{"no file", absent, "lupa: " + absent + " does not exist; `lupa keys init"},
		{"no keys", "example.yaml", "lupa: open keys: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := command(t, "keys", "list", "--file", c.file)
			if code != exitUsage || out != "" || !strings.HasPrefix(errs, c.want) {
				t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
			}
		})
	}
}
