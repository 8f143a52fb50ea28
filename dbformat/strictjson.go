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

// decodeStrict is [DecodeJSON] for a document of at most limit bytes; errors are a [FormatError] for what.
func decodeStrict(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return &FormatError{What: what, Offset: int64(limit), Reason: fmt.Sprintf("%d bytes, the limit is %d", len(b), limit)}
	}
	if err := DecodeJSON(b, v); err != nil {
		return &FormatError{What: what, Offset: -1, Reason: err.Error()}
	}
	return nil
}

// DecodeJSON reads exactly one JSON value into v: valid UTF-8, no field that v does not have, no field twice, no other
// spelling of one (encoding/json alone ignores case; language tags such as pt-BR keep their capitals), nothing after it, at
// most 16 levels deep. b is as long as its caller allows. The error says what is wrong and where; v is then
// not to be used.
func DecodeJSON(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := checkValue(d, 0); err != nil {
		return fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("at byte %d: something follows the document", d.InputOffset())
	}
	d = json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("at byte %d: field %s cannot be a %s", t.Offset, t.Field, t.Value)
		}
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// checkValue reads one value and looks at the keys of its objects.
func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return briefJSON(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return briefJSON(err)
			}
			key, _ := t.(string)
			folded := strings.ToLower(key)
			switch {
			case key != folded && !strings.Contains(key, "-"):
				return fmt.Errorf("field %.64q: names of fields are lower case", key)
			case seen[folded]:
				return fmt.Errorf("field %.64q stands twice in one object", key)
			}
			seen[folded] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the end
	return briefJSON(err)
}

func briefJSON(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the document ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
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
