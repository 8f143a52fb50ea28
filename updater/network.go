package updater

import (
	"bytes"
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
	refused, _, err := c.u.c.Store.Network(store.NetworkRefused)
	b := refused // an engine that came since may be able to use it
	if err != nil || refused == nil || sha256.Sum256(refused) != t.SHA256 {
		if b, err = src.small(ctx, t, protocol.MaxProvider); err != nil {
			return err
		}
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
		if c.looking() || bytes.Equal(b, refused) || len(b) == 0 {
			return nil
		}
		// By it a verification tells that no update could do better. It protects nobody: signatures do not wait for it.
		c.notKept(c.u.c.Store.PutNetwork(store.NetworkRefused, b))
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
	if refused != nil { // what a crash or a fault leaves here is not what the repository names, and says nothing
		c.notKept(c.u.c.Store.RemoveNetwork(store.NetworkRefused))
	}
	return nil
}

// notKept notes what could not be written and keeps nothing back.
func (c *cycle) notKept(err error) {
	if err != nil {
		c.note(NoteStateNotKept+": %v", err)
	}
}
