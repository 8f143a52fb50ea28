package publisher

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// MaxPolicy is the greatest length of a policy file in bytes.
const MaxPolicy = 1 << 20

// A Policy says what a publisher decides about the content of releases. [DefaultPolicy] and [ReadPolicy] make one.
type Policy struct {
	names    []string             // globs of the names of signatures that are whole in light
	hashes   map[reservedKey]bool // hashes of signatures that are whole in light
	Variants []dbformat.Variant   // in which a release is offered: full, or light and full
	Guards   Guards
}

// DefaultPolicy is the policy without a file: nothing whole, both variants, the guards of CLI and documentation.
func DefaultPolicy() *Policy {
	return &Policy{
		Variants: []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull},
		Guards:   dbformat.DefaultGuards(),
	}
}

// ErrPolicy is matched by errors about a policy file.
var ErrPolicy = errors.New("policy")

// A PolicyError says what is wrong with a policy file, where, and how to put it right.
type PolicyError struct {
	File   string
	Line   int // 0 where none is known
	Reason string
	Remedy string
}

func (e *PolicyError) Error() string {
	s := "policy " + e.File
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	s += ": " + e.Reason
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Is matches [ErrPolicy].
func (e *PolicyError) Is(target error) bool { return target == ErrPolicy }

// ReadPolicy reads a policy file and the list of hashes that it names, whose path is relative to the
// file's own folder. Errors match [ErrPolicy].
func ReadPolicy(file string) (*Policy, error) {
	f, err := osfile.Open(file)
	if err != nil {
		return nil, &PolicyError{File: file, Reason: "cannot be read: " + bare(err).Error(), Remedy: "check the path given with --policy"}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxPolicy+1))
	if err != nil {
		return nil, &PolicyError{File: file, Reason: "cannot be read: " + bare(err).Error()}
	}
	p, hashes, err := parsePolicy(b)
	if e, ok := errors.AsType[*PolicyError](err); ok {
		e.File = file
		return nil, e
	}
	if hashes != "" {
		if !filepath.IsAbs(hashes) {
			hashes = filepath.Join(filepath.Dir(file), filepath.FromSlash(hashes))
		}
		if p.hashes, err = readHashes(hashes); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// policyFile is the file's shape. Pointers tell "absent" from "empty".
type policyFile struct {
	Whole *struct {
		Names  []string `yaml:"names"`
		Hashes string   `yaml:"hashes"`
	} `yaml:"whole"`
	Variants *[]string `yaml:"variants"`
	Guards   *struct {
		RemovedPercent *int64 `yaml:"removed_percent"`
		AllowAdded     *int64 `yaml:"allow_added"`
		MinRecords     *int64 `yaml:"min_records"`
	} `yaml:"guards"`
}

// parsePolicy reads the bytes of a policy file; hashes is the path of the list that it names. The error is a *PolicyError without File.
func parsePolicy(b []byte) (p *Policy, hashes string, err error) {
	if len(b) > MaxPolicy {
		return nil, "", &PolicyError{Reason: fmt.Sprintf("is longer than %d bytes", MaxPolicy), Remedy: "put long lists of hashes into the file that whole.hashes names"}
	}
	var f policyFile
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := decodeYAML(d, &f); err != nil && err != io.EOF {
		return nil, "", yamlError(err)
	}
	if err := decodeYAML(d, new(any)); err != io.EOF {
		return nil, "", &PolicyError{Reason: "holds more than one document", Remedy: "remove what follows the line ---"}
	}
	p = DefaultPolicy()
	if f.Whole != nil {
		for _, glob := range f.Whole.Names {
			if glob == "" || len(glob) > dbformat.MaxName {
				return nil, "", fieldError(b, "names", fmt.Sprintf("whole.names: %.80q is empty or longer than %d bytes", glob, dbformat.MaxName), "write a name in which * and ? stand for any characters")
			}
		}
		p.names, hashes = slices.Clone(f.Whole.Names), f.Whole.Hashes
		slices.Sort(p.names)
		p.names = slices.Compact(p.names)
	}
	if f.Variants != nil {
		if p.Variants, err = parseVariants(*f.Variants); err != nil {
			return nil, "", fieldError(b, "variants", "variants: "+err.Error(), "write [full] or [light, full]")
		}
	}
	if g := f.Guards; g != nil {
		for _, v := range []struct {
			name string
			text *int64
			max  int64
			set  func(int64)
		}{
			{dbformat.GuardRemoved, g.RemovedPercent, 100, func(n int64) { p.Guards.RemovedPercent = int(n) }},
			{dbformat.GuardAllow, g.AllowAdded, dbformat.MaxVersion, func(n int64) { p.Guards.AllowAdded = uint64(n) }},
			{dbformat.GuardMin, g.MinRecords, dbformat.MaxVersion, func(n int64) { p.Guards.MinRecords = uint64(n) }},
		} {
			if v.text == nil {
				continue
			}
			if *v.text < 0 || *v.text > v.max {
				return nil, "", fieldError(b, v.name, fmt.Sprintf("guards.%s: %d is out of bounds", v.name, *v.text), fmt.Sprintf("write 0 to %d", v.max))
			}
			v.set(*v.text)
		}
	}
	return p, hashes, nil
}

// decodeYAML is d.Decode. The library panics on some documents that are none, such as a list behind a tag of no known type.
func decodeYAML(d *yaml.Decoder, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("is no YAML that can be read: a value has a tag that does not fit it")
		}
	}()
	return d.Decode(v)
}

