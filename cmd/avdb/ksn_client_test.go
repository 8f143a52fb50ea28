package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.org/avdb/store"
)

// writer is a function that is written to.
type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// Reading restrictions anew may wait for an update that is at work. The client goes on meanwhile: here somebody asks it for the time in the middle of that,
// when it says that the restrictions cannot be proved.
func TestReadingRestrictionsHoldsNobodyUp(t *testing.T) {
	s, err := store.Create(filepath.Join(t.TempDir(), "state"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "db", "restrictions.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cloud{}
	told := ""
	c.d = &device{store: s, a: &app{stderr: writer(func(b []byte) (int, error) {
		told += c.now().Format("2006 ") + string(b)
		return len(b), nil
	})}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.refresh(time.Now())
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the time is not told while restrictions are read")
	}
	if !c.set.Unproved() || !strings.Contains(told, "the restrictions cannot be proved") {
		t.Errorf("unproved: %t, said %q", c.set.Unproved(), told)
	}
}
