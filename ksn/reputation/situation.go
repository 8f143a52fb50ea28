package reputation

import (
	"example.org/avdb/ksn"
)

// Situation is what [ksn.NewStatus] needs of the client, with the facts as they are now; cloud mode and the language are the caller's to add.
func (c *Client) Situation() ksn.Situation {
	c.mu.Lock()
	s := c.state
	c.mu.Unlock()
	return c.config.situation(s) // maps of a state are never altered
}

// Ledger counts what became of the questions of this client alone, since it was made; that of [Client.Situation] is of the device, with what all its
// processes asked at any time. Its SuppressedBy is nil.
func (c *Client) Ledger() ksn.Ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledger
}

// Remembered is what [Client.Situation] of a client made of the config says before it asks anything. It makes none: nothing is written, so that a
// status can be read by those who may not write.
func Remembered(config Config) (ksn.Situation, error) {
	if err := config.complete(); err != nil {
		return ksn.Situation{}, err
	}
	return config.situation(config.remembered()), nil
}

// remembered is the state that Memory has for the network of the config.
func (c *Config) remembered() (s state) {
	if c.Memory != nil {
		if _, err := c.Memory.ReadKSN(&s); err != nil {
			c.Log.Warn("KSN record cannot be read, counters and waits begin anew", "error", err)
			s = state{}
		}
	}
	if c.Provider == nil {
		return s.of("")
	}
	return s.of(c.Provider.Fingerprint)
}

// tokenID names the credential at hand.
func (c *Config) tokenID() string {
	if c.Provider == nil {
		return ""
	}
	return tokenID(c.Provider.Fingerprint, c.Token())
}

func (c *Config) situation(s state) ksn.Situation {
	facts, set := c.Facts()
	now := c.Now()
	routes := c.Routes()
	switch {
	case facts.Credential != ksn.CredentialAccepted || c.Provider == nil:
	case c.Provider.Expired(now):
		facts.Credential = ksn.CredentialExpired
	case s.Refusal.stands(now, c.tokenID()): // until an authentic answer, or another credential
		facts.Credential = ksn.CredentialRejected
	}
	ledger := mergeLedgers(s.Ledger, ksn.Ledger{}, ksn.Ledger{}) // a copy
	return ksn.Situation{Facts: facts, Set: set, Link: s.Link, Running: c.Running, Ledger: ledger, Now: now,
		Routes: ksn.Routes(routes.UseProxy, routes.UseServersIfProxyUnavailable)}
}
