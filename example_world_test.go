package avdb_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.org/avdb/fixtures"
	"example.org/avdb/publisher"
	"example.org/avdb/signing"
)

// exampleWorld publishes one signature into a folder, and makes the file that it detects.
func exampleWorld() (dir, source, rootFile, file string, err error) {
	if dir, err = os.MkdirTemp("", "avdb-example-"); err != nil {
		return
	}
	now := time.Now().Add(-time.Hour)
	repo := filepath.Join(dir, "repo")
	if _, err = signing.CreateRepository(repo, signing.RepositoryOptions{Now: now}); err != nil {
		return
	}
	content := []byte("a file that this example calls bad")
	file = filepath.Join(dir, "file")
	list := filepath.Join(dir, "list.hashes")
	if err = os.WriteFile(file, content, 0o600); err != nil {
		return
	}
	if err = os.WriteFile(list, fmt.Appendf(nil, "%x,Example.Bad\n", sha256.Sum256(content)), 0o600); err != nil {
		return
	}
	if _, err = publisher.Publish(context.Background(), publisher.Options{Dir: repo, Sources: []string{list}, Now: now}); err != nil {
		return
	}
	return dir, fixtures.FileURL(filepath.Join(repo, "public")), filepath.Join(repo, "public", "metadata", "1.root.json"), file, nil
}
