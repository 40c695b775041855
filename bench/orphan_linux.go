package main

import "syscall"

// notOrphaned makes the kernel end a program when the program that started it
// ends.
func notOrphaned() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
