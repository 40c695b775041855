//go:build !linux

package main

import "syscall"

// notOrphaned is for Linux alone: other systems cannot end a program together
// with the one that started it.
func notOrphaned() *syscall.SysProcAttr { return nil }
