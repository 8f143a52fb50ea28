package statistics

import (
	"fmt"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn"
)

// A Preview is what a mode sends.
type Preview struct {
	Lookup     []byte   // shape of a look-up: the lines of the request, with the fields of the manifest in braces; nil if the mode sends none
	Statistics [][]byte // bodies, byte for byte; none but in extended mode
}

// MakePreview shows what the mode sends under the manifest, with the given records.
func MakePreview(mode ksn.Mode, m Manifest, records ...Record) (Preview, error) {
	var p Preview
	if !mode.On() || len(m.m.Lookup) == 0 {
		return p, nil
	}
	p.Lookup = []byte(strings.Join(m.m.Lookup, "\r\n") + "\r\n\r\n")
	if mode != ksn.ModeExtended {
		return p, nil
	}
	list := make([]spooled, len(records))
	for i, r := range records {
		b, err := r.Marshal()
		if err != nil {
			return Preview{}, err
		}
		list[i].Record = b
	}
	p.Statistics = m.bodies(list)
	return p, nil
}

// bodies are those in which Deliver sends the list.
func (m Manifest) bodies(list []spooled) (all [][]byte) {
	for len(list) > 0 {
		body, n := m.pack(list)
		if body != nil {
			all = append(all, body)
		}
		list = list[n:]
	}
	return all
}

// Preview shows what the mode would send now if a statement of the given version were accepted: in extended mode what is spooled and what is
// counted, as [Recorder.Flush] and then [Recorder.Deliver] would send it.
func (r *Recorder) Preview(mode ksn.Mode, statement int) (Preview, error) {
	m := FindManifest(r.c.Manifests, statement)
	p, err := MakePreview(mode, m)
	if err != nil || mode != ksn.ModeExtended {
		return p, err
	}
	r.slow.Lock()
	defer r.slow.Unlock()
	list, err := r.spool.list()
	if err != nil {
		return Preview{}, fmt.Errorf("statistics: %w", err)
	}
	r.mu.Lock()
	next, counted := r.record(), r.counts.any
	r.mu.Unlock()
	if counted {
		b, err := next.Marshal()
		if err != nil {
			return Preview{}, err
		}
		list = append(list, spooled{Record: b})
	}
	p.Statistics = m.bodies(list)
	return p, nil
}

// Sample is a record with invented counts in every field, for a preview where nothing was counted yet.
func Sample() Record {
	q := QuestionCount{Asked: 120, Answered: 118, Suppressed: 2}
	return Record{V: 1, ID: strings.Repeat("0", 2*idBytes), Program: "1.0.0", Database: 1, Variant: dbformat.VariantFull, OS: "linux", Arch: "amd64",
		Questions: Questions{q, q, q}, Signatures: []Signature{{"Example.Signature-1", 3}}, SignaturesMore: 1, AnswerTimes: []uint64{100, 10, 5, 2, 1, 0, 0},
		Failures: []FailureCount{{FailureTimeout, 2}}}
}
