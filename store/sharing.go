package store

import "time"

// On Windows a virus scanner or a search indexer may hold any file open for a moment, without letting
// others rename or remove it. Such calls are tried again for inUseLimit, with growing pauses.
const inUseLimit = 2 * time.Second

// retry calls f until it succeeds, fails in another way than again knows, or limit is over. The last
// error is returned.
func retry(f func() error, again func(error) bool, limit time.Duration, now func() time.Time, sleep func(time.Duration)) error {
	end := now().Add(limit)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f()
		if err == nil || !again(err) || !now().Add(pause).Before(end) {
			return err
		}
		sleep(pause)
	}
}

func retryInUse(f func() error) error {
	return retry(f, inUse, inUseLimit, time.Now, time.Sleep)
}
