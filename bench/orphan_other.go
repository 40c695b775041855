//go:build !linux

package main

import "syscall"

// notOrphaned does nothing. Only Linux can end a program together with the
// program that started it.
func notOrphaned() *syscall.SysProcAttr { return nil }
