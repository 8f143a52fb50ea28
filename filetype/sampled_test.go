//go:build !check

package filetype

// thorough says that tests try every case, which the build tag check asks for.
const thorough = false
