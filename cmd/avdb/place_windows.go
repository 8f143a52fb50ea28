package main

import "golang.org/x/sys/windows"

// privileged tells whether the process may write the system's places.
func privileged() bool { return windows.GetCurrentProcessToken().IsElevated() }
