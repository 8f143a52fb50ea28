package updater

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"example.org/avdb/dbformat"
	"example.org/avdb/signing"
)

// restrictions takes a newer restriction set into use at once: no hold, cohort or missing layer keeps it back. What is stored is held against what was
// signed each time: a set that is missing, or that nobody signed, is replaced, whatever epoch it claims.
func (c *cycle) restrictions(ctx context.Context, src source, v *signing.Verified) error {
	old, err := c.restrictionsInForce()
	if err != nil {
		return err
	}
	t, ok := v.Target(dbformat.RestrictionsTarget)
	if !ok {
		return c.noRestrictions(v, old)
	}
	same := old.bytes != nil && sha256.Sum256(old.bytes) == t.SHA256
	b := old.bytes
	if !same {
		if b, err = src.small(ctx, t, dbformat.MaxRestrictionSet); err != nil {
			return err
		}
	}
	// By the floor alone: these metadata may name another set than the ones before them.
	before, why := v.RestrictionProof().BeforeRefresh().Check(old.bytes)
	set, err := v.Restrictions(b)
	switch {
	case errors.Is(err, signing.ErrUntrusted):
		return err
	case err != nil: // signed as it should be, and still no set: the old one stays in force
		c.note(NoteRestrictionsRefused+": %v", err)
		if before == "" {
			return &signing.UntrustedError{Role: "epoch", Reason: signing.ReasonMalformed, Err: err,
				Detail: "the stored restriction set " + why + ", and the one that is signed cannot be used",
				Remedy: "nothing is asked of KSN until a set can be proved; tell who publishes the database"}
		}
		return nil
	case same && c.looking():
		return nil
	case same: // a run that died after it had stored the set left the floor as it was
		return c.accept(set)
	}
	put := c.u.c.Store.PutRestrictions
	switch epoch := set.Set().Epoch; {
	case before == "":
		put = c.u.c.Store.ReplaceRestrictions
		if !old.damaged { // that is told already
			c.note(NoteRestrictionsReplaced+": the stored restriction set %s: the signed one, of epoch %d, takes its place", why, epoch)
		}
	case before == signing.ProofFloor && epoch == old.epoch:
		put = c.u.c.Store.ReplaceRestrictions
		c.note(NoteRestrictionsReplaced+": another set is signed under the epoch %d that is in force: it takes its place", epoch)
	}
	st := ReportStep{Layer: "restrictions", How: HowSet, From: old.epoch, To: set.Set().Epoch, Bytes: t.Length,
		Why: fmt.Sprintf("the set of epoch %d takes the place of epoch %d", set.Set().Epoch, old.epoch)}
	if c.looking() {
		c.putStep(st)
		c.report.Result = ResultAvailable
		return nil
	}
	// A crash after this leaves the signed set with the floor of the one before it: it is proved by the metadata that were stored before it, and the next run
	// accepts it.
	if err := put(b, set.Set().Epoch); err != nil {
		return err
	}
	c.putStep(st)
	c.report.Result = ResultUpdated
	return c.accept(set)
}

// noRestrictions is about a repository that names no set. One that was in use is never taken back: as long as it is there, it stays in force. One for which
// nothing vouches is removed.
func (c *cycle) noRestrictions(v *signing.Verified, old inForce) error {
	by, why := v.RestrictionProof().Check(old.bytes)
	switch {
	case by != "" && !old.damaged:
		return nil
	case v.RestrictionProof().Epoch != 0: // it is gone, and nothing here brings it back
		_, err := v.Restrictions(nil)
		return err
	}
	if !old.damaged {
		c.note(NoteRestrictionsReplaced+": the stored restriction set %s, and the repository names none: it is removed", why)
	}
	st := ReportStep{Layer: "restrictions", How: HowSet, From: old.epoch, Why: "nothing vouches for the stored set"}
	if c.looking() {
		c.putStep(st)
		c.report.Result = ResultAvailable
		return nil
	}
	if err := c.u.c.Store.RemoveRestrictions(); err != nil {
		return err
	}
	c.putStep(st)
	c.report.Result = ResultUpdated
	return nil
}
