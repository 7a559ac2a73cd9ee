package kafkatest

import (
	"os/exec"
	"syscall"
)

// start starts a process that the kernel kills when this one dies.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Start()
}
