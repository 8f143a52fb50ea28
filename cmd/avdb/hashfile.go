package main

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"io"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// hashFile gives the hashes of a regular file by all algorithms, and its size.
func hashFile(name string) (map[dbformat.Algorithm][]byte, int64, error) {
	f, err := osfile.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() // opened for reading: closing has nothing to lose
	hashes := map[dbformat.Algorithm]hash.Hash{dbformat.MD5: md5.New(), dbformat.SHA1: sha1.New(), dbformat.SHA256: sha256.New()}
	n, err := io.Copy(io.MultiWriter(hashes[dbformat.MD5], hashes[dbformat.SHA1], hashes[dbformat.SHA256]), f)
	if err != nil {
		return nil, 0, err
	}
	sums := map[dbformat.Algorithm][]byte{}
	for a, h := range hashes {
		sums[a] = h.Sum(nil)
	}
	return sums, n, nil
}
