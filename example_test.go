package avdb_test

import (
	"context"
	"fmt"
	"os"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher"
	"example.org/avdb/signing"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// What the README shows under "Embed it".
func Example() {
	protect := func(ctx context.Context, state, source, rootFile, file string) error {
		s, err := store.Create(state, store.Options{})
		if err != nil {
			return err
		}
		root, err := os.ReadFile(rootFile) // shipped with the product
		if err != nil {
			return err
		}
		u, err := updater.New(updater.Config{Store: s, Sources: updater.Sources(source)})
		if err != nil {
			return err
		}
		if err := signing.InitTrust(s.TrustDir(), root, false); err != nil {
			return err
		}
		if _, err := u.Update(ctx, updater.Options{Variant: string(dbformat.VariantFull)}); err != nil {
			return err // what is installed stays in use
		}
		m, err := matcher.Open(s, matcher.Options{}) // follows later updates by itself
		if err != nil {
			return err
		}
		defer m.Close()
		fmt.Println(m.ScanFile(ctx, file).Verdict)
		return nil
	}
	dir, source, rootFile, file, err := exampleWorld()
	defer os.RemoveAll(dir)
	if err == nil {
		err = protect(context.Background(), dir+"/state", source, rootFile, file)
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output: malicious
}
