package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/connectors/files"
	"lupa/connectors/kafka"
	"lupa/schemas"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// golden compares got with the expected output in a file.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// command runs lupa with the arguments.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"no error", nil, 0},
		{"any error", errors.New("x"), 1},
		{"wrong usage", usageError("x"), 2},
		{"configuration", fmt.Errorf("load: %w", &ConfigError{Problems: []Problem{{}}}), 2},
		{"contracts", fmt.Errorf("load: %w", &schemas.ContractError{Problems: []schemas.Problem{{}}}), 2},
		{"a position that is gone", fmt.Errorf("read: %w", &kafka.PositionError{}), 3},
		{"a batch that nobody can read", fmt.Errorf("read: %w", &kafka.BatchError{}), 3},
		{"records that kill", fmt.Errorf("read: %w", &kafka.PoisonError{}), 3},
		{"a file that was replaced", fmt.Errorf("read: %w", &files.PositionError{}), 3},
		{"a code deep inside", fmt.Errorf("read: %w", withCode(exitData, errors.New("x"))), 3},
		{"a signal", fmt.Errorf("read: %w", context.Canceled), 4},
		{"a code around a signal", withCode(exitData, context.Canceled), 3},
		{"a code around nothing", withCode(exitData, nil), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exitCode(c.err); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestHelpListsExitCodes(t *testing.T) {
	code, out, _ := command(t)
	if code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for i, e := range exitCodes {
		if e.code != i {
			t.Errorf("code %d stands at %d of the table", e.code, i)
		}
		if line := fmt.Sprintf("  %d  %s\n", e.code, e.meaning); !strings.Contains(out, line) {
			t.Errorf("the help does not say %q", line)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"unknown command", []string{"chekc"}, "lupa: \"chekc\" is no command of lupa; did you mean check?\n"},
		{"unknown subcommand", []string{"keys", "burn"}, "lupa: \"burn\" is no command of lupa keys\n"},
		{"unknown flag", []string{"version", "--yaml"}, "lupa: unknown flag: --yaml\n"},
		{"argument", []string{"version", "now"}, "lupa: lupa version takes no arguments, only flags\n"},
		{"bad flag value", []string{"version", "--json=x"},
			"lupa: invalid argument \"x\" for \"--json\" flag: strconv.ParseBool: parsing \"x\": invalid syntax\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := command(t, c.args...)
			if code != exitUsage {
				t.Errorf("exit code %d, want %d", code, exitUsage)
			}
			if diff := cmp.Diff(c.stderr, errs); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if out != "" {
				t.Errorf("stdout has %q", out)
			}
		})
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		want  string // what begins the line of a warning; empty is none
		code  int
	}{
		{"text", nil, "time=", 0},
		{"json", []string{"--log-format=json"}, "{\"time\":", 0},
		{"level above", []string{"--log-level=error"}, "", 0},
		{"unknown level", []string{"--log-level=loud"}, "", exitUsage},
		{"unknown format", []string{"--log-format=xml"}, "", exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			var errs bytes.Buffer
			root := newRootCommand()
			root.SetErr(&errs)
			cmd, _, err := root.Find([]string{"version"})
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.ParseFlags(c.flags); err != nil {
				t.Fatal(err)
			}
			log, err := newLogger(cmd)
			if exitCode(err) != c.code {
				t.Fatalf("got %v, want exit code %d", err, c.code)
			}
			if err != nil {
				return
			}
			log.Warn("recovered", slog.Int("tries", 2))
			if got := errs.String(); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("logged %q, want a line that begins with %q", got, c.want)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := command(t, "version")
	if code != exitOK || !strings.HasPrefix(out, "lupa ") || !strings.Contains(out, "go1.") {
		t.Errorf("code %d, printed %q", code, out)
	}
	code, out, _ = command(t, "version", "--json")
	if code != exitOK || !strings.HasPrefix(out, `{"version":`) {
		t.Errorf("code %d, printed %q", code, out)
	}
}
