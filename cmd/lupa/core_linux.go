package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// withoutCore keeps the memory of this process, in which raw values and keys
// are, from being written to disk when it dies. The limit alone does not stop a
// kernel that pipes dumps into a program; a process that is not dumpable is not
// dumped at all, nor read by others of its user.
func withoutCore() error {
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}
