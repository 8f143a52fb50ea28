//go:build !vectorscan

package main

import "errors"

// A vectorscan is not in this build: it needs a C compiler and the library, see the command's comment.
type vectorscan struct{}

// errNoVectorscan is why.
var errNoVectorscan = errors.New("built without Vectorscan (Debian: apt-get install libvectorscan-dev pkg-config, then go run -tags vectorscan .)")

func newVectorscan([][]byte) (*vectorscan, error) { return nil, errNoVectorscan }

func (*vectorscan) scan([]byte) (uint64, error) { return 0, errNoVectorscan }
func (*vectorscan) close()                      {}
