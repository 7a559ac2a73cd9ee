//go:build unix

package shelf

import "golang.org/x/sys/unix"

// reserve gives zeroed memory that the garbage collector does not count, so that a
// large shelf does not double the heap that a program may have before it runs.
func reserve(size int) []byte {
	memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, size) // or the runtime says that there is none
	}
	return memory
}

// release gives it back. What make gave instead is none of unix's and stays.
func release(memory []byte) { _ = unix.Munmap(memory) }
