//go:build unix && !linux && !darwin

package store

func remoteFileSystem(string) (string, bool) { return "", false } // not known here
