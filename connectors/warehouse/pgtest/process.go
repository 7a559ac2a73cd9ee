package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"runtime"
	"strconv"
)

// account is a user that PostgreSQL agrees to run as.
type account struct{ uid, gid int }

// unprivileged gives the account to switch to, or nil where the tests run as
// somebody that PostgreSQL takes.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &account{uid, gid}, nil
	}
	return nil, errors.New("PostgreSQL refuses root, and there is no user postgres or nobody")
}

// run starts a process, says how that went, and waits for its end.
func run(cmd *exec.Cmd, started chan<- error, done chan<- struct{}) {
	// The kernel ends a child of dying parents when the thread that made it
	// ends, so that thread stays for as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(done)
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended does not matter: its log says why
	}
}
