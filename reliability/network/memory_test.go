//go:build check && linux

package network

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// childEnv holds the task of a child process of these tests.
const childEnv = "AVDB_NETWORK_CHILD"

// A task is an update that a child process makes for the sake of the memory it takes.
type task struct {
	State, Source string
	Now           time.Time
}

// A peak is what a child says.
type peak struct {
	Bytes   int64 // the most that was resident
	Outcome string
}

func child() int {
	var k task
	err := json.Unmarshal([]byte(os.Getenv(childEnv)), &k)
	if err != nil {
		return 1
	}
	now := func() time.Time { return k.Now }
	s, err := store.Open(k.State, store.Options{Now: now})
	if err != nil {
		return 1
	}
	u, err := updater.New(updater.Config{Store: s, Sources: []updater.Source{{URL: k.Source}}, Now: now, Limits: limits()})
	if err != nil {
		return 1
	}
	_, err = u.Update(context.Background(), updater.Options{})
	p := peak{Outcome: (&run{err: err}).outcome()}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 1
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Sscan(v, &p.Bytes)
			p.Bytes <<= 10 // from KiB
		}
	}
	if json.NewEncoder(os.Stdout).Encode(p) != nil {
		return 1
	}
	return 0
}

// peakOf is what an update from a mirror takes in a process of its own.
func peakOf(t *testing.T, w *world, m *mirror) peak {
	t.Helper()
	b, err := json.Marshal(task{State: w.device(t).Dir, Source: m.url, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("the child: %v", err)
	}
	var p peak
	if err := json.Unmarshal(said.Bytes(), &p); err != nil || p.Bytes == 0 {
		t.Fatalf("the child says %q: %v", said.String(), err)
	}
	return p
}

// memoryCap is how much more memory a flood may cost than an honest update.
const memoryCap = 24 << 20

// However much a mirror sends, the process stays within the memory of an honest update and a fixed cap.
func TestFloodsTakeNoMemory(t *testing.T) {
	w := begin(t)
	honestly := peakOf(t, w, start(t, &mirror{w: w, tree: w.newer, behaviour: &behaviour{keep: true}}))
	if honestly.Outcome != updated {
		t.Fatalf("an honest mirror: %s", honestly.Outcome)
	}
	var mu sync.Mutex
	var worst peak
	n := 0
	t.Run("cell", func(t *testing.T) {
		for _, b := range behaviours {
			switch b.name {
			case "headers never end", "endless chunked", "endless with length", "Content-Encoding gzip bomb", "Content-Encoding zstd bomb",
				"1 MiB of headers", "100,000 headers":
			default:
				continue
			}
			for _, file := range kinds {
				t.Run(b.name+"/"+file, func(t *testing.T) {
					t.Parallel()
					m := hostile(t, w, b, file, 0)
					got := peakOf(t, w, m)
					if m.hits.Load() == 0 || got.Outcome != b.want[indexOf(file)] {
						t.Errorf("the run came to %q after %d floods", got.Outcome, m.hits.Load())
					}
					if got.Bytes > honestly.Bytes+memoryCap {
						t.Errorf("%d bytes resident, an honest update takes %d", got.Bytes, honestly.Bytes)
					}
					mu.Lock()
					defer mu.Unlock()
					n++
					if got.Bytes > worst.Bytes {
						worst = got
					}
				})
			}
		}
	})
	t.Logf("B memory: %d cells, at most %.1f MiB resident, an honest update %.1f MiB", n, float64(worst.Bytes)/(1<<20), float64(honestly.Bytes)/(1<<20))
}
