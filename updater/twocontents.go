package updater

import (
	"fmt"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// A TwoContentsError says that a release is signed with other layers than those that are on this device under the same version. No publisher
// makes one release twice: the key that signs releases is in two hands. It matches [signing.ErrUntrusted].
type TwoContentsError struct {
	Version uint64
	Layer   dbformat.Layer  // that differs
	Have    dbformat.Digest // what was installed
	Named   dbformat.Digest // what is signed now
}

func (e *TwoContentsError) Error() string {
	return fmt.Sprintf("release %d is signed again with another %s layer (%.16s) than the one that was installed (%.16s): tell the publisher that its key may be stolen",
		e.Version, e.Layer, e.Named, e.Have)
}

// Is matches [signing.ErrUntrusted].
func (e *TwoContentsError) Is(target error) bool { return target == signing.ErrUntrusted }

// sameContent holds a release against the generations of the same version that are kept: also an approved version is approved once.
func sameContent(rel *dbformat.Release, kept []*store.Generation) error {
	for _, g := range kept {
		if g.Version != rel.Version {
			continue
		}
		if g.Light.Digest != rel.Light.Digest {
			return &TwoContentsError{rel.Version, dbformat.Light, g.Light.Digest, rel.Light.Digest}
		}
		if g.Rest != nil && g.Rest.Digest != rel.Rest.Digest {
			return &TwoContentsError{rel.Version, dbformat.Rest, g.Rest.Digest, rel.Rest.Digest}
		}
	}
	return nil
}

// kept are the generations on disk, the current one first; none before the first install.
func (c *cycle) kept() []*store.Generation {
	cur := c.current
	if cur == nil {
		return nil
	}
	all := []*store.Generation{&cur.Generation}
	for i := range cur.Others {
		all = append(all, &cur.Others[i])
	}
	if cur.RolledBack != nil {
		all = append(all, &cur.RolledBack.From)
	}
	return all
}
