// Command lupa reads marketing events, joins them with the consent ledger and
// writes what may be kept, pseudonymized, into the warehouse.
//
// Each subcommand is one file. This one holds what they share: the root
// command, the exit codes and the logger. A signal cancels the context of the
// running command, which then ends as after any other error: what was
// committed stays, the rest is read again by the next run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"lupa/connectors/files"
	"lupa/connectors/kafka"
	"lupa/schemas"
)

// The exit codes.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitData     = 3
	exitStopped  = 4
	exitViolated = 5
)

// exitCodes is the one table of them, which is also the help text.
var exitCodes = [...]struct {
	code    int
	meaning string
}{
	{exitOK, "done; for `stream`, also stopped by a signal"},
	{exitError, "an error that no other code stands for"},
	{exitUsage, "wrong usage, or a problem in the configuration, a contract or the key file"},
	{exitData, "data was lost at the source, a position was refused, or records cannot be read or kill the process: see `lupa positions`, do not simply start again"},
	{exitStopped, "stopped by a signal before the end; the next run goes on from the last commit"},
	{exitViolated, "`verify` found something that does not hold"},
}

// codedError is an error that ends the program with a code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// withCode makes err end the program with the code; nil stays nil.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

// usageError is a command line that cannot be run.
func usageError(format string, args ...any) error {
	return withCode(exitUsage, fmt.Errorf(format, args...))
}

// exitCode is the code that err ends the program with.
func exitCode(err error) int {
	var coded *codedError
	var config *ConfigError
	var contracts *schemas.ContractError
	var offset *kafka.PositionError
	var file *files.PositionError
	var poison *kafka.PoisonError
	var batch *kafka.BatchError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &config), errors.As(err, &contracts):
		return exitUsage
	case errors.As(err, &offset), errors.As(err, &file), errors.As(err, &poison), errors.As(err, &batch):
		return exitData
	case errors.Is(err, context.Canceled):
		return exitStopped
	}
	return exitError
}

// commands lists the subcommands.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDemoCommand(),
		newStreamCommand(),
		newBackfillCommand(),
		newCheckCommand(),
		newVerifyCommand(),
		newLedgerCommand(),
		newPositionsCommand(),
		newKeysCommand(),
		newVersionCommand(),
	}
}

// gcPercent is how much the heap may grow between two collections, unless the
// environment variable GOGC says otherwise. What lives long is the ledger and
// rows that wait for their commit: much memory, few pointers, so that
// collecting twice as often as usual costs little and spares a third of it.
const gcPercent = 50

func main() {
	if err := withoutCore(); err != nil {
		fmt.Fprintln(os.Stderr, "lupa: core dumps cannot be turned off:", err)
		os.Exit(exitError)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default handling is back, so that a second
	// one ends a shutdown that hangs.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	// Without a list of its own, cobra reads that of the process.
	root.SetArgs(append([]string{}, args...))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := unapplied(root.ExecuteContext(ctx))
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = withCode(exitCode(err), errors.New("stopped by a signal before the end; what was committed stays"))
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			// There is nowhere left to say that stderr cannot be written.
			_, _ = fmt.Fprintln(stderr, "lupa:", strings.TrimSuffix(line, "\n"))
		}
	}
	return exitCode(err)
}

func newRootCommand() *cobra.Command {
	var help strings.Builder
	help.WriteString(`Lupa reads marketing events from Kafka or files, joins each with the consent
ledger, pseudonymizes or drops what is not permitted, and writes compliant
Parquet files and Iceberg tables.

Exit codes:
`)
	for _, e := range exitCodes {
		fmt.Fprintf(&help, "  %d  %s\n", e.code, e.meaning)
	}
	root := &cobra.Command{
		Use:           "lupa",
		Short:         "keep what is permitted, and nothing else",
		Long:          help.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       readBuild().Version,
	}
	root.PersistentFlags().String("log-level", "info", "least level that is logged: debug, info, warn or error")
	root.PersistentFlags().String("log-format", "text", "form of the log on stderr: text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitUsage, err) })
	root.AddCommand(commands()...)
	needsSubcommand(root)
	return root
}

// needsSubcommand makes a command that only groups others print its help when
// it is run by itself, and refuse a subcommand that it does not have.
func needsSubcommand(cmd *cobra.Command) {
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		msg := fmt.Sprintf("%q is no command of %s", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			msg += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usageError("%s", msg)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// noArgs refuses arguments that are not flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no arguments, only flags", cmd.CommandPath())
	}
	return nil
}

// newLogger makes the logger that --log-level and --log-format of the running
// command ask for. Logs go to stderr, so that stdout holds results alone.
func newLogger(cmd *cobra.Command) (*slog.Logger, error) {
	var level slog.Level
	name, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	switch name {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(name)); err != nil {
			return nil, err
		}
	default:
		return nil, usageError("--log-level %q: allowed are debug, info, warn and error", name)
	}
	format, err := cmd.Flags().GetString("log-format")
	if err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options)), nil
	}
	return nil, usageError("--log-format %q: allowed are text and json", format)
}
