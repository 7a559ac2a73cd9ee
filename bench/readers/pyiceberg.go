//go:build integration

package readers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// readPyIceberg lets PyIceberg read every table through the catalog. The
// environment variable PYICEBERG names the Python that has it.
func readPyIceberg(ctx context.Context, warehouse string, _ map[string]*table) (map[string]reading, error) {
	python := os.Getenv("PYICEBERG")
	if python == "" {
		return nil, fmt.Errorf("PYICEBERG names no Python; `make integration` sets it")
	}
	cmd := exec.CommandContext(ctx, python, "pyiceberg_check.py", warehouse)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var readings map[string]reading
	err = json.Unmarshal(out, &readings)
	return readings, err
}
