package publisher

import "example.org/avdb/dbformat"

// A Report says what a run of [Publish] did. Its JSON is that of `avdb repo publish --json`; lists are never null.
type Report struct {
	Version    uint64            `json:"version"`  // of the newest release after the run, or of the one that waits for signatures
	Previous   uint64            `json:"previous"` // of the newest release before it, 0 for none
	Created    dbformat.Time     `json:"created"`  // when release Version was made
	Published  bool              `json:"published"`
	Pending    bool              `json:"pending"` // release Version waits for signatures and is not visible
	Accepted   uint64            `json:"accepted"`
	Rejected   uint64            `json:"rejected"`
	Rejects    []Reject          `json:"rejects"`
	RejectedBy map[string]uint64 `json:"rejected_by"` // how many there are of each kind; of most kinds that is the reason
	Duplicates uint64            `json:"duplicates"`
	Ignored    uint64            `json:"ignored"`
	Layers     struct {
		Light LayerReport `json:"light"`
		Rest  LayerReport `json:"rest"`
	} `json:"layers"`
	Variants          []dbformat.Variant `json:"variants"`           // that the release is offered in
	RestrictionsEpoch uint64             `json:"restrictions_epoch"` // 0: no set was ever published
	Warnings          []string           `json:"warnings"`
}

// A LayerReport is one layer of the newest release.
type LayerReport struct {
	Digest      dbformat.Digest `json:"digest"`
	Records     uint64          `json:"records"`      // signatures and allow records, those of the self-test included
	BundleBytes int64           `json:"bundle_bytes"` // of the file
	Deltas      []DeltaReport   `json:"deltas"`       // highest From first
}

// A DeltaReport is a delta to the newest release.
type DeltaReport struct {
	From  uint64 `json:"from"`  // the lowest release that has the state that it starts from
	Bytes int64  `json:"bytes"` // of the file
}

func newReport() *Report {
	r := &Report{Rejects: []Reject{}, RejectedBy: map[string]uint64{}, Variants: []dbformat.Variant{}, Warnings: []string{}}
	r.Layers.Light.Deltas, r.Layers.Rest.Deltas = []DeltaReport{}, []DeltaReport{}
	return r
}

// add takes over what became of the sources' lines.
func (r *Report) add(c *Compiled) {
	r.Accepted, r.Rejected, r.Duplicates, r.Ignored = c.Accepted, c.Rejected, c.Duplicates, c.Ignored
	if c.Rejects != nil {
		r.Rejects = c.Rejects
	}
	if c.RejectedBy != nil {
		r.RejectedBy = c.RejectedBy
	}
}
