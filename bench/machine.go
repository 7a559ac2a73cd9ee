package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what results were measured on and with.
type Machine struct {
	CPU       string `json:"cpu"`
	Cores     int    `json:"cores"`
	MemoryMiB int    `json:"memory_mib"`
	System    string `json:"system"`
	Go        string `json:"go"`
	// Commit is the checked-out commit, with +changes when files differ.
	Commit string `json:"commit"`
}

func thisMachine(ctx context.Context, root string) (Machine, error) {
	m := Machine{
		CPU: "unknown", Cores: runtime.NumCPU(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
	if runtime.GOOS == "linux" {
		if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
			m.CPU = strings.TrimSpace(afterColon(text, "model name"))
		}
		if text, err := os.ReadFile("/proc/meminfo"); err == nil {
			kib, _, _ := strings.Cut(strings.TrimSpace(afterColon(text, "MemTotal")), " ")
			n, err := strconv.Atoi(kib)
			if err != nil {
				return m, fmt.Errorf("read memory size: %w", err)
			}
			m.MemoryMiB = n / 1024
		}
	}
	commit, err := git(ctx, root, "rev-parse", "HEAD")
	if err != nil {
		return m, err
	}
	changes, err := git(ctx, root, "status", "--porcelain", "--", ".", ":!bench/results")
	if err != nil {
		return m, err
	}
	if m.Commit = commit; changes != "" {
		m.Commit += "+changes"
	}
	return m, nil
}

// afterColon gives what stands behind "key :" on the first line that begins
// with key.
func afterColon(text []byte, key string) string {
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == key {
			return string(value)
		}
	}
	return ""
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
