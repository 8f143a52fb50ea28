package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// layerTargets puts the files of a release's layers on the mirror and lists them. The files of a layer that did not
// change are those that are signed already.
func (r *run) layerTargets(ctx context.Context, next *dbformat.Release, light, rest *dbformat.MemLayer) ([]signing.Target, error) {
	var targets []signing.Target
	changed := map[dbformat.Layer]*signing.Target{}
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
		changed[l] = &t
		targets = append(targets, t)
	}
	m := &deltaMaker{r: r, next: next, light: light, rest: rest, changed: changed, targets: targets}
	if err := m.all(ctx); err != nil {
		return nil, err
	}
	return m.targets, nil
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

// A deltaMaker makes the direct deltas from earlier states to a release. It holds one pair of old layers at a time.
type deltaMaker struct {
	r           *run
	next        *dbformat.Release
	light, rest *dbformat.MemLayer
	changed     map[dbformat.Layer]*signing.Target // layers of which deltas are made, with their bundles
	targets     []signing.Target
}

// all makes the deltas of both layers, newest state first. A state whose bundle is lost or damaged gets none: its endpoints
// take the bundle.
func (m *deltaMaker) all(ctx context.Context) error {
	wanted := map[dbformat.Layer]map[uint64]bool{dbformat.Light: {}, dbformat.Rest: {}} // versions of the releases whose states count
	var from []*published
	for l := range m.changed {
		for _, p := range m.r.state.states(l, m.next.Layer(l).Digest) {
			wanted[l][p.Version] = true
		}
	}
	for i := len(m.r.state.Releases) - 1; i >= 0; i-- {
		if p := &m.r.state.Releases[i]; wanted[dbformat.Light][p.Version] || wanted[dbformat.Rest][p.Version] {
			from = append(from, p)
		}
	}
	for i, p := range from {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.r.o.Progress("deltas", i, len(from))
		old, err := m.r.layer(dbformat.Light, p.Light.Digest)
		if err != nil {
			m.r.warn("no delta from release %d: %v", p.Version, err)
			continue
		}
		oldRest, restErr := m.r.layer(dbformat.Rest, p.Rest.Digest)
		m.r.stride(p.Version, old, oldRest, m.light, m.rest)
		if wanted[dbformat.Light][p.Version] {
			if err := m.lightDelta(p, old); err != nil {
				return err
			}
		}
		if !wanted[dbformat.Rest][p.Version] {
			continue
		}
		if restErr != nil {
			m.r.warn("no rest delta from release %d: %v", p.Version, restErr)
			continue
		}
		if err := m.restDelta(p, old, oldRest); err != nil {
			return err
		}
	}
	m.r.o.Progress("deltas", len(from), len(from))
	return nil
}

func (m *deltaMaker) lightDelta(p *published, old *dbformat.MemLayer) error {
	b, err := dbformat.MakeLightDelta(old, m.light)
	return m.add(dbformat.Light, p, b, err)
}

// restDelta makes a delta of rest, which leans on the light delta of the same two releases: where there is none, it
// would be of no use.
func (m *deltaMaker) restDelta(p *published, oldLight, old *dbformat.MemLayer) error {
	if p.Light.Digest != m.next.Light.Digest {
		if _, ok := findTarget(m.targets, dbformat.DeltaTarget(dbformat.Light, p.Light.Since, m.next.Light.Since)); !ok {
			return nil
		}
	}
	b, err := dbformat.MakeRestDelta(oldLight, m.light, old, m.rest)
	return m.add(dbformat.Rest, p, b, err)
}

// add puts a delta on the mirror if it saves at least half of the bundle.
func (m *deltaMaker) add(l dbformat.Layer, p *published, b []byte, err error) error {
	if errors.Is(err, dbformat.ErrNoDelta) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s delta from release %d: %w", l, p.Version, err)
	}
	path := dbformat.DeltaTarget(l, p.layer(l).Since, m.next.Layer(l).Since)
	if _, twice := findTarget(m.targets, path); twice || int64(len(b))*2 >= m.changed[l].Length {
		return nil
	}
	t, err := m.r.repo.AddTargetBytes(path, b)
	if err != nil {
		return err
	}
	m.targets = append(m.targets, t)
	return nil
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
