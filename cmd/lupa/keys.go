package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"lupa/transforms/keys"
)

const keysHelp = `Tokens are made with the keys of one file. Whoever reads the file can tell
which token is whose, and whoever loses it can never make those tokens again:
keep a copy of it apart from the tables and their backups. The keys in it are
not encrypted; its mode (0600) is what protects them.`

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "make and list the keys of tokens",
		Long:  keysHelp,
	}
	cmd.AddCommand(newKeysInitCommand(), newKeysListCommand())
	needsSubcommand(cmd)
	return cmd
}

func newKeysInitCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a new key file; an existing one is never overwritten",
		Long:  keysHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return initKeys(cmd.OutOrStdout(), file, time.Now())
		},
	}
	cmd.Flags().StringVar(&file, "file", "lupa.keys", "the key file")
	return cmd
}

func initKeys(stdout io.Writer, file string, now time.Time) error {
	switch err := keys.Init(file, now); {
	case errors.Is(err, fs.ErrExist):
		return usageError("%s exists and is not overwritten: tokens made with its keys could never be made again", file)
	case err != nil:
		return err
	}
	_, err := fmt.Fprintf(stdout, "%s: epoch 1 made, mode 0600; keep a copy apart from the tables and their backups\n", file)
	return err
}

// openKeys opens a key file, and says how to make one that is absent.
func openKeys(file string) (*keys.Keyset, error) {
	keyset, err := keys.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist; `lupa keys init --file %s` makes it", file, file)
	}
	return keyset, err
}

func newKeysListCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the epochs of a key file, never a key",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listKeys(cmd.OutOrStdout(), file, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "file", "lupa.keys", "the key file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// listedEpoch is an epoch as `lupa keys list --json` prints it.
type listedEpoch struct {
	Epoch   uint8       `json:"epoch"`
	Status  keys.Status `json:"status"`
	Created time.Time   `json:"created"`
	Check   string      `json:"check"`
}

func listKeys(stdout io.Writer, file string, asJSON bool) error {
	keyset, err := openKeys(file)
	if err != nil {
		return withCode(exitUsage, err)
	}
	var list []listedEpoch
	var rows [][]string
	for _, e := range keyset.Epochs() {
		list = append(list, listedEpoch{e.Epoch, e.Status, e.Created.UTC(), e.Check})
		rows = append(rows, []string{strconv.Itoa(int(e.Epoch)), string(e.Status), e.Created.UTC().Format(time.RFC3339), e.Check})
	}
	if asJSON {
		return json.NewEncoder(stdout).Encode(list)
	}
	return printTable(stdout, []string{">epoch", "status", "created", "check"}, rows)
}
