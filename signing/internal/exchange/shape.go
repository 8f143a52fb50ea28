package exchange

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A Shape walks what [Tree] read and keeps the first thing that is wrong. Its methods name the place by what they are given, and go on with
// empty values after a mistake. The zero value is ready; it is for one goroutine.
type Shape struct {
	Err error // the first thing that is wrong
}

// Bad notes what is wrong, unless something was before.
func (s *Shape) Bad(format string, args ...any) {
	if s.Err == nil {
		s.Err = fmt.Errorf(format, args...)
	}
}

// Object takes an object.
func (s *Shape) Object(what string, v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		s.Bad("%s is absent or no object", what)
	}
	return m
}

// Array takes an array with a number of elements within bounds.
func (s *Shape) Array(what string, v any, least, most int) []any {
	a, ok := v.([]any)
	if !ok {
		s.Bad("%s is absent or no array", what)
		return nil
	}
	if len(a) < least || len(a) > most {
		s.Bad("%s has %d elements, want %d to %d", what, len(a), least, most)
	}
	return a
}

// Text takes a string.
func (s *Shape) Text(what string, v any) string {
	t, ok := v.(string)
	if !ok {
		s.Bad("%s is absent or no string", what)
	}
	return t
}

// Number takes an integer within bounds; it gives 0 for any other.
func (s *Shape) Number(what string, v any, least, most int64) int64 {
	n, ok := v.(int64)
	if !ok {
		s.Bad("%s is absent or no number", what)
		return 0
	}
	if n < least || n > most {
		s.Bad("%s is %d, want %d to %d", what, n, least, most)
		return 0
	}
	return n
}

// HexText takes lower-case hex of n bytes.
func (s *Shape) HexText(what string, v any, n int) string {
	t := s.Text(what, v)
	if b, err := hex.DecodeString(t); err != nil || len(b) != n || strings.ToLower(t) != t {
		s.Bad("%s is %.16q…, want %d lower-case hex digits", what, t, 2*n)
	}
	return t
}

// Only refuses fields beyond those named: where nothing is signed, or where a field would change what an id means.
func (s *Shape) Only(what string, m map[string]any, fields ...string) {
	for k := range m {
		if !slices.Contains(fields, k) {
			s.Bad("%s has the unknown field %.32q", what, k)
		}
	}
}

// Fields refuses fields that readers which ignore case would take for one of those named.
func (s *Shape) Fields(what string, m map[string]any, fields ...string) {
	for k := range m {
		for _, f := range fields {
			if k != f && strings.EqualFold(k, f) {
				s.Bad("%s has the field %.32q beside or in place of %s", what, k, f)
			}
		}
	}
}
