package schemas

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed contracts/*.yaml
var defaultFiles embed.FS

// defaultTables are the tables of the Segment spec, in the order of its calls.
var defaultTables = [...]string{"identifies", "tracks", "pages", "screens", "groups", "aliases"}

// DefaultContracts gives the contracts of the six Segment calls that the
// program carries with it.
func DefaultContracts() []*Contract {
	list := make([]*Contract, len(defaultTables))
	for i, table := range defaultTables {
		data, err := defaultFiles.ReadFile("contracts/" + table + ".yaml")
		if err == nil {
			list[i], err = ParseContract("built-in/"+table+".yaml", data)
		}
		if err != nil {
			panic(fmt.Sprintf("schemas: the contract of %s does not load: %v", table, err))
		}
	}
	return list
}

// LoadContracts gives the default contracts, each replaced by the one for the
// same table in dir, and then dir's others by table name. An empty dir gives
// the defaults. Contracts are the files *.yaml and *.yml of dir itself. Wrong
// files give a *ContractError with the problems of all of them.
func LoadContracts(dir string) ([]*Contract, error) {
	list := DefaultContracts()
	if dir == "" {
		return list, nil
	}
	own, err := ReadContracts(dir)
	if err != nil {
		return nil, err
	}
	for _, c := range own {
		i := slices.IndexFunc(list[:len(defaultTables)], func(d *Contract) bool { return d.Table == c.Table })
		if i < 0 {
			list = append(list, c)
			continue
		}
		list[i] = c
	}
	slices.SortFunc(list[len(defaultTables):], byTable)
	return list, nil
}

func byTable(a, b *Contract) int { return cmp.Compare(a.Table, b.Table) }

// ReadContracts gives the contracts of dir alone, by table name. A dir without
// one is an error: whoever names it wants more than the defaults.
func ReadContracts(dir string) ([]*Contract, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read contracts: %w", err)
	}
	var list []*Contract
	var problems []Problem
	for _, entry := range entries {
		extension := strings.ToLower(filepath.Ext(entry.Name()))
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || extension != ".yaml" && extension != ".yml" {
			continue
		}
		file := filepath.Join(dir, entry.Name())
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read contracts: %w", err)
		}
		c, err := ParseContract(file, data)
		var wrong *ContractError
		switch {
		case errors.As(err, &wrong):
			problems = append(problems, wrong.Problems...)
			continue
		case err != nil:
			return nil, err
		}
		if i := slices.IndexFunc(list, func(o *Contract) bool { return o.Table == c.Table }); i >= 0 {
			problems = append(problems, Problem{File: file, Line: 1, Message: fmt.Sprintf("table %s: the name is taken by the contract in %s", c.Table, list[i].File)})
			continue
		}
		list = append(list, c)
	}
	if len(problems) > 0 {
		sortProblems(problems)
		return nil, &ContractError{Problems: problems}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("read contracts: %s has no file *.yaml or *.yml", dir)
	}
	slices.SortFunc(list, byTable)
	return list, nil
}
