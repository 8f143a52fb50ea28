package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Bounds of every metadata document, whatever its role.
const (
	MaxDepth   = 12        // nesting
	MaxValues  = 65536     // values in one document
	MaxInteger = 1<<53 - 1 // what every JSON reader keeps exact
)

// Rules say what texts a [Tree] may hold.
type Rules int

const (
	// Plain texts are printable ASCII without escapes, and keys are of a-z, 0-9 and . _ - /.
	Plain Rules = iota
	// AnyText allows any valid UTF-8 and any key but an empty one. Who reads fields by name must refuse those that differ by case only
	// ([Shape.Fields]).
	AnyText
)

// Tree reads one JSON value strictly into maps, slices, strings, booleans and int64. It refuses what JSON readers
// disagree about, so that what is checked here is what go-tuf and every other reader sees: keys twice, null, numbers that are no plain
// integers below 2^53, bytes after the value and, with [Plain], texts beyond what that says.
func Tree(b []byte, r Rules) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	for i, c := range b {
		if r == AnyText {
			break
		}
		if (c < ' ' && c != '\n' && c != '\r' && c != '\t') || c > '~' || c == '\\' {
			return nil, fmt.Errorf("byte %d is %#02x: only printable ASCII without backslashes is allowed", i, c)
		}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	p := &treeParser{d: d, rules: r, left: MaxValues}
	v, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	return v, nil
}

type treeParser struct {
	d     *json.Decoder
	rules Rules
	left  int // values that may still come
}

func (p *treeParser) value(depth int) (any, error) {
	if p.left--; p.left < 0 {
		return nil, fmt.Errorf("more than %d values", MaxValues)
	}
	t, err := p.d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string, bool:
		return t, nil
	case json.Number:
		return integer(t.String())
	case json.Delim:
		if depth == MaxDepth {
			return nil, fmt.Errorf("nested more than %d deep", MaxDepth)
		}
		if t == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	}
	return nil, errors.New("null is no value here")
}

func (p *treeParser) object(depth int) (any, error) {
	m := map[string]any{}
	for p.d.More() {
		t, err := p.d.Token()
		if err != nil {
			return nil, err
		}
		k, _ := t.(string)
		if k == "" || p.rules == Plain && !lowerKey(k) {
			return nil, fmt.Errorf("key %.64q: keys are of a-z, 0-9 and . _ - /", k)
		}
		if _, twice := m[k]; twice {
			return nil, fmt.Errorf("key %.64q twice in one object", k)
		}
		if m[k], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.d.Token() // the closing brace
	return m, err
}

func (p *treeParser) array(depth int) (any, error) {
	s := []any{}
	for p.d.More() {
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		s = append(s, v)
	}
	_, err := p.d.Token() // the closing bracket
	return s, err
}

// lowerKey keeps out capitals: encoding/json takes "Version" for "version".
func lowerKey(k string) bool {
	for i := range len(k) {
		c := k[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != '/' {
			return false
		}
	}
	return true
}

// integer takes the one spelling of an integer within ±(2^53-1): beyond it readers that keep numbers as float64
// would see another one, and sign or verify other bytes.
func integer(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s || n > MaxInteger || n < -MaxInteger {
		return 0, fmt.Errorf("number %.32s is no plain integer below 2^53", s)
	}
	return n, nil
}
