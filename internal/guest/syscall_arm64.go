//go:build linux

package guest

const sysSchedSetattr = 274 // not in package syscall

const sysNameToHandleAt = 264
