package store

import "syscall"

const mntLocal = 0x1000 // MNT_LOCAL

func remoteFileSystem(dir string) (string, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil || st.Flags&mntLocal != 0 {
		return "", false
	}
	var name []byte
	for _, c := range st.Fstypename {
		if c == 0 {
			break
		}
		name = append(name, byte(c))
	}
	return string(name), true
}