func parseVariants(words []string) ([]dbformat.Variant, error) {
	light, full := false, false
	for _, w := range words {
		switch {
		case w == string(dbformat.VariantLight) && !light:
			light = true
		case w == string(dbformat.VariantFull) && !full:
			full = true
		default:
			return nil, fmt.Errorf("%.80q is unknown or twice", w)
		}
	}
	if !full {
		return nil, errors.New("full is missing: every endpoint can fall back to it")
	}
	if light {
		return []dbformat.Variant{dbformat.VariantLight, dbformat.VariantFull}, nil
	}
	return []dbformat.Variant{dbformat.VariantFull}, nil
}

// yamlError gives the line and the reason of an error of the YAML reader.
func yamlError(err error) *PolicyError {
	e := &PolicyError{Reason: err.Error(), Remedy: "known keys are whole.names, whole.hashes, variants, guards.removed_percent, guards.allow_added, guards.min_records"}
	if y, ok := errors.AsType[yaml.Error](err); ok {
		e.Reason = y.GetMessage()
		if t := y.GetToken(); t != nil && t.Position != nil {
			e.Line = t.Position.Line
		}
	}
	return e
}

// fieldError finds the first line that has the key.
func fieldError(b []byte, key, reason, remedy string) *PolicyError {
	e := &PolicyError{Reason: reason, Remedy: remedy}
	for i, line := range bytes.Split(b, []byte("\n")) {
		if bytes.Contains(line, []byte(key)) {
			e.Line = i + 1
			break
		}
	}
	return e
}

// readHashes reads the list of a policy: a .hashes file whose every line must be valid.
func readHashes(file string) (map[reservedKey]bool, error) {
	f, err := osfile.Open(file)
	if err != nil {
		return nil, &PolicyError{File: file, Reason: "cannot be read: " + bare(err).Error(), Remedy: "whole.hashes is a path relative to the policy file"}
	}
	defer f.Close()
	r, err := dbformat.SourceReader(file, f, MaxSource)
	if err != nil {
		return nil, &PolicyError{File: file, Reason: "cannot be unpacked: " + err.Error()}
	}
	defer r.Close()
	hashes := map[reservedKey]bool{}
	err = eachLine(r, func(n int, line []byte) error {
		reason := reasonLong
		if line != nil {
			text := content(line)
			if text == nil {
				return nil
			}
			var e entry
			if e, reason = parseHashLine(text); reason == "" {
				hashes[reservedKey{e.alg, e.hash}] = true
				return nil
			}
		}
		return &PolicyError{File: file, Line: n, Reason: reason, Remedy: "write a hex MD5, SHA-1 or SHA-256 a line"}
	})
	if err != nil {
		if e, ok := errors.AsType[*PolicyError](err); ok {
			return nil, e
		}
		return nil, &PolicyError{File: file, Reason: "breaks off: " + err.Error()}
	}
	return hashes, nil
}

// A wholeKey is the key of a signature whatever its family.
type wholeKey struct {
	of   dbformat.Class // ClassHash, ClassPESection or ClassPattern: what it is found in
	alg  dbformat.Algorithm
	hash [32]byte // of a pattern that of its record
	size uint32
}

// wholeFunc tells of records of that class with hashes of a whether they are whole in light; nil if none is. What held holds was whole under this
// very policy and stays so, even where its name has changed since.
func (p *Policy) wholeFunc(of dbformat.Class, a dbformat.Algorithm, held map[wholeKey]bool) func(*dbformat.Record) bool {
	if len(p.names) == 0 && len(p.hashes) == 0 {
		return nil
	}
	return func(r *dbformat.Record) bool {
		if p.hashes[reservedKey{a, r.Hash}] || held[wholeKey{of, a, r.Hash, r.Size}] {
			return true
		}
		if len(p.names) == 0 {
			return false
		}
		name := r.Name
		if name == "" {
			name = of.Section(a).DefaultName(r.Hash[:])
		}
		return p.namesWhole(name)
	}
}

// namesWhole tells whether a glob of the policy matches the name.
func (p *Policy) namesWhole(name string) bool {
	return slices.ContainsFunc(p.names, func(glob string) bool { return matchGlob(glob, name) })
}

// matchGlob tells whether name matches the glob: * is any run of characters, ? is any one character, and everything else
// is itself. It takes time in the order of the product of both lengths at most.
func matchGlob(glob, name string) bool {
	g, n := 0, 0
	star, from := -1, 0 // the last * and where its run ends
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, from = g, n
			g++
		case g < len(glob) && glob[g] == '?':
			_, width := utf8.DecodeRuneInString(name[n:])
			g, n = g+1, n+width
		case g < len(glob) && glob[g] == name[n]:
			g, n = g+1, n+1
		case star >= 0:
			from++
			g, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}

// wholeDigest names what the policy says about whole signatures: what was whole under an equal digest stays whole.
func (p *Policy) wholeDigest() dbformat.Digest {
	h := sha256.New()
	for _, n := range p.names {
		fmt.Fprintf(h, "name %q\n", n)
	}
	var keys []string
	for k := range p.hashes {
		keys = append(keys, fmt.Sprintf("hash %d %x\n", k.alg, k.hash))
	}
	slices.Sort(keys)
	for _, k := range keys {
		io.WriteString(h, k)
	}
	return dbformat.Digest(h.Sum(nil))
}
