package dbformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of every JSON document that this package reads.
const maxDepth = 16

// decodeStrict reads exactly one JSON value into v: no duplicate key, no field that v does
// not have, no other spelling of a field (encoding/json alone ignores case), nothing after it,
// valid UTF-8. Errors are a [FormatError] for what.
func decodeStrict(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return &FormatError{What: what, Offset: int64(limit), Reason: fmt.Sprintf("%d bytes, the limit is %d", len(b), limit)}
	}
	if !utf8.Valid(b) {
		return &FormatError{What: what, Offset: -1, Reason: "not valid UTF-8"}
	}
	if err := checkKeys(b); err != nil {
		return &FormatError{What: what, Offset: err.offset, Reason: err.reason}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &FormatError{What: what, Offset: d.InputOffset(), Reason: strings.TrimPrefix(err.Error(), "json: ")}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &FormatError{What: what, Offset: d.InputOffset(), Reason: "something follows the document"}
	}
	return nil
}

type keyError struct {
	offset int64
	reason string
}

// checkKeys walks the tokens of a document once: keys must be unique in their object, and no
// key may differ from another spelling by case only, nor hold capitals where our documents
// have none. Language tags such as pt-BR keep theirs.
func checkKeys(b []byte) *keyError {
	d := json.NewDecoder(bytes.NewReader(b))
	type frame struct {
		object bool
		key    bool // the next string is a key
		seen   map[string]bool
	}
	var stack []frame
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &keyError{d.InputOffset(), strings.TrimPrefix(err.Error(), "json: ")}
		}
		if s, ok := t.(string); ok && len(stack) > 0 && stack[len(stack)-1].key {
			top := &stack[len(stack)-1]
			folded := strings.ToLower(s)
			if top.seen[folded] {
				return &keyError{d.InputOffset(), fmt.Sprintf("key %q twice in one object", s)}
			}
			if folded != s && !strings.Contains(s, "-") {
				return &keyError{d.InputOffset(), fmt.Sprintf("key %q: keys are lower case", s)}
			}
			top.seen[folded], top.key = true, false
			continue
		}
		if delim, ok := t.(json.Delim); ok {
			switch delim {
			case '{', '[':
				if len(stack) == maxDepth {
					return &keyError{d.InputOffset(), fmt.Sprintf("nested more than %d deep", maxDepth)}
				}
				stack = append(stack, frame{object: delim == '{', key: delim == '{', seen: map[string]bool{}})
				continue
			default:
				stack = stack[:len(stack)-1]
			}
		}
		if len(stack) > 0 && stack[len(stack)-1].object {
			stack[len(stack)-1].key = true
		}
	}
}

// decodeCanonical is decodeStrict for signed documents, of which there is one spelling: encode(v)
// must give b again.
func decodeCanonical(what string, b []byte, limit int, v any) error {
	if err := decodeStrict(what, b, limit, v); err != nil {
		return err
	}
	again, err := encodeJSON(v)
	if err != nil {
		return &FormatError{What: what, Offset: -1, Reason: err.Error()}
	}
	if !bytes.Equal(again, b) {
		at := 0
		for at < len(again) && at < len(b) && again[at] == b[at] {
			at++
		}
		return &FormatError{What: what, Offset: int64(at), Reason: "not the canonical spelling of its content"}
	}
	return nil
}

// encodeJSON is the canonical spelling of a signed document: fields in the order of the type,
// no white space, <, > and & unescaped, no line feed at the end.
func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
