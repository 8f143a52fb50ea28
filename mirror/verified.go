package mirror

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

const (
	verifiedFile    = "verified.json"
	maxVerifiedFile = 1 << 20
)

// verified is verified.json: what [Verify] found good last, and in a mirror that was promoted to, what was promoted.
type verified struct {
	Schema   int               `json:"schema"`           // 1
	Time     time.Time         `json:"time"`             // of the verification
	Failed   string            `json:"failed,omitempty"` // why the last one failed; the rest is then about the one before, but for Content
	Content  dbformat.Digest   `json:"content"`          // see contentOf; zero where the last verification failed
	Root     string            `json:"root"`             // the root under which it was verified, byte for byte
	Version  uint64            `json:"version"`
	Layers   []string          `json:"layers"` // that are kept here
	Counts   map[string]Counts `json:"counts"` // by layer
	Expiring bool              `json:"expiring,omitempty"`
}

// Counts are the figures of a layer that a sanity gate looks at.
type Counts struct {
	Records uint64 `json:"records"`
	Bytes   uint64 `json:"bytes"` // of all blocks
}

func (f folder) readVerified() (v verified, ok bool, err error) {
	b, err := f.read(f.private(verifiedFile), maxVerifiedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return v, false, nil
	}
	if err != nil {
		return v, false, failed(f.private(verifiedFile), "cannot be read", err)
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Schema != 1 {
		return verified{}, false, nil
	}
	return v, true, nil
}

func (f folder) writeVerified(v verified) error {
	v.Schema = 1
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("result of the verification: %w", err)
	}
	if err := f.replace(privateDir+"/"+verifiedFile, bytes.NewReader(append(b, '\n')), 0o600); err != nil {
		return err
	}
	return f.syncDir(f.private())
}

// contentOf is a digest over all that a state shows: the names and hashes of its documents and of the targets that are kept.
func contentOf(v *signing.Verified, targets []signing.Target) dbformat.Digest {
	h := sha256.New()
	for _, d := range v.Documents() {
		fmt.Fprintf(h, "%s %d %x\n", d.Name, len(d.Bytes), sha256.Sum256(d.Bytes))
	}
	for _, t := range targets {
		fmt.Fprintf(h, "%s %d %s\n", t.Path, t.Length, t.SHA256)
	}
	return dbformat.Digest(h.Sum(nil))
}

// leastCounted is the number of records from which on a change of a layer is judged: small lists change by much.
const leastCounted = 10_000

// changes lists what of a layer changed by more than most percent since the last verified set. A layer that was not there is not judged.
func changes(was, is map[string]Counts, most int) (list []string) {
	for _, layer := range []string{dbformat.Light.String(), dbformat.Rest.String()} {
		old, known := was[layer]
		now, here := is[layer]
		if !known || !here || max(old.Records, now.Records) < leastCounted {
			continue
		}
		for _, c := range []struct {
			what    string
			old, is uint64
		}{{"records", old.Records, now.Records}, {"bytes", old.Bytes, now.Bytes}} {
			if beyond(c.old, c.is, most) {
				list = append(list, fmt.Sprintf("%s has %d %s, the last verified set had %d", layer, c.is, c.what, c.old))
			}
		}
	}
	return list
}

// beyond tells whether two numbers differ by more than most percent of the first.
func beyond(old, is uint64, most int) bool {
	diff := max(old, is) - min(old, is)
	hi, lo := bits.Mul64(diff, 100)
	limitHi, limitLo := bits.Mul64(old, uint64(max(most, 0)))
	return hi > limitHi || hi == limitHi && lo > limitLo
}

// ErrRefused is matched by the errors of a gate that somebody may open: what was verified is signed and whole, and looks odd.
var ErrRefused = errors.New("refused by a gate")

// A GateError says which gates refuse a set that is otherwise good. It matches [ErrRefused].
type GateError struct {
	Dir     string
	Reasons []string
	Flags   []string // that let it pass
}

func (e *GateError) Error() string {
	return fmt.Sprintf("%s is not let pass: %s; %s", e.Dir, strings.Join(e.Reasons, "; "), e.Remedy())
}

// Is matches [ErrRefused].
func (e *GateError) Is(target error) bool { return target == ErrRefused }

// Remedy is what to do about it.
func (e *GateError) Remedy() string {
	return "if that is meant, run verify again with " + strings.Join(e.Flags, " and ")
}

func (e *GateError) add(flag string, reasons ...string) {
	if len(reasons) == 0 {
		return
	}
	e.Reasons = append(e.Reasons, reasons...)
	if !slices.Contains(e.Flags, flag) {
		e.Flags = append(e.Flags, flag)
	}
}

// soon is how long before its expiry a set is not let pass: nobody would be there to renew it in time.
const soon = 24 * time.Hour

// expiring is what the gate says of a state that clients will refuse soon.
func expiring(v *signing.Verified, now time.Time) []string {
	if v.Expires().Sub(now) >= soon {
		return nil
	}
	return []string{fmt.Sprintf("role %s expires at %s, within 24 hours", v.ExpiresFirst(), v.Expires().UTC().Format(time.RFC3339))}
}

// An UnverifiedError says why a stage cannot be promoted. It matches [signing.ErrUntrusted].
type UnverifiedError struct {
	Dir string
	Why string
}

func (e *UnverifiedError) Error() string { return fmt.Sprintf("%s: %s; %s", e.Dir, e.Why, e.Remedy()) }

// Is matches [signing.ErrUntrusted].
func (e *UnverifiedError) Is(target error) bool { return target == signing.ErrUntrusted }

// Remedy is what to do about it.
func (e *UnverifiedError) Remedy() string { return "run \"avdb mirror verify\" on it first" }
