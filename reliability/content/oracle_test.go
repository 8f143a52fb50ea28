//go:build check

package content

import (
	"testing"

	"example.org/avdb/signing"
)

// A listener counts what an oracle complains of instead of failing.
type listener struct {
	testing.TB
	complaints int
}

func (l *listener) Errorf(string, ...any) { l.complaints++ }

// The oracle is no decoration: content that is in order and taken, a refusal for another reason, of another kind, and a device that does
// not reach the newest release are complained of.
func TestOracleComplains(t *testing.T) {
	for _, d := range []struct {
		name   string
		attack func(c *cell)
	}{
		{"taken", func(c *cell) { c.refused(nil, "") }},
		{"another reason", func(c *cell) {
			c.onlyDelta(1, []byte("garbage"))
			c.refused(signing.ErrUntrusted, "leads from a layer")
		}},
		{"another kind", func(c *cell) {
			c.onlyDelta(1, []byte("garbage"))
			c.refused(signing.ErrStale, "")
		}},
		{"not healed", func(c *cell) { c.newest(3) }},
	} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, 1)
			l := &listener{TB: t}
			c.t = l
			d.attack(c)
			if l.complaints == 0 {
				t.Error("nothing was complained of")
			}
		})
	}
}
