package reputation

import (
	"example.org/avdb/store"
)

// A Memory keeps over restarts what a client learnt. A *store.Store is one. Nothing in it is believed without its signature, and
// nothing that is asked of a network waits for it.
type Memory interface {
	// ReadKSN fills v with the client's record, if there is one.
	ReadKSN(v any) (ok bool, err error)
	// UpdateKSN fills v, lets change alter it and writes it back, in one transaction. change takes no time and may be called twice.
	UpdateKSN(v any, change func(ok bool) error) error

	// Defer adds to the queue of suspicions that nothing settled; the same key and path again keep their Since.
	Defer(list []Deferred) error
	// DeferredObjects gives the oldest n, 0 for all.
	DeferredObjects(n int) ([]Deferred, error)
	// Undefer removes from the queue, by key and path.
	Undefer(list []Deferred) error

	// ReadCache visits the cached answers until visit gives false.
	ReadCache(visit func(CacheEntry) bool) error
	// WriteCache adds and removes cached answers.
	WriteCache(put []CacheEntry, remove []string) error
	// ClearCache removes all of them.
	ClearCache() error
}

// A Deferred is an object that the light database suspects and that no answer settled.
type Deferred = store.Deferred

// A CacheEntry is a cached answer with what proves it.
type CacheEntry = store.CacheEntry
