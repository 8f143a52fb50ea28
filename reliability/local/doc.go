// Package local proves, cell by cell and with the real program, what the machine itself can do to an update: other things where its
// files are expected (F), several updates at once (A10), wrong clocks (A12), umasks, and readers without rights.
//
// The paths that are attacked are those that an update was seen to have in its state folder at any of its steps, so that a new file is
// attacked from the day it exists. Names with random parts, which nobody can foresee, are left out. An update runs as a user
// without privileges where the tests run as root, since root may write everything.
//
// The oracle: whatever the planted thing leads to is unchanged, the run ends in time with a documented exit code and the old or the
// new release, each block of which is proved, and once the thing is gone the next run reaches the newest release and leaves nothing behind.
//
// The tests are built with the tag check.
package local
