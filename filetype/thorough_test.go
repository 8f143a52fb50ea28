//go:build check

package filetype

// thorough says that tests try every case; without the build tag check they try a slice of them.
const thorough = true
