package proxy

import "example.org/avdb/ksn"

// Counters are what restrictions have counted.
func (p *Proxy) Counters() ksn.Counters { return p.gate.used() }
