//go:build vectorscan

package main

/*
#cgo pkg-config: libhs
#include <stdio.h>
#include <stdlib.h>
#include <hs.h>

static int met(unsigned int id, unsigned long long from, unsigned long long to, unsigned int flags, void *count) {
	(*(unsigned long long *)count)++;
	return 0;
}

static hs_error_t compile(const char *const *expressions, const unsigned *flags, const unsigned *ids, unsigned n, hs_database_t **db, char *why, size_t room) {
	hs_compile_error_t *e = NULL;
	hs_error_t r = hs_compile_multi(expressions, flags, ids, n, HS_MODE_BLOCK, NULL, db, &e);
	if (e != NULL) {
		snprintf(why, room, "%s", e->message);
		hs_free_compile_error(e);
	}
	return r;
}

static unsigned long long scan(hs_database_t *db, hs_scratch_t *scratch, const char *text, unsigned n) {
	unsigned long long count = 0;
	return hs_scan(db, text, n, 0, scratch, met, &count) == HS_SUCCESS ? count : ~0ULL;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// errNoVectorscan is nil: it is here.
var errNoVectorscan error

// A vectorscan looks for literals with Vectorscan, which takes the best instructions of the processor by itself.
type vectorscan struct {
	db      *C.hs_database_t
	scratch *C.hs_scratch_t
}

func newVectorscan(patterns [][]byte) (*vectorscan, error) {
	n := len(patterns)
	expressions := make([]*C.char, n)
	flags, ids := make([]C.unsigned, n), make([]C.unsigned, n)
	for i, p := range patterns {
		// As expressions of one byte after the other: its interface for literals takes none that begin with a zero. It compiles both to the same.
		var text strings.Builder
		for _, c := range p {
			fmt.Fprintf(&text, `\x%02x`, c)
		}
		expressions[i], ids[i] = C.CString(text.String()), C.unsigned(i)
	}
	defer func() {
		for _, e := range expressions {
			C.free(unsafe.Pointer(e))
		}
	}()
	list := C.malloc(C.size_t(n) * C.size_t(unsafe.Sizeof(expressions[0])))
	defer C.free(list)
	copy(unsafe.Slice((**C.char)(list), n), expressions)
	why := (*C.char)(C.calloc(1, 512))
	defer C.free(unsafe.Pointer(why))
	v := &vectorscan{}
	if C.compile((**C.char)(list), &flags[0], &ids[0], C.unsigned(n), &v.db, why, 512) != C.HS_SUCCESS {
		return nil, fmt.Errorf("Vectorscan does not take the patterns: %s", C.GoString(why))
	}
	if C.hs_alloc_scratch(v.db, &v.scratch) != C.HS_SUCCESS {
		return nil, errors.New("Vectorscan has no memory to scan with")
	}
	return v, nil
}

// scan gives the number of matches, each end of a pattern being one.
func (v *vectorscan) scan(text []byte) (uint64, error) {
	n := C.scan(v.db, v.scratch, (*C.char)(unsafe.Pointer(&text[0])), C.unsigned(len(text)))
	if n == ^C.ulonglong(0) {
		return 0, errors.New("Vectorscan could not scan")
	}
	return uint64(n), nil
}

func (v *vectorscan) close() {
	C.hs_free_scratch(v.scratch)
	C.hs_free_database(v.db)
}
