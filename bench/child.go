package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// usage is what a child process took.
type usage struct {
	wall, cpu time.Duration
	peakBytes int64
}

// runChild runs a program to its end and gives what it wrote to stdout and
// what it took. Its stderr goes to log if it fails.
func runChild(ctx context.Context, log io.Writer, program string, args ...string) ([]byte, usage, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start)}
	if err != nil {
		if _, err := stderr.WriteTo(log); err != nil {
			return nil, u, err
		}
		return nil, u, fmt.Errorf("%s %s: %w", filepath.Base(program), args[0], err)
	}
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.peakBytes = int64(r.Maxrss)
		if runtime.GOOS != "darwin" { // there it is bytes, elsewhere KiB
			u.peakBytes *= 1024
		}
	}
	return stdout.Bytes(), u, nil
}

// buildLupa builds the program of the checkout and gives its path.
func buildLupa(ctx context.Context, o Options) (string, error) {
	program, err := filepath.Abs(filepath.Join(o.Cache, "lupa"))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/lupa")
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.Root, o.Log, o.Log
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build lupa: %w", err)
	}
	return program, nil
}
