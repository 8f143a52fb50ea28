package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxNesting bounds how deep the documents of this package nest.
const maxNesting = 8

// decodeJSON reads exactly one JSON value into v: no unknown field, no field twice, no other spelling of
// a field (encoding/json ignores case), nothing after it. The error says what is wrong and where.
func decodeJSON(b []byte, v any) error {
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

// checkValue reads one value and looks at the keys of its objects, all of which are lower case.
func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return brief(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxNesting {
		return fmt.Errorf("nested more than %d deep", maxNesting)
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return brief(err)
			}
			key, _ := t.(string)
			switch {
			case key != strings.ToLower(key):
				return fmt.Errorf("field %q: names of fields are lower case", key)
			case seen[key]:
				return fmt.Errorf("field %q stands twice in one object", key)
			}
			seen[key] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the end
	return brief(err)
}

func brief(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the document ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// encodeJSON indents by two spaces and ends with a line feed, for people who look into the state folder.
func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
