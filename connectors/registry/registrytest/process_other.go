//go:build !linux

package registrytest

import "syscall"

func attributes() *syscall.SysProcAttr { return nil }
