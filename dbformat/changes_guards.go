package dbformat

import "fmt"

// Guards are the limits of what one step from release to release may do unless the repository's offline keys approve it. They hold
// against accidents of a publisher, and against who stole the key that signs releases.
type Guards struct {
	RemovedPercent int    // most records of a layer that may go, in percent of those that it had; 100 is no limit
	AllowAdded     uint64 // most allow records that may come
	MinRecords     uint64 // a layer with fewer records before the step has no guard
}

// DefaultGuards are the guards of every endpoint, and those of a publisher whose policy says nothing else.
func DefaultGuards() Guards {
	return Guards{RemovedPercent: 30, AllowAdded: 1000, MinRecords: 10000}
}

// The names of guards, as policy files and reports have them.
const (
	GuardRemoved = "removed_percent"
	GuardAllow   = "allow_added"
	GuardMin     = "min_records"
)

// A BrokenGuard is one guard that a step breaks, with its figures.
type BrokenGuard struct {
	Guard   string // [GuardRemoved] or [GuardAllow]
	Layer   Layer  // that loses records, or gets allow records
	Changed uint64 // records that would go (GuardRemoved) or come (GuardAllow)
	Records uint64 // of the layer before the step
	Limit   uint64 // percent, or records
}

func (b BrokenGuard) String() string {
	if b.Guard == GuardAllow {
		return fmt.Sprintf("it adds %d allow records, at most %d are allowed", b.Changed, b.Limit)
	}
	percent := 100 * float64(b.Changed) / float64(b.Records)
	return fmt.Sprintf("it removes %d of %d records of %s (%.1f %%), at most %d %% are allowed", b.Changed, b.Records, b.Layer, percent, b.Limit)
}

// Broken lists the guards that c breaks; none for a step that may be taken.
func (g Guards) Broken(c Changes) []BrokenGuard {
	var broken []BrokenGuard
	removed := func(l Layer, of LayerChanges) {
		if of.Records >= g.MinRecords && of.Records > 0 && float64(of.Removed)*100 > float64(g.RemovedPercent)*float64(of.Records) {
			broken = append(broken, BrokenGuard{Guard: GuardRemoved, Layer: l, Changed: of.Removed, Records: of.Records, Limit: uint64(g.RemovedPercent)})
		}
	}
	removed(Light, c.Light)
	removed(Rest, c.Rest)
	if c.Light.Records >= g.MinRecords && c.AllowAdded > g.AllowAdded {
		broken = append(broken, BrokenGuard{Guard: GuardAllow, Layer: Light, Changed: c.AllowAdded, Records: c.Light.Records, Limit: g.AllowAdded})
	}
	return broken
}
