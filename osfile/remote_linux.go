package osfile

import "syscall"

// remoteKinds are the magic numbers of network file systems, as statfs(2) and linux/magic.h list them.
var remoteKinds = map[uint32]string{
	0x00006969: "nfs",
	0x0000517b: "smb",
	0xff534d42: "cifs",
	0xfe534d42: "smb2",
	0x5346414f: "afs",
	0x6b414653: "kafs",
	0x73757245: "coda",
	0x0000564c: "ncp",
	0x01021997: "9p",
	0x00c36400: "ceph",
	0x0bd00bd0: "lustre",
	0x47504653: "gpfs",
}

// Remote tells whether dir, an absolute path, is on a network file system, and of which kind.
func Remote(dir string) (kind string, remote bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "", false
	}
	kind, remote = remoteKinds[uint32(st.Type)]
	return kind, remote
}
