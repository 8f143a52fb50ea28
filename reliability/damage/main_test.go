//go:build check

package damage_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// childEnv tells this test binary to be one of the reading processes of A11.
const childEnv = "AVDB_DAMAGE_TEST_CHILD"

// A child is told which folder to read and its number.
type child struct {
	Dir  string
	Seed uint64
}

func TestMain(m *testing.M) {
	order := os.Getenv(childEnv)
	if order == "" {
		os.Exit(m.Run())
	}
	var c child
	if err := json.Unmarshal([]byte(order), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := json.NewEncoder(os.Stdout).Encode(watchProcess(c.Dir, c.Seed)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// watcher runs one of the reading processes to its end.
func watcher(dir string, i int) (w watch, err error) {
	order, err := json.Marshal(child{dir, uint64(i)})
	if err != nil {
		return w, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return w, err
	}
	return w, json.Unmarshal(out, &w)
}
