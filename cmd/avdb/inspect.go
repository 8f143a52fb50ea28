package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
	"example.org/avdb/store"
)

func newInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "name every field of a bundle, delta, layer file or signed document",
		Long: `Name every field of a file: a bundle or a delta of a repository, a layer file or CURRENT of a state folder, a
release record, a restriction set or signed metadata. Of a file that breaks its format the fields before the
place are shown, then the error. What is shown is not verified: "avdb verify" does that.`,
		Example: `  avdb inspect /srv/avdb/public/targets/light/*.delta
  avdb inspect /var/lib/avdb/db/CURRENT
  avdb inspect /srv/avdb/public/metadata/timestamp.json`,
		Args: exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			i, err := inspect(args[0])
			if a.json {
				return a.reportJSON(i, err)
			}
			if i.Kind != "" {
				fmt.Fprintf(a.stdout, "%s: %s\n", pathText(args[0]), escape(i.Kind))
			}
			for _, l := range i.Fields {
				fmt.Fprintln(a.stdout, escape(l))
			}
			return err
		},
	}
}

// An inspection is what a file is and says.
type inspection struct {
	File    string          `json:"file"`
	Bytes   int64           `json:"bytes"`
	Kind    string          `json:"kind"`              // "" when nothing can be made of it
	Fields  []string        `json:"fields"`            // a line each, for people
	Content json.RawMessage `json:"content,omitempty"` // of a document that is JSON itself
}

// maxDocument bounds the JSON documents that are looked at.
const maxDocument = 16 << 20

func inspect(name string) (inspection, error) {
	i := inspection{File: name, Fields: []string{}}
	f, err := osfile.Open(name)
	if err != nil {
		return i, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return i, err
	}
	i.Bytes = st.Size()
	var first [1]byte
	if _, err := f.ReadAt(first[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return i, err
	}
	switch {
	case first[0] == '{':
		err = i.document(f)
	case strings.HasSuffix(name, ".db"):
		err = i.layerFile(name)
	default:
		var text bytes.Buffer
		err = dbformat.Describe(&text, f, st.Size())
		i.Kind = "binary"
		for l := range strings.Lines(text.String()) {
			i.Fields = append(i.Fields, strings.TrimRight(l, "\n"))
		}
		switch {
		case strings.HasSuffix(name, ".bundle"):
			i.Kind = "bundle"
		case strings.HasSuffix(name, ".delta"):
			i.Kind = "delta"
		}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return i, err
}

// document names the fields of a JSON document.
func (i *inspection) document(f *os.File) error {
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(b) > maxDocument {
		return fmt.Errorf("longer than %d bytes", maxDocument)
	}
	var check error
	i.Kind, check = documentKind(i.File, b)
	i.Fields, err = jsonFields(b)
	if err == nil {
		i.Content = bytes.ToValidUTF8(bytes.TrimSpace(b), []byte("\ufffd"))
	}
	return errors.Join(err, check)
}

// documentKind tells what a document is, by what it holds, and whether its own strict
// reader takes it.
func documentKind(name string, b []byte) (string, error) {
	var probe struct {
		Signed  json.RawMessage `json:"signed"` // of metadata an object, of a restriction set a time
		Stable  json.RawMessage `json:"stable"`
		Records json.RawMessage `json:"records"`
		Current json.RawMessage `json:"current"`
		Install string          `json:"install"`
	}
	if json.Unmarshal(b, &probe) != nil {
		return "JSON document", nil // its fields are what says where it breaks
	}
	var meta struct {
		Type string `json:"_type"`
	}
	if json.Unmarshal(probe.Signed, &meta) == nil && meta.Type != "" {
		return "signed metadata, role type " + meta.Type, nil
	}
	switch {
	case probe.Stable != nil:
		_, err := dbformat.ParseReleaseRecord(b)
		return "release record", err
	case probe.Records != nil:
		if probe.Signed == nil {
			_, err := dbformat.ParseRestrictionSource(b)
			return "restriction set as a publisher writes it", err
		}
		_, err := dbformat.ParseRestrictionSet(b)
		return "restriction set", err
	case probe.Current != nil && filepath.Base(name) == "CURRENT":
		return "the current generation of a state folder", nil
	case probe.Install != "":
		return "settings of a device", nil
	}
	return "JSON document", nil
}

// jsonFields lists the leaves of a document in its own order: "stable.light.records: 7".
func jsonFields(b []byte) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	fields := []string{}
	if err := appendFields(d, "", 0, &fields); err != nil {
		return fields, fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fields, fmt.Errorf("at byte %d: something follows the document", d.InputOffset())
	}
	return fields, nil
}

// maxDepth bounds how deep the documents nest.
const maxDepth = 32

func appendFields(d *json.Decoder, path string, depth int, fields *[]string) error {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if s, ok := t.(string); ok {
			text = []byte(pathText(s))
		}
		*fields = append(*fields, fmt.Sprintf("%s: %s", path, text))
		return nil
	}
	n := 0
	for ; d.More(); n++ {
		sub := fmt.Sprintf("%s[%d]", path, n)
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return err
			}
			sub = strings.TrimPrefix(fmt.Sprintf("%s.%s", path, pathText(fmt.Sprint(k))), ".")
		}
		if err := appendFields(d, sub, depth+1, fields); err != nil {
			return err
		}
	}
	if n == 0 && path != "" {
		*fields = append(*fields, path+": none")
	}
	_, err = d.Token()
	return err
}

// layerFile describes a layer of a state folder: STATE/db/layers/DIGEST.db.
func (i *inspection) layerFile(name string) error {
	path, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	digest, err := dbformat.ParseDigest(strings.TrimSuffix(filepath.Base(path), ".db"))
	layers := filepath.Dir(path)
	if err != nil || filepath.Base(layers) != "layers" || filepath.Base(filepath.Dir(layers)) != "db" {
		return hint(errors.New("no layer file: those are STATE/db/layers/DIGEST.db"), "name the file where the program put it")
	}
	s, err := store.Open(filepath.Dir(filepath.Dir(layers)), store.Options{})
	if err != nil {
		return err
	}
	f, err := s.OpenLayer(digest, dbformat.Light)
	if err != nil {
		var rerr error
		if f, rerr = s.OpenLayer(digest, dbformat.Rest); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	defer f.Close()
	h := f.Header()
	i.Kind = "layer file, " + h.Layer.String()
	i.Fields = append(i.Fields, "digest: "+digest.String())
	for _, sec := range h.Sections {
		var rows, size uint64
		for _, leaf := range sec.Blocks {
			rows, size = rows+uint64(leaf.Rows), size+uint64(leaf.Bytes)
		}
		i.Fields = append(i.Fields, fmt.Sprintf("section %-14s p %d, b %d, k %d, %s rows, %s in %s", sec.ID, sec.P, sec.B, sec.K,
			countText(rows), bytesText(int64(size)), plural(len(sec.Blocks), "block")))
		if !sec.Pair.IsZero() {
			i.Fields = append(i.Fields, "  belongs to the light section "+sec.Pair.String())
		}
	}
	return nil
}
