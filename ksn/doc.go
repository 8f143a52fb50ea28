// Package ksn decides what a device may ask the reputation network, and says how things stand:
// consent, cloud mode, restrictions in force, status. It makes no connection and reads no file
// and no clock: everything here is a function of values.
//
// # What it promises
//
//   - No request is allowed before a statement was accepted and KSN was switched on ([Decide] asks
//     [Facts.InForce] before anything else), and none after either was taken back.
//   - A restriction only reduces traffic. No record can allow what consent, the credential or the
//     built-in ceiling refuses, and none reaches a verdict, a cache or an update.
//   - A request for one network is never allowed for another one.
//   - The same values give the same decision: a retry does not roll the dice again, and restarts do not refill a day.
//   - Nothing is shown that did not happen. Without a network the state is "unknown", and a [Ledger] that
//     nobody wrote to is zero.
//
// # How a request is decided
//
// [Decide] asks in this order, and the first refusal stands:
//
//  1. consent: the mode in force, the statement version that covers the service, extended mode for statistics;
//  2. credential: the request's network is the installed one, and its operator accepts us;
//  3. restrictions: of the records that match now, only those of the highest priority count; among them disable beats
//     limit beats allow, and several limits must all let the request pass;
//  4. the ceiling of [CeilingRate] requests a second, [CeilingBurst] at once. It counts requests: further questions of one go through [DecideAlso].
//
// # What the dice are
//
// Each choice by hash is the first 8 bytes, big-endian, of the SHA-256 over these fields, each preceded by its length
// in bytes (32 bits, big-endian), modulo the number of choices:
//
//	cohort    "avdb ksn cohort", salt, install                              modulo 10000
//	sampling  "avdb ksn sample", id, epoch, install, key, day               modulo 10000
//	expiry    "avdb ksn expiry", id, install                                modulo expire_jitter_s
//
// Epoch and day are written in decimal; day counts from 1 January 1970 in UTC; key is the request's key, or empty
// where the record samples by install. An install is in a cohort if from ≤ place ≤ to, and a request is in a sample
// if place < sample_bp.
package ksn
