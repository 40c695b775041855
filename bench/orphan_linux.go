package main

import "syscall"

// notOrphaned ends a program together with the one that started it.
func notOrphaned() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
