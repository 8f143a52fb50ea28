package archive_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"

	"example.org/avdb/archive"
	"example.org/avdb/filetype"
)

// A scanner looks at an object, then at what is inside it, and so on.
func Example() {
	var object bytes.Buffer
	z := zip.NewWriter(&object)
	notes, _ := z.Create("notes.txt")
	io.WriteString(notes, "nothing to see here")
	logs, _ := z.Create("log.gz")
	g := gzip.NewWriter(logs)
	g.Name = "log\x1b[2J"
	io.WriteString(g, "a line, and another one")
	g.Close()
	z.Close()

	u := archive.New(archive.Limits{MemberBytes: 1 << 20}, func() (archive.File, error) { return os.CreateTemp("", "") })
	b := u.Budget(context.Background(), int64(object.Len()))
	var look func(name string, r io.ReaderAt, size int64)
	look = func(name string, r io.ReaderAt, size int64) {
		head := make([]byte, min(size, filetype.MaxHead))
		r.ReadAt(head, 0)
		kind := filetype.Detect(head, size)
		fmt.Printf("%q is %s\n", name, kind)
		for m, err := range b.Members(kind, r, size) {
			if err != nil { // of the container: a limit, or damage
				fmt.Println(err)
				continue
			}
			content, err := m.Spool() // an error says what is missing, and what there is is scanned
			if err != nil {
				fmt.Println(err)
			}
			look(m.Name, content, content.Size())
			content.Close()
		}
	}
	look("upload", bytes.NewReader(object.Bytes()), int64(object.Len()))
	// Output:
	// "upload" is zip
	// "notes.txt" is text
	// "log.gz" is gzip
	// "log�[2J" is text
}
