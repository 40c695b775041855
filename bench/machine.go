package main

import (
	"os"
	"runtime"
	"strings"
	"sync"
)

// countCPUs returns the number of processors that this process may use.
func countCPUs() int { return runtime.NumCPU() }

// loadAverage returns the load averages of the last one, five and fifteen
// minutes.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

var readCPUModel = sync.OnceValue(func() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if key, value, _ := strings.Cut(line, ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
})

func readMachine() machine {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return machine{
		CPU: readCPUModel(), CPUs: countCPUs(), Kernel: strings.TrimSpace(string(kernel)),
		Go: runtime.Version(), LoadBefore: loadAverage(),
	}
}
