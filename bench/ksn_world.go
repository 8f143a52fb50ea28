package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"example.org/avdb/ksn/protocol"
)

// A ksnWorld is a publisher, a state with its full database, and a private network, made by the program as an operator would.
type ksnWorld struct {
	*bench
	entries int
	known   []protocol.Key // some of the database's
	others  []protocol.Key // more of them, in the order in which fresh gives them
	given   int            // of others
	rnd     *rand.Rand
	tokens  []string // of clients: a server lets each send 20 requests a second, so that a load needs many
}

const (
	fullEntries  = 5_000_000
	quickEntries = 20_000
	mostKnown    = 1 << 16
	mostOthers   = 1 << 20 // the answers to so many are more than a server keeps
	clients      = 8192
)

func newKSNWorld(ctx context.Context, b *bench) (*ksnWorld, error) {
	w := &ksnWorld{bench: b, entries: fullEntries, rnd: rand.New(rand.NewPCG(3, 4))}
	if b.quick {
		w.entries = quickEntries
	}
	b.note("a database of %s entries is published and installed", count(float64(w.entries)))
	if err := errors.Join(w.writeSource(), w.writeTokens()); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"repo", "init", "repo"},
		{"repo", "publish", "repo", "made.hashes"},
	} {
		if _, err := b.avdb(ctx, args...); err != nil {
			return nil, err
		}
	}
	said, err := b.avdb(ctx, "repo", "status", "repo", "--json")
	if err != nil {
		return nil, err
	}
	var status struct{ Fingerprint string }
	if err := json.Unmarshal([]byte(said), &status); err != nil {
		return nil, fmt.Errorf("repo status: %w", err)
	}
	for _, args := range [][]string{
		{"init", "--state", "state", "--source", "file://" + filepath.ToSlash(w.dir) + "/repo/public", "--root-sha256", status.Fingerprint},
		{"update", "--state", "state"},
		{"ksn", "provider", "create", "net", "--name", "bench", "--url", "http://127.0.0.1:8080"},
	} {
		if _, err := b.avdb(ctx, args...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// writeSource writes random SHA-256 hashes with names as they are in the wild.
func (w *ksnWorld) writeSource() error {
	f, err := os.Create(filepath.Join(w.dir, "made.hashes"))
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range w.entries {
		k := protocol.Key{Type: protocol.FileSHA256}
		for at := 0; at < len(k.Sum); at += 8 {
			binary.BigEndian.PutUint64(k.Sum[at:], rnd.Uint64())
		}
		if i < mostKnown {
			w.known = append(w.known, k)
		} else if len(w.others) < mostOthers {
			w.others = append(w.others, k)
		}
		fmt.Fprintf(out, "%x,Win.Trojan.Synthetic-%d\n", k.Sum, i)
	}
	if len(w.others) == 0 { // a quick run
		w.others = w.known
	}
	return errors.Join(out.Flush(), f.Close())
}

func (w *ksnWorld) writeTokens() error {
	var b []byte
	for i := range clients {
		w.tokens = append(w.tokens, fmt.Sprintf("bench-token-%d", i))
		b = fmt.Appendf(b, "client-%d %x\n", i, sha256.Sum256([]byte(w.tokens[i])))
	}
	return os.WriteFile(filepath.Join(w.dir, "tokens"), b, 0o600)
}

// server starts one.
func (w *ksnWorld) server(ctx context.Context) (*process, error) {
	return w.serve(ctx, nil, "ksn", "serve", "--provider", "net", "--state", "state", "--listen", "127.0.0.1:0", "--tokens", "tokens")
}

// proxy starts one in front of a server. It has no limit for each device: all load comes from one address.
func (w *ksnWorld) proxy(ctx context.Context, server *process) (*process, error) {
	return w.serve(ctx, []string{"AVDB_KSN_TOKEN=" + w.tokens[0]}, "ksn", "proxy", "--limit", "0", "--provider", filepath.Join("net", "provider.json"), "--state", "state",
		"--listen", "127.0.0.1:0", "--upstream", "http://"+server.addr)
}

// hit is a prefix with an entry: what endpoints with the light database ask for.
func (w *ksnWorld) hit() protocol.Prefix {
	return w.known[w.rnd.IntN(len(w.known))].Prefix(protocol.DefaultBits)
}

// fresh is a prefix with an entry that was given longer ago than a server keeps answers.
func (w *ksnWorld) fresh() protocol.Prefix {
	w.given++
	return w.others[w.given%len(w.others)].Prefix(protocol.DefaultBits)
}

// any is a random prefix, behind which there is nothing as a rule.
func (w *ksnWorld) any() protocol.Prefix {
	return protocol.Prefix{Type: protocol.FileSHA256, Bits: protocol.DefaultBits, Value: w.rnd.Uint32N(1 << protocol.DefaultBits)}
}

// several are n different prefixes.
func several(n int, one func() protocol.Prefix) []protocol.Prefix {
	seen := map[protocol.Prefix]bool{}
	var all []protocol.Prefix
	for len(all) < n {
		if p := one(); !seen[p] {
			seen[p], all = true, append(all, p)
		}
	}
	return all
}

// gets are n requests for one prefix each, of clients in turn.
func (w *ksnWorld) gets(n int, one func() protocol.Prefix) (all [][]byte) {
	for i := range n {
		all = append(all, get(one().Path(), w.tokens[i%len(w.tokens)]))
	}
	return all
}

// fewest is how many clients a load has at least: of fewer a quick server would refuse some requests, for each client's come too often.
const fewest = 1024

// posts are requests for size prefixes each, of clients in turn. Where these are few they come again, from other clients.
func (w *ksnWorld) posts(requests, size int, one func() protocol.Prefix) (all [][]byte, err error) {
	var bodies [][]byte
	for range requests {
		body, err := protocol.MarshalQuery(several(size, one))
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, body)
	}
	for i := range max(requests, fewest) {
		all = append(all, post(protocol.PathBatch, w.tokens[i%len(w.tokens)], bodies[i%len(bodies)]))
	}
	return all, nil
}
