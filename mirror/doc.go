// Package mirror keeps a folder that web servers serve as a copy of a repository, and never shows in it what it has not verified.
//
//	DIR/metadata/       what is served: as in a repository's public folder
//	DIR/targets/
//	DIR/.mirror/        what is not served (0700)
//	    trust/          the roots, the last verified metadata, the floors: package signing
//	    downloads/      partial files, which the next run goes on with
//	    tmp/            files being written; on the file system of DIR, so that they can be renamed into it
//	    state.json      which files belong to which release, which of them were proved
//	    verified.json   what the last verification found, for a promotion
//	    verify/         what a verification makes and removes again
//	    lock            one run at a time
//
// A state of the repository is published in this order, each step durable before the next one:
//
//  1. state.json lists its files, so that none is ever forgotten;
//  2. its targets, each verified through the descriptor that is copied, under a temporary name, then renamed;
//  3. its versioned metadata;
//  4. timestamp.json, the only name that changes its content, by rename;
//  5. what only older releases name is removed, but for the last ones, which slow clients are still reading;
//  6. state.json says what is shown.
//
// So a crash before 4 leaves the old state, whole, beside files that nobody asks for; a crash behind it the new one. The next run goes on
// from there, whatever happened. New roots come just before 4. During a rotation of keys, when what is new is signed by the old keys, too, they come behind it,
// so that no client meets a root whose keys have not signed what lies beside it. A mirror that slept through such a rotation cannot do so: a client that
// reads between the two renames is refused, keeps what it has, and reads a whole state the next time.
//
// A mirror can be a stage: [Verify] looks at it as clients would, and [Promote] shows in another mirror, in the same order, exactly what was verified, or
// nothing. [ReadStatus] tells how both stand.
//
// Everything is fetched by [updater.Remote], under the limits of an endpoint. Errors are of the kinds that updater gives: [signing.ErrUntrusted],
// [updater.ErrUnavailable], [updater.ErrCoolDown], [store.ErrStorage], [store.ErrLocked]; and [ErrRefused] for a
// gate of a verification.
package mirror
