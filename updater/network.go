package updater

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// network stores the provider file of the global KSN network where the repository names another one than is stored. No hold, cohort or
// missing layer keeps it back. The publisher's offline keys vouch for it: which file is newer is for the version of their role to say.
func (c *cycle) network(ctx context.Context, src source, v *signing.Verified) error {
	t, ok := v.Target(dbformat.NetworkTarget)
	if !ok {
		return nil
	}
	old, _, err := c.u.c.Store.Network(protocol.Global)
	switch {
	case errors.Is(err, store.ErrDamaged):
		c.note(NoteDamaged+": %v", err) // it is fetched again
	case err != nil:
		return err
	case old != nil && sha256.Sum256(old) == t.SHA256:
		return nil
	}
	b, err := src.small(ctx, t, protocol.MaxProvider)
	if err != nil {
		return err
	}
	if err := v.Network(b); err != nil {
		return err
	}
	f, err := protocol.OpenProvider(b)
	if err == nil && f.Provider.Network != protocol.Global {
		err = fmt.Errorf("it is of a %s network", f.Provider.Network)
	}
	if err != nil { // signed as it should be, and still no provider file: the old one stays in use
		c.note(NoteNetworkRefused+": %v", err)
		return nil
	}
	st := ReportStep{Layer: "network", How: HowSet, Why: fmt.Sprintf("the global network %q has another provider file", f.Provider.Name),
		To: f.Provider.Serial, Bytes: t.Length}
	if was, err := protocol.OpenProvider(old); err == nil {
		st.From = was.Provider.Serial
	}
	if c.looking() {
		c.putStep(st)
		c.report.Result = ResultAvailable
		return nil
	}
	if err := c.u.c.Store.PutNetwork(protocol.Global, b); err != nil {
		return err
	}
	c.putStep(st)
	c.report.Result = ResultUpdated
	return nil
}
