// Package updater brings an endpoint's database up to date: it decides what to fetch, fetches it from
// sources that are never trusted, proves the result and makes it current.
package updater
