package shelf

import "golang.org/x/sys/unix"

// preferHuge asks the system for large pages, which it need not give.
func preferHuge(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }
