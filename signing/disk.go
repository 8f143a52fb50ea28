package signing

// A Disk stands between this module and the disk under an endpoint's state: every change to a trust folder, and by way of
// package store to the rest of the state folder, goes through it. It is for tests, which record the changes in their order, make
// one fail with or without its effect, or keep what a power cut would leave. A product needs none: nil, wherever one can be given,
// means that changes are made as they are.
type Disk interface {
	// Do is called for each change. It calls change at most once, or not at all, and what it returns is what the caller takes the
	// system to have said. It is called by whichever goroutine makes the change.
	Do(c DiskCall, change func() error) error
}

// A DiskCall is one change to a disk.
type DiskCall struct {
	// Op is mkdir, chmod, create, write, sync, rename, remove, syncdir (the names in a folder), commit (a part of a
	// bbolt file that is being written), finish (its rest, and a sync of it) or transaction (of state.db, synced).
	Op string

	// Path is the file or folder that is changed. In a trust folder, where files are written under a temporary name, create,
	// write and sync have the name that the file will get.
	Path string

	From string // the name that a rename takes away, else ""
}
