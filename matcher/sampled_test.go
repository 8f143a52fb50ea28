//go:build !check

package matcher

// thorough says that tests try every case, which the build tag check asks for.
const thorough = false
