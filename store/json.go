package store

import (
	"bytes"
	"encoding/json"
)

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
