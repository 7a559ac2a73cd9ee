//go:build !linux

package shelf

func preferHuge([]byte) {}
