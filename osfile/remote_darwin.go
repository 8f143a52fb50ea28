package osfile

import "syscall"

const mntLocal = 0x1000 // MNT_LOCAL

// Remote tells whether dir, an absolute path, is on a network file system, and of which kind.
func Remote(dir string) (kind string, remote bool) {
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
