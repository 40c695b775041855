//go:build linux

package guest

const sysSchedSetattr = 314 // not in package syscall

const sysNameToHandleAt = 303
