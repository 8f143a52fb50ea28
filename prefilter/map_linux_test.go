package prefilter

import (
	"os"
	"syscall"
	"testing"
)

// Map touches the page of the header only: here reading any other one would end the test.
func TestMapTouchesOnePage(t *testing.T) {
	literals, _ := mixture(1, 1)
	b := mustBuild(t, literals, ignorant())
	page := os.Getpagesize()
	m, err := syscall.Mmap(-1, 0, len(b)+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(m)
	copy(m, b)
	if err := syscall.Mprotect(m[page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	s, err := Map(m[:len(b)])
	if err != nil || s.Literals() == 0 || s.FilterSize() == 0 || len(b) < 4*page {
		t.Fatalf("%v", err)
	}
}
