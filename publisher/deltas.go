package publisher

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// layerTargets puts the files of a release's layers on the mirror and lists them. The files of a layer that did not
// change are those that are signed already.
func (r *run) layerTargets(next *dbformat.Release, light, rest *dbformat.MemLayer) ([]signing.Target, error) {
	var targets []signing.Target
	for _, layer := range []*dbformat.MemLayer{light, rest} {
		l := layer.Header().Layer
		if p := r.previous(); p != nil && p.Layer(l).Digest == next.Layer(l).Digest {
			for _, t := range r.signed[signing.RoleDatabase] {
				if strings.HasPrefix(t.Path, l.String()+"/") {
					targets = append(targets, t)
				}
			}
			continue
		}
		t, err := r.bundle(layer, next.Layer(l).Digest)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// bundle writes a layer's bundle, keeps it for the deltas to come, and puts it on the mirror.
func (r *run) bundle(layer *dbformat.MemLayer, d dbformat.Digest) (signing.Target, error) {
	l := layer.Header().Layer
	name := r.file("bundles", bundleName(l, d))
	if _, err := r.disk.write(name, func(w io.Writer) error { return dbformat.WriteBundle(w, layer) }); err != nil {
		return signing.Target{}, err
	}
	return r.repo.AddTarget(dbformat.BundleTarget(l, d), name)
}

// layerReport describes one layer by its targets.
func layerReport(l dbformat.Layer, of dbformat.LayerInfo, targets []signing.Target) LayerReport {
	out := LayerReport{Digest: of.Digest, Records: of.Records, Deltas: []DeltaReport{}}
	for _, t := range targets {
		var from, to uint64
		if t.Path == dbformat.BundleTarget(l, of.Digest) {
			out.BundleBytes = t.Length
		} else if n, err := fmt.Sscanf(t.Path, l.String()+"/%d-%d.delta", &from, &to); err == nil && n == 2 {
			out.Deltas = append(out.Deltas, DeltaReport{From: from, Bytes: t.Length})
		}
	}
	slices.SortFunc(out.Deltas, func(a, b DeltaReport) int { return cmp.Compare(b.From, a.From) })
	return out
}
