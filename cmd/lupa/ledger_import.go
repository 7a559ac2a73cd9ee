package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"lupa/connectors/files"
	"lupa/schemas/mapping"
)

const importHelp = `Read rows of consent that another system has exported, and tell what records of
the ledger they are. Nothing is written without --apply.

A mapping says what the columns of a row mean: a file, or one of the presets
%s.
Rows come from CSV with a row of names, JSON lines and Parquet files; CSV and JSON
lines may be compressed with gzip or zstd.

A grant is proven by what the rows or the mapping state: how it was collected,
under which notice, when and by which system. Every other grant is read and
permits nothing. A row that cannot be read is rejected and told of with its place;
--rejects writes all of them to a file, which holds no value of a row.

With --apply the records are written with tokens of the ledger instead of raw
identifiers: to the topic of the configuration, or for a ledger of files to the
new file --to, which ledger.file must match. Records have the versions of the rows,
so that running an import again changes nothing. What the topic already has in a
higher version is not written. A deleted row is a tombstone in a topic and a
withdrawal in a file.`

// importOptions are the flags of `lupa ledger import`.
type importOptions struct {
	config, mapping, format, encoding, delimiter string
	apply, strict, asJSON, quiet                 bool
	to, rejects                                  string
	paths                                        []string
}

func newLedgerImportCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import --mapping FILE|PRESET [flags] FILE...",
		Short: "bring consent that another system has exported into the ledger",
		Long:  fmt.Sprintf(importHelp, strings.Join(mapping.Presets(), ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.paths = args
			config, log, err := start(cmd, o.config)
			if err != nil {
				return err
			}
			show := cmd.ErrOrStderr()
			if o.quiet || o.asJSON {
				show = io.Discard
			}
			return runImport(cmd.Context(), &o, config, log, cmd.OutOrStdout(), show)
		},
	}
	f := cmd.Flags()
	configFlag(cmd, &o.config)
	f.StringVarP(&o.mapping, "mapping", "m", "", "mapping file, or the name of a preset")
	f.StringVar(&o.format, "format", "", "format of all files: "+strings.Join(files.RowFormats(), ", ")+" (default: by their names)")
	f.StringVar(&o.encoding, "encoding", "utf-8", "encoding of CSV: utf-8 or latin1")
	f.StringVar(&o.delimiter, "delimiter", "", "character between the columns of CSV (default: a comma, a tab in .tsv)")
	f.BoolVar(&o.apply, "apply", false, "write the records; without it nothing is written")
	f.StringVar(&o.to, "to", "", "new file of a ledger of files")
	f.StringVar(&o.rejects, "rejects", "", "new file for the place and the reason of each reject, as JSON lines")
	f.BoolVar(&o.strict, "strict", false, "end with an error, and write nothing, if a row is rejected")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON, and no progress")
	f.BoolVar(&o.quiet, "quiet", false, "show no progress")
	return cmd
}

// rowOptions are what the flags say of the files.
func (o *importOptions) rowOptions() (files.RowOptions, error) {
	r := files.RowOptions{Paths: o.paths, Format: o.format, Latin1: o.encoding == "latin1"}
	if len(o.paths) == 0 {
		return r, usageError("no files are named")
	}
	if o.encoding != "utf-8" && o.encoding != "latin1" {
		return r, usageError("--encoding %q: allowed are utf-8 and latin1", o.encoding)
	}
	switch n := utf8.RuneCountInString(o.delimiter); {
	case o.delimiter == `\t`:
		r.Delimiter = '\t'
	case n > 1:
		return r, usageError("--delimiter must be one character")
	case n == 1:
		r.Delimiter, _ = utf8.DecodeRuneInString(o.delimiter)
	}
	return r, nil
}

// errRejects is an import under --strict of which a row was rejected.
var errRejects = errors.New("rows were rejected, and --strict allows none")

func runImport(ctx context.Context, o *importOptions, config *Config, log *slog.Logger, stdout, show io.Writer) (err error) {
	if o.mapping == "" {
		return usageError("--mapping is missing: a file, or one of the presets %s", strings.Join(mapping.Presets(), ", "))
	}
	rows, err := o.rowOptions()
	if err != nil {
		return err
	}
	im, err := newImporter(o, config, log)
	if err != nil {
		return err
	}
	if err := im.checkTarget(); err != nil {
		return err
	}
	if im.aside, err = openRejects(o.rejects); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.aside.close()) }()
	if o.strict && o.apply {
		// All is read before anything is written.
		if err := im.read(ctx, rows, nothing{}, show); err != nil {
			return err
		}
		if im.sum.Rejected > 0 {
			return errors.Join(im.print(stdout), withCode(exitData, errRejects))
		}
		im.begin()
	}
	target, err := im.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	if err := im.read(ctx, rows, target, show); err != nil {
		return err
	}
	if o.strict && im.sum.Rejected > 0 {
		return errors.Join(im.print(stdout), withCode(exitData, errRejects))
	}
	if err := im.finish(ctx, target); err != nil {
		return err
	}
	if im.sum.Rejected > 0 {
		log.Warn("rows or parts of them were rejected, and are not in the ledger", "rows", im.sum.Rejected)
	}
	return im.print(stdout)
}
