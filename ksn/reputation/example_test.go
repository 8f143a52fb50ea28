package reputation_test

import (
	"context"
	"crypto/sha256"
	"fmt"

	"example.org/avdb/ksn"
	"example.org/avdb/ksn/protocol"
	"example.org/avdb/ksn/reputation"
)

// A product asks about a file on a device whose user has not agreed to anything: nothing is sent, and the verdict says why.
func Example() {
	var device ksn.Facts // read anew before each request
	c, err := reputation.New(reputation.Config{Facts: func() (ksn.Facts, *ksn.Set) { return device, nil }})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	content := []byte("content")
	sum := sha256.Sum256(content)
	key, err := protocol.NewKey(protocol.FileSHA256, sum[:])
	if err != nil {
		panic(err)
	}
	object := reputation.Object{Keys: []protocol.Key{key}, Size: int64(len(content))}
	for _, v := range c.Lookup(context.Background(), ksn.OriginManual, []reputation.Object{object}) {
		fmt.Println(v.Verdict, v.Why)
		fmt.Println(v.Err)
	}
	fmt.Println(ksn.NewStatus(c.Situation()).State)
	// Output:
	// unknown disabled
	// lookup refused: KSN is off: no statement is accepted; run `avdb ksn statement accept`, then `avdb ksn enable`
	// disabled
}
