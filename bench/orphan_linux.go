package main

import "syscall"

// notOrphaned returns attributes with which the kernel ends a started program when this
// program ends.
func notOrphaned() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
