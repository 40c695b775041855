//go:build !linux

package main

import "syscall"

// notOrphaned does nothing here. Only Linux can end a started program together with this one.
func notOrphaned() *syscall.SysProcAttr { return nil }
