package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrintTable(t *testing.T) {
	var out bytes.Buffer
	err := printTable(&out, []string{"reason", ">rows", "note"}, [][]string{
		{"consent_given", "12", "kept"},
		{"väärä", "1234567", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `reason            rows  note
consent_given       12  kept
väärä          1234567
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestPrintTableReportsWriteErrors(t *testing.T) {
	if err := printTable(brokenWriter{}, []string{"a"}, nil); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
