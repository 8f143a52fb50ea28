package signing

import (
	"errors"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"example.org/avdb/signing/internal/exchange"
)

// setRoles are the documents of a complete set in the order in which each vouches for the next.
var setRoles = []string{RoleTimestamp, RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions}

// A set is a complete, verified group of documents under one root. Only [verifySet] and a refresh make one.
type set struct {
	root *document
	docs map[string]*document
	raw  map[string][]byte // what was verified, byte for byte; with RoleRoot
	torn bool              // of a repository: the root before this one vouches for it
	lost bool              // torn, and targets is among what this root does not vouch for
}

// guarded runs code of go-tuf and turns a panic into an error.
func guarded(role *string, do func() error) error {
	err := exchange.Contain(role, do)
	if e, ok := errors.AsType[*exchange.Error](err); ok {
		return refusedByExchange(e)
	}
	return err
}

// refusedByExchange is ours for what [exchange] itself refuses.
func refusedByExchange(e *exchange.Error) *UntrustedError {
	reason := map[exchange.Kind]Reason{exchange.TooLong: ReasonTooLong, exchange.Unknown: ReasonDelegation, exchange.Internal: ReasonInternal}[e.Kind]
	return &UntrustedError{Role: e.Role, Version: e.Version, Reason: reason, Detail: e.Detail, Remedy: remedySource}
}

// verifySet proves documents of a repository against a root: shapes, signatures, lengths, hashes and versions, and expiry
// at a moment (the zero time: no expiry). The root itself must be trusted already.
func verifySet(root []byte, raw map[string][]byte, at time.Time) (*set, error) {
	s := &set{docs: map[string]*document{}, raw: map[string][]byte{RoleRoot: root}}
	var err error
	if s.root, err = parseDocument(RoleRoot, root); err != nil {
		return nil, err
	}
	for _, role := range setRoles {
		if s.docs[role], err = parseDocument(role, raw[role]); err != nil {
			return nil, err
		}
		s.raw[role] = raw[role]
	}
	role := RoleRoot
	err = guarded(&role, func() error {
		t, err := trustedmetadata.New(root)
		if err != nil {
			return err
		}
		t.RefTime = at
		for _, role = range setRoles {
			switch role {
			case RoleTimestamp:
				_, err = t.UpdateTimestamp(raw[role])
			case RoleSnapshot:
				_, err = t.UpdateSnapshot(raw[role], false)
			case RoleTargets:
				_, err = t.UpdateTargets(raw[role])
			default:
				_, err = t.UpdateDelegatedTargets(raw[role], role, RoleTargets)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, explain(role, s.doc(role), err)
	}
	return s, nil
}

// doc is a role's document, root included.
func (s *set) doc(role string) *document {
	if role == RoleRoot {
		return s.root
	}
	return s.docs[role]
}

// explain turns an error of go-tuf about a document into ours. Errors of ours pass.
func explain(role string, d *document, err error) error {
	if _, ok := errors.AsType[*UntrustedError](err); ok {
		return err
	}
	if e, ok := errors.AsType[*exchange.Error](err); ok {
		return refusedByExchange(e)
	}
	e := &UntrustedError{Role: role, Reason: ReasonMalformed, Detail: err.Error(), Remedy: remedySource, Err: err}
	if d != nil {
		e.Version = d.version
	}
	switch {
	case is[*metadata.ErrUnsignedMetadata](err):
		e.Reason, e.Detail = ReasonSignature, "too few good signatures of its keys"
	case is[*metadata.ErrExpiredMetadata](err):
		if d != nil {
			return expired(d)
		}
		e.Reason, e.Remedy = ReasonExpired, remedyExpired
	case is[*metadata.ErrLengthOrHashMismatch](err):
		e.Reason, e.Detail = ReasonMismatch, "not the length and hash that the role above it names"
	case is[*metadata.ErrBadVersionNumber](err):
		e.Reason, e.Detail = ReasonMismatch, "not the version that the role above it names"
	}
	return e
}

func expired(d *document) *UntrustedError {
	return &UntrustedError{Role: d.role, Version: d.version, Expires: d.expires, Reason: ReasonExpired,
		Detail: "expired at " + d.expires.UTC().Format(time.RFC3339), Remedy: remedyExpired}
}

// is asks for the type: the Is methods of go-tuf's errors match their relatives too.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

const remedyExpired = "check this device's clock; try another source; if all say the same, the publisher must renew"

// signedBy tells which of an authority's keys really signed a document. keys has the public keys by id.
func signedBy(role string, raw []byte, a authority, keys map[string]string) ([]string, error) {
	var good []string
	err := guarded(&role, func() error {
		for _, id := range a.keyids {
			// A root that knows one key and one role asks go-tuf about just this signature.
			r := metadata.Root(time.Time{})
			r.Signed.Keys[id] = &metadata.Key{Type: metadata.KeyTypeEd25519, Scheme: metadata.KeySchemeEd25519,
				Value: metadata.KeyVal{PublicKey: keys[id]}}
			r.Signed.Roles[role] = &metadata.Role{KeyIDs: []string{id}, Threshold: 1}
			err := verifyOne(r, role, raw)
			if is[*metadata.ErrUnsignedMetadata](err) {
				continue
			}
			if err != nil {
				return err
			}
			good = append(good, id)
		}
		return nil
	})
	slices.Sort(good)
	return good, err
}

func verifyOne(r *metadata.Metadata[metadata.RootType], role string, raw []byte) error {
	switch role {
	case RoleRoot:
		m, err := metadata.Root().FromBytes(raw)
		if err != nil {
			return err
		}
		return r.VerifyDelegate(role, m)
	case RoleTimestamp:
		m, err := metadata.Timestamp().FromBytes(raw)
		if err != nil {
			return err
		}
		return r.VerifyDelegate(role, m)
	case RoleSnapshot:
		m, err := metadata.Snapshot().FromBytes(raw)
		if err != nil {
			return err
		}
		return r.VerifyDelegate(role, m)
	}
	m, err := metadata.Targets().FromBytes(raw)
	if err != nil {
		return err
	}
	return r.VerifyDelegate(role, m)
}

// verifyRoot proves that a root signs itself and, when before is given, that the root before it vouches for it.
func verifyRoot(before, root []byte) (*document, error) {
	d, err := parseDocument(RoleRoot, root)
	if err != nil {
		return nil, err
	}
	role := RoleRoot
	err = guarded(&role, func() error {
		if before == nil {
			_, err := trustedmetadata.New(root)
			return err
		}
		t, err := trustedmetadata.New(before)
		if err == nil {
			_, err = t.UpdateRoot(root)
		}
		return err
	})
	if err != nil {
		return nil, explain(role, d, err)
	}
	return d, nil
}

// authorityOf is who may sign for a role in this set.
func (s *set) authorityOf(role string) (authority, map[string]string) {
	if role == RoleDatabase || role == RoleRestrictions {
		t := s.docs[RoleTargets]
		return t.roles[role], t.keys
	}
	return s.root.roles[role], s.root.keys
}

// expires is when the first document of the set expires, and which.
func (s *set) expires() (time.Time, string) {
	at, role := s.root.expires, RoleRoot
	for _, r := range setRoles {
		if e := s.docs[r].expires; e.Before(at) {
			at, role = e, r
		}
	}
	return at, role
}
