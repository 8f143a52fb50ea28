package mirror

import (
	"maps"
	"path"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// DefaultKeep is the number of releases whose files stay for slow clients.
const DefaultKeep = 3

// ours tells whether a name may be one of a file that this package has put below DIR.
func ours(name string) bool {
	if target, ok := strings.CutPrefix(name, targetsDir+"/"); ok {
		return len(target) <= signing.MaxTargetPath+65 && isPath(target)
	}
	doc, ok := strings.CutPrefix(name, metadataDir+"/")
	return ok && doc != timestamp && !strings.HasSuffix(doc, ".root.json") && !strings.Contains(doc, "/") && isPath(doc)
}

// isPath holds a name against the rules of target paths, of which it may be longer by the hash in it.
func isPath(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if signing.CheckTargetPath(part) != nil {
			return false
		}
	}
	return true
}

// wanted are the targets that a mirror with these layers keeps.
func wanted(v *signing.Verified, layers []string) []signing.Target {
	var list []signing.Target
	for _, role := range []string{signing.RoleTargets, signing.RoleRestrictions, signing.RoleDatabase} {
		for _, t := range v.Targets(role) {
			if wants(t.Path, layers) {
				list = append(list, t)
			}
		}
	}
	return list
}

// wants tells whether a mirror with these layers keeps a target: a layer's files if it keeps the layer, all other ones always.
func wants(target string, layers []string) bool {
	first, _, below := strings.Cut(target, "/")
	for _, l := range []dbformat.Layer{dbformat.Light, dbformat.Rest} {
		if below && first == l.String() {
			return slices.Contains(layers, first)
		}
	}
	return true
}

// filesOf are the names below DIR of what a state needs, sorted.
func filesOf(docs []signing.Document, targets []signing.Target) []string {
	var list []string
	for _, d := range docs {
		if d.Name != timestamp {
			list = append(list, metadataDir+"/"+d.Name)
		}
	}
	for _, t := range targets {
		list = append(list, targetsDir+"/"+t.Name())
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// withState is the list with p at its head, in the place of an entry for the same timestamp, whose files and times are kept in p.
func withState(list []published, p published) []published {
	out := []published{p}
	for _, q := range list {
		if q.Timestamp != p.Timestamp {
			out = append(out, q)
			continue
		}
		out[0].Shown = q.Shown
		files := append(slices.Clone(p.Files), q.Files...) // other layers may have been wanted then
		slices.Sort(files)
		out[0].Files = slices.Compact(files)
	}
	return out
}

// prune decides what stays: the state that is shown now, current, which is the first of the list, and of those that were shown before it the ones of the
// last keep releases, of each release the last keep states (a release is signed anew when it is near its expiry). gone are the files that
// only the others need.
func prune(list []published, keep int) (stay []published, gone []string) {
	keep = max(keep, 1)
	needed, doomed := map[string]bool{}, map[string]bool{}
	states := map[uint64]int{}
	for i, p := range list {
		_, known := states[p.Version]
		if i > 0 && (p.Shown.IsZero() || !known && len(states) >= keep || states[p.Version] >= keep) {
			for _, name := range p.Files {
				doomed[name] = true
			}
			continue
		}
		states[p.Version]++
		stay = append(stay, p)
		for _, name := range p.Files {
			needed[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(doomed)) {
		if !needed[name] {
			gone = append(gone, name)
		}
	}
	return stay, gone
}

// rootsFirst decides whether new roots become visible before the timestamp: if nothing is shown yet, or if who trusts the newest root that is
// shown would refuse the new state.
func rootsFirst(shown bool, newest []byte, v *signing.Verified) bool {
	return !shown || newest == nil || !v.HoldsUnder(newest)
}

// foldersOf are the folders of names, sorted.
func foldersOf(names []string) []string {
	set := map[string]bool{}
	for _, n := range names {
		set[path.Dir(n)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func sortedKeys(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
