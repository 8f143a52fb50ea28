// Package ksn proves what the reputation network promises, over the real pieces in one process: a publisher, devices with store, updater, matcher and
// reputation client, servers and proxies on loopback.
//
// The yardstick of verdicts is the full database: whatever a device with the light one and a server say together is held against what a device with
// the full one says of the same file or hash. The yardstick of silence is a listener that counts the connections that it accepts; each test
// that wants none shows first, or afterwards, that the same device does connect where it may.
//
// Files, signatures and hashes are made from fixed seeds. Clocks of clients, servers and proxies run fast where many questions are asked, so that the ceiling
// of requests, which has tests of its own, is not what the figures show. Without AVDB_CELLS=all a sample runs.
package ksn
