package signing

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// aged makes a repository that was signed at day0 and whose roles have all of their lives before them after some time, but for those named, which end after a day.
func aged(t *testing.T, after time.Duration, short ...string) (*Trust, *forge) {
	t.Helper()
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	f := newForge(t, r)
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		f.signed[role]["expires"] = day0.Add(after + Life(role)).Format(time.RFC3339)
	}
	for _, role := range short {
		f.signed[role]["expires"] = "2026-03-02T12:00:00Z"
	}
	if slices.Contains(short, RoleRoot) {
		f.bump(1, RoleRoot)
	}
	return newTrust(t, r), f
}

func aging(maxAge, after time.Duration) RefreshOptions {
	return RefreshOptions{Now: day0.Add(after), MaxAge: maxAge}
}

// A mirror behind an air gap may serve an expired timestamp and snapshot up to the age that its device allows, to the second, and an
// operator is told.
func TestMaxAgeOfTimestampAndSnapshot(t *testing.T) {
	for _, short := range [][]string{{RoleTimestamp}, {RoleSnapshot}, {RoleTimestamp, RoleSnapshot}} {
		const most = 40 * day
		tr, f := aged(t, most, short...)
		unchanged(t, tr, func() {
			for _, o := range []RefreshOptions{aging(0, 2*day), aging(-most, 2*day), aging(most, most+time.Second)} {
				v, err := tr.Refresh(t.Context(), f.source(), o)
				wantUntrusted(t, v, err, short[0], ReasonExpired)
			}
		})
		v, err := tr.Refresh(t.Context(), f.source(), aging(most, most))
		if err != nil {
			t.Fatalf("%s: %v", short, err)
		}
		if n := v.Notes(); len(n) != 1 || n[0].Code != NoteExpired {
			t.Errorf("%s: notes %v, want %s", short, n, NoteExpired)
		}
		if want := day0.Add(day); !v.Expires().Equal(want) {
			t.Errorf("%s: expires %v, want %v: what is tolerated is not renewed", short, v.Expires(), want)
		}
	}
}

// Guard: a source's age excuses nothing that is signed for longer. Root, targets, database and restrictions expire as ever.
func TestMaxAgeLeavesOtherExpiries(t *testing.T) {
	for _, role := range []string{RoleRoot, RoleTargets, RoleDatabase, RoleRestrictions} {
		t.Run(role, func(t *testing.T) {
			for _, short := range [][]string{{role}, {role, RoleTimestamp, RoleSnapshot}} {
				tr, f := aged(t, day, short...)
				if v, err := tr.Refresh(t.Context(), f.source(), aging(40*day, day)); err != nil || len(v.Notes()) != 0 {
					t.Fatalf("before it expires: %v, %v", v, err)
				}
				tr, f = aged(t, day, short...)
				v, err := tr.Refresh(t.Context(), f.source(), aging(40*day, day+time.Second))
				e := wantUntrusted(t, v, err, role, ReasonExpired)
				if !e.Expires.Equal(day0.Add(day)) {
					t.Errorf("expired at %v", e.Expires)
				}
				if _, err := tr.Stored(); !errors.Is(err, ErrNothingStored) {
					t.Errorf("an expired %s was stored: %v", role, err)
				}
			}
		})
	}
}

// Guard: the age is that of what go-tuf verifies. A signed time that nobody signed, or that was signed before, buys nothing.
func TestMaxAgeNeedsASignature(t *testing.T) {
	tr, f := aged(t, 2*day, RoleTimestamp)
	f.keys[RoleTimestamp] = f.keys[RoleDatabase]
	v, err := tr.Refresh(t.Context(), f.source(), aging(40*day, 2*day))
	wantUntrusted(t, v, err, RoleTimestamp, ReasonSignature)
}

// Guard: floors. What is tolerated for its age is still no older than what was seen.
func TestMaxAgeMovesNoFloor(t *testing.T) {
	tr, f := aged(t, 2*day, RoleTimestamp, RoleSnapshot)
	old := f.source()
	f.bump(1, RoleTimestamp, RoleSnapshot)
	if _, err := tr.Refresh(t.Context(), f.source(), aging(40*day, 2*day)); err != nil {
		t.Fatal(err)
	}
	unchanged(t, tr, func() {
		v, err := tr.Refresh(t.Context(), old, aging(40*day, 2*day))
		wantUntrusted(t, v, err, RoleTimestamp, ReasonRollback)
	})
}

// Guard: the age is taken at the newest signed time that was seen, so that a clock set back makes nothing younger.
func TestMaxAgeWithTheClockSetBack(t *testing.T) {
	tr, f := aged(t, 50*day, RoleTimestamp)
	f.signed[RoleTimestamp]["signed_at"] = "2026-04-20T12:00:00Z" // 50 days later
	f.signed[RoleTimestamp]["expires"] = "2026-04-21T12:00:00Z"
	if _, err := tr.Refresh(t.Context(), f.source(), aging(0, 50*day)); err != nil {
		t.Fatal(err)
	}
	f.bump(1, RoleTimestamp)
	f.signed[RoleTimestamp]["signed_at"] = "2026-03-01T12:00:00Z"
	f.signed[RoleTimestamp]["expires"] = "2026-03-02T12:00:00Z"
	v, err := tr.Refresh(t.Context(), f.source(), aging(40*day, 2*day))
	wantUntrusted(t, v, err, RoleTimestamp, ReasonExpired)
}

// A zero time is the system's clock and not a moment at which nothing has expired.
func TestZeroTimeIsTheClock(t *testing.T) {
	tr, f := aged(t, 2*day, RoleTimestamp)
	f.signed[RoleTimestamp]["signed_at"] = "2019-01-01T00:00:00Z" // before any clock that runs this
	f.signed[RoleTimestamp]["expires"] = "2019-01-02T00:00:00Z"
	v, err := tr.Refresh(t.Context(), f.source(), RefreshOptions{})
	wantUntrusted(t, v, err, RoleTimestamp, ReasonExpired)
}
