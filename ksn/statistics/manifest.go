package statistics

import (
	"cmp"
	"embed"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// A Field is something that can leave the device.
type Field struct {
	Field   string `json:"field"`   // "lookup.prefix", "statistics.os"
	Meaning string `json:"meaning"` // in a few words
}

// A Manifest lists what a version of the statement covers, field by field. Only [ParseManifest] makes one that lets anything out.
type Manifest struct {
	m manifest
}

type manifest struct {
	Statement int      `json:"statement"` // version
	Lookup    []string `json:"lookup"`    // lines of a look-up, with fields in braces
	Basic     []Field  `json:"basic"`     // what both modes send
	Extended  []Field  `json:"extended"`  // what extended mode sends besides
}

// statisticsPrefix begins the fields of records.
const statisticsPrefix = "statistics."

// Statement is the version of the statement, 1 or more.
func (m Manifest) Statement() int { return m.m.Statement }

// Fields are all that can leave the device in the mode, in the order of the manifest; none if it is off. The list is the caller's.
func (m Manifest) Fields(mode ksn.Mode) []Field {
	switch mode {
	case ksn.ModeBasic:
		return slices.Clone(m.m.Basic)
	case ksn.ModeExtended:
		return slices.Concat(m.m.Basic, m.m.Extended)
	}
	return nil
}

// ParseManifest reads a manifest, strictly: fields stand once, have a meaning, and those of statistics belong to extended mode. Fields that
// this engine does not know are fine: it has nothing to send under them.
func ParseManifest(b []byte) (Manifest, error) {
	if len(b) > ksn.MaxStatement {
		return Manifest{}, fmt.Errorf("manifest: %d bytes, the limit is %d", len(b), ksn.MaxStatement)
	}
	var m manifest
	if err := dbformat.DecodeJSON(b, &m); err != nil {
		return Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if m.Statement < 1 || m.Statement > 1e6 || len(m.Lookup) == 0 {
		return Manifest{}, fmt.Errorf("manifest: want a statement from 1 to 1000000 and the lines of a look-up")
	}
	seen := map[string]bool{}
	for i, f := range slices.Concat(m.Basic, m.Extended) {
		ofStatistics := strings.HasPrefix(f.Field, statisticsPrefix)
		switch {
		case f.Field == "" || f.Meaning == "" || seen[f.Field]:
			return Manifest{}, fmt.Errorf("manifest: field %.80q: want a name and a meaning, once", f.Field)
		case ofStatistics != (i >= len(m.Basic)):
			return Manifest{}, fmt.Errorf("manifest: field %.80q: extended mode sends statistics besides, and nothing else", f.Field)
		}
		seen[f.Field] = true
	}
	return Manifest{m}, nil
}

//go:embed manifests/*.json
var manifestFiles embed.FS

// DefaultManifests are those of the statements that come with the engine, newest first.
func DefaultManifests() []Manifest {
	files, err := manifestFiles.ReadDir("manifests")
	if err != nil {
		panic("statistics: embedded manifests: " + err.Error()) // part of the binary; a test reads them all
	}
	var all []Manifest
	for _, f := range files {
		b, err := manifestFiles.ReadFile("manifests/" + f.Name())
		if err != nil {
			panic("statistics: embedded " + f.Name() + ": " + err.Error())
		}
		m, err := ParseManifest(b)
		if err != nil {
			panic("statistics: embedded " + f.Name() + ": " + err.Error())
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Manifest) int { return cmp.Compare(b.m.Statement, a.m.Statement) })
	return all
}

// FindManifest is the newest one that an accepted statement of the given version covers. The zero Manifest, which lets nothing out, stands for none.
func FindManifest(all []Manifest, accepted int) Manifest {
	var best Manifest
	for _, m := range all {
		if m.m.Statement <= accepted && m.m.Statement > best.m.Statement {
			best = m
		}
	}
	return best
}

// filter is r with what the manifest lists. A field is named by its path: "statistics.questions.file.asked". ok is false if what makes
// a record (version and id) is not listed.
func (m Manifest) filter(r Record) (Record, bool) {
	listed := map[string]bool{}
	for _, f := range m.m.Extended {
		listed[f.Field] = true
	}
	filterStruct(reflect.ValueOf(&r).Elem(), statisticsPrefix, listed)
	return r, r.V != 0 && r.ID != ""
}

// filterStruct makes zero what is not listed. A list of structs stays only if all of their fields are listed. A field without a name in JSON goes.
func filterStruct(v reflect.Value, prefix string, listed map[string]bool) {
	for i := range v.NumField() {
		path := prefix + jsonName(v.Type().Field(i))
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct:
			filterStruct(f, path+".", listed)
		case !slices.ContainsFunc(leaves(f.Type(), path), func(leaf string) bool { return !listed[leaf] }):
		default:
			f.SetZero()
		}
	}
}

// leaves are the paths of all fields of a type that stands at path.
func leaves(t reflect.Type, path string) []string {
	switch {
	case t.Kind() == reflect.Slice:
		return leaves(t.Elem(), path)
	case t.Kind() != reflect.Struct:
		return []string{path}
	}
	var all []string
	for i := range t.NumField() {
		all = append(all, leaves(t.Field(i).Type, path+"."+jsonName(t.Field(i)))...)
	}
	return all
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
