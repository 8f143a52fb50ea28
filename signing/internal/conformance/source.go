package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A source is a folder of a repository on a web server.
type source struct {
	ctx  context.Context
	base string
	http *http.Client
}

// errStatus is what a server says beside "here it is".
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("the server says %d", int(e)) }

// get fetches a file by its name, which is escaped already; of a longer one it gives max+1 bytes.
func (s *source) get(name string, max int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, strings.TrimRight(s.base, "/")+"/"+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errStatus(resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, max+1))
}

// missing tells whether a server says that it does not have a root: object stores answer 403 for what is not there.
func missing(err error) bool {
	var e errStatus
	return errors.As(err, &e) && (e == http.StatusNotFound || e == http.StatusGone || e == http.StatusForbidden)
}
