package matcher

import (
	"testing"

	"example.org/avdb/dbformat"
)

// What the kernel makes up has content and no size: it is not called clean without a word.
func TestFilesWithoutASizeAreSkipped(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	r := e.ScanFile(t.Context(), "/proc/self/status")
	if r.Verdict != Clean || r.Skipped == "" || r.SHA256 != "" || r.Err != nil {
		t.Fatalf("got %+v, want it skipped", r)
	}
}

// A file that says that it is empty and cannot be read is an error, not clean.
func TestFilesWithoutASizeThatCannotBeRead(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	r := e.ScanFile(t.Context(), "/proc/self/mem")
	if r.Verdict != Failed || r.Err == nil || r.Skipped != "" {
		t.Fatalf("got %+v, want an error", r)
	}
}
