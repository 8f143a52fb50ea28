//go:build unix && !linux && !darwin

package osfile

// Remote tells whether dir is on a network file system. It is not known here.
func Remote(string) (kind string, remote bool) { return "", false }
